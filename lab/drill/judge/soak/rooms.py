"""What a soak's history says of rooms: they live while somebody is in them, and are counted. Pure.

A part of `figures.py`. A room's members are those whom clients saw joined. Its history may
change only after nobody was in it for longer than it lives; whoever comes back with a position
is told what he missed, unless a later post has trimmed what is older than that. An answer to WHO is held to the members
only where all has been calm for longer than a daemon's lease, which is how long one that was
killed is counted.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from echod.store.base import Lives
    from loadtest.history import Event

# A client notices the end of its connection later than others that it is no member any more.
NOTICE_S = 0.5
# Beside a life: the daemon's ticks, and a batch.
SLACK_S = 0.5
# Of an announcement's life, how old the last one may have been when a daemon died.
ANNOUNCED = 1 / 3


@dataclass(slots=True)
class _Room:
    life: str = ""
    last: int = 0
    posted_s: dict[int, float] = field(default_factory=dict)  # offset → when it was first seen
    latest_s: float = -math.inf  # when the last of them was
    inside: set[str] = field(default_factory=set)
    empty_s: float = -math.inf  # since when nobody is in it
    changed_s: float = -math.inf
    counts: deque[tuple[float, float, str, int, int]] = field(default_factory=deque)


class SoakRooms:
    """Feed it every event in the order of time, then `finish`.

    Attributes:
        counted: answers to WHO that were right, by store.
        repeats: how old each post was that was sent again and was known, by store.
        recovered: how long each member had been away who came back at his position, by store.
        begun: histories, by store.
    """

    def __init__(self, lives: Lives, wrong: Callable[[str, str, str], None]) -> None:
        self._lives = lives
        self._settle_s = lives.lease_s + NOTICE_S + SLACK_S
        self._wrong = wrong
        self.counted: dict[str, int] = {}
        self.repeats: dict[str, list[float]] = {}
        self.recovered: dict[str, list[float]] = {}
        self.begun: dict[str, int] = {}
        self._rooms: dict[str, _Room] = {}
        self._joins: dict[tuple[str, str], deque[Event]] = {}
        self._left_s: dict[tuple[str, str], float] = {}
        self._asked: dict[str, deque[Event]] = {}
        self._posts: dict[tuple[str, str, int], tuple[int, float]] = {}

    def feed(self, client: str, store: str, event: Event) -> None:
        """Take the next event of a client of the soak."""
        kind, t = event["e"], event["t"]
        if kind in ("closed", "bye"):
            self._gone(client, t)
        elif "room" in event:
            self._of_room(client, store, event)

    def _of_room(self, client: str, store: str, event: Event) -> None:
        name, t = event["room"], event["t"]
        room = self._rooms.setdefault(name, _Room())
        match event["e"]:
            case "join":
                self._joins.setdefault((client, name), deque()).append(event)
                self._change(room, t)
            case "joined":
                self._joined(client, store, room, event)
            case "part" | "parted":
                self._leave(client, name, room, t)
            case "who":
                self._asked.setdefault(client, deque()).append(event)
            case "members":
                self._counted(client, store, room, event)
            case "said":
                self._said(client, store, event)
            case "msg":
                self._posted(room, event)
            case "gap":
                text = f"{name}: GAP {event['first']} {event['last']}"
                self._wrong("missing", client, text)

    def finish(self) -> None:
        """The history is at its end."""
        for room in self._rooms.values():
            self._judge(room, math.inf)

    # Coming and going.

    def _gone(self, client: str, t: float) -> None:
        """Its connection has ended."""
        for name, room in self._rooms.items():
            if client in room.inside:
                self._leave(client, name, room, t)
            if self._joins.pop((client, name), None):
                self._change(room, t)
        self._asked.pop(client, None)

    def _joined(self, client: str, store: str, room: _Room, event: Event) -> None:
        name, t, life = event["room"], event["t"], event["life"] or ""
        asked = self._joins.get((client, name))
        if not asked:
            text = f"{name}: JOINED {event['how']}, unasked"
            self._wrong("its room began anew", client, text)
            room.life = life
            return
        join = asked.popleft()
        if room.life != life:
            alone_s = t - room.empty_s if not room.inside else 0.0
            lives_s = self._room_s(room) - ANNOUNCED * self._lives.announcement_s - SLACK_S
            if room.life and alone_s < lives_s:
                text = f"{name} began anew, and nobody was in it for {alone_s:.2f} s only"
                self._wrong("a room was lost", client, text)
            room.life, room.last = life, 0
            room.posted_s.clear()
            self.begun[store] = self.begun.get(store, 0) + 1
        away_s = t - self._left_s.get((client, name), -math.inf)
        if event["how"] == "lost" and join["life"] == life:
            first = (join["offset"] or 0) + 1
            age_s = room.latest_s - room.posted_s.get(first, math.inf)
            if age_s < self._lives.room_s - SLACK_S:  # only a post trims what is too old
                text = f"{name}: JOINED lost, and message {first} could be had"
                self._wrong("what it missed was lost", client, text)
        elif event["how"] == "recovered" and away_s < math.inf:
            self.recovered.setdefault(store, []).append(away_s)
        room.last = max(room.last, event["offset"] or 0)
        room.inside.add(client)
        room.empty_s = math.inf
        self._change(room, t)

    def _leave(self, client: str, name: str, room: _Room, t: float) -> None:
        if client in room.inside:
            room.inside.discard(client)
            self._left_s[client, name] = t
            if not room.inside:
                room.empty_s = t
        self._change(room, t)

    def _posted(self, room: _Room, event: Event) -> None:
        offset = event["offset"] or 0
        room.last = max(room.last, offset)
        if offset not in room.posted_s:
            room.posted_s[offset] = room.latest_s = event["t"]

    def _room_s(self, room: _Room) -> float:
        return self._lives.room_s if room.last else self._lives.unused_room_s

    # WHO.

    def _counted(self, client: str, store: str, room: _Room, event: Event) -> None:
        asked = self._asked.get(client)
        if not asked:
            return
        asked_s, t = asked.popleft()["t"], event["t"]
        self._judge(room, t - NOTICE_S)
        # Which store's room it is, its name says; the number inside is as of now.
        room.counts.append((asked_s, t, client, event["members"] or 0, len(room.inside)))
        self.counted.setdefault(store, 0)

    def _change(self, room: _Room, t: float) -> None:
        """Members come or go: answers before and after are not held to anything."""
        self._judge(room, t - NOTICE_S)
        room.counts.clear()
        room.changed_s = t

    def _judge(self, room: _Room, until_s: float) -> None:
        """Those that nothing has unsettled since."""
        while room.counts and room.counts[0][1] < until_s:
            asked_s, _, client, members, inside = room.counts.popleft()
            if asked_s < room.changed_s + self._settle_s:
                continue
            if members == inside:
                store = _store_of(client)
                self.counted[store] += 1
            else:
                self._wrong("miscounted", client, f"WHO says {members}, and {inside} are there")

    # Posts.

    def _said(self, client: str, store: str, event: Event) -> None:
        key = client, event["room"], event["id"]
        offset, t = event["offset"] or 0, event["t"]
        first = self._posts.setdefault(key, (offset, t))
        if first[0] != offset:
            text = f"{key[1]}: post {key[2]} stands at {first[0]}, and again at {offset}"
            self._wrong("posted twice", client, text)
        elif first[1] != t:
            self.repeats.setdefault(store, []).append(t - first[1])


def _store_of(client: str) -> str:
    return client[1]
