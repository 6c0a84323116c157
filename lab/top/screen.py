"""The live view: a table of the daemons, HAProxy and Redis below it, keys, what happened.

Looks are made in a thread, one at a time, so that a part that hangs never holds the keys; a
look that is late is skipped. Whoever is not there is shown as such: the view ends when its
user wants it to.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from typing import TYPE_CHECKING, ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import App
from textual.containers import Horizontal
from textual.css.query import NoMatches
from textual.widgets import DataTable, Footer, RichLog, Static

from lab.errors import LabError
from lab.fleet.control import ACTIONS
from lab.top import cells, words
from lab.top.model import TREND_LOOKS, Model, State

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.app import ComposeResult
    from textual.binding import BindingType

    from lab.top.model import View
    from lab.top.sources import Source

STYLES = {
    State.UP: "green",
    State.DEGRADED: "yellow",
    State.DRAINING: "cyan",
    State.FROZEN: "bright_blue",
    State.SILENT: "magenta",
    State.DOWN: "bold red",
}

TREND = "lines/s, last looks"

# The columns of words; figures stand at the right.
LEFT = ("daemon", "state", "HAProxy")

# Lines of what happened that are kept: an afternoon of breaking things.
EVENTS_MAX = 1_000

# Of a picture: wide enough for every column, high enough for eight daemons.
PICTURE_SIZE = (152, 25)

# For a picture, beside the looks' own time.
SLACK_S = 20.0

# The picture would fetch its font from elsewhere; the reader's own will do.
FONT = re.compile(r"@font-face\s*\{[^}]*\}\s*")


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
        *((action[0], f"act('{action}')", action) for action in ACTIONS),
        ("q", "quit", "quit"),
    ]

    def __init__(self, source: Source, every_s: float) -> None:
        super().__init__()
        self.view: View | None = None
        """What is shown; None before the first look."""
        self.looks = 0
        """How many were shown."""
        self.gone = ""
        """Why nothing can be looked at; empty while it can."""
        self._source = source
        self._every_s = every_s
        self._model = Model()
        self._looking = False

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
        for title in words.TITLES:
            table.add_column(Text(title, justify="left" if title in LEFT else "right"), key=title)
        table.add_column(TREND, key=TREND, width=TREND_LOOKS)
        table.focus()
        self._tell("↑ and ↓ choose a daemon; the keys below do it to that one")
        self.set_interval(self._every_s, self._look)
        self._look()

    def action_act(self, action: str) -> None:
        """Do something to the daemon under the cursor."""
        table = self._table
        if table.rows:
            key = table.coordinate_to_cell_key(table.cursor_coordinate).row_key
            self.act(action, str(key.value))

    def act(self, action: str, daemon: str) -> None:
        """Do something to a daemon; what was done stands among the events then."""

        def do() -> None:
            try:
                self._later(self._tell, self._source.act(action, daemon))
            except LabError as error:
                self._later(self._tell, str(error), "red")

        self.run_worker(do, thread=True)

    def _look(self) -> None:
        if not self._looking:
            self._looking = True
            self.run_worker(self._look_once, thread=True)

    def _look_once(self) -> None:
        """In a thread."""
        try:
            self._later(self._show, self._model.take(self._source.look()))
        except LabError as error:
            self._later(self._show_gone, str(error))

    def _later(self, show: Callable[..., None], *what: object) -> None:
        """From a thread: show something in the app's own."""

        def on_screen() -> None:
            # What comes while the app ends finds nothing to be shown in.
            with contextlib.suppress(NoMatches):
                show(*what)

        self.call_later(on_screen)

    def _show(self, view: View) -> None:
        self._looking = False
        self.gone = ""
        self._tell_changes(view)
        self.view = view
        self.looks += 1
        self._update("where", f"{words.clock(view)}  {view.fleet}")
        self._update("all", words.fleet_line(view))
        self._show_daemons(view)
        for server, facts in words.facts(view).items():
            self._update(server.lower(), _facts(facts, _states(view)[server]))

    def _show_gone(self, why: str) -> None:
        """Nothing could be looked at; what was seen last stays, and is said to be old."""
        self._looking = False
        seen = f"; below is what was seen at {words.clock(self.view)}" if self.view else ""
        self._update("all", Text(f"{why}{seen}", style=STYLES[State.DOWN]))
        if why != self.gone:
            self._tell(why, "red")
        self.gone = why

    def _show_daemons(self, view: View) -> None:
        table = self._table
        names = [row["name"] for row in view.daemons]
        if [key.value for key in table.rows] != names:
            table.clear()
            for name in names:
                table.add_row(*([""] * len(table.columns)), key=name)
        top = max((max(row["trend"]) for row in view.daemons), default=0.0)
        for row in view.daemons:
            away = row["state"] in (State.DOWN, State.FROZEN, State.SILENT)
            for title, text in words.cells_of(row).items():
                style = STYLES[row["state"]] if title == "state" else "dim" if away else ""
                cell = Text(text, style=style, justify="left" if title in LEFT else "right")
                table.update_cell(row["name"], title, cell, update_width=True)
            bars = cells.trend(row["trend"], TREND_LOOKS, top)
            table.update_cell(row["name"], TREND, Text(bars, style="cyan"))

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

    @property
    def _table(self) -> DataTable[Text | str]:
        table: DataTable[Text | str] = self.query_one(DataTable)
        return table


def _facts(facts: dict[str, str], state: State) -> Table:
    grid = Table.grid(padding=(0, 2))
    for what, figure in facts.items():
        style = STYLES[state] if what == "state" else ""
        grid.add_row(Text(what, style="dim"), Text(figure, style=style))
    return grid


def _states(view: View) -> dict[str, State]:
    rows = {row["name"]: row["state"] for row in view.daemons}
    return {**rows, "HAProxy": view.haproxy["state"], "Redis": view.redis["state"]}


async def draw(source: Source, every_s: float, act: tuple[str, ...]) -> str:
    """Look until the trends are full; what the screen shows then, as an SVG picture.

    Args:
        source: What is looked at.
        every_s: Between two looks.
        act: An action, and the daemon it is done to when half of the looks are made; or nothing.

    Raises:
        LabError: There is nothing to see.
    """
    app = Top(source, every_s)
    async with app.run_test(size=PICTURE_SIZE) as pilot:
        try:
            async with asyncio.timeout(TREND_LOOKS * every_s + SLACK_S):
                while app.looks <= TREND_LOOKS:
                    if act and app.looks > TREND_LOOKS // 2:
                        app.act(*act)
                        act = ()
                    await pilot.pause(every_s / 2)
        except TimeoutError:
            raise LabError(app.gone or "the looks took too long for a picture") from None
        return FONT.sub("", app.export_screenshot())
