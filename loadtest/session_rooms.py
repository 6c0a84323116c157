"""Which rooms one connection is in, and what may be said of them (PROTOCOL §3).

Pure; a part of `session.py`. Each function takes a line's words and returns its event, or
None where the line may not stand: of a room that was not joined, an offset that leaves a
hole or comes twice, a life that did not change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from loadtest import session_events as events

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loadtest.session_requests import Join


class _Place(NamedTuple):
    life: bytes
    next: int  # the offset of the message that must come next


class Rooms:
    """The rooms joined, and how far each has been heard."""

    __slots__ = ("_places",)

    def __init__(self) -> None:
        self._places: dict[bytes, _Place] = {}

    def __contains__(self, room: bytes) -> bool:
        return room in self._places

    def part(self, room: bytes) -> None:
        """Forget a room that is joined."""
        del self._places[room]

    def joined(self, asked: Join, words: Sequence[bytes]) -> events.Joined | None:
        """The answer to `asked`: fresh without a position, else recovered or lost."""
        room, life, offset, how = words
        positioned = asked.life is not None and asked.offset is not None
        if room != asked.room or positioned != (how != b"fresh"):
            return None
        # Recovered: what was missed follows the position that was asked for.
        if how == b"recovered" and (life, int(offset)) != (asked.life, asked.offset):
            return None
        self._places[room] = _Place(life, int(offset) + 1)
        return events.Joined(room, life, int(offset), how.decode())

    def lost(self, words: Sequence[bytes]) -> events.Joined | None:
        """JOINED unasked: the room has begun another life under its members."""
        room, life, offset, how = words
        place = self._places.get(room)
        if place is None or how != b"lost" or life == place.life:
            return None
        self._places[room] = _Place(life, int(offset) + 1)
        return events.Joined(room, life, int(offset), "lost", asked=False)

    def msg(self, words: Sequence[bytes]) -> events.Msg | None:
        """The next message."""
        room, offset, sender, text = words
        place = self._places.get(room)
        if place is None or int(offset) != place.next:
            return None
        self._places[room] = _Place(place.life, place.next + 1)
        return events.Msg(room, int(offset), sender, text)

    def gap(self, words: Sequence[bytes]) -> events.Gap | None:
        """Messages that can't be had, in their place."""
        room, first, last = words[0], int(words[1]), int(words[2])
        place = self._places.get(room)
        if place is None or not place.next == first <= last:
            return None
        self._places[room] = _Place(place.life, last + 1)
        return events.Gap(room, first, last)


class LedgerRooms(Rooms):
    """Passes every message and gap on, in whatever place: a ledger is to say what became of it.

    `Rooms` ends the connection at the first that may not stand there, and nobody counts it.
    """

    __slots__ = ()

    def joined(self, asked: Join, words: Sequence[bytes]) -> events.Joined | None:
        """The answer to `asked`, recovered from wherever."""
        room, life, offset, how = words
        if room != asked.room:
            return None
        self._places[room] = _Place(life, int(offset) + 1)
        return events.Joined(room, life, int(offset), how.decode())

    def msg(self, words: Sequence[bytes]) -> events.Msg | None:
        """A message."""
        room, offset, sender, text = words
        return events.Msg(room, int(offset), sender, text) if room in self else None

    def gap(self, words: Sequence[bytes]) -> events.Gap | None:
        """A gap."""
        room = words[0]
        return events.Gap(room, int(words[1]), int(words[2])) if room in self else None
