"""Every store behaves the same: memory, a real Redis and a real cluster (stores.py)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

import pytest

from echod.store.base import Lives, StoreError
from echod.store.batch import NOBODY, Write
from echod.store.keys import PlainSession, Session, decode_state, record
from echod.store.memory.store import MemoryStore
from echod.store.operations import FORGET, Open
from echod.store.redis.door import OneRedis
from echod.store.redis.store import RedisStore
from echod.values import store_url
from tests.contract.stores import SHARDS, Daemon

if TYPE_CHECKING:
    from collections.abc import Iterator

    from echod.protocol.state import State
    from echod.store.base import Place, Store
    from tests.contract.stores import Stores

# The short ones are longer than a test takes to look at what has them.
LIVES = Lives(state_s=60, unused_s=20, tombstone_s=10)


class Subject:
    """A store, and a way to look behind it."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._ahead_s = 0.0
        self._memory = None if stores.nodes else MemoryStore(LIVES, clock=self._now_s)

    def _now_s(self) -> float:
        return time.monotonic() + self._ahead_s

    def daemon(self) -> Daemon:
        """A daemon's way to it."""
        return Daemon(self._stores.places(LIVES, self._memory), LIVES)

    def shard(self, daemon: str) -> Place:
        """A daemon's way to one shard of it."""
        return self._stores.shard(LIVES, self._memory, daemon)

    def commit(self, writes: list[Write]) -> list[Write]:
        """A batch there and back; those that were refused."""
        raise NotImplementedError

    def state(self, session: Session) -> State | None:
        """The state kept for a session."""
        key = session.state_key
        value = self._memory.state(key) if self._memory else self._stores.at(key).get(key)
        return None if value is None else decode_state(cast("bytes", value))

    def record(self, session: Session) -> dict[bytes, bytes]:
        """The record's fields."""
        key = session.record_key
        if self._memory:
            return self._memory.record(key)
        return cast("dict[bytes, bytes]", self._stores.at(key).hgetall(key))

    def record_ttl_s(self, session: Session) -> float:
        """How long the record will still be there."""
        key = session.record_key
        if self._memory:
            return self._memory.records[key][1] - self._now_s()
        return self._stores.at(key).pttl(key) / 1000

    def state_ttl_s(self, session: Session) -> float:
        """How long the state will still be there."""
        key = session.state_key
        if self._memory:
            return self._memory.states[key][1] - self._now_s()
        return self._stores.at(key).pttl(key) / 1000

    def let_pass(self, passed_s: float, *sessions: Session) -> None:
        """As if their keys had been made so much earlier."""
        self._ahead_s += passed_s
        if self._stores.nodes:
            for key in (key for each in sessions for key in (each.record_key, each.state_key)):
                node = self._stores.at(key)
                node.pexpire(key, max(1, node.pttl(key) - round(1000 * passed_s)))

    def lose_state(self, session: Session) -> None:
        """It expires; the record stays."""
        key = session.state_key
        if self._memory:
            del self._memory.states[key]
        else:
            self._stores.at(key).delete(key)

    def lose(self, *sessions: Session) -> None:
        """They expire."""
        for session in sessions:
            self.lose_state(session)
            if self._memory:
                del self._memory.records[session.record_key]
            else:
                self._stores.at(session.record_key).delete(session.record_key)


class Committed(Subject):
    """What is asked for goes through a daemon's committer, each thing to its shard."""

    def __init__(self, stores: Stores) -> None:
        super().__init__(stores)
        self.way = self.daemon()

    def commit(self, writes: list[Write]) -> list[Write]:
        """See `Subject`."""
        return self.way.commit(writes)


class OneShard(Subject):
    """What is asked for goes to one shard's store, without a committer."""

    def __init__(self, stores: Stores, daemon: str = "d") -> None:
        super().__init__(stores)
        self.place = self.shard(daemon)
        self.store = self.place.store
        assert not self.store.connect()

    def commit(self, writes: list[Write]) -> list[Write]:
        """See `Subject`."""
        return commit(self.store, writes)

    def session(self) -> PlainSession:
        """A new one that lives there."""
        return next(one for one in iter(session, None) if one.slot in self.place.slots)


@pytest.fixture
def subject(stores: Stores) -> Iterator[Committed]:
    """Each store in turn, behind a daemon's committer."""
    made = Committed(stores)
    yield made
    made.way.stop()


@pytest.fixture
def shard(stores: Stores) -> Iterator[OneShard]:
    """One shard of each store in turn, connected."""
    made = OneShard(stores)
    yield made
    made.store.close()


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


def open_(of: Session) -> Write:
    """`HELLO`."""
    return Write(NOBODY, of, Open(b"digest"))


def write(of: Session, seq: int = 0, previous: bytes = b"", last: bytes = b"") -> Write:
    """A write of that state."""
    made = Write(NOBODY, of)
    made.seq, made.cut, made.pair = seq, len(previous), previous + last
    return made


def sessions_apart() -> list[PlainSession]:
    """New ones, each on another shard where there are several."""
    return [
        next(one for one in iter(session, None) if one.slot % SHARDS == number)
        for number in range(SHARDS)
    ]


def forget(of: Session) -> Write:
    """A deletion."""
    return Write(NOBODY, of, FORGET)


def test_first_write_makes_record_and_state(subject: Subject) -> None:
    """A session that the store does not have is written whole."""
    one = session()
    assert subject.commit([write(one, 1, b"", b"a\n")]) == []
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
    subject.commit([write(one, 1)])
    subject.commit([write(one, 2, previous, last)])
    found = subject.state(one)
    assert found is not None
    assert (found.previous, found.last) == (previous, last)


def test_a_batch_is_written_in_order(subject: Subject) -> None:
    """Several writes of several sessions: the last of each stands."""
    one, two, three = sessions_apart()
    near = next(other for other in iter(session, None) if other.slot % SHARDS == one.slot % SHARDS)
    writes = [write(one, 1), write(two, 1), write(near, 1), write(three, 1), write(one, 2)]
    writes += [write(three, 2), forget(two), write(near, 2), write(three, 3), forget(near)]
    assert subject.commit(writes) == []
    found = [subject.state(each) for each in (one, two, near, three)]
    assert [state and state.seq for state in found] == [2, None, None, 3]


def test_what_expired_is_refused_or_made_anew(subject: Subject) -> None:
    """A session's line is refused, a plain connection's state is written whole; others go on."""
    plain, other, _ = sessions_apart()
    lost = Session(PlainSession(()).name, ())
    assert subject.commit([write(plain, 1), write(other, 1), open_(lost)]) == []
    lost.own(1)
    subject.lose(plain, lost)
    batch = [write(plain, 2), write(lost, 1), write(other, 2)]
    assert subject.commit(batch) == [batch[1]]
    assert subject.state(lost) is None
    assert subject.record(plain)
    states = [subject.state(plain), subject.state(other)]
    assert [state and state.seq for state in states] == [2, 2]


def test_missing_is_told_and_not_written(shard: OneShard) -> None:
    """A stored session that the store no longer has is returned, others are written."""
    one, two, new = shard.session(), shard.session(), shard.session()
    shard.commit([write(one, 1), write(two, 1)])
    shard.lose(one, two)
    batch = [write(one, 2), write(new, 1), write(two, 2)]
    assert shard.commit(batch) == [batch[0], batch[2]]
    assert shard.state(one) is None
    assert shard.state(new) is not None
    one.stored = False
    assert shard.commit([write(one, 3)]) == []
    assert shard.record(one)


def test_forget_leaves_nothing(subject: Subject) -> None:
    """Deleting takes both keys, and may be done twice."""
    one = session()
    subject.commit([write(one, 1)])
    subject.commit([forget(one)])
    assert subject.state(one) is None
    assert not subject.record(one)
    assert subject.commit([forget(one)]) == []


def test_empty_batch(shard: OneShard) -> None:
    """The heartbeat."""
    assert shard.commit([]) == []


def test_after_reset_nothing_is_taken_until_connect(shard: OneShard) -> None:
    """A store that was given up must be connected again; it still has everything."""
    one = shard.session()
    shard.commit([write(one, 1)])
    shard.store.reset()
    assert not shard.store.connected
    with pytest.raises(StoreError):
        shard.commit([write(one, 2)])
    assert not shard.store.connect()
    assert shard.commit([write(one, 2)]) == []


def test_a_renewal_that_falls_due_on_the_way_stays_due(shard: OneShard) -> None:
    """Whoever asks for the whole to be written again while a write flies still gets it."""
    one, new = shard.session(), shard.session()
    shard.commit([write(one, 1)])
    shard.store.begin([write(one, 2), write(new, 1)])
    one.stored = False
    assert shard.store.finish() == []
    assert not one.stored
    assert new.stored
