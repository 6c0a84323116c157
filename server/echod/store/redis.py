"""Redis as the store: a batch is one pipeline on one connection.

    marker    SET d:<daemon> <batch number> EX …      proves what Redis remembers (D9)
    write     SET <state key> <state> XX EX ttl       nil: the session is not there (D3)
    first     HSET record, EXPIRE record, SET state EX ttl
    forget    DEL state record

How durable an acknowledged batch is, is Redis's setting: with `appendfsync always` it is
on disk before Redis answers (redis.io, "Redis persistence").
"""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

from echod.session import encode_state
from echod.store.base import StoreError
from echod.store.link import Link, pack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from echod.session import Session
    from echod.store.batch import Write

# A daemon cut off for longer can't tell a lost marker from an expired one, and then takes
# it as lost, which is safe.
MARKER_TTL_S = 86_400
GENERATION_KEY = b"generation"
RAISE_GENERATION = resources.files("echod.store").joinpath("lua/raise_generation.lua").read_text()
HSET_REPLIES = 3


class RedisStore:
    """See `Store`."""

    def __init__(
        self, url: str, daemon: str, ttl_s: int, ttl_unused_s: int, timeout_s: float
    ) -> None:
        """States live `ttl_s` after their last line, or `ttl_unused_s` before the first."""
        self.connected = False
        self.generation = 0
        self._url = url
        self._timeout_s = timeout_s
        self._link: Link | None = None
        self._former: tuple[bytes, int] | None = None
        self._batch = 0  # the last number given
        self._acknowledged = 0  # the last number Redis confirmed
        # The batch on its way: what `_pack` said of it.
        self._begun: tuple[Sequence[Write], list[int] | None, int] = ((), None, 0)
        self._marker_key = b"d:" + daemon.encode()
        self._ttl = b"%d" % ttl_s
        self._ttl_unused = b"%d" % ttl_unused_s
        self._record_ttl = b"%d" % (2 * ttl_s)
        # What follows the value in the packed `SET key value XX EX ttl`: always the same.
        self._tail = b"\r\n$2\r\nXX\r\n$2\r\nEX\r\n$%d\r\n%b\r\n" % (len(self._ttl), self._ttl)

    def connect(self) -> bool:
        """See `Store.connect`."""
        link = Link(self._url, self._timeout_s)
        try:
            self._silence_former(link)
            marker, generation = link.ask(("GET", self._marker_key), ("GET", GENERATION_KEY))
            lost = int(marker or 0) < self._acknowledged
            if lost:
                # Above what this daemon knew, not above what it has just read: another
                # daemon may have seen the same loss before.
                known = str(self.generation)
                (generation,) = link.ask(("EVAL", RAISE_GENERATION, "1", GENERATION_KEY, known))
                self._acknowledged = 0
            self.generation = max(self.generation, int(generation or 0))
        except StoreError:
            link.reset()
            raise
        self._link = link
        self._former = (link.run_id, link.id)
        self.connected = True
        return lost

    def _silence_former(self, link: Link) -> None:
        """Kill the connection before this one: what it still has in Redis must not run.

        It may have been reset and yet be alive there: Redis was frozen, or something
        between holds its bytes. Another Redis process never heard of it.
        """
        if self._former and self._former[0] == link.run_id:
            link.ask(("CLIENT", "KILL", "ID", str(self._former[1])))
            self._former = None

    def begin(self, writes: Sequence[Write]) -> None:
        """See `Store.begin`."""
        if self._link is None:
            raise StoreError("closed", "not connected")
        self._batch += 1
        packed, counts, total = self._pack(writes)
        self._begun = (writes, counts, total)
        self._link.send(packed)

    def finish(self) -> list[Write]:
        """See `Store.finish`."""
        if self._link is None:
            raise StoreError("closed", "not connected")
        writes, counts, total = self._begun
        replies = self._link.receive(total)
        self._acknowledged = self._batch
        self.generation = max(self.generation, int(replies[1] or 0))
        if counts is None:
            return [write for write, reply in zip(writes, replies[2:], strict=True) if not reply]
        at = 2
        missing = []
        for write, count in zip(writes, counts, strict=True):
            at += count
            if write.forget:
                continue
            if replies[at - 1] is None:
                missing.append(write)
            elif count == HSET_REPLIES:
                # Only who was written whole: `stored` may be off again, for its renewal.
                write.session.stored = True
        return missing

    def _pack(self, writes: Sequence[Write]) -> tuple[bytes, list[int] | None, int]:
        """The batch as bytes; replies of each write, None for one each; replies in all."""
        number = b"%d" % self._batch
        marker = pack(b"SET", self._marker_key, number, b"EX", b"%d" % MARKER_TTL_S)
        parts = [marker, pack(b"GET", GENERATION_KEY)]
        append, tail = parts.append, self._tail
        counts = None
        for at, write in enumerate(writes):
            session = write.session
            if session.stored and not write.forget:
                value = encode_state(write.seq, write.cut, write.pair)
                append(b"%b$%d\r\n%b%b" % (session.wire_prefix, len(value), value, tail))
                if counts is not None:
                    counts.append(1)
                continue
            if counts is None:
                counts = [1] * at
            if write.forget:
                parts.append(pack(b"DEL", session.state_key, session.record_key))
                counts.append(1)
            else:
                parts.append(self._first(session, write))
                counts.append(HSET_REPLIES)
        return b"".join(parts), counts, 2 + (len(writes) if counts is None else sum(counts))

    def _first(self, session: Session, write: Write) -> bytes:
        """Record and state of a session that the store does not have."""
        key = session.state_key
        session.wire_prefix = b"*6\r\n$3\r\nSET\r\n$%d\r\n%b\r\n" % (len(key), key)
        state = encode_state(write.seq, write.cut, write.pair)
        ttl = self._ttl if write.seq else self._ttl_unused
        return b"".join(
            (
                pack(b"HSET", session.record_key, *session.record),
                pack(b"EXPIRE", session.record_key, self._record_ttl),
                pack(b"SET", key, state, b"EX", ttl),
            )
        )

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
                self._link.ask(("DEL", self._marker_key))
            finally:
                self._link.close()
                self._link = None
                self.connected = False
