"""The rooms of a store in this process: what lua/ does in Redis, for a daemon alone."""

from __future__ import annotations

import secrets
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from echod.store.keys import ids_key
from echod.store.operations import FENCED, Conflict, Fenced, Page, Posted, Stale

if TYPE_CHECKING:
    from collections.abc import Callable

    from echod.store.base import Lives
    from echod.store.operations import Announce, Enter, Leave, Post, Read

# Of one sender in one room (PROTOCOL §3).
IDS_KEPT = 100
EPOCH_BYTES = 5


@dataclass(slots=True)
class _Ids:
    """A sender's last posts in a room: id → offset and the text's digest, upwards; its fence."""

    posts: dict[int, tuple[int, bytes]]
    fence: bytes
    until_at: float


class _Room:
    """A history."""

    def __init__(self, messages_max: int) -> None:
        self.epoch = b"0-" + secrets.token_hex(EPOCH_BYTES).encode()
        self.offset = 0
        self.messages: deque[tuple[int, bytes, float]] = deque(maxlen=messages_max)
        self.until_at = 0.0


class MemoryRooms:
    """See the module."""

    def __init__(self, lives: Lives, clock: Callable[[], float]) -> None:
        self._lives = lives
        self._clock = clock
        self._rooms: dict[bytes, _Room] = {}
        self._members: dict[bytes, dict[bytes, int]] = {}
        self._ids: dict[bytes, _Ids] = {}

    def enter(self, enter: Enter) -> bool:
        """The owner joins; whether no later one has."""
        ids = self._ids_of(enter.room, enter.sender)
        if ids.fence and _counted(ids.fence) > _counted(enter.fence):
            return False
        ids.fence = enter.fence
        self._keep_ids(enter.room, enter.sender, ids)
        return True

    def leave(self, leave: Leave) -> None:
        """The owner leaves."""
        ids = self._ids_of(leave.room, leave.sender)
        if ids.fence == leave.fence:
            ids.fence = b"%d:%d:" % _counted(leave.fence)  # no post's
            if not ids.posts:
                ids.until_at = self._clock() + self._lives.tombstone_s

    def post(self, post: Post) -> tuple[Posted | Stale | Conflict | Fenced, bytes]:
        """The offset, and what is published; nothing, if that has been posted before."""
        now_s = self._clock()
        ids = self._ids_of(post.room, post.sender)
        posts = ids.posts
        last = next(reversed(posts), 0)
        if post.id in posts:
            offset, digest = posts[post.id]
            return Posted(offset) if digest == post.digest else Conflict(), b""
        if post.id < last:
            return Stale(last + 1), b""
        if ids.fence != post.fence:
            return FENCED, b""
        room = self._room(post.room)
        room.offset += 1
        posts[post.id] = room.offset, post.digest
        self._keep_ids(post.room, post.sender, ids)
        if len(posts) > IDS_KEPT:
            del posts[next(iter(posts))]
        room.until_at = now_s + self._lives.room_s
        while room.messages and room.messages[0][2] < now_s - self._lives.room_s:
            room.messages.popleft()
        room.messages.append((room.offset, post.said, now_s))
        published = b"m %b %d %b %b" % (room.epoch, room.offset, post.room, post.said)
        return Posted(room.offset), published

    def read(self, read: Read) -> Page | None:
        """A page; the room begins if need be, and may."""
        there = self._rooms.get(read.room)
        if not read.begin and (there is None or self._clock() >= there.until_at):
            return None
        room = self._room(read.room)
        messages = [(at, said) for at, said, _ in room.messages if at >= read.first]
        return Page(room.epoch, room.offset, messages[: read.messages_max])

    def renew_ids(self, key: bytes) -> None:
        """The ids of a sender's posts live on, if there are any."""
        ids = self._ids.get(key)
        if ids is not None and self._clock() < ids.until_at:
            ids.until_at = self._clock() + self._lives.record_s

    def drop_ids(self, key: bytes) -> None:
        """The sender has ended."""
        self._ids.pop(key, None)

    def announce(self, announce: Announce) -> None:
        """So many members are here."""
        members = self._members.setdefault(announce.room, {})
        if announce.members:
            members[announce.inbox] = announce.members
            room = self._rooms.get(announce.room)
            if room is not None and self._clock() < room.until_at:
                room.until_at = self._clock() + self._life_s(room)
        else:
            members.pop(announce.inbox, None)
            if not members:
                del self._members[announce.room]

    def who(self, room: bytes) -> dict[bytes, int]:
        """Members by inbox."""
        return dict(self._members.get(room, {}))

    def _ids_of(self, room: bytes, sender: bytes) -> _Ids:
        """What is kept of a sender, or nothing yet."""
        ids = self._ids.get(ids_key(room, sender))
        return ids if ids is not None and self._clock() < ids.until_at else _Ids({}, b"", 0.0)

    def _keep_ids(self, room: bytes, sender: bytes, ids: _Ids) -> None:
        ids.until_at = self._clock() + self._lives.record_s
        self._ids[ids_key(room, sender)] = ids

    def _room(self, name: bytes) -> _Room:
        now_s = self._clock()
        room = self._rooms.get(name)
        if room is None or now_s >= room.until_at:
            room = self._rooms[name] = _Room(self._lives.room_messages_max)
            room.until_at = now_s + self._life_s(room)
        return room

    def _life_s(self, room: _Room) -> float:
        """One that nothing was said in yet has a shorter one."""
        return self._lives.room_s if room.offset else self._lives.unused_room_s

    def kept(self) -> dict[str, int]:
        """See `Store.kept`."""
        return {
            "room": len(self._rooms), "ids": len(self._ids), "announcement": len(self._members),
        }  # fmt: skip

    def sweep(self, now_s: float) -> None:
        """Free rooms that have expired, and ids of senders that have."""
        self._rooms = {name: room for name, room in self._rooms.items() if now_s < room.until_at}
        self._ids = {key: ids for key, ids in self._ids.items() if now_s < ids.until_at}


def _counted(fence: bytes) -> tuple[int, int]:
    """Generation and epoch of a fence, by which owners of one session are compared."""
    generation, epoch, _ = fence.split(b":")
    return int(generation), int(epoch)
