"""The rooms of a store in this process: what lua/ does in Redis, for a daemon alone."""

from __future__ import annotations

import secrets
from collections import deque
from typing import TYPE_CHECKING

from echod.rooms.room import Page
from echod.store.operations import Stale

if TYPE_CHECKING:
    from collections.abc import Callable

    from echod.store.base import Lives
    from echod.store.operations import Announce, Post, Read

# Of one sender in one room (PROTOCOL §3).
IDS_KEPT = 100
EPOCH_BYTES = 5


class _Room:
    """A history."""

    def __init__(self, messages_max: int) -> None:
        self.epoch = b"0-" + secrets.token_hex(EPOCH_BYTES).encode()
        self.offset = 0
        self.messages: deque[tuple[int, bytes, float]] = deque(maxlen=messages_max)
        self.ids: dict[bytes, dict[int, int]] = {}
        self.until_s = 0.0


class MemoryRooms:
    """See the module."""

    def __init__(self, lives: Lives, clock: Callable[[], float]) -> None:
        self._lives = lives
        self._clock = clock
        self._rooms: dict[bytes, _Room] = {}
        self._members: dict[bytes, int] = {}

    def post(self, post: Post) -> tuple[int | Stale, bytes]:
        """The offset, and what is published; nothing, if that has been posted before."""
        room = self._room(post.room)
        ids = room.ids.setdefault(post.sender, {})
        last = max(ids, default=0)
        if post.id in ids:
            return ids[post.id], b""
        if post.id < last:
            return Stale(last + 1), b""
        room.offset += 1
        ids[post.id] = room.offset
        if len(ids) > IDS_KEPT:
            del ids[min(ids)]
        now_s = self._clock()
        while room.messages and room.messages[0][2] < now_s - self._lives.room_s:
            room.messages.popleft()
        room.messages.append((room.offset, post.said, now_s))
        published = b"m %b %d %b %b" % (room.epoch, room.offset, post.room, post.said)
        return room.offset, published

    def read(self, read: Read) -> Page:
        """A page; the room begins if need be."""
        room = self._room(read.room)
        messages = [(at, said) for at, said, _ in room.messages if at >= read.first]
        return Page(room.epoch, room.offset, messages[: read.messages_max])

    def announce(self, announce: Announce) -> None:
        """So many members are here."""
        self._members[announce.room] = announce.members
        if announce.members:
            self._room(announce.room)
        else:
            del self._members[announce.room]

    def who(self, room: bytes) -> tuple[int, int]:
        """Members and daemons."""
        members = self._members.get(room, 0)
        return members, 1 if members else 0

    def _room(self, name: bytes) -> _Room:
        now_s = self._clock()
        room = self._rooms.get(name)
        if room is None or now_s >= room.until_s:
            room = self._rooms[name] = _Room(self._lives.room_messages_max)
        room.until_s = now_s + self._lives.room_s
        for other in tuple(self._rooms) if len(self._rooms) % 64 == 0 else ():
            if now_s >= self._rooms[other].until_s:
                del self._rooms[other]
        return room
