"""What a history says of rooms: the ledger, WHO over time, who was back when. Pure.

In a soak also whether they live while somebody is in them, and are counted. A room's history
may change only after nobody was in it for longer than it lives. An answer to WHO is held to
the members only where all has been calm for longer than a daemon's lease, which is how long
one that was killed is counted.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from lab.drill.judge import violations as rules
from lab.drill.judge.signs import NAME
from loadtest.room_ledger import Ledger

if TYPE_CHECKING:
    from lab.drill.judge.signs import Signs
    from loadtest.history import Event

# A client notices the end of its connection later than others that it is no member any more.
NOTICE_S = 0.5
# Beside a life: the daemon's ticks, and a batch.
SLACK_S = 0.5
# Of an announcement's life, how old the last one may have been when a daemon died.
ANNOUNCED = 1 / 3


class Count(NamedTuple):
    """One answer to WHO; `there`: so many were connected to the room when it came."""

    t: float
    room: str
    members: int
    daemons: int
    asked_s: float
    there: int
    event: Event


@dataclass(slots=True)
class _Room:
    life: str = ""
    used: bool = False  # its history has a message
    members: set[str] = field(default_factory=set)  # also who is cut
    inside: set[str] = field(default_factory=set)  # who is not
    empty_s: float = -math.inf  # since when nobody is inside
    changed_s: float = -math.inf
    counts: deque[Count] = field(default_factory=deque)  # not judged yet


class Rooms:
    """Feed it every event in the order of time, then `finish`.

    Args:
        signs: of a soak's clients, with the daemons' lives; what is seen here is counted there.

    Attributes:
        ledger: every message on every path.
        counts: WHO's answers.
        back: how long after its connection ended each JOINED of one came that came back.
    """

    def __init__(self, signs: Signs) -> None:
        self._signs, self._lives = signs, signs.short.lives
        self._settle_s = self._lives.lease_s + NOTICE_S + SLACK_S
        self.ledger = Ledger()
        self.counts: list[Count] = []
        self.back: list[float] = []
        self._names: dict[str, str] = {}  # client → its session's
        self._closed_s: dict[str, float] = {}
        self._rooms: defaultdict[str, _Room] = defaultdict(_Room)
        self._joins: Counter[tuple[str, str]] = Counter()  # asked, by (client, room)
        self._left_s: dict[tuple[str, str], float] = {}
        self._asked_s: defaultdict[str, deque[float]] = defaultdict(deque)  # WHO, by client
        self._posts: dict[tuple[str, str, int], tuple[int, float]] = {}  # → offset, first said

    def members(self, room: str) -> int:
        """How many have joined it and not left, whether they are there or cut."""
        return len(self._rooms[room].members)

    def feed(self, event: Event) -> None:
        """Take the next event; only those of members are looked at."""
        client, kind = event["c"], event["e"]
        if kind == "welcome":
            self._names[client] = event["name"]
        elif client not in self._names:
            return
        elif "room" in event:
            self._of_room(client, event, self._rooms[event["room"]])
        elif kind in ("closed", "bye") or event.get("code") == "unknown-session":
            self._gone(client, event, ends=kind != "closed")

    def finish(self) -> None:
        """The history is at its end."""
        self.ledger.settle()
        for room in self._rooms.values():
            self._judge(room, math.inf)

    def _of_room(self, client: str, event: Event, room: _Room) -> None:
        match event["e"]:
            case "join":
                self._joins[client, event["room"]] += 1
                self._change(room, event["t"])
            case "joined":
                self._joined(client, event, room)
            case "part" | "parted" as kind:
                self._leave(client, event["room"], room, event["t"])
                if kind == "parted":
                    self._parted(client, event["room"], room)
            case "who":
                self._asked_s[client].append(event["t"])
            case "members":
                self._members(client, event, room)
            case _:
                self._of_message(client, event, room)

    def _of_message(self, client: str, event: Event, room: _Room) -> None:
        member, name, ledger = self._names[client], event["room"], self.ledger
        match event["e"]:
            case "say":
                ledger.say(member, name, event["id"], event["text"] or "")
            case "said":
                ledger.answered(member, name, event["id"], event["offset"] or 0)
                self._said(client, event)
            case "msg":
                room.used = True
                offset, sender = event["offset"] or 0, event["sender"]
                ledger.message(member, name, offset, sender, event["text"] or "")
            case "gap":
                ledger.gap(member, name, event["first"], event["last"])

    # Coming and going.

    def _joined(self, client: str, event: Event, room: _Room) -> None:
        name, t, life, how = event["room"], event["t"], event["life"] or "", event["how"]
        self.ledger.joined(self._names[client], name, life, event["offset"] or 0, how)
        room.members.add(client)
        closed_s = self._closed_s.pop(client, None)
        if closed_s is not None:
            self.back.append(t - closed_s)
        store = _store_of(client)
        if not self._joins[client, name]:
            if store:
                text = f"{name}: JOINED {how}, unasked"
                self._signs.broken(rules.ANEW, self._names[client], text, event)
            room.life = life
            return
        self._joins[client, name] -= 1
        if room.life != life:
            alone_s = t - room.empty_s if not room.inside else 0.0
            life_s = self._lives.room_s if room.used else self._lives.unused_room_s
            if store and room.life and (
                alone_s < life_s - ANNOUNCED * self._lives.announcement_s - SLACK_S
            ):  # fmt: skip
                text = f"{name} began anew, and nobody was in it for {alone_s:.2f} s only"
                self._signs.broken(rules.ROOM, self._names[client], text, event)
            room.life, room.used = life, False
        if how == "recovered" and (client, name) in self._left_s:
            self._signs.times["recovered", store].append(t - self._left_s[client, name])
        room.used = room.used or bool(event["offset"])
        room.inside.add(client)
        room.empty_s = math.inf
        self._change(room, t)

    def _gone(self, client: str, event: Event, *, ends: bool) -> None:
        """Its connection has ended, or its session has."""
        if not ends:
            self._closed_s.setdefault(client, event["t"])
        for name, room in self._rooms.items():
            asked = self._joins.pop((client, name), 0)
            if asked or client in room.inside:
                self._leave(client, name, room, event["t"])
            if ends and client in room.members:
                self._parted(client, name, room)
        self._asked_s.pop(client, None)

    def _parted(self, client: str, name: str, room: _Room) -> None:
        """Nothing more is owed to it."""
        self.ledger.parted(self._names[client], name)
        room.members.discard(client)

    def _leave(self, client: str, name: str, room: _Room, t: float) -> None:
        if client in room.inside:
            room.inside.discard(client)
            self._left_s[client, name] = t
            if not room.inside:
                room.empty_s = t
        self._change(room, t)

    # WHO.

    def _members(self, client: str, event: Event, room: _Room) -> None:
        t, asked = event["t"], self._asked_s[client]
        asked_s = asked.popleft() if asked else -math.inf
        count = Count(
            t, event["room"], event["members"], event["daemons"], asked_s, len(room.inside), event
        )
        self.counts.append(count)
        if _store_of(client):
            self._judge(room, t - NOTICE_S)
            room.counts.append(count)

    def _change(self, room: _Room, t: float) -> None:
        """Members come or go: answers before and after are not held to anything."""
        self._judge(room, t - NOTICE_S)
        room.counts.clear()
        room.changed_s = t

    def _judge(self, room: _Room, until_s: float) -> None:
        """Those that nothing has unsettled since."""
        while room.counts and room.counts[0].t < until_s:
            count = room.counts.popleft()
            client = count.event["c"]
            if count.asked_s < room.changed_s + self._settle_s:
                continue
            if count.members == count.there:
                self._signs.counts["counted", _store_of(client)] += 1
            else:
                text = f"WHO says {count.members}, and {count.there} are there"
                self._signs.broken(rules.COUNT, self._names[client], text, count.event)

    # Posts.

    def _said(self, client: str, event: Event) -> None:
        store = _store_of(client)
        if not store:
            return
        key, offset, t = (client, event["room"], event["id"]), event["offset"] or 0, event["t"]
        stands, first_s = self._posts.setdefault(key, (offset, t))
        if stands != offset:
            text = f"{key[1]}: post {key[2]} stands at {stands}, and again at {offset}"
            self._signs.broken(rules.TWICE, self._names[client], text, event)
        elif first_s != t:
            self._signs.times["repeats", store].append(t - first_s)


def _store_of(client: str) -> str:
    """Of a soak's client; empty of any other."""
    found = NAME.match(client)
    return found[1] if found else ""
