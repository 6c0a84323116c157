"""Forgets to renew a life: which, the variable `FORGETS` says. `fleet drill soak` finds each."""

# ruff: noqa: E402 — gevent patches first; a bug is put where the code is
from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import os
import sys
from typing import TYPE_CHECKING, Any

from echod.__main__ import main
from echod.connection import Connection
from echod.rooms import hub, member
from echod.session_connection import SessionConnection
from echod.store import committer, operations, redis_operations
from echod.store.base import Lives
from echod.store.committer import Committer
from echod.store.memory_rooms import MemoryRooms
from echod.store.redis import RedisStore
from tests.mutants.scripts import change

if TYPE_CHECKING:
    from collections.abc import Callable


def submit() -> None:
    """Only replacing a state is a sign of life: as it was."""
    committer.gives_life = lambda _: False  # type: ignore[attr-defined]


def opened() -> None:
    """Only operations are."""
    renew, opens = Committer._renew, Committer.open

    def open_(self: Committer, *args: Any) -> Any:
        Committer._renew = lambda *_: None  # type: ignore[method-assign]
        try:
            return opens(self, *args)
        finally:
            Committer._renew = renew  # type: ignore[method-assign]

    Committer.open = open_  # type: ignore[method-assign]


def ids() -> None:
    """The record alone is renewed."""
    member.Member._keep_ids = lambda *_: None  # type: ignore[method-assign]


def rejoined() -> None:
    """Who comes back to a room: his ids there are nobody's business."""
    member.Renew = lambda key: operations.Renew(key + b"x")  # type: ignore


def ready() -> None:
    """A room that is not ready is not announced."""
    audit = hub.Hub._audit

    def only_ready(self: Any, here: Any) -> None:
        if here.ready:
            audit(self, here)

    hub.Hub._audit = only_ready  # type: ignore[method-assign]


def announced() -> None:
    """Nobody says again who is here."""
    hub.ANNOUNCE_AUDITS = 1 << 60
    hub.Hub._audit = lambda *_: None  # type: ignore


def beat() -> None:
    """A heartbeat slower than the lease."""
    Lives.beat_s = property(lambda self: 1.5 * self.lease_s)  # type: ignore


def measure() -> None:
    """An idle daemon has nothing to say to its store."""
    Committer._measure = lambda _: None  # type: ignore[method-assign]


def marker() -> None:
    """The marker keeps the life that it had first."""
    pack = RedisStore._pack
    packed = b"SET"

    def pack_(self: RedisStore, writes: Any) -> Any:
        parts, counts, total = pack(self, writes)
        tail = b"$2\r\nPX\r\n$%d\r\n%b\r\n$3\r\nGET\r\n" % (len(self._marker_ms), self._marker_ms)
        if self._batch > 1:
            assert parts.endswith(tail)
            parts = parts.removesuffix(tail) + b"$7\r\nKEEPTTL\r\n$3\r\nGET\r\n"
            head, mark, rest = parts.rpartition(b"*6\r\n$3\r\nSET\r\n")
            parts = head + b"*5\r\n$3\r\nSET\r\n" + rest
        return parts, counts, total

    del packed
    RedisStore._pack = pack_  # type: ignore[method-assign]


def unread() -> None:
    """Who is left unread is forgotten."""
    SessionConnection.sweep = Connection.sweep  # type: ignore


def who() -> None:
    """WHO does not let the asker's state live on."""
    change(redis_operations.WHO, "redis.call('PEXPIRE', KEYS[1], ARGV[1])", "redis.call('EXISTS', KEYS[1])")


def tell() -> None:
    """TELL does not."""
    change(redis_operations.FIND, "redis.call('PEXPIRE', KEYS[1], ARGV[1])", "redis.call('EXISTS', KEYS[1])")


def say() -> None:
    """SAY does not."""
    change(redis_operations.POST, "redis.call('PEXPIRE', KEYS[1], ARGV[1])", "redis.call('EXISTS', KEYS[1])")


def room() -> None:
    """A room lives no longer for its members."""
    change(redis_operations.ANNOUNCE, "redis.call('PEXPIRE', KEYS[2], said and ARGV[4] or ARGV[3])", "")


def stream() -> None:
    """Its stream does not."""
    change(redis_operations.ANNOUNCE, "redis.call('PEXPIRE', KEYS[3], ARGV[4]) == 1", "redis.call('EXISTS', KEYS[3]) == 1")


def tombstone() -> None:
    """What is left of an ended session stays."""
    change(redis_operations.END_SESSION, "redis.call('PEXPIRE', KEYS[1], ARGV[2])", "")


def resumed() -> None:
    """A resume does not let the record live on."""
    change(redis_operations.RESUME, "redis.call('PEXPIRE', KEYS[1], ARGV[5])", "")


def dead() -> None:
    """Daemons that were killed stay in the rooms that they were in."""
    change(redis_operations.ANNOUNCE, "redis.call('HDEL', KEYS[1], daemon)", "")


def sweep() -> None:
    """A store in memory keeps its rooms."""
    MemoryRooms.sweep = lambda *_: None  # type: ignore


FORGETS: dict[str, Callable[[], None]] = {
    f.__name__: f for f in (submit, opened, ids, rejoined, ready, announced, beat, measure, marker,
    unread, who, tell, say, room, stream, tombstone, resumed, dead, sweep)
}

FORGETS[os.environ["FORGETS"]]()
sys.exit(main())
