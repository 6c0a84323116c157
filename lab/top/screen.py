"""The live view: tables of the daemons and of Redis's nodes, HAProxy and Redis, keys, events.

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
    from collections.abc import Callable, Sequence

    from textual.app import ComposeResult
    from textual.binding import BindingType
    from textual.events import DescendantFocus

    from lab.top.model import Row, View
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
LEFT = ("daemon", "node", "state", "role", "replication", "address", "HAProxy")

DAEMONS, NODES = "daemons", "nodes"
TABLES = {DAEMONS: (words.TITLES, words.cells_of), NODES: (words.NODE_TITLES, words.node_cells_of)}

# Lines of what happened that are kept: an afternoon of breaking things.
EVENTS_MAX = 1_000

# Of a picture: wide enough for every column, and how many lines it has beside the tables' rows.
PICTURE_WIDTH, PICTURE_HEIGHT = 152, 22

# For a picture, beside the looks' own time.
SLACK_S = 20.0

# The picture would fetch its font from elsewhere; the reader's own will do.
FONT = re.compile(r"@font-face\s*\{[^}]*\}\s*")


class Rows(DataTable[Text | str]):
    """A table whose cursor goes on in the table above or below."""

    above: Rows | None = None
    below: Rows | None = None

    def action_cursor_up(self) -> None:
        """See `DataTable`."""
        if self.cursor_row == 0 and self.above and self.above.row_count:
            self._go_on(self.above, self.above.row_count - 1)
        else:
            super().action_cursor_up()

    def action_cursor_down(self) -> None:
        """See `DataTable`."""
        if self.cursor_row + 1 >= self.row_count and self.below and self.below.row_count:
            self._go_on(self.below, 0)
        else:
            super().action_cursor_down()

    @staticmethod
    def _go_on(table: Rows, row: int) -> None:
        table.move_cursor(row=row)
        table.focus()


class Top(App[None]):
    """The screen over a source, a look every `every_s` seconds."""

    TITLE = "fleet top"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #where { color: $text-muted; height: 1; padding: 0 1; }
    #all { height: 1; padding: 0 1; text-style: bold; }
    Rows { height: auto; max-height: 40%; }
    Rows > .datatable--fixed { background: $surface; }
    #servers { height: 10; }
    Screen.-low.-cluster #servers { display: none; }
    #servers Static { width: 1fr; height: 100%; border: round $primary; padding: 0 1; }
    #events { height: 1fr; min-height: 4; border: round $primary; padding: 0 1; }
    #events { overflow-y: auto; }
    """
    # Below it, nine nodes and what happened have no room beside HAProxy and all of Redis.
    VERTICAL_BREAKPOINTS = [(0, "-low"), (34, "-high")]  # noqa: RUF012 — Textual's type
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
        for name in TABLES:
            yield Rows(id=name, cursor_type="row", zebra_stripes=True, fixed_columns=2)
        with Horizontal(id="servers"):
            yield Static(id="haproxy")
            yield Static(id="redis")
        yield RichLog(id="events", max_lines=EVENTS_MAX)
        yield Footer()

    def on_mount(self) -> None:
        """Lay out, and look at once."""
        for name, title in (("haproxy", "HAProxy"), ("redis", "Redis"), ("events", "events")):
            self.query_one(f"#{name}").border_title = title
        for name, (titles, _) in TABLES.items():
            for title in titles:
                text = Text(title, justify="left" if title in LEFT else "right")
                self._table(name).add_column(text, key=title)
        daemons, nodes = map(self._table, TABLES)
        daemons.add_column(TREND, key=TREND, width=TREND_LOOKS)
        daemons.below, nodes.above = nodes, daemons
        daemons.focus()
        self._tell("↑ and ↓ choose a daemon or a node of Redis; the keys below do it to that one")
        self.set_interval(self._every_s, self._look)
        self._look()

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        """Leave the cursor in one table: that which was the last to be in focus."""
        if isinstance(event.widget, Rows):
            for table in map(self._table, TABLES):
                table.show_cursor = table is event.widget

    def action_act(self, action: str) -> None:
        """Do something to what is under the cursor."""
        table = next(table for table in map(self._table, TABLES) if table.show_cursor)
        if table.rows:
            key = table.coordinate_to_cell_key(table.cursor_coordinate).row_key
            self.act(action, str(key.value))

    def act(self, action: str, part: str) -> None:
        """Do something to a daemon or node; what was done stands among the events then."""

        def do() -> None:
            try:
                self._later(self._tell, self._source.act(action, part))
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
        self._show_rows(NODES, view.nodes)
        self.screen.set_class(len(view.nodes) > 1, "-cluster")
        for server, facts in words.facts(view).items():
            row = view.redis if server == "Redis" else view.haproxy
            self._update(server.lower(), _facts(facts, row["state"]))

    def _show_gone(self, why: str) -> None:
        """Nothing could be looked at; what was seen last stays, and is said to be old."""
        self._looking = False
        seen = f"; below is what was seen at {words.clock(self.view)}" if self.view else ""
        self._update("all", Text(f"{why}{seen}", style=STYLES[State.DOWN]))
        if why != self.gone:
            self._tell(why, "red")
        self.gone = why

    def _show_daemons(self, view: View) -> None:
        self._show_rows(DAEMONS, view.daemons)
        top = max((max(row["trend"]) for row in view.daemons), default=0.0)
        for row in view.daemons:
            bars = Text(cells.trend(row["trend"], TREND_LOOKS, top), style="cyan")
            self._table(DAEMONS).update_cell(row["name"], TREND, bars)

    def _show_rows(self, name: str, rows: Sequence[Row]) -> None:
        table, (_, cells_of) = self._table(name), TABLES[name]
        names = [row["name"] for row in rows]
        if [key.value for key in table.rows] != names:
            table.clear()
            for one in names:
                table.add_row(*([""] * len(table.columns)), key=one)
        for row in rows:
            away = row["state"] in (State.DOWN, State.FROZEN, State.SILENT)
            for title, text in cells_of(row).items():
                style = STYLES[row["state"]] if title == "state" else "dim" if away else ""
                cell = Text(text, style=style, justify="left" if title in LEFT else "right")
                table.update_cell(row["name"], title, cell, update_width=True)

    def _tell_changes(self, view: View) -> None:
        """A line for each part that is not as it was."""
        if self.view is None:
            return
        before = _states(self.view)
        for name, state in _states(view).items():
            was = before.get(name)
            if was is not state:
                self._tell(f"{name}: {was or 'new'} → {state}", STYLES[state])
        roles = {row["name"]: row["role"] for row in self.view.nodes}
        for row in view.nodes:
            if row["role"] == "master" and roles.get(row["name"]) != "master":
                self._tell(f"{row['name']}: the master of shard {row['shard']} now")

    def _tell(self, text: str, style: str = "") -> None:
        stamp = time.strftime("%H:%M:%S ")
        self.query_one(RichLog).write(Text(stamp, style="dim").append(text, style=style))

    def _update(self, name: str, content: str | Text | Table) -> None:
        self.query_one(f"#{name}", Static).update(content)

    def _table(self, name: str) -> Rows:
        return self.query_one(f"#{name}", Rows)


def _facts(facts: dict[str, str], state: State) -> Table:
    grid = Table.grid(padding=(0, 2))
    for what, figure in facts.items():
        style = STYLES[state] if what == "state" else ""
        grid.add_row(Text(what, style="dim"), Text(figure, style=style))
    return grid


def _states(view: View) -> dict[str, State]:
    rows = {row["name"]: row["state"] for row in (*view.daemons, *view.nodes)}
    return {**rows, "HAProxy": view.haproxy["state"]}


async def draw(source: Source, every_s: float, act: tuple[str, ...]) -> str:
    """Look until the trends are full; what the screen shows then, as an SVG picture.

    Args:
        source: What is looked at.
        every_s: Between two looks.
        act: An action, and the daemon or node it is done to when half of the looks are made; or nothing.

    Raises:
        LabError: There is nothing to see.
    """
    app, first = Top(source, every_s), source.look()
    height = PICTURE_HEIGHT + len(first.daemons) + len(first.nodes)
    async with app.run_test(size=(PICTURE_WIDTH, height)) as pilot:
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
