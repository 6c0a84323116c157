"""Redis as the store: a batch is one pipeline on one connection.

    marker    SET d:<daemon>:<run> <batch number> EX … GET    proves what Redis remembers (D9)
    state     SET <state key> <state> XX EX ttl               nil: the session is not there (D3)
    plain     HSET record, EXPIRE record, SET state EX ttl    a plain connection's first
    others    one command or one script each: `_COMMANDS`

How durable an acknowledged batch is, is Redis's setting: with `appendfsync always` it is
on disk before Redis answers (redis.io, "Redis persistence").
"""

from __future__ import annotations

import hashlib
import os
from importlib import resources
from typing import TYPE_CHECKING

from echod.session import EMPTY, decode_state, encode_state
from echod.store.base import StoreError
from echod.store.link import Link, pack
from echod.store.operations import (
    END,
    FORGET,
    INQUIRE,
    KEEP,
    RENEW,
    Open,
    Opened,
    Operation,
    Resume,
    RolledBack,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from echod.session import Session
    from echod.store.batch import Write
    from echod.store.link import Reply

# A daemon cut off for longer can't tell a lost marker from an expired one, and then takes
# it as lost, which is safe.
MARKER_TTL_S = 86_400
GENERATION_KEY = b"generation"
# What the connection before this one can have been, for the name of the marker's key.
RUN_BYTES = 4
HSET_REPLIES = 3


class Script:
    """A file of lua/: loaded once a connection, and called by its hash."""

    def __init__(self, name: str) -> None:
        self.text = resources.files("echod.store").joinpath(f"lua/{name}.lua").read_text()
        self._hash = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def call(self, keys: Sequence[bytes], *words: bytes) -> tuple[bytes | str, ...]:
        """The command that runs it."""
        return ("EVALSHA", self._hash, b"%d" % len(keys), *keys, *words)


RAISE_GENERATION, OPEN_SCRIPT, RESUME_SCRIPT, END_SCRIPT = SCRIPTS = tuple(
    Script(name) for name in ("raise_generation", "open", "resume", "end")
)


class RedisStore:
    """See `Store`."""

    def __init__(  # noqa: PLR0913 — one settings class would be the daemon's, which has more
        self,
        url: str,
        daemon: str,
        ttl_s: int,
        ttl_unused_s: int,
        *,
        timeout_s: float,
        password_file: str = "",
    ) -> None:
        """States live `ttl_s` after their last line, or `ttl_unused_s` before the first."""
        self.connected = False
        self.generation = 0
        self._url = url
        self._timeout_s = timeout_s
        self._password_file = password_file
        self._link: Link | None = None
        self._former: tuple[bytes, int] | None = None
        self._batch = 0  # the last number given
        self._acknowledged = 0  # the last number Redis confirmed
        self._lost = False
        # The batch on its way: what `_pack` said of it.
        self._begun: tuple[Sequence[Write], list[int] | None, int] = ((), None, 0)
        # Of this process alone: two daemons of one name must not take each other for a loss.
        self._marker_key = b"d:%b:%b" % (daemon.encode(), os.urandom(RUN_BYTES).hex().encode())
        self._ttl = b"%d" % ttl_s
        self._ttl_unused = b"%d" % ttl_unused_s
        # Renewed once in `ttl_s` while there are lines: it outlives the state, also when
        # the daemon stood still in between.
        self._record_ttl = b"%d" % (3 * ttl_s)
        self._record_ttl_unused = b"%d" % (2 * ttl_unused_s)
        # What follows the value in the packed `SET key value XX EX ttl`: always the same.
        self._tail = b"\r\n$2\r\nXX\r\n$2\r\nEX\r\n$%d\r\n%b\r\n" % (len(self._ttl), self._ttl)

    def connect(self) -> bool:
        """See `Store.connect`."""
        link = Link(self._url, self._timeout_s, self._password_file)
        try:
            self._silence_former(link)
            marker, generation, *_ = link.ask(
                ("GET", self._marker_key),
                ("GET", GENERATION_KEY),
                *(("SCRIPT", "LOAD", script.text) for script in SCRIPTS),
            )
            lost = self._lost or int(marker or 0) < self._acknowledged
            if lost:
                # Above what this daemon knew, not above what it has just read: another
                # daemon may have seen the same loss before.
                known = b"%d" % self.generation
                (generation,) = link.ask(RAISE_GENERATION.call([GENERATION_KEY], known))
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
        if int(replies[0] or 0) < self._acknowledged:
            # The marker of the batch before is gone, and with it who knows what.
            self._lost = True
            raise StoreError("rolled-back", f"the marker before batch {self._batch} is not there")
        self._acknowledged = self._batch
        self.generation = max(self.generation, int(replies[1] or 0))
        if counts is None:
            return [write for write, reply in zip(writes, replies[2:], strict=True) if not reply]
        at = 2
        missing = []
        for write, count in zip(writes, counts, strict=True):
            at += count
            reply = replies[at - 1]
            operation = write.operation
            if operation is INQUIRE or isinstance(operation, (Open, Resume)):
                write.result = _result(write.session, operation, reply)
            elif operation is FORGET:
                continue
            elif not reply:
                missing.append(write)
            elif count == HSET_REPLIES:
                # Only who was written whole: `stored` may be off again, for its renewal.
                write.session.stored = True
        return missing

    def _pack(self, writes: Sequence[Write]) -> tuple[bytes, list[int] | None, int]:
        """The batch as bytes; replies of each write, None for one each; replies in all."""
        number = b"%d" % self._batch
        marker = pack(b"SET", self._marker_key, number, b"EX", b"%d" % MARKER_TTL_S, b"GET")
        parts = [marker, pack(b"GET", GENERATION_KEY)]
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
                ttl = self._ttl if write.seq else self._ttl_unused
                append(pack(b"EXPIRE", session.state_key, ttl))
            else:
                if counts is None:
                    counts = [1] * at
                if operation is None:
                    append(self._first(session, write))
                    counts.append(HSET_REPLIES)
                    continue
                append(pack(*self._command(session, operation)))
            if counts is not None:
                counts.append(1)
        return b"".join(parts), counts, 2 + (len(writes) if counts is None else sum(counts))

    def _prefix(self, session: Session) -> bytes:
        """What every `SET` of this state begins with."""
        key = session.state_key
        session.wire_prefix = b"*6\r\n$3\r\nSET\r\n$%d\r\n%b\r\n" % (len(key), key)
        return session.wire_prefix

    def _command(self, session: Session, operation: Operation) -> tuple[bytes | str, ...]:
        """The one command of an operation."""
        record, state = session.record_key, session.state_key
        if isinstance(operation, Open):
            empty = encode_state(0, 0, b"")
            return OPEN_SCRIPT.call(
                (record, session.key_of(1)), operation.digest, session.owner, empty,
                self._ttl_unused, self._record_ttl_unused, *session.record,
            )  # fmt: skip
        if isinstance(operation, Resume):
            return RESUME_SCRIPT.call(
                (record,), operation.digest, b"%d" % operation.acked, session.owner,
                self._ttl, self._ttl_unused, self._record_ttl, *session.record,
            )  # fmt: skip
        if operation is END:
            ttl = self._ttl if session.seq else self._ttl_unused
            return END_SCRIPT.call((record, state), session.owner, ttl)
        if operation is RENEW:
            return ("EXPIRE", record, self._record_ttl)
        if operation is INQUIRE:
            return ("HGET", record, "owner")
        return ("DEL", state, record)

    def _first(self, session: Session, write: Write) -> bytes:
        """Record and state of a session that the store does not have."""
        state = encode_state(write.seq, write.cut, write.pair)
        ttl = self._ttl if write.seq else self._ttl_unused
        return b"".join(
            (
                pack(b"HSET", session.record_key, *session.record),
                pack(b"EXPIRE", session.record_key, self._record_ttl),
                pack(b"SET", session.state_key, state, b"EX", ttl),
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


def _result(session: Session, operation: Operation, reply: Reply) -> object:
    """What `operations.py` says that an operation comes to."""
    if operation is INQUIRE:
        return reply is not None and reply != session.owner
    if isinstance(operation, Open):
        return Opened(1, EMPTY) if reply else None
    if not reply:
        return None
    epoch, kept = reply
    return RolledBack(kept) if epoch < 0 else Opened(epoch, decode_state(kept))
