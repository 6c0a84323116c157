"""A connection's part in rooms, PROTOCOL §3: what JOIN … TELL do, and what they answer.

    JOIN ─▶ hub.enter ─▶ Enter, and the first that was missed ─▶ JOINED ─▶ live
                                                               └▶ Recovery ─▶ live

What a line asks of a room, or of another session, goes with a KEEP for its own session, whose
owner must be confirmed before it is answered (ADR 22).

A JOIN and a TELL take their time: the connection reads nothing more until they are
answered, so that replies keep the order of the lines. A member that comes back reads what it
missed from the store (recovery.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from echod.protocol import rooms as lines
from echod.protocol.errors import Code
from echod.protocol.rooms import NOT_IN_ROOM, Join, Part, RoomRequest, Say, Tell, Who
from echod.protocol.words import Refusal
from echod.rooms.position import Position
from echod.store import operations
from echod.store.operations import (
    FENCED,
    KEEP,
    Conflict,
    Enter,
    Find,
    Leases,
    Leave,
    Page,
    Post,
    Posted,
    Publish,
    Read,
    Remember,
    Stale,
)
from echod.store.store_client import StoreClient

if TYPE_CHECKING:
    from collections.abc import Callable

    from echod.rooms.connection import Connection
    from echod.rooms.hub import Hub
    from echod.rooms.room import Room
    from echod.store.batch import Write
    from echod.store.keys import Session

FULL = Refusal(Code.ROOM_UNAVAILABLE, "the store is nearly full: this was not done")
AWAY = Refusal(Code.ROOM_UNAVAILABLE, "the room's part of the store did not acknowledge in time")


class Member:
    """See the module; made with a connection's first request of a room."""

    __slots__ = ("_arriving", "_connection", "_hub", "_rooms", "_rooms_max", "_session", "push")

    def __init__(self, connection: Connection, session: Session, hub: Hub, rooms_max: int) -> None:
        self._connection = connection
        # Messages, unasked. The connection's own, because it is called for every delivery.
        self.push = connection.push
        self._session = session
        self._hub = hub
        self._rooms: dict[bytes, Room] = {}
        self._rooms_max = rooms_max
        self._arriving: Room | None = None

    def handle(self, request: RoomRequest) -> None:
        """Carry out one line."""
        match request:
            case Say() | Part() | Who() if request.room not in self._rooms:
                self._connection.owe(NOT_IN_ROOM.line())
            case Say():
                self._say(request)
            case Join():
                self._join(request)
            case Tell():
                self._tell(request)
            case Part():
                self._part(request)
            case Who():
                self._who(request)
            case _:
                assert_never(request)

    def taken(self) -> None:
        """The client has taken all that it was sent."""
        for room in tuple(self._rooms.values()):
            if (recovery := room.recovering.get(self)) is not None:
                recovery.step()

    def leave(self) -> None:
        """The connection has ended, and with it every membership."""
        for room in self._rooms.values():
            self._hub.admission.remove(room, self)
            self._lift_fence(room.name)
        self._rooms.clear()
        if self._arriving is not None:
            self._hub.admission.cancel(self._arriving)
            self._lift_fence(self._arriving.name)
            self._arriving = None

    @property
    def congested(self) -> bool:
        """Whether the client has still to take what it was sent."""
        return self._connection.unsent_bytes() > 0

    # JOIN.

    def _join(self, request: Join) -> None:
        connection = self._connection
        room = self._rooms.pop(request.room, None)
        if room is not None:
            self._hub.admission.remove(
                room, self
            )  # it begins anew, from the position that it gives
        if len(self._rooms) >= self._rooms_max:
            refusal = Refusal(Code.TOO_MANY_ROOMS, f"at most {self._rooms_max}; PART from one")
            connection.owe(refusal.line())
            return
        if why := self._hub.refusal(request.room):
            self._hub.metrics.joins_refused += 1
            connection.owe(Refusal(Code.TOO_MANY_ROOMS, f"{why}; try elsewhere, or later").line())
            return
        connection.suspend()

        def entered(room: Room | None) -> None:
            if room is None:
                if not connection.gone:
                    self._turned_away(request.room)
            elif connection.gone:
                self._hub.admission.cancel(room)
            else:
                self._arriving = room
                self._missed(room, request)

        self._hub.enter(request.room, entered)

    def _turned_away(self, room: bytes) -> None:
        """The room did not become ready in time."""
        connection, committer = self._connection, self._hub.committer
        tight = committer.shard_of(room).tight
        if not tight and committer.routes[self._session.slot].degraded():
            connection.unavailable()  # nor is the session's owner confirmed
            return
        connection.go_on()
        connection.owe((FULL if tight else AWAY).line())

    def _missed(self, room: Room, request: Join) -> None:
        """Read what came after the position that was given; then enter as this owner.

        The store knows what can be had: this room may lag behind what the client has seen.
        """
        pages: list[Page] = []
        if request.epoch:

            def read(write: Write | None) -> None:
                if write is not None and isinstance(write.result, Page):
                    pages.append(write.result)

            # The first tells whether all can be had, and what a page of them may be.
            operation = Read(room.name, request.offset + 1, 1)
            self._hub.committer.call(operation, read)

        def entered(write: Write | None, reply: Callable[[bytes], None]) -> None:
            if write is not None and write.result:
                reply(self._joined(room, request, pages[0] if pages else None))
                return
            self._arriving = None
            self._hub.admission.cancel(room)
            self._connection.go_on()
            reply(AWAY.line())

        self._connection.ask(self._enter(room.name), entered)

    def _enter(self, room: bytes) -> Enter:
        return Enter(room, self._session.name, self._session.fence)

    def _lift_fence(self, room: bytes) -> None:
        """Not a member any more: nothing that was sent posts there from now on."""
        session = self._session
        self._hub.committer.free(session, Leave(room, session.name, session.fence))

    def _joined(self, room: Room, request: Join, page: Page | None) -> bytes:
        """The answer to `JOIN`, and this is a member from here on."""
        self._arriving = None
        self._connection.go_on()
        self._rooms[room.name] = room
        hub, position = self._hub, room.position
        if not request.epoch:
            hub.admission.arrive(room, self)
            return lines.joined(room.name, position.epoch, position.offset, b"fresh")
        if page is None or not _whole(page, request):
            hub.admission.arrive(room, self)
            if page is not None and page.epoch != position.epoch:
                hub.catching_up.read(room)
            return lines.joined(room.name, position.epoch, position.offset, b"lost")
        cursor = Position(room.name, request.epoch, request.offset)
        missed = hub.recoveries.begin(room, self, cursor, page)
        return lines.joined(room.name, request.epoch, request.offset, b"recovered") + missed

    # The others.

    def _say(self, request: Say) -> None:
        if self._hub.committer.shard_of(request.room).tight:
            self._connection.owe(FULL.line())
            return
        said = b"%b %b" % (self._session.name, request.text)
        self._hub.metrics.posts += 1
        # First, so that who is answered is remembered, by whichever daemon it goes on at.
        self._remember(request.room)
        session = self._session
        post = Post(request.room, session.name, session.fence, request.id, said)

        def posted(write: Write | None, reply: Callable[[bytes], None]) -> None:
            if write is not None and write.result is FENCED:
                self._post_again(post, reply)
            else:
                reply(_said(post, write))

        self._connection.ask(post, posted)

    def _post_again(self, post: Post, reply: Callable[[bytes], None]) -> None:
        """The room does not know the owner, who was confirmed: it joins again, and posts.

        The owner is confirmed once more with the post: a later one may have come meanwhile.
        """
        hub, connection, session = self._hub, self._connection, self._session
        post = Post(post.room, post.sender, session.fence, post.id, post.said)
        came: list[Write | None] = []

        def posted(write: Write | None) -> None:
            came.append(write)
            if confirmations:
                reply(_said(post, write))

        confirmations: list[Write] = []

        def confirmed(write: Write | None) -> None:
            if write is None:
                connection.unavailable()
            elif write.refused:
                connection.owe(b"")  # refused likewise: the connection is told why
            else:
                confirmations.append(write)
                if came:
                    reply(_said(post, came[0]))

        def entered(write: Write | None) -> None:
            if write is not None and write.result:
                hub.committer.call(post, posted)
                hub.committer.submit(StoreClient(confirmed), session, KEEP)
            else:
                reply(AWAY.line())

        hub.committer.call(self._enter(post.room), entered)

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

    def _part(self, request: Part) -> None:
        self._hub.admission.remove(self._rooms.pop(request.room), self)
        self._lift_fence(request.room)
        self._connection.owe(lines.parted(request.room))

    def _who(self, request: Who) -> None:
        leases: list[frozenset[bytes]] = []

        def there(write: Write | None) -> None:
            if write is not None and isinstance(write.result, frozenset):
                leases.append(write.result)

        def counted(write: Write | None, reply: Callable[[bytes], None]) -> None:
            if write is None or not isinstance(write.result, dict) or not leases:
                reply(AWAY.line())
                return
            # A daemon that died is announced until its announcements expire.
            living = [count for inbox, count in write.result.items() if inbox in leases[0]]
            reply(lines.who(request.room, sum(living), len(living)))

        slots = self._hub.committer.shard_of(request.room).place.slots
        self._hub.committer.call(Leases(slots[0] if slots else 0), there)
        self._connection.ask(operations.Who(request.room), counted)

    def _tell(self, request: Tell) -> None:
        """Find the other session's daemon, write to it, and wait for what it says."""
        connection, hub, name = self._connection, self._hub, request.name
        connection.suspend()

        def found(write: Write | None, reply: Callable[[bytes], None]) -> None:
            def told(delivered: bool) -> None:  # noqa: FBT001 — what the other daemon said
                if not connection.gone:
                    connection.go_on()
                    reply(lines.told(name, delivered=delivered))

            inbox = None if write is None else write.result
            if not isinstance(inbox, bytes):
                told(False)  # noqa: FBT003 — it is nowhere
                return

            def published(write: Write | None) -> None:
                if write is None or not write.result:
                    hub.mailbox.nobody(number)

            line = lines.from_(self._session.name, request.text)[:-1]
            number, letter = hub.mailbox.address(name, line, told)
            hub.committer.call(Publish(inbox, letter), published)

        connection.ask(Find(name), found)


def _said(post: Post, write: Write | None) -> bytes:
    """The answer to `SAY`."""
    result = None if write is None else write.result
    if isinstance(result, Stale):
        return Refusal(Code.OUT_OF_ORDER, str(result.next_id)).line()
    if isinstance(result, Conflict):
        return Refusal(Code.CONFLICT, f"post {post.id} had another text").line()
    if isinstance(result, Posted):
        return lines.said(post.room, post.id, result.offset)
    return AWAY.line()


def _whole(page: Page, request: Join) -> bool:
    """Whether all that follows the position can be had: what is trimmed already can't."""
    if page.epoch != request.epoch:
        return False
    first = page.messages[0][0] if page.messages else page.last + 1
    return first == request.offset + 1
