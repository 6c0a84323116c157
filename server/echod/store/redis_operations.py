"""Operations as Redis's commands, and its replies as their results (store/operations.py).

One command each: a script of lua/, where more than one key must change or be asked at
once. Keys beside those of `session.py`:

    m:<room>            hash     epoch, offset: a history and its last message
    x:<room>            stream   <offset>-<Unix s>: m = "<sender> <text>"
    i:<room>:<sender>   sorted   id → offset of the sender's last posts
    p:<room>            hash     daemon → members there
    l:<daemon>          string   the daemon's lease
    generation          string   DESIGN D9

and channels: c:<room>, c (route `broadcast`), inbox:<daemon>.
"""

from __future__ import annotations

import hashlib
import random
import time
from importlib import resources
from typing import TYPE_CHECKING

from echod.rooms.room import Page
from echod.session import EMPTY, decode_state, encode_state
from echod.store.operations import (
    END,
    INQUIRE,
    RENEW,
    Announce,
    Beat,
    Find,
    Open,
    Opened,
    Operation,
    Post,
    Publish,
    Read,
    Resume,
    RolledBack,
    Stale,
    Who,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from echod.session import Session
    from echod.store.base import Lives
    from echod.store.link import Reply

Command = tuple[bytes | str, ...]

GENERATION_KEY = b"generation"
BROADCAST_CHANNEL = b"c"
# A room's history is named at random; the generation stands before it (read.lua).
EPOCH_BYTES = 5
_chance = random.Random()  # noqa: S311 — a name; seeded by the system
# What `Find` says when a daemon has got it (tell.lua).
FOUND = 2


class Script:
    """A file of lua/: loaded once a connection, and called by its hash."""

    def __init__(self, name: str) -> None:
        self.text = resources.files("echod.store").joinpath(f"lua/{name}.lua").read_text()
        self._hash = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def call(self, keys: Sequence[bytes], *words: bytes) -> Command:
        """The command that runs it."""
        return ("EVALSHA", self._hash, b"%d" % len(keys), *keys, *words)


RAISE_GENERATION, OPEN, RESUME, END_SESSION, POST, READ, WHO, ANNOUNCE, FIND, BEAT = SCRIPTS = (
    *(Script(name) for name in ("raise_generation", "open", "resume", "end")),
    *(Script(name) for name in ("post", "read", "who", "announce", "tell", "beat")),
)


def channel(room: bytes, route: str) -> bytes:
    """Where a room's posts are published; b"" for `directed`: to the inboxes, one by one."""
    if route == "directed":
        return b""
    return BROADCAST_CHANNEL if route == "broadcast" else b"c:" + room


def inbox_channel(inbox: bytes) -> bytes:
    """Where a daemon listens for what is meant for it alone."""
    return b"inbox:" + inbox


class RedisOperations:
    """See the module."""

    def __init__(self, lives: Lives) -> None:
        self._route = lives.route
        self._state_s = b"%d" % lives.state_s
        self._unused_s = b"%d" % lives.unused_s
        self._record_s = b"%d" % lives.record_s
        self._record_unused_s = b"%d" % lives.record_unused_s
        self._room_s = b"%d" % lives.room_s
        self._room_messages_max = b"%d" % lives.room_messages_max
        self._lease_s = b"%d" % lives.lease_s
        self._announcement_s = b"%d" % lives.announcement_s
        self._unused_room_s = b"%d" % lives.unused_room_s

    def state_s(self, seq: int) -> bytes:
        """How long a state lives after a sign of life (PROTOCOL's table)."""
        return self._state_s if seq else self._unused_s

    def command(self, session: Session, operation: Operation) -> Command:  # noqa: C901, PLR0911 — one case for each
        """The command that carries it out."""
        record, state = session.record_key, session.state_key
        match operation:
            case Post():
                return self._post(session, operation)
            case Read(room, first, messages_max):
                keys = (b"m:" + room, b"x:" + room, GENERATION_KEY)
                words = (b"%d" % first, b"%d" % messages_max, _epoch(), self._unused_room_s)
                return READ.call(keys, *words)
            case Who(room):
                return WHO.call((state, b"p:" + room), self.state_s(session.seq))
            case Find(name, written):
                return FIND.call((state, b"r:" + name), self.state_s(session.seq), written)
            case Announce(room, inbox, members):
                keys = (b"p:" + room, b"m:" + room, b"x:" + room)
                words = (inbox, b"%d" % members, self._announcement_s, self._room_s)
                return ANNOUNCE.call(keys, *words)
            case Beat(inbox, written):
                return BEAT.call((b"l:" + inbox,), self._lease_s, inbox_channel(inbox), written)
            case Publish(inbox, written):
                return ("PUBLISH", inbox_channel(inbox), written)
            case Open(digest):
                return OPEN.call(
                    (record, session.key_of(1)), digest, session.owner, encode_state(0, 0, b""),
                    self._unused_s, self._record_unused_s, *session.record,
                )  # fmt: skip
            case Resume(digest, acked):
                return RESUME.call(
                    (record,), digest, b"%d" % acked, session.owner,
                    self._state_s, self._unused_s, self._record_s, *session.record,
                )  # fmt: skip
        if operation is END:
            return END_SESSION.call((record, state), session.owner, self.state_s(session.seq))
        if operation is RENEW:
            return ("EXPIRE", record, self._record_s)
        if operation is INQUIRE:
            return ("HGET", record, "owner")
        return ("DEL", state, record)

    def _post(self, session: Session, post: Post) -> Command:
        room = post.room
        keys = (
            session.state_key, b"m:" + room, b"x:" + room, b"i:%b:%b" % (room, post.sender),
            GENERATION_KEY, b"p:" + room,
        )  # fmt: skip
        return POST.call(
            keys, self.state_s(session.seq), room, b"%d" % post.id, post.said, _epoch(),
            b"%d" % time.time(), self._room_messages_max, self._room_s,
            channel(room, self._route),
        )  # fmt: skip


def result(session: Session, operation: Operation, reply: Reply) -> object:  # noqa: PLR0911 — as `command`
    """What an operation comes to; None if there is nothing to say but that it is done."""
    match operation:
        case Post():
            return Stale(reply[1]) if reply[0] < 0 else reply[0]
        case Read():
            epoch, last, *rest = reply
            return Page(epoch, last, list(zip(rest[::2], rest[1::2], strict=True)))
        case Who():
            return tuple(reply)
        case Find():
            return reply == FOUND
        case Beat():
            return bool(reply[0]), reply[1]
        case Open():
            return Opened(1, EMPTY) if reply else None
        case Resume():
            if not reply:
                return None
            epoch, kept = reply
            return RolledBack(kept) if epoch < 0 else Opened(epoch, decode_state(kept))
    if operation is INQUIRE:
        return reply is not None and reply != session.owner
    return None


def _epoch() -> bytes:
    """A name for a history, should one begin: most are thrown away, so no system call for each."""
    return b"%010x" % _chance.getrandbits(8 * EPOCH_BYTES)
