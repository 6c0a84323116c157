"""The session port's conversation, PROTOCOL §2: a session that outlives its connection.

    HELLO ─▶ Open, Resume at the store ─▶ WELCOME ─▶ lines ─▶ state, or KEEP ─▶ replies
                                                       │
                        refused: the session is another's ─▶ Inquire ─▶ ERR, closed

Every answer after WELCOME, errors and repeated replies too, waits for the store to say
that the session is still this owner's (§2.3, ADR 2): it rides in a batch with the
state that its line made, or with a KEEP where it made none.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

from echod.client.conversation import Conversation
from echod.client.errand import Errand
from echod.client.growth import grows
from echod.client.life import ENDING, HALF_CLOSED, READING
from echod.protocol.errors import STORE_FULL, Code
from echod.protocol.session import UNKNOWN_SESSION, Dialogue, Hello, Quit, drain, hello, welcome
from echod.protocol.token import Token
from echod.protocol.words import Refusal
from echod.store.keys import Session
from echod.store.operations import END, INQUIRE, KEEP, Drop, Open, Opened, Resume, RolledBack

if TYPE_CHECKING:
    from collections.abc import Callable

    from echod.client.connection import Connection
    from echod.client.directory import Directory
    from echod.protocol.session import Request
    from echod.rooms.member import Member
    from echod.store.batch import Write
    from echod.store.operations import Operation

# Why a connection ended, beside the codes of PROTOCOL §4.
QUIT = "quit"
BYE = b"BYE\n"


@dataclass(frozen=True, slots=True)
class SessionTerms:
    """What the session port hands its conversations, beside `Terms`.

    Attributes:
        ttl_s: how long a session outlives its connection.
        directory: where a welcomed session is found.
        record: the fields of its record that say whose it is now, of its name, its client's
            address and the balancer's id.
        member: makes its part in rooms.
        leave_within_s: in which its client shall have reconnected elsewhere; None: it may stay.
    """

    ttl_s: float
    directory: Directory
    record: Callable[[bytes, str, str], tuple[bytes, ...]]
    member: Callable[[SessionConversation, Session], Member]
    leave_within_s: Callable[[], float | None]


class SessionConversation(Conversation):
    """See `Conversation` and `rooms.connection.Connection`, of all methods."""

    __slots__ = (
        "_balancer_id",
        "_connection",
        "_dialogue",
        "_member",
        "_session",
        "_terms",
    )

    def __init__(self, connection: Connection, terms: SessionTerms, balancer_id: str) -> None:
        self._connection = connection
        self._terms = terms
        self._balancer_id = balancer_id
        self._session: Session | None = None  # what the store knows of it; from `HELLO` on
        self._dialogue: Dialogue | None = None  # from `WELCOME` on
        self._member: Member | None = None  # from the first request of a room on

    # Lines.

    def answer(self, lines: list[bytes]) -> int:
        """All that can be answered before the store has said something."""
        dialogue, session = self._dialogue, self._session
        if dialogue is None or session is None:
            return 0 if session else self._begin(lines[0])
        connection = self._connection
        terms = connection.terms
        shard = terms.committer.routes[session.slot]
        taken = 0
        while taken < len(lines) and connection.life is READING:
            if shard.full():
                break
            # As much as makes `Connection` pause, so that what is left is read when it is paid.
            again_bytes_max = terms.unsent_bytes_pause - connection.held_bytes
            rest = lines[taken:] if taken else lines
            if shard.tight and grows(
                [line for line in rest if line.startswith(b"ECHO ")], len(dialogue.last)
            ):
                self.refuse(Code.UNAVAILABLE, STORE_FULL)
                break
            reply, count, committed, request = dialogue.take(rest, again_bytes_max)
            taken += count
            terms.metrics.lines_received += count
            connection.inflight += count
            if committed:
                session.seq = dialogue.seq
            if answered := count - (request is not None):
                self._owe(session, dialogue, reply, answered, committed=committed)
            if request is None:
                break
            self._carry_out(session, request)
        return taken

    def _carry_out(self, session: Session, request: Request) -> None:
        """A line that asks for more than an answer: each request of `session.VERBS` is here."""
        match request:
            case Quit():
                self._quit()
            case _:
                if self._member is None:
                    self._member = self._terms.member(self, session)
                self._member.handle(request)  # mypy: only what rooms carry out is left

    def _owe(
        self, session: Session, dialogue: Dialogue, reply: bytes, lines: int, *, committed: bool
    ) -> None:
        """Have `reply` sent when the store has the state, or has at least confirmed the owner."""
        connection = self._connection
        terms = connection.terms
        committer = terms.committer
        write = connection.gathering or committer.open(connection, session, KEEP)
        if not write.waiting:
            write.read_at = perf_counter()
            write.queued_at = terms.clock.now_s
        pair, cut = write.pair, write.cut
        if committed:
            write.operation = None
            pair, cut = dialogue.previous + dialogue.last, len(dialogue.previous)
        connection.held_bytes += len(reply)
        committer.routes[session.slot].add(write, reply, lines, pair, cut)

    def refuse(self, code: Code, text: str) -> None:
        """That too is an answer, which only the owner may give."""
        if self._dialogue is not None:
            self._connection.inflight += 1
            self.owe(b"")
        self._connection.fail(code, text)

    def _quit(self) -> None:
        """`QUIT` (§2.4): the last line that is taken.

        `BYE` is said as an `ERR` that closes is: what the client sent behind `QUIT` would
        make the kernel reset the connection, and a reset can overtake it (`lingering.py`).
        """
        terms = self._connection.terms

        def ended(write: Write) -> bytes:
            terms.metrics.sessions_ended += 1
            for room in write.session.posted:
                terms.committer.free(write.session, Drop(room))
            return b""

        self._submit(END, ended)
        self._connection.end(BYE, QUIT)

    # What a member in rooms needs (rooms/connection.py).

    @property
    def gone(self) -> bool:
        """Nothing more of it is answered."""
        return self._connection.gone

    def owe(self, reply: bytes) -> None:
        """Answer one line when the owner is confirmed."""
        if self._session is not None and self._dialogue is not None:
            self._owe(self._session, self._dialogue, reply, 1, committed=False)

    def ask(
        self, operation: Operation, then: Callable[[Write | None, Callable[[bytes], None]], None]
    ) -> None:
        """See `rooms.connection.Connection`."""
        if self._session is not None:
            connection = self._connection
            Errand(connection, connection.terms.committer, self._session, operation, then)

    def _submit(self, operation: Operation, then: Callable[[Write], bytes | None]) -> None:
        """Answer one line with what `then` makes of the store's word; None: not yet."""
        if self._session is not None:
            connection = self._connection
            connection.terms.committer.submit(connection, self._session, operation, then)

    @property
    def push(self) -> Callable[[bytes], None]:
        """The connection's own, because it is called for every delivery."""
        return self._connection.push

    def suspend(self) -> None:
        """Read nothing more before this line is answered."""
        self._connection.suspend()

    def go_on(self) -> None:
        """It is, or is about to be."""
        self._connection.go_on()

    def unavailable(self) -> None:
        """It can't be answered in time."""
        self._connection.unavailable()

    def unsent_bytes(self) -> int:
        """What the client has still to take."""
        return self._connection.unsent_bytes()

    def tell(self, line: bytes) -> bool:
        """See `directory.Addressee`."""
        if self._connection.life >= HALF_CLOSED:
            return False
        self.push(line)
        return self._connection.life < ENDING

    # Opening.

    def _begin(self, line: bytes) -> int:
        """The first line must be `HELLO` (§2.1)."""
        terms = self._connection.terms
        terms.metrics.lines_received += 1
        wanted = hello(line)
        if isinstance(wanted, Refusal):
            self._connection.fail(wanted.code, wanted.text)
        elif wanted.token is None and not terms.committer.newcomer():
            self._connection.fail(Code.BUSY, STORE_FULL)
        else:
            self._open(wanted)
        return 1

    def _open(self, wanted: Hello) -> None:
        connection = self._connection
        committer = connection.terms.committer
        token = wanted.token or Token.new(committer.new_name())
        fields = self._terms.record(token.name, connection.peer, self._balancer_id)
        session = self._session = Session(token.name, fields)
        connection.shard = committer.routes[session.slot]
        connection.inflight = 1
        connection.suspend()
        digest = token.digest()
        operation = Resume(digest, wanted.acked) if wanted.token else Open(digest)
        self._submit(operation, lambda write: self._opened(write, token))

    def _opened(self, write: Write, token: Token) -> bytes | None:
        """The store has answered `HELLO`."""
        session, result = write.session, write.result
        connection = self._connection
        resumed = isinstance(write.operation, Resume)
        if isinstance(result, Opened):
            session.own(result.epoch, result.generation)
            session.lives_until = write.queued_at + connection.terms.committer.lives.unused_s
            session.seq, session.posted = result.state.seq, result.posted
            self._dialogue = Dialogue(result.state)
            connection.go_on()
            self._terms.directory.welcomed(session.name, self)
            connection.terms.metrics.welcomed(resumed=resumed)
            reply = welcome(token, result.epoch, self._terms.ttl_s, result.state)
            within_s = self._terms.leave_within_s()
            return reply if within_s is None else reply + drain(within_s)
        if isinstance(result, RolledBack):
            connection.abandon(Code.ROLLED_BACK, str(result.seq))
        elif resumed:
            connection.abandon(UNKNOWN_SESSION.code, UNKNOWN_SESSION.text)
        else:
            # A name was drawn that another session has: draw again.
            self._open(Hello(None, 0))
        return None

    # What the connection says.

    def refused(self, write: Write) -> None:
        """Ask the store why."""
        Inquiry(self._connection, write)

    def settled(self) -> None:
        """A member that recovers reads on."""
        if self._member is not None:
            self._member.taken()

    def ended(self) -> None:
        """Its memberships end with it."""
        if self._member is not None:
            self._member.leave()
        if self._session is not None:
            self._terms.directory.parted(self._session.name, self)

    def sweep(self, now_s: float) -> None:
        """A session whose client is left unread is kept for it.

        A client that takes a long history slowly may say PING all the while: nothing is read
        of it before it has taken what it is owed.
        """
        connection, session = self._connection, self._session
        if (
            session is not None and self._dialogue is not None and connection.unread
            and now_s >= session.renew_at and connection.gathering is None
        ):  # fmt: skip
            connection.terms.committer.open(connection, session, KEEP)

    # What the port says.

    def roll_back(self, concerns: Callable[[int], bool]) -> None:
        """Nobody knows what the store still has of this session, if it lives there (§5)."""
        session = self._session
        if self._dialogue is not None and session is not None and concerns(session.slot):
            self._connection.abandon(Code.ROLLED_BACK, "the store lost data")

    def ask_to_leave(self) -> None:
        """`DRAIN` (§2.4)."""
        within_s = self._terms.leave_within_s()
        if (
            self._dialogue is not None
            and within_s is not None
            and self._connection.life < HALF_CLOSED
        ):
            self._connection.send(drain(within_s))


class Inquiry:
    """Asks the store why a session's write was refused, and tells its connection.

    A client of the committer in its connection's place: of the connection nothing is sent
    any more.
    """

    __slots__ = ("_connection", "_lives_until", "gathering", "gone")

    def __init__(self, connection: Connection, refused: Write) -> None:
        self.gathering: Write | None = None
        self.gone = False
        self._connection = connection
        session = refused.session
        committer, lives = connection.terms.committer, connection.terms.committer.lives
        renewed_at = session.renew_at - lives.renewal_s
        # The last renewal counts if it was not this write's own, or of what is refused with it.
        self._lives_until = (
            renewed_at + lives.state_s if renewed_at < refused.queued_at else session.lives_until
        )
        committer.submit(self, session, INQUIRE)

    def acknowledged(self, write: Write, now_s: float) -> None:
        """See `store.batch.Client`."""
        del now_s
        self.gone = True
        if write.result:
            self._connection.abandon(Code.TAKEN_OVER, "the session was resumed elsewhere")
        elif self._connection.terms.clock.now_s < self._lives_until:
            # It had to be there, and nobody has ended it: of that a tombstone would be left.
            self._connection.abandon(Code.ROLLED_BACK, "the store has lost it")
        else:
            self._connection.abandon(UNKNOWN_SESSION.code, UNKNOWN_SESSION.text)

    def unavailable(self) -> None:
        """See `store.batch.Client`."""
        self.gone = True
        self._connection.unavailable()

    def broken(self) -> None:
        """See `store.batch.Client`."""
        self.gone = True
        self._connection.broken()
