"""Who comes into rooms here, and leaves them: within the daemon's bounds, and in order.

refuses ─▶ enter ─▶ (the room is ready) admit ─▶ arrive ─▶ member
             └─▶ too late, or no room for it: turn_away      └─▶ recovery ─▶ add ─▶ member
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from echod.loop.guard import guarded

if TYPE_CHECKING:
    from collections.abc import Callable

    from echod.config import Config
    from echod.loop.clock import Clock
    from echod.rooms.delivery import Delivery
    from echod.rooms.kept import Kept
    from echod.rooms.presence import Presence
    from echod.rooms.room import Latecomer, Recipient, Room


class Admission:
    """See the module.

    Attributes:
        memberships: of all rooms, those on their way in included; `memberships_max` at most.
    """

    def __init__(  # noqa: PLR0913 — its parts
        self,
        config: Config,
        clock: Clock,
        *,
        presence: Presence,
        delivery: Delivery,
        kept: Kept,
        emptied: Callable[[Room], None],
    ) -> None:
        """`emptied` is called with a room in which nobody is interested any more."""
        self.memberships = 0
        self._memberships_max = config.memberships_max
        self._enter_s_max = config.commit_s_max
        self._clock = clock
        self._presence = presence
        self._delivery = delivery
        self._kept = kept
        self._emptied = emptied
        self._waited_for: dict[Room, None] = {}

    def refusal(self) -> str:
        """Why nobody more can enter any room here; "" if he can."""
        if self.memberships >= self._memberships_max:
            return f"{self._memberships_max} memberships on this daemon"
        return ""

    def enter(self, room: Room, then: Callable[[Room | None], None]) -> bool:
        """Call `then` with the room once it is ready; with None if that takes too long.

        Whoever got the room must `arrive`, or `cancel`.

        Returns:
            Whether the room is to be read for it: not if it is ready, or others wait already.
        """
        room.coming += 1
        self.memberships += 1
        if room.ready:
            then(room)
            return False
        first = not room.entering
        room.entering.append((self._clock.now_s + self._enter_s_max, then))
        self._waited_for[room] = None
        if first:
            self._presence.announce(room)
        else:
            self._presence.changed(room)
        return first

    def admit(self, room: Room) -> None:
        """It is ready: everybody who waits comes in."""
        entering, room.entering = room.entering, []
        for _, then in entering:
            guarded(then, room)

    def turn_away(self, room: Room, now_s: float = math.inf) -> None:
        """Those for whom it takes too long; all of them, where the room can't begin."""
        overdue = [then for until_at, then in room.entering if until_at <= now_s]
        room.entering = room.entering[len(overdue) :]
        for then in overdue:
            room.coming -= 1
            self.memberships -= 1
            guarded(then, None)
        self._changed(room)

    def cancel(self, room: Room) -> None:
        """Who asked to enter does not come."""
        room.coming -= 1
        self.memberships -= 1
        self._changed(room)

    def arrive(self, room: Room, member: Recipient, recovery: Latecomer | None = None) -> None:
        """`member` is one from now on; with a `recovery`, on its way through what it missed."""
        room.coming -= 1
        if recovery is None:
            self.add(room, member)
        else:
            room.recovering[member] = recovery
            self._changed(room)

    def add(self, room: Room, member: Recipient) -> None:
        """From now on `member` is sent what comes after the room's position."""
        self._delivery.flush_room(room)
        self._recovers_no_more(room, member)
        room.members[member] = None
        self._changed(room)

    def remove(self, room: Room, member: Recipient) -> None:
        """It has left."""
        self.memberships -= 1
        room.members.pop(member, None)
        self._recovers_no_more(room, member)
        self._changed(room)

    def tick(self) -> None:
        """Turn away those who have waited too long."""
        now_s = self._clock.now_s
        waited_for, self._waited_for = self._waited_for, {}
        for room in waited_for:
            if room.entering and now_s >= room.entering[0][0]:
                guarded(self.turn_away, room, now_s)
            if room.entering:
                self._waited_for[room] = None

    def _recovers_no_more(self, room: Room, member: Recipient) -> None:
        recovery = room.recovering.pop(member, None)
        if recovery is not None:
            recovery.stop()
            if not room.recovering:
                self._kept.cut_tail(room)

    def _changed(self, room: Room) -> None:
        if not room.interested:
            self._emptied(room)
        self._presence.changed(room)
