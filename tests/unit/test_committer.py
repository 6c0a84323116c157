"""The committer's deadline, the lives that it renews, and whom it lets in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.clock import Clock
from echod.config import Config
from echod.metrics import Metrics
from echod.session import PlainSession, Session
from echod.store import redis_operations
from echod.store.base import Lives
from echod.store.batch import Nobody
from echod.store.committer import MEASURE_NEWCOMERS, Committer
from echod.store.memory import MemoryStore
from echod.store.operations import KEEP, MEASURE, Find, Open, Operation, Post, Read, Who

LIVES = Lives(60, 30)
NAME = b"abcdefghij"


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
    committer = Committer(store, Config(commit_s_max=2), LIVES, clock, Metrics())
    client = Waiting()
    write = committer.open(client, PlainSession(()))
    committer.batcher.add(write, b"a\n", 1, b"a\n", 0)
    clock.now_s = 1.9
    committer.tick()
    assert not client.told
    clock.now_s = 2.1
    assert not committer.degraded()
    committer.tick()
    assert client.told
    assert committer.batcher.held_bytes == 0


SIGNS: dict[str, Operation] = {
    "keep": KEEP,
    "post": Post(b"r", NAME, 1, NAME + b" x"),
    "who": Who(b"r"),
    "find": Find(b"zzzzzzzzzz", b"t x"),
}


@pytest.mark.parametrize("way", ["open", *SIGNS])
def test_every_sign_of_life_renews_what_stands_beside_a_state(way: str) -> None:
    """Whichever verb brings it: for twenty lives record and ids are there, and a life later gone.

    The record of a session that did anything but ECHO was forgotten here once, and lost.
    """
    clock = Clock(0.0)
    store = MemoryStore(LIVES, clock=lambda: clock.now_s)
    store.connect()
    committer = Committer(store, Config(), LIVES, clock, Metrics())
    session = Session(NAME, (b"inbox", b"d"))
    ids = session.ids_key(b"r")

    def turn() -> None:
        committer._turn()  # noqa: SLF001 — a store in this process answers at once

    committer.submit(Waiting(), session, Open(b"digest"))
    turn()
    session.own(1)
    committer.submit(Waiting(), session, SIGNS["post"])
    turn()
    session.beside = (ids,)
    for _ in range(20 * 2):
        clock.now_s += LIVES.state_s / 2
        if way == "open":
            committer.open(Waiting(), session, KEEP)
        else:
            committer.submit(Waiting(), session, SIGNS[way])
        turn()
        assert store.state(session.state_key) is not None
        assert store.record(session.record_key)
        committer.ask(session, Read(b"r", 1, 1))
        turn()
    assert store._rooms.renew_ids(ids)  # noqa: SLF001 — whether they are there
    clock.now_s += LIVES.record_s
    assert store.state(session.state_key) is None
    assert not store.record(session.record_key)
    assert not store._rooms.renew_ids(ids)  # noqa: SLF001 — as above


def test_how_full_the_store_is_decides_who_is_let_in() -> None:
    """It is asked once a second, and after a hundred newcomers at once."""
    clock, store = Clock(0.0), MemoryStore(LIVES)
    store.connect()
    committer = Committer(store, Config(store_fill_max=0.5), LIVES, clock, Metrics())
    asked = committer.batcher.pending
    committer.tick()
    assert [write.operation for write in asked] == [MEASURE]
    committer._turn()  # noqa: SLF001 — as above
    assert committer.fill == 0
    for fill, newcomers, posts in ((0.49, True, True), (0.5, False, True), (0.75, False, False)):
        committer.fill = fill
        assert (committer.newcomer(), committer.takes_posts()) == (newcomers, posts)
    asked = committer.batcher.pending
    assert not asked
    for _ in range(MEASURE_NEWCOMERS):
        committer.newcomer()
    assert [write.operation for write in asked] == [MEASURE]
    clock.now_s += 1
    committer.tick()
    assert len(asked) == 1  # it has still to answer


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_the_fill_of_a_redis(used: int, most: int) -> None:
    """Of INFO's lines; a Redis without a bound is never full."""
    info = b"# Memory\r\nused_memory:%d\r\nused_memory_human:1M\r\nmaxmemory:%d\r\n" % (used, most)
    assert redis_operations.fill(info) == (used / most if most else 0.0)
