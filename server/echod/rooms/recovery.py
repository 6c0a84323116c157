"""A member on its way through what it missed, page by page, as fast as its client takes them.

    step ─▶ a page of the stream ─▶ take ─▶ sent ─▶ step …
                                       └▶ what is missing is at hand: arrive ─▶ member

It is sent nothing that the room's members don't have yet; what they get meanwhile is kept for
it (kept.py), so that it arrives where posts never pause.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from echod.loop.guard import guarded
from echod.rooms.catching_up import PAGE_MESSAGES
from echod.rooms.pages import RECOVERY_PAGES_MAX, Pages
from echod.rooms.room import Recipient
from echod.store.operations import Page, Read

if TYPE_CHECKING:
    from collections.abc import Callable

    from echod.metrics import RoomMetrics
    from echod.rooms.admission import Admission
    from echod.rooms.catching_up import CatchingUp
    from echod.rooms.delivery import Delivery
    from echod.rooms.position import Position
    from echod.rooms.room import Room
    from echod.store.batch import Write
    from echod.store.committer import Committer


class Returning(Recipient, Protocol):
    """Who recovers: a member."""

    @property
    def congested(self) -> bool:
        """Whether its client has still to take what it was sent."""


class Recoveries:
    """All members that recover, and what they share.

    Attributes:
        page_bytes_max: of what was missed, sent at once: many rooms' fit an outbox beside
            what is live.
    """

    def __init__(  # noqa: PLR0913 — its parts
        self,
        committer: Committer,
        metrics: RoomMetrics,
        page_bytes_max: int,
        *,
        admission: Admission,
        catching_up: CatchingUp,
        delivery: Delivery,
        crowded: Callable[[], bool],
    ) -> None:
        """`crowded` says whether what was missed had better wait in the store."""
        self.page_bytes_max = page_bytes_max
        self.pages = Pages(committer, RECOVERY_PAGES_MAX)
        self.metrics = metrics
        self.admission = admission
        self.catching_up = catching_up
        self.delivery = delivery
        self.crowded = crowded
        self._later: dict[Recovery, None] = {}

    def begin(self, room: Room, member: Returning, cursor: Position, page: Page) -> bytes:
        """`member`, whom `room` had admitted, goes on from `cursor`, behind which `page` is.

        Returns:
            What it is sent first.
        """
        recovery = Recovery(self, room, member, cursor)
        self.admission.arrive(room, member, recovery)
        if recovery.ahead:
            self.catching_up.read(room)
        missed = recovery.take(page) + recovery.arrive()
        recovery.step()
        return missed

    def later(self, recovery: Recovery) -> None:
        """The store is away, or the room behind: it tries again with the next tick."""
        self._later[recovery] = None

    def tick(self) -> None:
        """Those that try again."""
        later, self._later = self._later, {}
        for recovery in later:
            guarded(recovery.step)


class Recovery:
    """One of them; see the module."""

    __slots__ = ("_all", "_cursor", "_member", "_reading", "_room", "_stopped", "_wanted")

    def __init__(
        self, recoveries: Recoveries, room: Room, member: Returning, cursor: Position
    ) -> None:
        """`cursor` is what its client has been sent, here or elsewhere."""
        self._all = recoveries
        self._room = room
        self._member = member
        self._cursor = cursor
        self._stopped = self._reading = False
        self._wanted = PAGE_MESSAGES

    @property
    def epoch(self) -> bytes:
        """The history that it recovers."""
        return self._cursor.epoch

    @property
    def ahead(self) -> bool:
        """Whether the client has seen, at another daemon, what has not reached this one."""
        cursor, position = self._cursor, self._room.position
        return cursor.epoch != position.epoch or cursor.offset > position.offset

    def stop(self) -> None:
        """It has arrived, or has left."""
        self._stopped = True
        self._all.pages.give_up(self)

    def take(self, page: Page) -> bytes:
        """What the client is sent of a page: nothing that the room's members don't have yet.

        And no more than fits its outbox: the rest is read again when it has taken this.
        """
        if self.ahead or page.epoch != self._cursor.epoch:
            return b""
        metrics, size_max = self._all.metrics, self._all.page_bytes_max
        limit = self._room.position.offset
        if page.messages:
            # Messages of one room are mostly alike; what is read and not sent is read again.
            longest = max(len(said) for _, said in page.messages)
            self._wanted = min(PAGE_MESSAGES, size_max // longest + 1)
        messages: list[tuple[int, bytes]] = []
        size = 0
        for offset, said in page.messages:
            size += len(said)
            if offset > limit or (messages and size > size_max):
                break
            messages.append((offset, said))
        part = Page(page.epoch, min(page.last, limit), messages)
        data, _ = self._cursor.read(part, metrics.counts)
        metrics.deliveries += len(messages)
        return data

    def arrive(self) -> bytes:
        """Be a member from here on, if what is still missing is at hand: that is returned."""
        room, cursor, metrics = self._room, self._cursor, self._all.metrics
        self._all.delivery.flush_room(room)
        missing = room.position.offset - cursor.offset
        if cursor.epoch != room.position.epoch or not 0 <= missing <= len(room.tail):
            return b""
        data = b"".join(room.tail[len(room.tail) - missing :])
        if len(data) > self._all.page_bytes_max:
            return b""
        metrics.counts.recovered += missing
        metrics.deliveries += missing
        self._all.admission.add(room, self._member)
        return data

    def step(self) -> None:
        """Ask for the next page, unless the client has still to take the last one."""
        if self._stopped or self._reading or self._member.congested:
            return
        if self.ahead or self._all.crowded():
            self._all.later(self)
            return
        self._reading = True
        operation = Read(self._room.name, self._cursor.offset + 1, self._wanted)
        self._all.pages.submit(self, operation, self._read)

    def _read(self, write: Write | None) -> None:
        self._reading = False
        if self._stopped or self._member.congested:
            return  # another room's page filled the outbox meanwhile: `step`, when it is empty
        page = None if write is None else write.result
        if not isinstance(page, Page):
            self._all.later(self)
        elif page.epoch != self._cursor.epoch:
            # Another history: that tells all members, and this one.
            self._all.catching_up.read(self._room)
        else:
            if data := self.take(page) + self.arrive():
                self._member.push(data)
            self.step()
