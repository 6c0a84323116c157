"""Operations as Redis's commands, and its replies as their results (store/operations.py).

One command each: a script of lua/, where more than one key must change or be asked at
once. Keys are named in store/keys.py, of the session or room that the operation is about;
channels in store/routes.py. How long each lives is `base.Lives`, in milliseconds, so that a
drill can shorten all of them.
"""

from __future__ import annotations

import hashlib
import random
import time
from importlib import resources
from typing import TYPE_CHECKING

from echod.protocol.state import EMPTY
from echod.store.keys import (
    decode_state,
    encode_state,
    generation_key,
    history_key,
    ids_key,
    leases_key,
    presence_key,
    record_key,
    stream_key,
)
from echod.store.operations import (
    END,
    FENCED,
    INQUIRE,
    MEASURE,
    Announce,
    Beat,
    Beaten,
    Conflict,
    Drop,
    Enter,
    Fenced,
    Fill,
    Find,
    Leases,
    Leave,
    Open,
    Opened,
    Operation,
    Page,
    Post,
    Posted,
    Publish,
    Read,
    Remember,
    Renew,
    Resume,
    RolledBack,
    Stale,
    Who,
)
from echod.store.routes import ROUTES, inbox_channel
from echod.store.slots import slot_of, slot_of_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from echod.store.base import Lives
    from echod.store.keys import Session
    from echod.store.redis.link import Reply

Command = tuple[bytes | str, ...]

# A room's history is named at random; the generation stands before it (read.lua).
EPOCH_BYTES = 5
_chance = random.Random()  # noqa: S311 — a name; seeded by the system


class Script:
    """A file of lua/: loaded once a connection, and called by its hash."""

    def __init__(self, name: str) -> None:
        self.text = resources.files("echod.store.redis").joinpath(f"lua/{name}.lua").read_text()
        self._hash = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def command(self, keys: Sequence[bytes], *words: bytes) -> Command:
        """The command that runs it."""
        return ("EVALSHA", self._hash, b"%d" % len(keys), *keys, *words)


RAISE_GENERATION, OPEN, RESUME, REMEMBER, MOVE, END_SESSION = SESSION_SCRIPTS = tuple(
    Script(name) for name in ("raise_generation", "open", "resume", "remember", "move", "end")
)
ENTER, LEAVE, POST, READ, ANNOUNCE, BEAT, LEASE_LIST = ROOM_SCRIPTS = tuple(
    Script(name) for name in ("enter", "leave", "post", "read", "announce", "beat", "leases")
)
SCRIPTS = SESSION_SCRIPTS + ROOM_SCRIPTS


class RedisOperations:
    """See the module."""

    def __init__(self, lives: Lives, *, publishes: bool) -> None:
        """With `publishes` a post is published by its script, else the store does it (ADR 23)."""
        self._publishes = publishes
        self._lives = lives
        self.route = ROUTES[lives.route]
        self.state_ms = milliseconds(lives.state_s)
        self.record_ms = milliseconds(lives.record_s)
        self._unused_ms = milliseconds(lives.unused_s)
        self._unused_record_ms = milliseconds(lives.unused_record_s)
        self._tombstone_ms = milliseconds(lives.tombstone_s)
        self._room_ms = milliseconds(lives.room_s)
        self._room_messages_max = b"%d" % lives.room_messages_max
        self._lease_ms = milliseconds(lives.lease_s)
        self._announcement_ms = milliseconds(lives.announcement_s)
        self._unused_room_ms = milliseconds(lives.unused_room_s)

    def command(self, session: Session, operation: Operation) -> Command:  # noqa: C901, PLR0911, PLR0912 — one case for each
        """The command that carries it out."""
        record, state = session.record_key, session.state_key
        key = operation.key(session)
        match operation:
            case Post():
                return self._post(operation)
            case Enter(_, sender, fence):
                return ENTER.command((ids_key(key, sender),), fence, self.record_ms)
            case Leave(_, sender, fence):
                return LEAVE.command((ids_key(key, sender),), fence, self._tombstone_ms)
            case Read(_, first, messages_max, begin):
                keys = (history_key(key), stream_key(key), generation_key(slot_of(key)))
                epoch = _epoch() if begin else b""
                words = (b"%d" % first, b"%d" % messages_max, epoch, self._unused_room_ms)
                return READ.command(keys, *words)
            case Who():
                return ("HGETALL", presence_key(key))
            case Find():
                return ("HMGET", record_key(key), "inbox", "ended")
            case Announce(_, inbox, members):
                keys = (presence_key(key), history_key(key), stream_key(key))
                words = (inbox, b"%d" % members, self._announcement_ms, self._room_ms)
                return ANNOUNCE.command(keys, *words)
            case Leases(slot):
                return LEASE_LIST.command((leases_key(slot),))
            case Beat(inbox, written, home):
                return BEAT.command(
                    (leases_key(slot_of_key(inbox)),),
                    *(self._lease_ms, inbox, inbox_channel(inbox), written, b"%d" % home),
                )
            case Publish(inbox, written):
                return ("SPUBLISH", inbox_channel(inbox), written)
            case Open(digest):
                keys = (record, session.key_of(1), generation_key(slot_of(key)))
                return OPEN.command(
                    keys, digest, session.owner, encode_state(0, 0, b""),
                    self._unused_ms, self._unused_record_ms, *session.record,
                )  # fmt: skip
            case Resume(digest, acked):
                return RESUME.command(
                    (record, generation_key(slot_of(key))), digest, b"%d" % acked, session.owner,
                    self.state_ms, self.record_ms, *session.record,
                )  # fmt: skip
            case Remember(posted):
                return REMEMBER.command((record, state), self.record_ms, b" ".join(posted))
            case Renew():
                return ("PEXPIRE", ids_key(key, session.name), self.record_ms)
            case Drop():
                return ("DEL", ids_key(key, session.name))
        if operation is END:
            life_ms = milliseconds(self._lives.ended_s(session.epoch))
            return END_SESSION.command((record, state), session.owner, life_ms)
        if operation is MEASURE:
            return ("INFO", "memory")
        if operation is INQUIRE:
            return ("HGET", record, "owner")
        return ("DEL", state, record)

    def _post(self, post: Post) -> Command:
        room = post.room
        keys = (
            history_key(room), stream_key(room), ids_key(room, post.sender),
            generation_key(slot_of(room)), presence_key(room),
        )  # fmt: skip
        return POST.command(
            keys, post.fence, room, b"%d" % post.id, post.said, _epoch(),
            milliseconds(time.time()), self._room_messages_max, self._room_ms,
            self.route.channel(room) if self._publishes else b"-", post.digest, self.record_ms,
        )  # fmt: skip


def result(session: Session, operation: Operation, reply: Reply) -> object:  # noqa: C901, PLR0911, PLR0912 — as `command`
    """What an operation comes to; None if there is nothing to say but that it is done."""
    match operation:
        case Post():
            return _posted(*reply)
        case Read():
            if not reply:
                return None
            epoch, last, *rest = reply
            return Page(epoch, last, list(zip(rest[::2], rest[1::2], strict=True)))
        case Enter() | Publish():
            return bool(reply)
        case Who():
            return {
                inbox: int(said.partition(b" ")[0])
                for inbox, said in zip(reply[::2], reply[1::2], strict=True)
            }
        case Find():
            inbox, ended = reply
            return None if ended else inbox
        case Leases():
            return frozenset(reply)
        case Beat():
            held, hearers, homes, first = reply
            return Beaten(bool(held), hearers, homes, first)
        case Open():
            return Opened(1, EMPTY, generation=reply[0]) if reply else None
        case Resume():
            if not reply:
                return None
            epoch, kept, *rest = reply
            if epoch < 0:
                return RolledBack(kept)
            posted, generation = rest
            return Opened(epoch, decode_state(kept), tuple(posted.split()), generation)
    if operation is INQUIRE:
        return reply is not None and reply != session.owner
    return fill(reply) if operation is MEASURE else None


def _posted(offset: int, more: int | bytes = b"") -> Posted | Stale | Conflict | Fenced:
    if offset == 0:
        return FENCED
    if isinstance(more, int):
        return Stale(more)
    return Posted(offset, more) if offset > 0 else Conflict()


def fill(info: bytes) -> Fill:
    """How full a Redis is, of `INFO memory`."""
    fields = dict(line.partition(b":")[::2] for line in info.splitlines())
    return Fill(int(fields.get(b"used_memory", 0)), int(fields.get(b"maxmemory", 0)))


def milliseconds(seconds: float) -> bytes:
    """A life or a moment as Redis takes it; no life is 0, which would delete."""
    return b"%d" % max(1, round(1000 * seconds))


def _epoch() -> bytes:
    """A name for a history, should one begin: most are thrown away, so no system call for each."""
    return b"%010x" % _chance.getrandbits(8 * EPOCH_BYTES)
