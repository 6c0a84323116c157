"""A room is read to the end of its stream: what was not published here, or too early.

    read ─▶ page ─▶ what members are sent ─▶ not the end, or more was missed: read again
                                          └▶ the end ─▶ ready: who waits comes in

A publication that is not the next one is ahead of what is read (`overtaken`): it is kept until
the page has come. Where daemons publish once replicas have a post, each with its next batch,
neighbours overtake each other (ADR 23): what is missing gets a moment to arrive before it is read.
Reads are retried with the next tick while the store is away.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING

import gevent

from echod.loop.guard import guarded
from echod.protocol.rooms import message
from echod.rooms.pages import ROOM_PAGES_MAX, Pages
from echod.rooms.position import Heard
from echod.store.operations import Page, Read

if TYPE_CHECKING:
    from collections.abc import Callable

    from echod.metrics import RoomMetrics
    from echod.rooms.admission import Admission
    from echod.rooms.delivery import Delivery
    from echod.rooms.kept import Kept
    from echod.rooms.room import Room
    from echod.store.batch import Write
    from echod.store.committer import Committer
    from echod.store.routes import Route

# Of a stream at once: bounds what a batch carries for a room to some 100 lines.
PAGE_MESSAGES = 100
# What is missing gets so long to arrive, where publications overtake each other: some batches.
HOLE_S = 0.02


class CatchingUp:
    """See the module.

    Attributes:
        later: calls somebody in so many seconds.
    """

    def __init__(  # noqa: PLR0913 — its parts
        self,
        committer: Committer,
        metrics: RoomMetrics,
        route: Route,
        *,
        admission: Admission,
        delivery: Delivery,
        kept: Kept,
        hole_s: float,
    ) -> None:
        """`hole_s`: what is missing gets so long to arrive; 0: it is read at once."""
        self._committer = committer
        self._pages = Pages(committer, ROOM_PAGES_MAX)
        self._metrics = metrics
        self._route = route
        self._admission = admission
        self._delivery = delivery
        self._kept = kept
        self._hole_s = hole_s
        self.later: Callable[..., object] = gevent.spawn_later
        self._failed: dict[Room, None] = {}

    def read(self, room: Room) -> None:
        """Read on until the end."""
        if room.reading:
            room.read_again = True
            return
        room.reading, room.read_again = True, False
        asked = room.position.asked()
        known = bool(asked.epoch)
        # While the store is tight no room begins, unless under those who are in it.
        operation = Read(
            *(room.name, asked.first, PAGE_MESSAGES if known else 1),
            begin=known or not room.feed.shard.tight,
        )

        def done(write: Write | None) -> None:
            room.reading = False
            if write is not None and write.result is None:
                self._admission.turn_away(room)
            elif write is None or not isinstance(write.result, Page):
                room.read_again = True  # the store is away
                self._failed[room] = None
            elif asked.lacks(write.result):
                room.read_again = True  # once all are told
                self._failed[room] = None
                self._committer.lose(room.name, f"message {asked.offset} of a room")
            else:
                self._take(room, write.result)

        if known:
            self._pages.submit(room, operation, done)
        else:
            self._committer.call(operation, done)

    def overtaken(self, room: Room, epoch: bytes, offset: int, said: bytes) -> None:
        """A publication that is not the next one: read, or keep it until what is missing comes."""
        if room.position.epoch:
            self._metrics.holes += 1
        elif not room.reading:
            return  # it will be in the first page
        waits = room.reading or (self._hole_s and epoch == room.position.epoch)
        first = not room.early
        if not (waits and self._kept.overtook(room, epoch, offset, said)):
            self.read(room)
        elif first and not room.reading:
            self.later(self._hole_s, guarded, self._read_hole, room)

    def closed(self, room: Room) -> None:
        """What was missing has come before it was read: what waited for it follows."""
        early = sorted(self._kept.take_early(room), key=itemgetter(1))
        for number, (epoch, offset, said) in enumerate(early):
            heard = room.position.hear(epoch, offset, said)
            if heard is Heard.NEXT:
                self._metrics.counts.published += 1
                self._delivery.gather(room, offset, said)
            elif heard is Heard.KNOWN:
                self._metrics.counts.known += 1
            else:
                for later in early[number:]:
                    self._kept.overtook(room, *later)  # until the moment that began is over
                return

    def _read_hole(self, room: Room) -> None:
        """The moment is over."""
        if room.early and not room.reading and not room.gone:
            self.read(room)

    def tick(self) -> None:
        """Try again what the store did not answer."""
        failed, self._failed = self._failed, {}
        for room in failed:
            if room.read_again and not room.reading and not room.gone:
                guarded(self.read, room)

    def _take(self, room: Room, page: Page) -> None:
        """A page has come."""
        self._delivery.flush_room(room)
        position = room.position
        before, offset = position.epoch, position.offset
        data, at_end = position.read(page, self._metrics.counts)
        if before and position.epoch != before:
            self._metrics.histories_lost += 1
            for member, recovery in tuple(room.recovering.items()):
                if recovery.epoch != position.epoch:
                    self._admission.add(room, member)
        if at_end and room.early:
            data += self._replay(room)
        if data:
            self._kept.cut_tail(room)
            self._delivery.send(room, data, max(0, position.offset - offset))
        if not at_end or room.read_again:
            self.read(room)
        if at_end and room.confirmed and (room.interested or not self._route.needs_members):
            # Whatever is read again, it follows the position at which they come in. Where
            # posts pass this daemon by for want of members, who comes next reads first.
            room.ready = True
            self._admission.admit(room)

    def _replay(self, room: Room) -> bytes:
        """What overtook the page, as far as it follows it."""
        counts = self._metrics.counts
        parts = []
        for epoch, offset, said in self._kept.take_early(room):
            heard = room.position.hear(epoch, offset, said)
            if heard is Heard.NEXT:
                counts.published += 1
                parts.append(message(room.name, offset, said))
            elif heard is Heard.KNOWN:
                counts.known += 1
            else:
                room.read_again = True
        return b"".join(parts)
