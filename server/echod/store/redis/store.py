"""Redis as the store: a batch is one pipeline on one connection.

    state     SET <state key> <state> XX PX ttl               nil: the session is not there (ADR 2)
    plain     HSET record, PEXPIRE record, SET state PX ttl   a plain connection's first
    others    one command or one script each: operations.py
    marker    SET d:{…}:<daemon>:<run> <batch number> PX … GET  proves what Redis remembers (ADR 17)

The marker is last: a log that was cut off anywhere in the batch has lost it too, and data
lost while the batch is carried out is seen before any of it is answered.

How durable an acknowledged batch is, is Redis's setting: with `appendfsync always` it is
on disk before Redis answers (redis.io, "Redis persistence").
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeAlias

from echod.store.base import StoreError
from echod.store.keys import encode_state, generation_key, marker_key
from echod.store.operations import KEEP, needs_owner
from echod.store.redis.link import Link, pack
from echod.store.redis.operations import (
    RAISE_GENERATION,
    SCRIPTS,
    RedisOperations,
    milliseconds,
    result,
)
from echod.store.slots import ALL_SLOTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from echod.store.base import Lives
    from echod.store.batch import Write
    from echod.store.keys import Session

# What the connection before this one can have been, for the name of the marker's key.
RUN_BYTES = 4
HSET_REPLIES = 3
# A batch as it leaves: its writes, and what `RedisStore._pack` said of it.
Begun: TypeAlias = "tuple[Sequence[Write], list[int] | None, int]"
NOTHING: Begun = ((), None, 0)


class RedisStore:
    """See `Store`."""

    def __init__(
        self, url: str, daemon: str, lives: Lives, timeout_s: float, password_file: str = ""
    ) -> None:
        self.connected = False
        self.generation = self.sent_bytes = 0
        self._url = url
        self._timeout_s = timeout_s
        self._password_file = password_file
        self._link: Link | None = None
        self._former: tuple[bytes, int] | None = None
        self._batch = 0  # the last number given
        self._acknowledged = 0  # the last number Redis confirmed
        self._lost = False
        self._begun = NOTHING  # the batch on its way
        # One Redis has every slot. What is the shard's own is in its first one.
        first_slot = ALL_SLOTS[0]
        # Of this process alone: two daemons of one name must not take each other for a loss.
        run = os.urandom(RUN_BYTES).hex().encode()
        self._marker_key = marker_key(first_slot, daemon.encode(), run)
        self._generation_key = generation_key(first_slot)
        self._operations = RedisOperations(lives, first_slot)
        self._marker_ms = milliseconds(lives.marker_s)
        # What follows the value in the packed `SET key value XX PX ttl`: always the same.
        state_ms = self._operations.state_ms
        self._tail = b"\r\n$2\r\nXX\r\n$2\r\nPX\r\n$%d\r\n%b\r\n" % (len(state_ms), state_ms)

    def connect(self) -> bool:
        """See `Store.connect`."""
        link = Link(self._url, self._timeout_s, self._password_file)
        try:
            self._silence_former(link)
            marker, generation, *_ = link.execute(
                ("GET", self._marker_key),
                ("GET", self._generation_key),
                *(("SCRIPT", "LOAD", script.text) for script in SCRIPTS),
            )
            lost = self._lost or int(marker or 0) < self._acknowledged
            if lost:
                generation = self._raise(link)
                self._acknowledged = 0
                self._lost = False
            self.generation = max(self.generation, int(generation or 0))
        except StoreError:
            link.reset()
            raise
        self._link = link
        self._former = (link.run_id, link.id)
        self.connected = True
        return lost

    def _raise(self, link: Link) -> int:
        """The shard has lost data: say so in each of its slots (ADR 26).

        In its first one last: whoever finds it raised there finds it raised everywhere. Above
        what this daemon knew, not above what it has just read: another daemon may have seen
        the same loss before.
        """
        known = b"%d" % self.generation
        *_, generation = link.execute(
            *(
                RAISE_GENERATION.command([generation_key(slot)], known)
                for slot in reversed(ALL_SLOTS)
            )
        )
        return int(generation)

    def _silence_former(self, link: Link) -> None:
        """Kill the connection before this one: what it still has in Redis must not run.

        It may have been reset and yet be alive there: Redis was frozen, or something
        between holds its bytes. Another Redis process never heard of it.
        """
        if self._former and self._former[0] == link.run_id:
            link.execute(("CLIENT", "KILL", "ID", str(self._former[1])))
            self._former = None

    def begin(self, writes: Sequence[Write]) -> None:
        """See `Store.begin`."""
        if self._link is None:
            raise StoreError("closed", "not connected")
        self._batch += 1
        packed, counts, total = self._pack(writes)
        self._begun = (writes, counts, total)
        self.sent_bytes += len(packed)
        self._link.send(packed)

    def finish(self) -> list[Write]:
        """See `Store.finish`."""
        if self._link is None:
            raise StoreError("closed", "not connected")
        # Let go of here: until the next batch it would keep clients that have gone.
        (writes, counts, total), self._begun = self._begun, NOTHING
        replies = self._link.receive(total)
        generation, marker = replies[-2:]
        if int(marker or 0) < self._acknowledged:
            # The marker of the batch before is gone, and with it who knows what.
            self._lost = True
            raise StoreError("rolled-back", f"the marker before batch {self._batch} is not there")
        self._acknowledged = self._batch
        self.generation = max(self.generation, int(generation or 0))
        if counts is None:
            return [write for write, reply in zip(writes, replies[:-2], strict=True) if not reply]
        at = 0
        missing = []
        for write, count in zip(writes, counts, strict=True):
            at += count
            reply = replies[at - 1]
            operation = write.operation
            if not reply and needs_owner(operation):
                missing.append(write)
            elif operation is not None:
                write.result = result(write.session, operation, reply)
            elif count == HSET_REPLIES:
                # Only who was written whole: `stored` may be off again, for its renewal.
                write.session.stored = True
        return missing

    def _pack(self, writes: Sequence[Write]) -> tuple[bytes, list[int] | None, int]:
        """The batch as bytes; replies of each write, None for one each; replies in all."""
        parts: list[bytes] = []
        append, tail = parts.append, self._tail
        counts = None
        for at, write in enumerate(writes):
            session = write.session
            operation = write.operation
            if operation is None and session.stored:
                value = encode_state(write.seq, write.cut, write.pair)
                prefix = session.wire_prefix or self._prefix(session)
                append(b"%b$%d\r\n%b%b" % (prefix, len(value), value, tail))
            elif operation is KEEP:
                append(pack(b"PEXPIRE", session.state_key, self._operations.state_ms))
            else:
                if counts is None:
                    counts = [1] * at
                if operation is None:
                    append(self._first(session, write))
                    counts.append(HSET_REPLIES)
                    continue
                append(pack(*self._operations.command(session, operation)))
            if counts is not None:
                counts.append(1)
        number = b"%d" % self._batch
        append(pack(b"GET", self._generation_key))
        append(pack(b"SET", self._marker_key, number, b"PX", self._marker_ms, b"GET"))
        return b"".join(parts), counts, 2 + (len(writes) if counts is None else sum(counts))

    def _prefix(self, session: Session) -> bytes:
        """What every `SET` of this state begins with."""
        key = session.state_key
        session.wire_prefix = b"*6\r\n$3\r\nSET\r\n$%d\r\n%b\r\n" % (len(key), key)
        return session.wire_prefix

    def _first(self, session: Session, write: Write) -> bytes:
        """Record and state of a session that the store does not have."""
        state = encode_state(write.seq, write.cut, write.pair)
        operations = self._operations
        return b"".join(
            (
                pack(b"HSET", session.record_key, *session.record),
                pack(b"PEXPIRE", session.record_key, operations.record_ms),
                pack(b"SET", session.state_key, state, b"PX", operations.state_ms),
            )
        )

    def kept(self) -> dict[str, int]:
        """See `Store.kept`."""
        return {}

    def reset(self) -> None:
        """See `Store.reset`."""
        self.connected = False
        if self._link is not None:
            self._link.reset()
            self._link = None

    def close(self) -> None:
        """See `Store.close`; the marker goes too: this daemon will not compare again."""
        if self._link is not None:
            try:
                self._link.execute(("DEL", self._marker_key))
            finally:
                self._link.close()
                self._link = None
                self.connected = False
