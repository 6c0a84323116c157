"""The screen without a terminal: what is shown, what the keys do, and what must not end it.

The source here plays looks that the test makes; that real sources make such looks is
tests/fleet/test_top.py's matter.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest
from textual.widgets import DataTable, RichLog, Static

from lab.errors import LabError
from lab.top import words
from lab.top.model import Node, Part, State
from lab.top.screen import STYLES, TREND, Top
from tests.unit.top_pages import daemon, look, node, runs

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from textual.pilot import Pilot

    from lab.top.model import Look

EVERY_S = 0.05
DEADLINE_S = 20.0


class Played:
    """A source whose parts and answers a test sets."""

    def __init__(self, *daemons: Part) -> None:
        self.daemons = daemons
        self.nodes: tuple[Node, ...] = ()
        self.gone = ""
        self.acts: list[tuple[str, str]] = []
        self.refusal = ""
        self.may_look = threading.Event()
        self.may_look.set()
        self.looks = 0
        self.at_once_max = 0
        self._at_once = 0

    def look(self) -> Look:
        """As the test has set it, a second later each time."""
        self.looks += 1
        self._at_once += 1
        self.at_once_max = max(self.at_once_max, self._at_once)
        assert self.may_look.wait(DEADLINE_S)
        self._at_once -= 1
        if self.gone:
            raise LabError(self.gone)
        return look(float(self.looks), *self.daemons, nodes=self.nodes)

    def act(self, action: str, name: str) -> str:
        """Remember."""
        self.acts.append((action, name))
        if self.refusal:
            raise LabError(self.refusal)
        return f"{name}: {action} was done"


def on_screen(
    source: Played, test: Callable[[Top, Pilot[None]], Coroutine[Any, Any, None]]
) -> None:
    """Run the app, and `test` when it has looked."""

    async def run() -> None:
        app = Top(source, EVERY_S)
        async with app.run_test(size=(160, 30)) as pilot:
            await until(pilot, lambda: app.looks > 0)
            await test(app, pilot)

    asyncio.run(run())


async def until(pilot: Pilot[None], condition: Callable[[], object]) -> None:
    """Let the app run until something is so."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await pilot.pause(0.01)


def cell(app: Top, name: str, title: str) -> str:
    """What stands in the table."""
    return str(app.query_one("#daemons", DataTable).get_cell(name, title))


def drawn(app: Top) -> str:
    """The whole screen, as a picture."""
    return app.export_screenshot().replace("&#160;", " ")


def events(app: Top) -> str:
    """What stands among the events."""
    return "\n".join(line.text for line in app.query_one(RichLog).lines)


def said(app: Top, name: str) -> str:
    """What a line or box says."""
    return str(app.query_one(f"#{name}", Static).render())


def test_every_daemon_and_figure_is_shown() -> None:
    """The cells are the words' cells, in the order of the look."""

    async def test(app: Top, pilot: Pilot[None]) -> None:
        assert [key.value for key in app.query_one("#daemons", DataTable).rows] == [
            "echod1",
            "echod2",
        ]
        assert app.view is not None
        for row in app.view.daemons:
            for title, text in words.cells_of(row).items():
                assert cell(app, row["name"], title) == text
        assert "2 of 2 up" in said(app, "all")
        assert "a fleet" in said(app, "where")
        for text in ("HAProxy", "42 echo, 5 session", "Redis", "echod2", "drain", "freeze"):
            await until(pilot, lambda: text in drawn(app))  # noqa: B023 — awaited in its turn

    parts = [runs(f"echod{at}", daemon(at, echo=at)) for at in (1, 2)]
    on_screen(Played(*parts), test)


def test_a_death_and_a_birth_are_shown_and_told() -> None:
    """The row stays with its state and no figures; a daemon more is a row more."""
    alive = runs("echod1", daemon(1, echo=5))
    source = Played(alive)

    async def test(app: Top, pilot: Pilot[None]) -> None:
        source.daemons = (Part("echod1", State.DOWN),)
        await until(pilot, lambda: cell(app, "echod1", "state") == "down")
        assert cell(app, "echod1", "echo") == "-"
        assert cell(app, "echod1", TREND).strip() == ""
        await until(pilot, lambda: "echod1: up → down" in events(app))

        source.daemons = (alive, runs("echod2", daemon(1)))
        await until(pilot, lambda: app.query_one("#daemons", DataTable).row_count == 2)
        assert cell(app, "echod2", "state") == "up"
        await until(pilot, lambda: "echod2: new → up" in events(app))

    on_screen(source, test)


@pytest.mark.parametrize(
    "key,action",
    [
        *(("d", "drain"), ("k", "kill"), ("f", "freeze"), ("t", "thaw"), ("s", "start")),
        ("h", "hand-over"),
    ],
)
def test_a_key_acts_on_the_daemon_under_the_cursor(key: str, action: str) -> None:
    """That one and no other, also after the table was drawn anew; and says what was done."""
    source = Played(*(runs(f"echod{at}", daemon(1)) for at in (1, 2, 3)))

    async def test(app: Top, pilot: Pilot[None]) -> None:
        await pilot.press("down")
        looks = app.looks
        await until(pilot, lambda: app.looks > looks + 2)
        await pilot.press(key)
        await until(pilot, lambda: f"echod2: {action} was done" in events(app))
        assert source.acts == [(action, "echod2")]

    on_screen(source, test)


def cluster(*masters: str) -> tuple[Node, ...]:
    """Two shards of two nodes each, of which these are the masters."""
    names = [f"redis-{shard}-{number}" for shard in (0, 1) for number in (0, 1)]
    return tuple(node(name, "master" if name in masters else "replica", 0) for name in names)


def test_the_cursor_goes_on_from_the_daemons_to_the_nodes_and_back() -> None:
    """There is one cursor, and a key acts on what is under it."""
    source = Played(*(runs(f"echod{at}", daemon(1)) for at in (1, 2)))
    source.nodes = cluster("redis-0-0", "redis-1-0")

    async def test(app: Top, pilot: Pilot[None]) -> None:
        for keys, act in (
            (("up", "k"), ("kill", "echod1")),
            (("down", "down", "f"), ("freeze", "redis-0-0")),
            (("down", "down", "down", "down", "h"), ("hand-over", "redis-1-1")),
            (("up", "up", "up", "up", "d"), ("drain", "echod2")),
            (("tab", "t"), ("thaw", "redis-0-0")),
        ):
            await pilot.press(*keys)
            await until(pilot, lambda: source.acts)
            assert source.acts.pop() == act
            assert [table.show_cursor for table in app.query(DataTable)].count(True) == 1

    on_screen(source, test)


def test_every_node_is_shown_and_a_new_master_told() -> None:
    """Its cells are the words' cells; the tables and what happened fit where HAProxy does not."""
    source = Played(runs("echod1", daemon(1)))
    source.nodes = cluster("redis-0-0", "redis-1-0")

    async def test(app: Top, pilot: Pilot[None]) -> None:
        assert app.view is not None
        table = app.query_one("#nodes", DataTable)
        for row in app.view.nodes:
            for title, text in words.node_cells_of(row).items():
                assert str(table.get_cell(row["name"], title)) == text
        assert not app.query_one("#servers").display
        await pilot.resize_terminal(160, 40)
        await until(pilot, lambda: app.query_one("#servers").display)
        assert "4 of 4 nodes up, 2 of 2 masters" in drawn(app)

        source.nodes = cluster("redis-0-1", "redis-1-0")
        await until(pilot, lambda: "redis-0-1: the master of shard 0 now" in events(app))
        assert "redis-1" not in events(app)
        source.nodes = (Node("redis-0-0", State.DOWN, shard=0, role=None), *source.nodes[1:])
        await until(pilot, lambda: "redis-0-0: up → down" in events(app))

    on_screen(source, test)


def test_a_refusal_is_told_and_nothing_else_happens() -> None:
    """The view goes on."""
    source = Played(runs("echod1", daemon(1)))
    source.refusal = "echod1: it has not ended"

    async def test(app: Top, pilot: Pilot[None]) -> None:
        await pilot.press("s")
        await until(pilot, lambda: source.refusal in events(app))
        looks = app.looks
        await until(pilot, lambda: app.looks > looks)

    on_screen(source, test)


def test_a_key_without_daemons_does_nothing() -> None:
    """There may be none yet."""
    source = Played()

    async def test(app: Top, pilot: Pilot[None]) -> None:
        await pilot.press("k")
        looks = app.looks
        await until(pilot, lambda: app.looks > looks)
        assert not source.acts

    on_screen(source, test)


def test_a_fleet_that_is_gone_is_said_once_and_seen_again() -> None:
    """What was seen last stays, said to be old; a fleet that answers again is shown again."""
    source = Played(runs("echod1", daemon(1)))

    async def test(app: Top, pilot: Pilot[None]) -> None:
        source.gone = "the fleet does not answer"
        await until(pilot, lambda: "the fleet does not answer; below" in said(app, "all"))
        assert cell(app, "echod1", "state") == "up"
        looks, seen = source.looks, app.looks
        await until(pilot, lambda: source.looks > looks + 2)
        assert app.looks == seen
        looks = app.looks
        source.gone = ""
        await until(pilot, lambda: app.looks > looks)
        assert "1 of 1 up" in said(app, "all")
        assert events(app).count("the fleet does not answer") == 1

    on_screen(source, test)


def test_a_look_that_hangs_holds_no_key() -> None:
    """Acting and leaving are possible while a part keeps the looks waiting."""
    source = Played(runs("echod1", daemon(1)))

    async def test(app: Top, pilot: Pilot[None]) -> None:
        source.may_look.clear()
        try:
            looks = app.looks
            await pilot.press("k")
            await until(pilot, lambda: "kill was done" in events(app))
            ticks: list[None] = []
            app.set_interval(EVERY_S, lambda: ticks.append(None))
            await until(pilot, lambda: len(ticks) > 3)
            assert app.looks <= looks + 1
            assert source.at_once_max == 1
        finally:
            source.may_look.set()
        await pilot.press("q")

    on_screen(source, test)


def test_every_state_has_a_colour() -> None:
    """And no two the same: a state is seen before it is read."""
    assert set(STYLES) == set(State)
    assert len(set(STYLES.values())) == len(STYLES)
