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
from lab.top.model import Part, State
from lab.top.screen import STYLES, TREND, Top
from tests.unit.top_pages import daemon, look, runs

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
        return look(float(self.looks), *self.daemons)

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
