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
# What has expired is noticed when it is asked for; a sweep so often frees the rest.
SWEEP_S = 10.0


class _Room:
    """A history."""

    def __init__(self, messages_max: int) -> None:
        self.epoch = b"0-" + secrets.token_hex(EPOCH_BYTES).encode()
        self.offset = 0
        self.messages: deque[tuple[int, bytes, float]] = deque(maxlen=messages_max)
        self.ids: dict[bytes, dict[int, int]] = {}  # of each sender, upwards
        self.posted_s: dict[bytes, float] = {}
        self.until_s = 0.0


class MemoryRooms:
    """See the module."""

    def __init__(self, lives: Lives, clock: Callable[[], float]) -> None:
        self._lives = lives
        self._clock = clock
        self._rooms: dict[bytes, _Room] = {}
        self._members: dict[bytes, int] = {}
        self._sweep_s = 0.0

    def post(self, post: Post) -> tuple[int | Stale, bytes]:
        """The offset, and what is published; nothing, if that has been posted before."""
        room = self._room(post.room)
        ids = room.ids.setdefault(post.sender, {})
        last = next(reversed(ids), 0)
        if post.id in ids:
            return ids[post.id], b""
        if post.id < last:
            return Stale(last + 1), b""
        room.offset += 1
        ids[post.id] = room.offset
        if len(ids) > IDS_KEPT:
            del ids[next(iter(ids))]
        now_s = room.posted_s[post.sender] = self._clock()
        room.until_s = now_s + self._lives.room_s
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
            room = self._rooms.get(announce.room)
            if room is not None and self._clock() < room.until_s:
                room.until_s = self._clock() + self._life_s(room)
        else:
            del self._members[announce.room]

    def who(self, room: bytes) -> tuple[int, int]:
        """Members and daemons."""
        members = self._members.get(room, 0)
        return members, 1 if members else 0

    def _room(self, name: bytes) -> _Room:
        now_s = self._clock()
        if now_s >= self._sweep_s:
            self._sweep(now_s)
        room = self._rooms.get(name)
        if room is None or now_s >= room.until_s:
            room = self._rooms[name] = _Room(self._lives.room_messages_max)
            room.until_s = now_s + self._life_s(room)
        return room

    def _life_s(self, room: _Room) -> int:
        """One that nothing was said in yet has a shorter one."""
        return self._lives.room_s if room.offset else self._lives.unused_room_s

    def _sweep(self, now_s: float) -> None:
        """Free rooms that have expired, and what is known of senders long silent."""
        self._sweep_s = now_s + SWEEP_S
        self._rooms = {name: room for name, room in self._rooms.items() if now_s < room.until_s}
        for room in self._rooms.values():
            before_s = now_s - self._lives.room_s
            for sender in [name for name, at_s in room.posted_s.items() if at_s < before_s]:
                del room.posted_s[sender], room.ids[sender]
