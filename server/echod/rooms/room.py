"""A room that has, or just had, members here: what of it is known, who is in it, what it waits for.

Its states, each kept by the module that stands behind it:

    confirmed ─▶ reading ─▶ ready        catching_up   its posts arrive, and nothing is missing
    announcing, announced                presence      who the fleet knows to be here
    coming, entering ─▶ members          admission     who is on the way in, who has arrived
                     └▶ recovering ─▶    recovery      who still has to be sent what was missed
    gathered                             delivery      what members are about to be sent
    early, tail                          kept          what is kept for those on their way
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from echod.rooms.position import Position

if TYPE_CHECKING:
    from collections.abc import Callable

    from echod.rooms.feed import Feed

# `Room.announced` where nobody knows whether the store was told.
UNKNOWN = -1


class Recipient(Protocol):
    """Who is sent a room's messages: a member."""

    @property
    def push(self) -> Callable[[bytes], None]:
        """Sends whole lines, unasked. An attribute, because it is called for every delivery."""


class Latecomer(Protocol):
    """A recipient's way through what it missed (recovery.py)."""

    @property
    def epoch(self) -> bytes:
        """The history that it recovers."""

    def step(self) -> None:
        """Go on, if nothing is against it: the client has taken what it was sent."""

    def stop(self) -> None:
        """It has arrived, or has left."""


class Room:
    """See the module.

    Attributes:
        feed: of the shard where it lives.
        position: what the members have been sent, `gathered` included.
        confirmed: what is posted from now on arrives here.
        reading: its stream is being read; `read_again` when it must be once more.
        ready: it is confirmed, and read to the end: members may come in.
        announced: members as the store was last told; `UNKNOWN` if nobody knows whether it was.
        announcing: announcements on their way.
        coming: those who asked to enter, until they have arrived or given up.
        entering: of these, who waits for `ready`: until when, and whom to tell.
        members: those who are sent what comes; `recovering` are on their way there.
        gathered: lines that members are sent with the next flush.
        early: what was published beyond a hole, while the stream is read.
        tail: the last lines that members were sent, while somebody recovers.
        kept_bytes: of `early` and `tail`, see `kept.Kept`.
        empty_at: when the last one who was interested left.
        gone: this daemon has let go of it.
    """

    __slots__ = (
        "announced",
        "announcing",
        "coming",
        "confirmed",
        "early",
        "empty_at",
        "entering",
        "feed",
        "gathered",
        "gone",
        "kept_bytes",
        "members",
        "name",
        "position",
        "read_again",
        "reading",
        "ready",
        "recovering",
        "tail",
    )  # fmt: skip

    def __init__(self, name: bytes, feed: Feed) -> None:
        self.name = name
        self.feed = feed
        self.position = Position(name)
        self.members: dict[Recipient, None] = {}
        self.recovering: dict[Recipient, Latecomer] = {}
        self.entering: list[tuple[float, Callable[[Room | None], None]]] = []
        self.gathered: list[bytes] = []
        self.early: list[tuple[bytes, int, bytes]] = []
        self.tail: list[bytes] = []
        self.confirmed = self.ready = self.reading = self.read_again = self.gone = False
        self.coming = self.announced = self.announcing = self.kept_bytes = 0
        self.empty_at = 0.0

    @property
    def interested(self) -> int:
        """Members, and those who will be."""
        return len(self.members) + len(self.recovering) + self.coming
