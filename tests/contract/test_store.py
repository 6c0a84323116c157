"""Every store behaves the same: memory and a real Redis."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

import pytest
import redis as redis_py

from echod.store.base import Lives, StoreError
from echod.store.batch import NOBODY, Write
from echod.store.keys import PlainSession, decode_state, record
from echod.store.memory.store import MemoryStore
from echod.store.operations import FORGET
from echod.store.redis.door import OneRedis
from echod.store.redis.store import RedisStore
from echod.values import store_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from echod.protocol.state import State
    from echod.store.base import Store
    from echod.store.keys import Session
    from lab.fleet.redis_server import RedisServer

# The short ones are waited for, and longer than a test takes to look at what has them.
LIVES = Lives(state_s=60, unused_s=3, tombstone_s=3)


class Subject:
    """A store, and a way to look behind it."""

    def __init__(self, store: MemoryStore | RedisStore, client: redis_py.Redis | None) -> None:
        self.store = store
        self._client = client

    def state(self, session: Session) -> State | None:
        """The state kept for a session."""
        value = (
            self._client.get(session.state_key)
            if self._client
            else cast("MemoryStore", self.store).state(session.state_key)
        )
        return None if value is None else decode_state(cast("bytes", value))

    def record(self, session: Session) -> dict[bytes, bytes]:
        """The record's fields."""
        if self._client:
            return cast("dict[bytes, bytes]", self._client.hgetall(session.record_key))
        return cast("MemoryStore", self.store).record(session.record_key)

    def record_ttl_s(self, session: Session) -> float:
        """How long the record will still be there."""
        if self._client:
            return self._client.pttl(session.record_key) / 1000
        memory = cast("MemoryStore", self.store)
        return memory.records[session.record_key][1] - time.monotonic()

    def age_record(self, session: Session, by_s: float) -> None:
        """As if it had been made so much earlier."""
        if self._client:
            self._client.pexpire(session.record_key, round(1000 * (LIVES.record_s - by_s)))
        else:
            memory = cast("MemoryStore", self.store)
            fields, until_s = memory.records[session.record_key]
            memory.records[session.record_key] = (fields, until_s - by_s)

    def state_ttl_s(self, session: Session) -> float:
        """How long the state will still be there."""
        if self._client:
            return self._client.pttl(session.state_key) / 1000
        memory = cast("MemoryStore", self.store)
        return memory.states[session.state_key][1] - time.monotonic()

    def lose_state(self, session: Session) -> None:
        """It expires; the record stays."""
        if self._client:
            self._client.delete(session.state_key)
        else:
            del cast("MemoryStore", self.store).states[session.state_key]

    def lose_sessions(self) -> None:
        """All of them expire."""
        if self._client:
            for pattern in ("s:*", "r:*"):
                self._client.delete(*cast("list[bytes]", self._client.keys(pattern)))
        else:
            memory = cast("MemoryStore", self.store)
            memory.states.clear()
            memory.records.clear()


@pytest.fixture(params=["memory", "redis"])
def subject(request: pytest.FixtureRequest, redis: RedisServer) -> Iterator[Subject]:
    """Each store in turn, connected."""
    if request.param == "memory":
        memory = MemoryStore(LIVES)
        memory.connect()
        yield Subject(memory, None)
        return
    store = redis_store(redis.url, request.node.name, LIVES, timeout_s=5.0)
    store.connect()
    with redis_py.Redis.from_url(redis.url) as client:
        yield Subject(store, client)
        client.flushall()
    store.close()


def redis_store(
    url: str, daemon: str, lives: Lives, timeout_s: float, *, replicas: int = 0
) -> RedisStore:
    """The store of a daemon whose only shard is the Redis at `url`."""
    door = OneRedis(store_url.parse(url), timeout_s)
    return RedisStore(door, daemon, lives, timeout_s, replicas=replicas)


def commit(store: Store, writes: list[Write]) -> list[Write]:
    """A batch there and back."""
    store.begin(writes)
    return store.finish()


def session() -> PlainSession:
    """A new one."""
    return PlainSession(record(b"plain", "daemon-1", "192.0.2.1:5", "A1:B2", 1.5))


def write(of: Session, seq: int = 0, previous: bytes = b"", last: bytes = b"") -> Write:
    """A write of that state."""
    made = Write(NOBODY, of)
    made.seq, made.cut, made.pair = seq, len(previous), previous + last
    return made


def forget(of: Session) -> Write:
    """A deletion."""
    return Write(NOBODY, of, FORGET)


def test_first_write_makes_record_and_state(subject: Subject) -> None:
    """A session that the store does not have is written whole."""
    one = session()
    assert commit(subject.store, [write(one, 1, b"", b"a\n")]) == []
    assert one.stored
    assert subject.record(one) == {
        b"kind": b"plain",
        b"daemon": b"daemon-1",
        b"peer": b"192.0.2.1:5",
        b"id": b"A1:B2",
        b"since": b"1.500",
    }
    found = subject.state(one)
    assert found is not None
    assert (found.seq, found.previous, found.last) == (1, b"", b"a\n")


def test_any_bytes_survive(subject: Subject) -> None:
    """Lines are bytes: NUL, CR, spaces, what is no UTF-8, and 8 KiB of it."""
    one = session()
    previous, last = bytes(range(256)) * 31 + b"\n", b" \xff\r\0$3\r\n"
    commit(subject.store, [write(one, 1)])
    commit(subject.store, [write(one, 2, previous, last)])
    found = subject.state(one)
    assert found is not None
    assert (found.previous, found.last) == (previous, last)


def test_a_batch_is_written_in_order(subject: Subject) -> None:
    """Several writes of several sessions: the last of each stands."""
    one, two = session(), session()
    assert commit(subject.store, [write(one, 1), write(two, 1), write(one, 2), forget(two)]) == []
    found = subject.state(one)
    assert found is not None
    assert found.seq == 2
    assert subject.state(two) is None


def test_missing_is_told_and_not_written(subject: Subject) -> None:
    """A stored session that the store no longer has is returned, others are written."""
    one, two, new = session(), session(), session()
    commit(subject.store, [write(one, 1), write(two, 1)])
    subject.lose_sessions()
    batch = [write(one, 2), write(new, 1), write(two, 2)]
    assert commit(subject.store, batch) == [batch[0], batch[2]]
    assert subject.state(one) is None
    assert subject.state(new) is not None
    one.stored = False
    assert commit(subject.store, [write(one, 3)]) == []
    assert subject.record(one)


def test_forget_leaves_nothing(subject: Subject) -> None:
    """Deleting takes both keys, and may be done twice."""
    one = session()
    commit(subject.store, [write(one, 1)])
    commit(subject.store, [forget(one)])
    assert subject.state(one) is None
    assert not subject.record(one)
    assert commit(subject.store, [forget(one)]) == []


def test_empty_batch(subject: Subject) -> None:
    """The heartbeat."""
    assert commit(subject.store, []) == []


def test_after_reset_nothing_is_taken_until_connect(subject: Subject) -> None:
    """A store that was given up must be connected again; it still has everything."""
    one = session()
    commit(subject.store, [write(one, 1)])
    subject.store.reset()
    assert not subject.store.connected
    with pytest.raises(StoreError):
        commit(subject.store, [write(one, 2)])
    assert not subject.store.connect()
    assert commit(subject.store, [write(one, 2)]) == []


def test_a_renewal_that_falls_due_on_the_way_stays_due(subject: Subject) -> None:
    """Whoever asks for the whole to be written again while a write flies still gets it."""
    one, new = session(), session()
    commit(subject.store, [write(one, 1)])
    subject.store.begin([write(one, 2), write(new, 1)])
    one.stored = False
    assert subject.store.finish() == []
    assert not one.stored
    assert new.stored
