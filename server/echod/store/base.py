"""What a store is: the one place that outlives daemons.

`memory.py` and `redis.py` are held to the same behaviour by
tests/contract/test_store.py. The committer is the only caller.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from echod.store.batch import Write


@dataclass(frozen=True, slots=True)
class Lives:
    """How long a store keeps what, in seconds, and how much of a room.

    Attributes:
        state_s: a session after its last sign of life; `unused_s` before its first line.
        room_s: a room's oldest message, and the room after its last one or last member.
        room_messages_max: of a room, about.
        lease_s: a daemon after its last heartbeat: so long it counts as there.
        route: how a post finds its members' daemons; see `config.ROUTES`.
    """

    state_s: int
    unused_s: int
    room_s: int = 3600
    room_messages_max: int = 1000
    lease_s: int = 4
    route: str = "room"

    @property
    def record_s(self) -> int:
        """Of a record, which outlives its state, also when the daemon stood still in between.

        It is renewed once in `state_s` while there are lines.
        """
        return 3 * self.state_s

    @property
    def record_unused_s(self) -> int:
        """Until the first line."""
        return 2 * self.unused_s

    @property
    def announcement_s(self) -> int:
        """How many members a daemon has in a room: it is said anew three times as often."""
        return 90

    @property
    def unused_room_s(self) -> int:
        """A room in which nothing was said yet, after the last announcement of a member."""
        return min(self.room_s, self.announcement_s)


class StoreError(Exception):
    """The store did not do, or may not have done, what it was asked.

    `kind` is one lower-case word of few, for the metric: `timeout`, `closed`,
    `refused`, or the store's own word (`oom`, `loading`, `readonly` …).
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Store(Protocol):
    """One daemon's way to the store. Not for two greenlets at once."""

    connected: bool
    generation: int  # raised by whoever finds that the store lost data (DESIGN D9)

    def connect(self) -> bool:
        """Connect, and silence the connection before this one (DESIGN D2).

        Returns:
            Whether the store lost writes that it had acknowledged to this daemon.

        Raises:
            StoreError: it can't be had now; try again later.
        """

    def begin(self, writes: Sequence[Write]) -> None:
        """Send the batch, to be written in order; an empty one proves that the store is there.

        Raises:
            StoreError: as `finish`.
        """

    def finish(self) -> list[Write]:
        """Wait until the batch that was begun is written.

        Returns:
            The writes whose session the store does not have, although it was `stored`,
            or whose operation needs to own what it does not own any more: they were not
            written. All others are as durable as the store makes them, and have their
            `result`.

        Raises:
            StoreError: the batch was written in whole, in part or not at all; the
                store must be `reset` before anything else is asked of it.
        """

    def reset(self) -> None:
        """Drop the connection at once, with what it has not delivered."""

    def close(self) -> None:
        """Take leave: after the last commit."""
