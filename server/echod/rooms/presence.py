"""Who is in a room here, as the fleet knows it: an announcement, under this daemon's lease.

WHO counts by announcements, the route `directed` sends by them, and a room in which nothing is
said lives by them (docs/adr/0009, 0014).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from echod.loop.guard import guarded
from echod.rooms.room import UNKNOWN
from echod.store.operations import Announce

if TYPE_CHECKING:
    from echod.rooms.room import Room
    from echod.store.batch import Write
    from echod.store.committer import Committer


class Presence:
    """See the module. A room's shard knows this daemon by its inbox there."""

    def __init__(self, committer: Committer) -> None:
        self._committer = committer
        self._failed: dict[Room, None] = {}

    def changed(self, room: Room) -> None:
        """Somebody has come or gone: say so, once for many changes."""
        if not room.announcing and room.announced != room.interested:
            self.announce(room)

    def announce(self, room: Room) -> None:
        """Say it at once: whatever is read behind it, posts find this daemon from then on."""
        room.announcing += 1
        room.announced = room.interested

        def done(write: Write | None) -> None:
            room.announcing -= 1
            if write is None:
                room.announced = UNKNOWN
                self._failed[room] = None
            else:
                self.changed(room)

        self._committer.call(Announce(room.name, room.feed.inbox, room.interested), done)

    def tick(self) -> None:
        """Say again what the store may not have heard."""
        failed, self._failed = self._failed, {}
        for room in failed:
            if room.announced == UNKNOWN and not room.announcing:
                guarded(self.announce, room)
