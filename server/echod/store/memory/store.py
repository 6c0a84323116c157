"""A store in this process: for a daemon alone, and what the contract suite compares with.

It forgets everything with the process, so `commit` means no more here than that.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from echod.protocol.state import EMPTY
from echod.store.base import StoreError
from echod.store.keys import decode_state, encode_state, record_key, state_key
from echod.store.memory.rooms import MemoryRooms
from echod.store.operations import (
    END,
    FORGET,
    INQUIRE,
    KEEP,
    MEASURE,
    Announce,
    Beat,
    Beaten,
    Drop,
    Enter,
    Fill,
    Find,
    Leases,
    Leave,
    Open,
    Opened,
    Post,
    Publish,
    Read,
    Remember,
    Renew,
    Resume,
    RolledBack,
    Who,
    gives_life,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container, Sequence

    from echod.store.base import Lives
    from echod.store.batch import Write
    from echod.store.keys import Session

Fields = dict[bytes, bytes]


class MemoryStore:
    """The keys of `store/keys.py` in two dictionaries, each with its end."""

    def __init__(
        self,
        lives: Lives,
        publish: Callable[[bytes], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`publish` gets every publication: it is the one daemon that there is."""
        self._publish = publish
        self.connected = self.owes = self.elsewhere = False
        self.generation = self.sent_bytes = 0
        self.states: dict[bytes, tuple[bytes, float]] = {}
        self.records: dict[bytes, tuple[Fields, float]] = {}
        self._lives = lives
        self._rooms = MemoryRooms(lives, clock)
        self._clock = clock
        self._inboxes: set[bytes] = set()
        self._sweep_at = 0.0
        self._missing: list[Write] = []

    def connect(self) -> Collection[int]:
        """See `Store.connect`; always there, never behind."""
        self.connected = True
        return ()

    def finish(self) -> list[Write]:
        """See `Store.finish`."""
        missing, self._missing = self._missing, []
        return missing

    def begin(self, writes: Sequence[Write]) -> None:
        """See `Store.begin`; it is finished then."""
        if not self.connected:
            raise StoreError("closed", "not connected")
        self._missing = [write for write in writes if not self._do(write)]
        now_s = self._clock()
        if now_s >= self._sweep_at:
            self._sweep(now_s)

    def lose(self, slots: Collection[int] | None = None) -> None:
        """See `Store.lose`: this one loses nothing."""

    def learn(self, slots: Collection[int]) -> None:
        """See `Store.learn`: here nothing comes."""

    def give_unpublished(self, slots: Container[int]) -> dict[bytes, list[bytes]]:
        """See `Store.give_unpublished`."""
        del slots
        return {}

    def take_unpublished(self, room: bytes, messages: Sequence[bytes]) -> None:
        """See `Store.take_unpublished`."""
        raise NotImplementedError

    def kept(self) -> dict[str, int]:
        """See `Store.kept`."""
        return {"state": len(self.states), "record": len(self.records), **self._rooms.kept()}

    def reset(self) -> None:
        """See `Store.reset`."""
        self.connected = False

    def close(self) -> None:
        """See `Store.close`."""
        self.connected = False

    def state(self, key: bytes) -> bytes | None:
        """The state under `key`, None where there is none or it has expired."""
        value, until_at = self.states.get(key, (None, 0.0))
        return value if self._clock() < until_at else None

    def record(self, key: bytes) -> Fields:
        """The record under `key`, empty where there is none or it has expired."""
        fields, until_at = self.records.get(key, ({}, 0.0))
        return fields if self._clock() < until_at else {}

    def _do(self, write: Write) -> bool:
        """Carry one write out; whether its session was there, if it needs it."""
        session, operation = write.session, write.operation
        if gives_life(operation):
            return self._do_as_owner(write)
        if operation is END:
            return self._end(session)
        if isinstance(operation, Open):
            write.result = self._open(session, operation)
        elif isinstance(operation, Resume):
            write.result = self._resume(session, operation)
        elif operation is INQUIRE:
            owner = self.record(session.record_key).get(b"owner")
            write.result = owner is not None and owner != session.owner
        elif operation is FORGET:
            self.states.pop(session.state_key, None)
            self.records.pop(session.record_key, None)
        elif isinstance(operation, Remember):
            self._remember(session, operation)
        elif operation is MEASURE:
            write.result = Fill()
        else:
            self._do_in_rooms(write)
        return True

    def _do_as_owner(self, write: Write) -> bool:
        """What is refused to who does not have the state; it lives on for it."""
        session, operation = write.session, write.operation
        if not session.stored:
            self._keep_record(session, dict(_pairs(session.record)), self._lives.record_s)
            session.stored = True
        elif (state := self.state(session.state_key)) is None:
            return False
        elif operation is KEEP:
            self._keep_state(session.state_key, state, self._lives.state_s)
            return True
        state = encode_state(write.seq, write.cut, write.pair)
        self._keep_state(session.state_key, state, self._lives.state_s)
        return True

    def _remember(self, session: Session, operation: Remember) -> None:
        """A record lives on, for its owner."""
        fields = self.record(session.record_key)
        if fields and self.state(session.state_key) is not None:
            fields = {**fields, b"posted": b" ".join(operation.posted)}
            self._keep_record(session, fields, self._lives.record_s)

    def _do_in_rooms(self, write: Write) -> None:  # noqa: C901, PLR0912 — one case for each
        """What is not about a session's own keys; see `MemoryRooms`."""
        match write.operation:
            case Post() as post:
                write.result, published = self._rooms.post(post)
                if published:
                    self._publish(published)
            case Read() as read:
                write.result = self._rooms.read(read)
            case Who(room):
                write.result = self._rooms.who(room)
            case Enter() as enter:
                write.result = self._rooms.enter(enter)
            case Leave() as leave:
                self._rooms.leave(leave)
            case Announce() as announce:
                self._inboxes.add(announce.inbox)
                self._rooms.announce(announce)
            case Renew(room):
                self._rooms.renew_ids(write.session.ids_key(room))
            case Drop(room):
                self._rooms.drop_ids(write.session.ids_key(room))
            case Find(name):
                fields = self.record(record_key(name))
                write.result = None if b"ended" in fields else fields.get(b"inbox")
            case Publish(_, written):
                write.result = True
                self._publish(written)
            case Leases():
                write.result = frozenset(self._inboxes)
            case Beat(inbox, written):
                self._inboxes.add(inbox)
                write.result = Beaten(held=True, hearers=1, homes=1, first=inbox)
                self._publish(written)

    def _keep_state(self, key: bytes, state: bytes, ttl_s: float) -> None:
        self.states[key] = (state, self._clock() + ttl_s)

    def _keep_record(self, session: Session, fields: Fields, ttl_s: float) -> None:
        self.records[session.record_key] = (fields, self._clock() + ttl_s)

    def _open(self, session: Session, operation: Open) -> Opened | None:
        found = self.record(session.record_key)
        if found and found.get(b"digest") != operation.digest:
            return None
        fields = {b"digest": operation.digest, b"epoch": b"1", b"owner": session.owner}
        fields |= _pairs(session.record)
        self._keep_record(session, fields, self._lives.unused_record_s)
        self._keep_state(session.key_of(1), encode_state(0, 0, b""), self._lives.unused_s)
        return Opened(1, EMPTY)

    def _resume(self, session: Session, operation: Resume) -> Opened | RolledBack | None:
        fields = self.record(session.record_key)
        if fields.get(b"digest") != operation.digest or b"ended" in fields:
            return None
        epoch, owner = int(fields[b"epoch"]), fields[b"owner"]
        key = state_key(session.name, epoch, owner)
        value = self.state(key)
        if value is None:
            return None
        state = decode_state(value)
        if state.seq < operation.acked:
            return RolledBack(state.seq)
        if owner != session.owner:
            epoch += 1
            del self.states[key]
            key = session.key_of(epoch)
            fields |= {b"epoch": b"%d" % epoch, b"owner": session.owner, **_pairs(session.record)}
        self._keep_state(key, value, self._lives.state_s)
        self._keep_record(session, fields, self._lives.record_s)
        return Opened(epoch, state, tuple(fields.get(b"posted", b"").split()))

    def _end(self, session: Session) -> bool:
        fields = self.record(session.record_key)
        there = self.state(session.state_key) is not None
        self.states.pop(session.state_key, None)
        if not there and fields.get(b"ended") != session.owner:
            return False
        fields = {b"owner": session.owner, b"ended": session.owner}
        self._keep_record(session, fields, self._lives.ended_s(session.epoch))
        return True

    def _sweep(self, now_s: float) -> None:
        self.states = {key: kept for key, kept in self.states.items() if kept[1] > now_s}
        self.records = {key: kept for key, kept in self.records.items() if kept[1] > now_s}
        self._rooms.sweep(now_s)
        self._sweep_at = now_s + self._lives.sweep_s


def _pairs(words: tuple[bytes, ...]) -> Fields:
    return dict(zip(words[::2], words[1::2], strict=True))
