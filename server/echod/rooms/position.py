"""How far into a room's stream somebody has been sent it: a daemon's members, or one. Pure.

    publication ──heard──▶ send it | known already | a hole: read the stream
    page of the stream ──read──▶ what members are sent, and whether that is all

Invariants (tests/unit/test_position.py holds them for random losses and orders):
  order     what is sent goes up by one, or a GAP says which are left out;
  once      no offset of one epoch is sent twice;
  complete  after a page that reached the stream's end, nothing up to there is missing.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from echod.protocol.rooms import gap, joined, message

if TYPE_CHECKING:
    from echod.metrics import Counts
    from echod.store.operations import Page


class Heard(Enum):
    """What a publication turned out to be."""

    NEXT = "next"
    KNOWN = "known"
    HOLE = "hole"


class Asked(NamedTuple):
    """The last message that members had been sent when a page was asked for."""

    epoch: bytes
    offset: int
    said: int | None

    @property
    def first(self) -> int:
        """Where the page begins: with that message, if it can be told from another."""
        return self.offset if self.said is not None else self.offset + 1

    def lacks(self, page: Page) -> bool:
        """Whether that message is lost: it is not there, or another has its place (ADR 24).

        What was trimmed is not: newer ones are there, or the room says how many there were.
        """
        if page.epoch != self.epoch:
            return False
        other = any(
            offset == self.offset and self.said not in (None, hash(said))
            for offset, said in page.messages[:1]
        )
        return other or page.last < self.offset


class Position:
    """See the module.

    Attributes:
        epoch: the history, b"" while none is known.
        offset: of the last message sent.
        said: a hash of that message; None while it is not known.
    """

    __slots__ = ("epoch", "offset", "room", "said")

    def __init__(self, room: bytes, epoch: bytes = b"", offset: int = 0) -> None:
        self.room = room
        self.epoch = epoch
        self.offset = offset
        self.said: int | None = None

    def hear(self, epoch: bytes, offset: int, said: bytes) -> Heard:
        """A publication has come; it is passed only if it is the next one."""
        if epoch == self.epoch:
            if offset == self.offset + 1:
                self.offset = offset
                self.said = hash(said)
                return Heard.NEXT
            if offset <= self.offset:
                return Heard.KNOWN
        return Heard.HOLE

    def read(self, page: Page, counts: Counts) -> tuple[bytes, bool]:
        """Take a page that was asked for from `offset + 1`, or from `offset` on.

        Returns:
            The lines to send; and whether this is now at the stream's end, as the page
            knew it.
        """
        if page.epoch != self.epoch:
            # Another history: nothing of the first one can be had, or told apart.
            told = joined(self.room, page.epoch, page.last, b"lost") if self.epoch else b""
            self.epoch, self.offset, self.said = page.epoch, page.last, None
            return told, True
        parts = []
        for offset, said in page.messages:
            if offset <= self.offset:
                continue
            if offset > self.offset + 1:
                parts.append(self._skip(offset - 1, counts))
            parts.append(message(self.room, offset, said))
            self.offset, self.said = offset, hash(said)
            counts.recovered += 1
        if not page.messages and page.last > self.offset:
            # Given once, and trimmed since: none of them is left.
            parts.append(self._skip(page.last, counts))
        return b"".join(parts), self.offset >= page.last

    def asked(self) -> Asked:
        """What is known of the stream now, for `Asked.lacks` when a page of it has come."""
        return Asked(self.epoch, self.offset, self.said)

    def _skip(self, last: int, counts: Counts) -> bytes:
        """Say that everything up to `last` can't be had."""
        first, self.offset, self.said = self.offset + 1, last, None
        counts.missing += last - first + 1
        return gap(self.room, first, last)
