"""From a room to its members: what arrives together leaves together, one send a member.

    gather, gather, … ─▶ flush ─▶ now, or at the end of the tick (`room_tick_s`) ─▶ members

Called for every publication and for every delivery: what is done for each is done once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gevent

from echod.protocol.rooms import message

if TYPE_CHECKING:
    from echod.metrics import RoomMetrics
    from echod.rooms.kept import Kept
    from echod.rooms.room import Recipient, Room

# What gathers in a tick before it is sent sooner.
GATHERED_BYTES_MAX = 1 << 20


class Delivery:
    """See the module; `tick_s` is 0 where nothing waits for more."""

    def __init__(self, metrics: RoomMetrics, kept: Kept, tick_s: float) -> None:
        self._metrics = metrics
        self._kept = kept
        self._tick_s = tick_s
        self._timer: Any = None
        self._gathered_bytes = 0
        self._dirty: dict[Room, None] = {}

    def gather(self, room: Room, offset: int, said: bytes) -> None:
        """The room's next message; `flush` must follow the last of those that came together."""
        if not room.gathered:
            self._dirty[room] = None
        room.gathered.append(message(room.name, offset, said))
        self._gathered_bytes += len(said)

    def flush(self) -> None:
        """Send what has gathered: at once, or at the end of the tick."""
        if not self._dirty:
            return
        if not self._tick_s or self._gathered_bytes > GATHERED_BYTES_MAX:
            self._flush_now()
        elif self._timer is None:
            self._timer = gevent.get_hub().loop.timer(self._tick_s)
            self._timer.start(self.tick_over)

    def tick_over(self) -> None:
        """The tick has ended; nothing to do where none had begun."""
        if self._timer is not None:
            self._timer.close()
            self._timer = None
            self._flush_now()

    def flush_room(self, room: Room) -> None:
        """Send what has gathered in one room at once: its members' position is `room.position`."""
        if lines := room.gathered:
            room.gathered = []
            self._dirty.pop(room, None)
            if room.recovering:
                self._kept.sent(room, lines)
            self.send(room, b"".join(lines), len(lines))

    def send(self, room: Room, data: bytes, messages: int) -> None:
        """Send every member the same, with so many messages in it."""
        self._metrics.deliveries += messages * len(room.members)
        for member in tuple(room.members):
            member.push(data)

    def _flush_now(self) -> None:
        dirty, self._dirty = self._dirty, {}
        self._gathered_bytes = 0
        if len(dirty) == 1:
            self.flush_room(*dirty)
            return
        # Several rooms: still one send a member.
        owed: dict[Recipient, list[bytes]] = {}
        for room in dirty:
            lines, room.gathered = room.gathered, []
            if room.recovering:
                self._kept.sent(room, lines)
            data = b"".join(lines)
            self._metrics.deliveries += len(lines) * len(room.members)
            for member in room.members:
                if member in owed:
                    owed[member].append(data)
                else:
                    owed[member] = [data]
        for member, parts in owed.items():
            member.push(parts[0] if len(parts) == 1 else b"".join(parts))
