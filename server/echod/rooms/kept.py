"""What is kept of rooms for those who are on their way: so that neither takes for ever.

early  publications that overtook the page that is read of the room: they follow it
tail   what members were sent since the last page of who recovers: he arrives with it

Both are shortcuts. Above the bounds nothing is kept, and the stream is read instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from echod.rooms.room import Room

# Of one room: as many as a page has, so that keeping is worth one page where posts never pause.
ROOM_MESSAGES_MAX = 100
# Of all rooms together.
KEPT_BYTES_MAX = 8 << 20


class Kept:
    """See the module. `bytes` is the sum over all rooms."""

    def __init__(self) -> None:
        self.bytes = 0

    def overtook(self, room: Room, epoch: bytes, offset: int, said: bytes) -> bool:
        """A publication is ahead of the page that is read; whether it is kept until that comes."""
        if len(room.early) >= ROOM_MESSAGES_MAX or self.bytes >= KEPT_BYTES_MAX:
            return False
        room.early.append((epoch, offset, said))
        self._count(room)
        return True

    def take_early(self, room: Room) -> Sequence[tuple[bytes, int, bytes]]:
        """The page has come: what overtook it, which is not kept any more."""
        early, room.early = room.early, []
        self._count(room)
        return early

    def sent(self, room: Room, lines: Sequence[bytes]) -> None:
        """Members were sent `lines` while somebody recovers."""
        room.tail += lines
        del room.tail[:-ROOM_MESSAGES_MAX]
        self._count(room)
        if self.bytes > KEPT_BYTES_MAX:
            self.cut_tail(room)

    def cut_tail(self, room: Room) -> None:
        """The tail does not reach up to the position any more, or nobody needs it."""
        room.tail.clear()
        self._count(room)

    def forget(self, room: Room) -> None:
        """This daemon lets go of the room."""
        self.bytes -= room.kept_bytes
        room.kept_bytes = 0

    def _count(self, room: Room) -> None:
        """`early` or `tail`, of a hundred each at most, have changed."""
        kept_bytes = sum(map(len, room.tail)) + sum(len(said) for _, _, said in room.early)
        self.bytes += kept_bytes - room.kept_bytes
        room.kept_bytes = kept_bytes
