"""The committer's deadline, the lives that it renews, and whom it lets in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.client.errand import Answer, Errand
from echod.config import Config
from echod.loop.clock import Clock
from echod.metrics import Metrics
from echod.store.base import Alone, Lives
from echod.store.batch import Nobody
from echod.store.committer import Committer
from echod.store.keys import NO_SESSION, PlainSession, Session
from echod.store.memory.store import MemoryStore
from echod.store.operations import (
    KEEP,
    MEASURE,
    Enter,
    Fill,
    Find,
    Open,
    Operation,
    Post,
    Publish,
    Read,
    Who,
)
from echod.store.redis import operations as redis_operations
from echod.store.shard import NEWCOMERS_MAX

LIVES = Lives(60, 30)
NAME = b"abcdefghij"


if TYPE_CHECKING:
    from collections.abc import Sequence

    from echod.store.batch import Write


class Waiting(Nobody):
    """A client that notes that it was told."""

    told = False

    def unavailable(self) -> None:
        """Too late."""
        self.told = self.gone = True


def test_the_deadline_holds_for_a_slow_store_too() -> None:
    """A store that answers, only too slowly for its queue, is not degraded; lines are overdue."""
    store, clock = MemoryStore(LIVES), Clock(0.0)
    store.connect()
    committer = Committer(
        Alone(store), Config(commit_s_max=2), LIVES, clock, Metrics(), on_rollback=lambda _: None
    )
    client = Waiting()
    write = committer.open(client, PlainSession(()))
    committer.home.add(write, b"a\n", 1, b"a\n", 0)
    clock.now_s = 1.9
    committer.tick()
    assert not client.told
    clock.now_s = 2.1
    assert not committer.degraded()
    committer.tick()
    assert client.told
    assert committer.home.sums.held_bytes == 0


class Asker(Waiting):
    """A connection whose lines concern other keys."""

    def await_answer(self, answer: Answer) -> None:
        """It is never answered."""

    def answered(self, answer: Answer, reply: bytes) -> None:
        """Nor that."""


FENCE = b"0:1:0123456789"
ERRANDS: dict[str, Operation] = {
    "join": Enter(b"r", NAME, FENCE),
    "post": Post(b"r", NAME, FENCE, 1, NAME + b" x"),
    "who": Who(b"r"),
    "tell": Find(b"zzzzzzzzzz"),
}


@pytest.mark.parametrize("way", ["open", "keep", *ERRANDS])
def test_every_sign_of_life_renews_what_stands_beside_a_state(way: str) -> None:
    """Whichever verb brings it: for twenty lives record and ids are there, and a life later gone.

    The record of a session that did anything but ECHO was forgotten here once, and lost.
    """
    clock = Clock(0.0)
    store = MemoryStore(LIVES, clock=lambda: clock.now_s)
    store.connect()
    committer = Committer(
        Alone(store), Config(), LIVES, clock, Metrics(), on_rollback=lambda _: None
    )
    session = Session(NAME, (b"inbox", b"d"))
    ids = session.ids_key(b"r")

    def turn() -> None:
        committer.home._turn()  # noqa: SLF001 — a store in this process answers at once

    committer.submit(Waiting(), session, Open(b"digest"))
    turn()
    session.own(1)
    committer.submit(Waiting(), session, KEEP)
    for errand in ("join", "post"):
        committer.call(ERRANDS[errand], lambda _: None)
    turn()
    session.posted = (b"r",)
    for _ in range(20 * 2):
        clock.now_s += LIVES.state_s / 2
        if way == "open":
            committer.open(Waiting(), session, KEEP)
        elif way == "keep":
            committer.submit(Waiting(), session, KEEP)
        else:
            Errand(Asker(), committer, session, ERRANDS[way], lambda *_: None)
        turn()
        assert store.state(session.state_key) is not None
        assert store.record(session.record_key)
        committer.enqueue(session, Read(b"r", 1, 1))
        turn()
    assert clock.now_s < store._rooms._ids[ids].until_at  # noqa: SLF001 — whether they are there
    clock.now_s += LIVES.record_s
    assert store.state(session.state_key) is None
    assert not store.record(session.record_key)
    assert clock.now_s >= store._rooms._ids[ids].until_at  # noqa: SLF001 — as above


class Bounded(MemoryStore):
    """A store that says how full it is, and how much it was sent."""

    fill = Fill(0, 1000)

    def begin(self, writes: Sequence[Write]) -> None:
        """See `Store.begin`."""
        super().begin(writes)
        for write in writes:
            if write.operation is MEASURE:
                write.result = self.fill


def test_how_full_the_store_is_decides_who_is_let_in() -> None:
    """Asked once a second, and before a sixteenth of what is free has been sent."""
    clock, store = Clock(0.0), Bounded(LIVES)
    store.connect()
    committer = Committer(
        Alone(store),
        Config(store_fill_max=0.5),
        LIVES,
        clock,
        Metrics(),
        on_rollback=lambda _: None,
    )

    def measures() -> int:
        batcher = committer.home._batcher  # noqa: SLF001 — what has not been answered
        return sum(write.operation is MEASURE for write in [*batcher.pending, *batcher.flying])

    for used, newcomers, tight in ((490, True, False), (500, False, False), (750, False, True)):
        store.fill = Fill(used * 10**6, 10**9)
        clock.now_s += 1
        committer.tick()
        assert measures() == 1
        committer.tick()
        assert measures() == 1  # it has still to answer
        committer.home._turn()  # noqa: SLF001 — as above
        assert committer.home.fill == used / 1000
        assert (committer.newcomer(), committer.home.tight) == (newcomers, tight)
        store.sent_bytes += 15_000_000
        committer.enqueue(NO_SESSION, Publish(b"i", b""))
        committer.home._turn()  # noqa: SLF001 — as above
        assert measures() == 0
        store.sent_bytes += 20_000_000
        committer.enqueue(NO_SESSION, Publish(b"i", b""))
        committer.home._turn()  # noqa: SLF001 — as above
        assert measures() == 1
        committer.home._turn()  # noqa: SLF001 — as above


def test_while_the_store_does_not_answer_newcomers_have_a_bound() -> None:
    """Nobody knows what it has room for; with its answer the count begins anew."""
    clock, store = Clock(0.0), Bounded(LIVES)
    store.connect()
    committer = Committer(
        Alone(store), Config(), LIVES, clock, Metrics(), on_rollback=lambda _: None
    )
    assert all(committer.newcomer() for _ in range(NEWCOMERS_MAX))
    assert not committer.newcomer()
    committer.tick()
    committer.home._turn()  # noqa: SLF001 — as above
    assert committer.newcomer()


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_the_fill_of_a_redis(used: int, most: int) -> None:
    """Of INFO's lines; a Redis without a bound is never full."""
    info = b"# Memory\r\nused_memory:%d\r\nused_memory_human:1M\r\nmaxmemory:%d\r\n" % (used, most)
    fill = redis_operations.fill(info)
    assert fill == Fill(used, most)
    assert fill.share == (used / most if most else 0.0)
