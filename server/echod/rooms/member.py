"""A connection's part in rooms, PROTOCOL §3: what JOIN … TELL do, and what they answer.

    JOIN ─▶ hub.enter ─▶ KEEP, and the first that was missed ─▶ JOINED ─▶ live
                                                              └▶ Recovery ─▶ live

A JOIN and a TELL take their time: the connection reads nothing more until they are
answered, so that replies keep the order of the lines. A member that comes back reads its
missed messages from the store, page by page, as fast as it takes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from echod.protocol import rooms as lines
from echod.protocol.errors import Code
from echod.protocol.rooms import NOT_IN_ROOM, Join, Part, RoomRequest, Say, Tell
from echod.protocol.words import Refusal
from echod.rooms.hub import PAGE_MESSAGES
from echod.rooms.room import Position
from echod.store.operations import KEEP, Conflict, Find, Page, Post, Read, Remember, Stale, Who

if TYPE_CHECKING:
    from echod.rooms.connection import Connection
    from echod.rooms.hub import Hub, RoomHere
    from echod.store.batch import Write
    from echod.store.keys import Session

# For the other session's daemon to answer a TELL (PROTOCOL §3).
TELL_S_MAX = 1.0
FULL = Refusal(Code.ROOM_UNAVAILABLE, "the store is nearly full: this was not done")


class Member:
    """See the module; made with a connection's first request of a room."""

    __slots__ = ("_arriving", "_connection", "_hub", "_rooms", "_rooms_max", "_session", "push")

    def __init__(self, connection: Connection, session: Session, hub: Hub, rooms_max: int) -> None:
        self._connection = connection
        # Messages, unasked. The connection's own, because it is called for every delivery.
        self.push = connection.push
        self._session = session
        self._hub = hub
        self._rooms: dict[bytes, RoomHere] = {}
        self._rooms_max = rooms_max
        self._arriving: RoomHere | None = None

    def handle(self, request: RoomRequest) -> None:
        """Carry out one line."""
        if isinstance(request, Join):
            self._join(request)
        elif isinstance(request, Tell):
            self._tell(request)
        elif request.room not in self._rooms:
            self._connection.owe(NOT_IN_ROOM.line())
        elif isinstance(request, Say):
            self._say(request)
        elif isinstance(request, Part):
            self._hub.remove(self._rooms.pop(request.room), self)
            self._connection.owe(lines.parted(request.room))
        else:
            self._who(request.room)

    def taken(self) -> None:
        """The client has taken all that it was sent."""
        for room in tuple(self._rooms.values()):
            if (recovery := room.recovering.get(self)) is not None:
                recovery.step()

    def leave(self) -> None:
        """The connection has ended, and with it every membership."""
        for room in self._rooms.values():
            self._hub.remove(room, self)
        self._rooms.clear()
        if self._arriving is not None:
            self._hub.cancel(self._arriving)
            self._arriving = None

    @property
    def congested(self) -> bool:
        """Whether the client has still to take what it was sent."""
        return self._connection.unsent_bytes() > 0

    # JOIN.

    def _join(self, request: Join) -> None:
        connection = self._connection
        here = self._rooms.pop(request.room, None)
        if here is not None:
            self._hub.remove(here, self)  # it begins anew, from the position that it gives
        if len(self._rooms) >= self._rooms_max:
            refusal = Refusal(Code.TOO_MANY_ROOMS, f"at most {self._rooms_max}; PART from one")
            connection.owe(refusal.line())
            return
        if why := self._hub.refuses(request.room):
            self._hub.metrics.joins_refused += 1
            connection.owe(Refusal(Code.TOO_MANY_ROOMS, f"{why}; try elsewhere, or later").line())
            return
        connection.suspend()

        def entered(here: RoomHere | None) -> None:
            if here is None and self._hub.committer.tight and not connection.gone:
                connection.go_on()
                connection.owe(FULL.line())
            elif here is None:
                connection.unavailable()
            elif connection.gone:
                self._hub.cancel(here)
            else:
                self._arriving = here
                self._missed(here, request)

        self._hub.enter(request.room, entered)

    def _missed(self, here: RoomHere, request: Join) -> None:
        """Read what came after the position that was given; then confirm the owner.

        The store knows what can be had: this room may lag behind what the client has seen.
        """
        pages: list[Page] = []
        if request.epoch:

            def read(write: Write | None) -> None:
                if write is not None and isinstance(write.result, Page):
                    pages.append(write.result)

            # The first tells whether all can be had, and what a page of them may be.
            operation = Read(here.name, request.offset + 1, 1)
            self._hub.committer.call(operation, read)

        def confirmed(_: Write) -> bytes:
            return self._joined(here, request, pages[0] if pages else None)

        self._connection.submit(KEEP, confirmed)

    def _joined(self, here: RoomHere, request: Join, page: Page | None) -> bytes:
        """The answer to `JOIN`, and this is a member from here on."""
        self._arriving = None
        self._connection.go_on()
        self._rooms[here.name] = here
        hub, position = self._hub, here.position
        if not request.epoch:
            hub.arrive(here, self)
            return lines.joined(here.name, position.epoch, position.offset, b"fresh")
        if page is None or not _whole(page, request):
            hub.arrive(here, self)
            if page is not None and page.epoch != position.epoch:
                hub.read(here)
            return lines.joined(here.name, position.epoch, position.offset, b"lost")
        cursor = Position(here.name, request.epoch, request.offset)
        recovery = Recovery(hub, here, self, cursor)
        hub.arrive(here, self, recovery)
        if recovery.ahead:
            hub.read(here)
        missed = recovery.take(page) + recovery.arrive()
        recovery.step()
        return lines.joined(here.name, request.epoch, request.offset, b"recovered") + missed

    # The others.

    def _say(self, request: Say) -> None:
        if self._hub.committer.tight:
            self._connection.owe(FULL.line())
            return
        said = b"%b %b" % (self._session.name, request.text)
        self._hub.metrics.posts += 1

        def posted(write: Write) -> bytes:
            if isinstance(write.result, Stale):
                return Refusal(Code.OUT_OF_ORDER, str(write.result.next_id)).line()
            if isinstance(write.result, Conflict):
                return Refusal(Code.CONFLICT, f"post {request.id} had another text").line()
            self._remember(request.room)
            return lines.said(request.room, request.id, int(str(write.result)))

        post = Post(request.room, self._session.name, request.id, said)
        self._connection.submit(post, posted)

    def _remember(self, room: bytes) -> None:
        """What the store knows of this sender's posts in `room` lives on with its session.

        So it does of as many rooms as a session may be in; of others, first of those that it is
        not in, it expires.
        """
        session = self._session
        if room in session.posted:
            return
        rooms = [*session.posted, room]
        if len(rooms) > self._rooms_max:
            rooms.remove(next((each for each in rooms if each not in self._rooms), rooms[0]))
        session.posted = tuple(rooms)
        self._hub.committer.enqueue(session, Remember(session.posted))

    def _who(self, room: bytes) -> None:
        def counted(write: Write) -> bytes:
            result = write.result
            members, daemons = result if isinstance(result, tuple) else (0, 0)
            return lines.who(room, members, daemons)

        self._connection.submit(Who(room), counted)

    def _tell(self, request: Tell) -> None:
        connection, hub, name = self._connection, self._hub, request.name
        connection.suspend()

        # TOLD needs both: what the other daemon said, or that it said nothing in time, and
        # the store's word that this is the owner; either may come first.
        outcome: list[bool] = []
        owned = False

        def answered(delivered: bool) -> None:  # noqa: FBT001 — what the other daemon said
            if owned:
                connection.reply_now(lines.told(name, delivered=delivered))
            else:
                outcome.append(delivered)

        number = hub.expect(hub.clock.now_s + TELL_S_MAX, answered)
        line = lines.from_(self._session.name, request.text)[:-1]
        written = b"t %b %d %b %b" % (hub.inbox, number, name, line)

        def found(write: Write) -> bytes | None:
            nonlocal owned
            owned = True
            if write.result and not outcome:
                return None  # its daemon answers, or the time is over
            hub.give_up(number)
            connection.go_on()
            return lines.told(name, delivered=any(outcome))

        connection.submit(Find(name, written), found)


def _whole(page: Page, request: Join) -> bool:
    """Whether all that follows the position can be had: what is trimmed already can't."""
    if page.epoch != request.epoch:
        return False
    first = page.messages[0][0] if page.messages else page.last + 1
    return first == request.offset + 1


class Recovery:
    """A member on its way through what it missed, page by page.

    `gone` when it has arrived, or has left.
    """

    __slots__ = ("_cursor", "_here", "_hub", "_member", "_reading", "_wanted", "gone")

    def __init__(self, hub: Hub, here: RoomHere, member: Member, cursor: Position) -> None:
        self.gone = False
        self._hub = hub
        self._here = here
        self._member = member
        self._cursor = cursor
        self._reading = False
        self._wanted = PAGE_MESSAGES

    @property
    def epoch(self) -> bytes:
        """The history that it recovers."""
        return self._cursor.epoch

    @property
    def ahead(self) -> bool:
        """Whether the client has seen, at another daemon, what has not reached this one."""
        cursor, position = self._cursor, self._here.position
        return cursor.epoch != position.epoch or cursor.offset > position.offset

    def take(self, page: Page) -> bytes:
        """What the client is sent of a page: nothing that the room's members don't have yet.

        And no more than fits its outbox: the rest is read again when it has taken this.
        """
        if self.ahead or page.epoch != self._cursor.epoch:
            return b""
        limit = self._here.position.offset
        if page.messages:
            # Messages of one room are mostly alike; what is read and not sent is read again.
            longest = max(len(said) for _, said in page.messages)
            self._wanted = min(PAGE_MESSAGES, self._hub.page_bytes_max // longest + 1)
        messages: list[tuple[int, bytes]] = []
        size = 0
        for offset, said in page.messages:
            size += len(said)
            if offset > limit or (messages and size > self._hub.page_bytes_max):
                break
            messages.append((offset, said))
        data, _ = self._cursor.read(
            Page(page.epoch, min(page.last, limit), messages), self._hub.metrics.counts
        )
        self._hub.metrics.deliveries += len(messages)
        return data

    def arrive(self) -> bytes:
        """Be a member from here on, if what is still missing is at hand: that is returned."""
        data = self._hub.catch_up(self._here, self._cursor)
        if data is None:
            return b""
        self._hub.add(self._here, self._member)
        return data

    def step(self) -> None:
        """Ask for the next page, unless the client has still to take the last one."""
        if self.gone or self._reading or self._member.congested:
            return
        if self.ahead or self._hub.crowded():
            self._hub.later(self)
            return
        self._reading = True
        operation = Read(self._here.name, self._cursor.offset + 1, self._wanted)
        self._hub.recoveries.submit(self, operation, self._read)

    def _read(self, write: Write | None) -> None:
        self._reading = False
        if self.gone or self._member.congested:
            return  # another room's page filled the outbox meanwhile: `step`, when it is empty
        page = None if write is None else write.result
        if not isinstance(page, Page):
            self._hub.later(self)
        elif page.epoch != self._cursor.epoch:
            self._hub.read(self._here)  # another history: that tells all members, and this one
        else:
            if data := self.take(page) + self.arrive():
                self._member.push(data)
            self.step()
