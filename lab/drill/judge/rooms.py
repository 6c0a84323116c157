"""What a history says of rooms: the ledger, WHO over time, who was back when. Pure.

In a soak also whether they live while somebody is in them, and are counted. A room's history
may change only after nobody was in it for longer than it lives. An answer to WHO is held to
the members only where all has been calm for longer than a daemon's lease, which is how long
one that was killed is counted.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from lab.drill.judge import violations as rules
from loadtest.room_ledger import Ledger

if TYPE_CHECKING:
    from lab.drill.judge.signs import Signs
    from lab.drill.judge.tenure import Connection, Tenure
    from loadtest.history import Event

# A client notices the end of its connection later than others that it is no member any more.
NOTICE_S = 0.5
# Beside a life: the daemon's ticks, and a batch.
SLACK_S = 0.5
# Of an announcement's life, how old the last one may have been when a daemon died.
ANNOUNCED = 1 / 3


class Count(NamedTuple):
    """One answer to WHO: when it was asked, by whom, and how many were connected to the room."""

    event: Event
    asked_s: float
    by: Connection
    there: int


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
    """`Checker` feeds it what is said of rooms, and the ends of connections.

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
        self._closed_s: dict[str, float] = {}
        self._rooms: defaultdict[str, _Room] = defaultdict(_Room)
        self._left_s: dict[tuple[str, str], float] = {}  # by (client, room)
        self._posts: dict[tuple[str, str, int], tuple[int, float]] = {}  # → offset, first said
        # Of (session, room), the latest owner that has joined, and the posts of others since.
        self._owners: dict[tuple[str, str], Tenure] = {}
        self._fenced: dict[tuple[str, str, str], Event] = {}

    def members(self, room: str) -> int:
        """How many have joined it and not left, whether they are there or cut."""
        return len(self._rooms[room].members)

    def feed(self, by: Connection, event: Event, asked: Event | None) -> None:
        """The next event, and the request that it answers."""
        kind = event["e"]
        if "room" in event:
            self._of_room(by, event, asked, self._rooms[event["room"]])
        elif kind in ("closed", "bye") or event.get("code") == "unknown-session":
            self._gone(by, event)

    def hold_fence(self, by: Connection, event: Event) -> None:
        """What an earlier owner posts after a later one has joined, nobody hears (§2.3)."""
        kind, tenure = event["e"], by.tenure
        if tenure is None or kind not in ("joined", "say", "msg"):
            return
        room, text = event["room"], event.get("text") or ""
        owner = self._owners.get((by.session.name, room))
        if kind == "joined" and (owner is None or owner.epoch < tenure.epoch):
            self._owners[by.session.name, room] = tenure
        elif kind == "say" and owner is not None and tenure.epoch < owner.epoch:
            self._fenced[by.session.name, room, text] = event
        elif kind == "msg" and (late := self._fenced.get((event["sender"], room, text))):
            wrong = f"{room}: posted after a later owner of {event['sender']} had joined, and heard"
            self._signs.broken(rules.FENCE, event["sender"], wrong, late, event)

    def finish(self) -> None:
        """The history is at its end."""
        self.ledger.settle()
        for room in self._rooms.values():
            self._judge(room, math.inf)

    def _of_room(self, by: Connection, event: Event, asked: Event | None, room: _Room) -> None:
        match event["e"]:
            case "join":
                self._change(room, event["t"])
            case "joined":
                self._joined(by, event, room, asked=asked is not None and asked["e"] == "join")
            case "part" | "parted" as kind:
                self._leave(by, event["room"], room, event["t"])
                if kind == "parted":
                    self._parted(by, event["room"], room)
            case "members":
                asked_s = asked["t"] if asked is not None else -math.inf
                self._counted(Count(event, asked_s, by, len(room.inside)), room)
            case _:
                self._of_message(by, event, room)

    def _of_message(self, by: Connection, event: Event, room: _Room) -> None:
        member, name, ledger = by.session.name, event["room"], self.ledger
        match event["e"]:
            case "say":
                ledger.say(member, name, event["id"], event["text"] or "")
            case "said":
                ledger.answered(member, name, event["id"], event["offset"] or 0)
                if by.store:
                    self._said(by, event)
            case "msg":
                room.used = True
                offset, sender = event["offset"] or 0, event["sender"]
                ledger.message(member, name, offset, sender, event["text"] or "")
            case "gap":
                ledger.gap(member, name, event["first"], event["last"])

    # Coming and going.

    def _joined(self, by: Connection, event: Event, room: _Room, *, asked: bool) -> None:
        client, member = by.client, by.session.name
        name, t, life, how = event["room"], event["t"], event["life"] or "", event["how"]
        self.ledger.joined(member, name, life, event["offset"] or 0, how)
        room.members.add(client)
        closed_s = self._closed_s.pop(client, None)
        if closed_s is not None:
            self.back.append(t - closed_s)
        if not asked:
            if by.store:
                text = f"{name}: JOINED {how}, unasked"
                self._signs.broken(rules.ANEW, member, text, event)
            room.life = life
            return
        if room.life != life:
            alone_s = t - room.empty_s if not room.inside else 0.0
            life_s = self._lives.room_s if room.used else self._lives.unused_room_s
            least_s = life_s - ANNOUNCED * self._lives.announcement_s - SLACK_S
            if by.store and room.life and alone_s < least_s:
                text = f"{name} began anew, and nobody was in it for {alone_s:.2f} s only"
                self._signs.broken(rules.ROOM, member, text, event)
            room.life, room.used = life, False
        if how == "recovered" and (client, name) in self._left_s:
            self._signs.times["recovered", by.store].append(t - self._left_s[client, name])
        room.used = room.used or bool(event["offset"])
        room.inside.add(client)
        room.empty_s = math.inf
        self._change(room, t)

    def _gone(self, by: Connection, event: Event) -> None:
        """Its connection has ended, or its session has."""
        ends, t = event["e"] != "closed", event["t"]
        if not ends:
            self._closed_s.setdefault(by.client, t)
        asked = {due.event["room"] for due in by.due if due.event["e"] == "join"}
        for name, room in self._rooms.items():
            if name in asked or by.client in room.inside:
                self._leave(by, name, room, t)
            if ends and by.client in room.members:
                self._parted(by, name, room)

    def _parted(self, by: Connection, name: str, room: _Room) -> None:
        """Nothing more is owed to it."""
        self.ledger.parted(by.session.name, name)
        room.members.discard(by.client)

    def _leave(self, by: Connection, name: str, room: _Room, t: float) -> None:
        if by.client in room.inside:
            room.inside.discard(by.client)
            self._left_s[by.client, name] = t
            if not room.inside:
                room.empty_s = t
        self._change(room, t)

    # WHO.

    def _counted(self, count: Count, room: _Room) -> None:
        self.counts.append(count)
        if count.by.store:
            self._judge(room, count.event["t"] - NOTICE_S)
            room.counts.append(count)

    def _change(self, room: _Room, t: float) -> None:
        """Members come or go: answers before and after are not held to anything."""
        self._judge(room, t - NOTICE_S)
        room.counts.clear()
        room.changed_s = t

    def _judge(self, room: _Room, until_s: float) -> None:
        """Those that nothing has unsettled since."""
        while room.counts and room.counts[0].event["t"] < until_s:
            count = room.counts.popleft()
            members, by = count.event["members"], count.by
            if count.asked_s < room.changed_s + self._settle_s:
                continue
            if members == count.there:
                self._signs.counts["counted", by.store] += 1
            else:
                text = f"WHO says {members}, and {count.there} are there"
                self._signs.broken(rules.COUNT, by.session.name, text, count.event)

    # Posts.

    def _said(self, by: Connection, event: Event) -> None:
        """A post that is sent again stands where it stood."""
        room, number, offset, t = event["room"], event["id"], event["offset"] or 0, event["t"]
        stands, first_s = self._posts.setdefault((by.client, room, number), (offset, t))
        if stands != offset:
            text = f"{room}: post {number} stands at {stands}, and again at {offset}"
            self._signs.broken(rules.TWICE, by.session.name, text, event)
        elif first_s != t:
            self._signs.times["repeats", by.store].append(t - first_s)
