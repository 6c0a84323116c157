"""Forgets to renew, or to end, a life: which, the variable `FORGETS` says.

`fleet drill soak` finds each (docs/drills.md has by what). One by hand, in the soak's own time
or shorter: python -m tests.fleet.soak_runner NAME [SECONDS]
"""

# ruff: noqa: E402, SLF001 — gevent patches first; a bug is put where the code is
# mypy: disable-error-code="assignment, method-assign, attr-defined, misc"
from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import os
import sys
from typing import TYPE_CHECKING

from echod.__main__ import main
from echod.rooms import member
from echod.rooms.audit import Audit
from echod.store import committer
from echod.store.base import Lives
from echod.store.committer import Committer
from echod.store.memory.rooms import MemoryRooms
from echod.store.redis import operations as redis_operations
from echod.store.redis import store as redis_store
from echod.store.redis.store import RedisStore
from echod.store.shard import Shard
from tests.mutants.scripts import change

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from echod.rooms.room import Room
    from echod.store.batch import Client, Write
    from echod.store.operations import Operation, Session


def submit() -> None:
    """Only the replacement of a state is a sign of life: issue 10's own."""
    committer.gives_life = lambda _: False


def opened() -> None:
    """Lines and PINGs are none, only what else is asked."""
    renew, open_ = Committer._renew, Committer.open

    def opens(
        self: Committer, client: Client, session: Session, operation: Operation | None = None
    ) -> Write:
        Committer._renew = lambda *_: None
        try:
            return open_(self, client, session, operation)
        finally:
            Committer._renew = renew

    Committer.open = opens


def ids() -> None:
    """The record alone is renewed."""
    member.Member._remember = lambda *_: None


def moved() -> None:
    """Whoever resumes a session is not told where it posted."""
    change(redis_operations.RESUME, "known[5] or ''", "''")


def keep() -> None:
    """What confirms the owner of a session does not let its state live on."""
    pack = redis_store.pack

    def asks(*words: str | bytes) -> bytes:
        match words:
            case (b"PEXPIRE", bytes(key), _) if key.startswith(b"s:"):
                return pack(b"EXISTS", key)
        return pack(*words)

    redis_store.pack = asks


def resumed() -> None:
    """A resume does not let the record live on."""
    change(redis_operations.RESUME, "redis.call('PEXPIRE', KEYS[1], ARGV[5])", "")


def announced() -> None:
    """Nobody says again who is in a room."""
    Audit._look = lambda *_: None


def ready() -> None:
    """Nobody does while the room is not ready."""
    look = Audit._look

    def only_ready(self: Audit, room: Room) -> None:
        if room.ready:
            look(self, room)

    Audit._look = only_ready


def room() -> None:
    """A room lives no longer for its members."""
    lives = "redis.call('PEXPIRE', KEYS[2], said and ARGV[4] or ARGV[3])"
    change(redis_operations.ANNOUNCE, lives, "")


def stream() -> None:
    """Its messages don't."""
    lives = "redis.call('PEXPIRE', KEYS[3], ARGV[4]) == 1"
    change(redis_operations.ANNOUNCE, lives, "redis.call('EXISTS', KEYS[3]) == 1")


def beat() -> None:
    """A heartbeat is slower than the lease."""
    Lives.beat_s = property(lambda self: 1.5 * self.lease_s)


def measure() -> None:
    """An idle daemon has no question for its store."""
    Shard._measure = lambda _: None


def marker() -> None:
    """The marker keeps the life that it had at first."""
    pack = RedisStore._pack
    begin = b"*6\r\n$3\r\nSET\r\n"

    def packs(self: RedisStore, writes: Sequence[Write]) -> tuple[bytes, list[int] | None, int]:
        packed, counts, total = pack(self, writes)
        life = b"$2\r\nPX\r\n$%d\r\n%b\r\n$3\r\nGET\r\n" % (len(self._marker_ms), self._marker_ms)
        if self._batch > 1:
            batch, _, last = packed.rpartition(begin)
            last = last.removesuffix(life) + b"$7\r\nKEEPTTL\r\n$3\r\nGET\r\n"
            packed = batch + begin.replace(b"6", b"5") + last
        return packed, counts, total

    RedisStore._pack = packs


def tombstone() -> None:
    """What is left of an ended session stays."""
    change(redis_operations.END_SESSION, "redis.call('PEXPIRE', KEYS[1], ARGV[2])", "")


def sweep() -> None:
    """A store in memory keeps its rooms."""
    MemoryRooms.sweep = lambda *_: None


FORGETS: dict[str, Callable[[], None]] = {
    one.__name__: one
    for one in (
        submit, opened, keep, ids, moved, resumed, announced, ready, room, stream, beat, measure,
        marker, tombstone, sweep,
    )
}  # fmt: skip

if __name__ == "__main__":
    FORGETS[os.environ["FORGETS"]]()
    sys.exit(main())
