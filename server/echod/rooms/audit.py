"""Each room's position is held against the store: a message that left no trace here shows.

In turn, all rooms within `Lives.audit_s`; so presence is said anew, too. What the store has and
nobody published here gets a moment to arrive, and is counted as lost then, and read.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from typing import TYPE_CHECKING

from echod.loop.clock import TICK_S
from echod.loop.guard import guarded
from echod.store.operations import Page, Read

if TYPE_CHECKING:
    from collections.abc import Mapping

    from echod.loop.clock import Clock
    from echod.metrics import RoomMetrics
    from echod.rooms.catching_up import CatchingUp
    from echod.rooms.presence import Presence
    from echod.rooms.room import Room
    from echod.store.batch import Write
    from echod.store.committer import Committer

log = logging.getLogger(__name__)

# A message that the store has and nobody published here, for so long, was lost.
LATE_S = 1.0
# After so many audits, three times in its life, an announcement is made anew.
ANNOUNCE_AUDITS = 3


class Audit:
    """See the module. `rooms` are those of this daemon, as they are at each time."""

    def __init__(  # noqa: PLR0913 — its parts
        self,
        committer: Committer,
        clock: Clock,
        metrics: RoomMetrics,
        rooms: Mapping[bytes, Room],
        *,
        presence: Presence,
        catching_up: CatchingUp,
    ) -> None:
        self._committer = committer
        self._clock = clock
        self._metrics = metrics
        self._rooms = rooms
        self._presence = presence
        self._catching_up = catching_up
        self._round_s = committer.lives.audit_s
        self._round_at, self._round, self._rooms_per_tick = 0.0, 0, 0
        self._due: deque[Room] = deque()
        self._late: dict[Room, tuple[bytes, int, float]] = {}

    def tick(self) -> None:
        """Look at the next few rooms, and judge what was found late."""
        now_s = self._clock.now_s
        if now_s - self._round_at >= self._round_s and not self._due:
            self._round_at = now_s
            self._round += 1
            self._due.extend(self._rooms.values())
            # All of them within the time to the next round, however many they are.
            self._rooms_per_tick = math.ceil(len(self._due) * TICK_S / self._round_s)
        for _ in range(min(self._rooms_per_tick, len(self._due))):
            guarded(self._look, self._due.popleft())
        for room, (epoch, last, until_at) in tuple(self._late.items()):
            if now_s >= until_at:
                del self._late[room]
                guarded(self._judge, room, epoch, last)

    def _look(self, room: Room) -> None:
        """Say who is here, so that room and announcement live on; ask how far the room is."""
        if not room.interested:
            return
        if self._round % ANNOUNCE_AUDITS == 0:
            self._presence.announce(room)
        else:
            self._presence.changed(room)
        if not room.ready:
            return

        asked = room.position.asked()

        def done(write: Write | None) -> None:
            page = None if write is None else write.result
            if not isinstance(page, Page):
                return
            if asked.lacks(page):
                self._committer.lose(room.name, f"message {asked.offset} of a room")
            elif page.epoch != room.position.epoch:
                self._catching_up.read(room)  # another history, of which nobody has told
            elif page.last > room.position.offset:
                self._late[room] = page.epoch, page.last, self._clock.now_s + LATE_S

        self._committer.call(Read(room.name, asked.first, 1), done)

    def _judge(self, room: Room, epoch: bytes, last: int) -> None:
        """What was late has come meanwhile, or was lost without a trace."""
        lost = last - room.position.offset
        known = not room.gone and epoch == room.position.epoch
        if known and lost > 0 and room.ready and not room.reading:
            self._metrics.silent += lost
            log.error("room-messages-lost room=%s count=%d", room.name.decode(), lost)
            self._catching_up.read(room)
