"""Who is read on after whom, when too much has waited for the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from echod.config import Config
from echod.loop.clock import Clock
from echod.metrics import Metrics
from echod.store.base import Alone, Lives
from echod.store.batch import Nobody
from echod.store.committer import Committer
from echod.store.keys import PlainSession
from echod.store.memory.store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


class Waiting(Nobody):
    """A client that notes that it was told."""

    told = False

    def unavailable(self) -> None:
        """Too late."""
        self.told = self.gone = True


# Clients that are not read while too much waits for the store.

PENDING_BYTES_MAX = 256
LIVES = Lives(60, 30)


class Crowded:
    """A committer with a store that answers when it is told to, and clients held back at it."""

    def __init__(self) -> None:
        self.clock = Clock(0.0)
        config = Config(pending_bytes_max=PENDING_BYTES_MAX, line_bytes_max=128, commit_s_max=2)
        self.committer = Committer(
            Alone(MemoryStore(LIVES)),
            config,
            LIVES,
            self.clock,
            Metrics(),
            on_rollback=lambda _: None,
        )
        self.resumed: list[int] = []
        self.told: list[int] = []
        self._resumes: dict[int, Callable[[], None]] = {}

    def fill(self, *, full: bool) -> None:
        """So much waits for the store, or nothing."""
        self.committer.home.sums.held_bytes = PENDING_BYTES_MAX if full else 0

    def hold(self, number: int) -> None:
        """A client is held back; when it is read on, everything is full again."""

        def resume() -> None:
            self.resumed.append(number)
            self.fill(full=True)

        resume = self._resumes.setdefault(number, resume)
        self.committer.home.hold_back(resume, lambda: self.told.append(number))

    def let_go(self, number: int) -> None:
        """It has gone."""
        if number in self._resumes:
            self.committer.home.let_go(self._resumes[number])


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("hold"), st.integers(0, 5)),
            st.tuples(st.just("let_go"), st.integers(0, 5)),
            st.tuples(st.just("room"), st.just(0)),
        )
    )
)
def test_who_is_held_back_goes_on_in_order(steps: list[tuple[str, int]]) -> None:
    """Each once, whoever waits longest first, however often it asks, and none that has gone."""
    crowded = Crowded()
    crowded.fill(full=True)
    queue: list[int] = []
    expected: list[int] = []
    for step, number in steps:
        if step == "hold":
            crowded.hold(number)
            queue += [number] if number not in queue else []
        elif step == "let_go":
            crowded.let_go(number)
            queue = [each for each in queue if each != number]
        else:
            crowded.fill(full=False)
            crowded.committer.tick()
            expected += queue[:1]
            queue = queue[1:]
            crowded.fill(full=True)
        assert crowded.resumed == expected


@given(st.integers(2, 8), st.integers(1, 5))
def test_nobody_starves(clients: int, turns: int) -> None:
    """With room for one at a time, and each asking again at once, all have as many turns."""
    crowded = Crowded()
    crowded.fill(full=True)
    for number in range(clients):
        crowded.hold(number)
    for _ in range(clients * turns):
        crowded.fill(full=False)
        crowded.committer.tick()
        crowded.hold(crowded.resumed[-1])
    assert crowded.resumed == list(range(clients)) * turns


def test_who_is_held_back_for_too_long_hears_so() -> None:
    """The commit deadline holds for what was not even read; of each client from its own time on."""
    crowded = Crowded()
    crowded.fill(full=True)
    crowded.hold(1)
    crowded.clock.now_s = 1.0
    crowded.hold(2)
    crowded.hold(1)  # it asks again, and waits no less for that
    crowded.clock.now_s = 1.9
    crowded.committer.tick()
    assert crowded.told == []
    crowded.clock.now_s = 2.1
    crowded.committer.tick()
    assert crowded.told == [1]
    crowded.fill(full=False)
    crowded.committer.tick()
    assert (crowded.resumed, crowded.told) == ([2], [1])


def test_one_client_with_a_bug_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """Telling those that are overdue, and reading on: each for itself."""

    class Broken(Waiting):
        def unavailable(self) -> None:
            """A bug."""
            raise ValueError("a bug of one client")

    crowded = Crowded()
    clients = [Broken(), Waiting()]
    for client in clients:
        write = crowded.committer.open(client, PlainSession(()))
        crowded.committer.home.add(write, b"a\n", 1, b"a\n", 0)
    crowded.clock.now_s = 2.1

    def bad() -> None:
        raise ValueError("a bug of another")

    crowded.committer.home.hold_back(bad, bad)
    crowded.hold(1)
    crowded.committer.tick()
    assert clients[1].told
    assert crowded.resumed == [1]
    assert "a bug of one client" in caplog.text
    assert "a bug of another" in caplog.text
