"""What a history says of rooms: the ledger, WHO over time, who was back when. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from loadtest.room_ledger import Ledger

if TYPE_CHECKING:
    from loadtest.history import Event


class Count(NamedTuple):
    """One answer to WHO."""

    t: float
    room: str
    members: int
    daemons: int


class RoomFigures:
    """Feed it every event in the order of time, then `finish`.

    Attributes:
        ledger: every message on every path.
        counts: WHO's answers.
        back: (when, how long after its connection ended) of every JOINED of one that came back.
        inside: room → its members, by client.
    """

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.counts: list[Count] = []
        self.back: list[tuple[float, float]] = []
        self.inside: dict[str, set[str]] = {}
        self._names: dict[str, str] = {}
        self._closed: dict[str, float] = {}

    def feed(self, event: Event) -> None:
        """Take the next event; only those of members are looked at."""
        client, kind = event["c"], event["e"]
        if kind == "welcome":
            self._names[client] = event["name"]
        elif kind == "closed":
            self._closed.setdefault(client, event["t"])
        elif (kind == "bye" or event.get("code") == "unknown-session") and client in self._names:
            for room, members in self.inside.items():
                if client in members:
                    self._parted(client, room)
        elif "room" in event and client in self._names:
            self._of_room(self._names[client], event)

    def finish(self) -> None:
        """The history is at its end."""
        self.ledger.settle()

    def _of_room(self, member: str, event: Event) -> None:
        room, ledger = event["room"], self.ledger
        match event["e"]:
            case "say":
                ledger.say(member, room, event["id"], event["text"] or "")
            case "said":
                ledger.answered(member, room, event["id"], event["offset"] or 0)
            case "msg":
                ledger.message(
                    member, room, event["offset"] or 0, event["sender"], event["text"] or ""
                )
            case "gap":
                ledger.gap(member, room, event["first"], event["last"])
            case "joined":
                self._joined(member, event)
            case "parted":
                self._parted(event["c"], room)
            case "members":
                self.counts.append(Count(event["t"], room, event["members"], event["daemons"]))

    def _parted(self, client: str, room: str) -> None:
        """Nothing more is owed to it."""
        self.ledger.parted(self._names[client], room)
        self.inside[room].discard(client)

    def _joined(self, member: str, event: Event) -> None:
        room = event["room"]
        self.ledger.joined(member, room, event["life"] or "", event["offset"] or 0, event["how"])
        self.inside.setdefault(room, set()).add(event["c"])
        closed = self._closed.pop(event["c"], None)
        if closed is not None:
            self.back.append((event["t"], event["t"] - closed))
