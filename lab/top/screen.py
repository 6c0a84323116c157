"""The live view: a table of the daemons, HAProxy and Redis below it, keys, what happened.

Looks are made in a thread, one at a time, so that a part that hangs never holds the keys; a
look that is late is skipped. Whoever is not there is shown as such: the view ends when its
user wants it to.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal

from rich.table import Table
from rich.text import Text
from textual.app import App
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import DataTable, Footer, RichLog, Static

from lab.errors import LabError
from lab.top import cells, words
from lab.top.model import TREND_LOOKS, Model
from lab.top.parts import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.app import ComposeResult
    from textual.binding import BindingType

    from lab.top.daemons import DaemonRow
    from lab.top.model import View
    from lab.top.source import Source

STYLES = {
    State.UP: "green",
    State.DEGRADED: "yellow",
    State.DRAINING: "cyan",
    State.FROZEN: "bright_blue",
    State.SILENT: "magenta",
    State.DOWN: "bold red",
}

TREND = "lines/s, last looks"

# What a look is written into.
SHOWN = ("where", "all", "daemons", "haproxy", "redis", "events")

# Lines of what happened that are kept: an afternoon of breaking things.
EVENTS_MAX = 1_000


class Looked(Message):
    """A look is made."""

    def __init__(self, view: View) -> None:
        super().__init__()
        self.view = view


class Gone(Message):
    """Nothing could be looked at."""

    def __init__(self, why: str) -> None:
        super().__init__()
        self.why = why


class Told(Message):
    """Something was done, or refused."""

    def __init__(self, text: str, style: str = "") -> None:
        super().__init__()
        self.text = text
        self.style = style


class Top(App[None]):
    """The screen over a source, a look every `every_s` seconds."""

    TITLE = "fleet top"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #where { color: $text-muted; height: 1; padding: 0 1; }
    #all { height: 1; padding: 0 1; text-style: bold; }
    #daemons { height: auto; max-height: 60%; }
    #daemons > .datatable--fixed { background: $surface; }
    #servers { height: 10; }
    #servers Static { width: 1fr; height: 100%; border: round $primary; padding: 0 1; }
    #events { height: 1fr; min-height: 4; border: round $primary; padding: 0 1; }
    #events { overflow-y: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        ("d", "act('drain')", "drain"),
        ("k", "act('kill')", "kill"),
        ("f", "act('freeze')", "freeze"),
        ("t", "act('thaw')", "thaw"),
        ("s", "act('start')", "start"),
        ("q", "quit", "quit"),
    ]

    def __init__(self, source: Source, every_s: float) -> None:
        super().__init__()
        self.view: View | None = None
        """What is shown; None before the first look."""
        self.looks = 0
        """How many were shown."""
        self._source = source
        self._every_s = every_s
        self._model = Model()
        self._looking = False
        self.gone = ""
        """Why nothing can be looked at; empty while it can."""

    def compose(self) -> ComposeResult:
        """From the top to the bottom."""
        yield Static(id="where")
        yield Static("looking …", id="all")
        yield DataTable(id="daemons", cursor_type="row", zebra_stripes=True, fixed_columns=2)
        with Horizontal(id="servers"):
            yield Static(id="haproxy")
            yield Static(id="redis")
        yield RichLog(id="events", max_lines=EVENTS_MAX)
        yield Footer()

    def on_mount(self) -> None:
        """Lay out, and look at once."""
        for name, title in (("haproxy", "HAProxy"), ("redis", "Redis"), ("events", "events")):
            self.query_one(f"#{name}").border_title = title
        table = self._table
        for column in words.COLUMNS:
            table.add_column(Text(column.title, justify=_side(column.title)), key=column.title)
        table.add_column(TREND, key=TREND, width=TREND_LOOKS)
        table.focus()
        self._tell("↑ and ↓ choose a daemon; the keys below do it to that one")
        self.set_interval(self._every_s, self._look)
        self._look()

    def action_act(self, action: str) -> None:
        """Do something to the daemon under the cursor."""
        name = self._selected()
        if name is not None:
            self.act(action, name)

    def act(self, action: str, daemon: str) -> None:
        """Do something to a daemon; what was done stands among the events then."""
        self._in_thread(partial(self._act, action, daemon))

    # In threads.

    def _look_once(self) -> None:
        try:
            self.post_message(Looked(self._model.take(self._source.look())))
        except LabError as error:
            self.post_message(Gone(str(error)))

    def _act(self, action: str, name: str) -> None:
        try:
            self.post_message(Told(self._source.act(action, name)))
        except LabError as error:
            self.post_message(Told(str(error), "red"))

    # In the app's own thread. A message that comes while the app ends finds nothing to show it.

    def on_looked(self, message: Looked) -> None:
        """A look is made."""
        self._looking = False
        if self._on_show:
            self._show(message.view)

    def on_gone(self, message: Gone) -> None:
        """Nothing could be looked at; what was seen last stays, and is said to be old."""
        self._looking = False
        if self._on_show:
            self._show_gone(message.why)

    def on_told(self, message: Told) -> None:
        """Something was done, or refused."""
        if self._on_show:
            self._tell(message.text, message.style)

    @property
    def _on_show(self) -> bool:
        # They go one by one.
        return all(self.query(f"#{name}") for name in SHOWN)

    def _in_thread(self, work: Callable[[], None]) -> None:
        self.run_worker(work, thread=True, exit_on_error=True)

    def _look(self) -> None:
        if not self._looking:
            self._looking = True
            self._in_thread(self._look_once)

    def _show(self, view: View) -> None:
        self.gone = ""
        self._tell_changes(view)
        self.view = view
        self.looks += 1
        self._update("where", f"{words.clock(view)}  {view.fleet}")
        self._update("all", words.fleet_line(view))
        self._show_daemons(view)
        self._update("haproxy", _facts(words.haproxy_facts(view), view.haproxy.state))
        self._update("redis", _facts(words.redis_facts(view), view.redis.state))

    def _show_gone(self, why: str) -> None:
        seen = f"; below is what was seen at {words.clock(self.view)}" if self.view else ""
        self._update("all", Text(f"{why}{seen}", style=STYLES[State.DOWN]))
        if why != self.gone:
            self._tell(why, "red")
        self.gone = why

    def _show_daemons(self, view: View) -> None:
        table = self._table
        names = [row.name for row in view.daemons]
        if [key.value for key in table.rows] != names:
            table.clear()
            for name in names:
                table.add_row(*([""] * len(table.columns)), key=name)
        top = max((max(row.trend, default=0.0) for row in view.daemons), default=0.0)
        for row in view.daemons:
            for column in words.COLUMNS:
                table.update_cell(row.name, column.title, _cell(row, column), update_width=True)
            bars = cells.trend(row.trend, TREND_LOOKS, top)
            table.update_cell(row.name, TREND, Text(bars, style="cyan"))

    def _tell_changes(self, view: View) -> None:
        """A line for each part that is not as it was."""
        if self.view is None:
            return
        before = _states(self.view)
        for name, state in _states(view).items():
            was = before.get(name)
            if was is not state:
                self._tell(f"{name}: {was or 'new'} → {state}", STYLES[state])

    def _tell(self, text: str, style: str = "") -> None:
        stamp = time.strftime("%H:%M:%S ")
        self.query_one(RichLog).write(Text(stamp, style="dim").append(text, style=style))

    def _update(self, name: str, content: str | Text | Table) -> None:
        self.query_one(f"#{name}", Static).update(content)

    def _selected(self) -> str | None:
        table = self._table
        if not table.rows:
            return None
        return table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value

    @property
    def _table(self) -> DataTable[Text | str]:
        table: DataTable[Text | str] = self.query_one(DataTable)
        return table


def _side(title: str) -> Literal["left", "right"]:
    return "left" if title in ("daemon", "state", "HAProxy") else "right"


def _cell(row: DaemonRow, column: words.Column) -> Text:
    style = STYLES[row.state] if column.title == "state" else ""
    if row.state in (State.DOWN, State.FROZEN, State.SILENT) and column.title != "state":
        style = "dim"
    return Text(column.cell(row), style=style, justify=_side(column.title))


def _facts(facts: words.Facts, state: State) -> Table:
    grid = Table.grid(padding=(0, 2))
    for what, figure in facts:
        style = STYLES[state] if what == "state" else ""
        grid.add_row(Text(what, style="dim"), Text(figure, style=style))
    return grid


def _states(view: View) -> dict[str, State]:
    rows = {row.name: row.state for row in view.daemons}
    return {**rows, "HAProxy": view.haproxy.state, "Redis": view.redis.state}
