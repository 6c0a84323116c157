"""One client of the session port, PROTOCOL §2: a session that outlives it.

    HELLO ─▶ Open, Resume at the store ─▶ WELCOME ─▶ lines ─▶ state, or KEEP ─▶ replies
                                                       │
                        refused: the session is another's ─▶ Inquire ─▶ ERR, closed

Every answer after WELCOME, errors and repeated replies too, waits for the store to say
that the session is still this owner's (§2.3, ADR 2): it rides in a batch with the
state that its line made, or with a KEEP where it made none.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from echod.client.connection import Connection, grows
from echod.protocol.errors import STORE_FULL, Code
from echod.protocol.session import (
    UNKNOWN_SESSION,
    Dialogue,
    Hello,
    Quit,
    drain,
    hello,
    welcome,
)
from echod.protocol.token import Token
from echod.protocol.words import Refusal
from echod.store.keys import Session
from echod.store.operations import END, INQUIRE, KEEP, Drop, Open, Opened, Resume, RolledBack

if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable

    from echod.metrics import Metrics
    from echod.ports.port import SessionPort
    from echod.protocol.session import Request
    from echod.rooms.member import Member
    from echod.store.batch import Write
    from echod.store.operations import Operation

# Why a connection ended, beside the codes of PROTOCOL §4.
QUIT = "quit"
BYE = b"BYE\n"


class SessionConnection(Connection):
    """See `Connection`.

    Attributes:
        session: what the store knows of it; None before `HELLO`.
    """

    __slots__ = ("_balancer_id", "_dialogue", "_member", "_sessions", "_suspended", "session")

    def __init__(
        self,
        port: SessionPort,
        sock: _socket.socket,
        peer: str,
        balancer_id: str,
        metrics: Metrics,
    ) -> None:
        super().__init__(port, sock, peer, metrics)
        self._sessions = port
        self._balancer_id = balancer_id
        self._member: Member | None = None
        self._suspended = False
        self._dialogue: Dialogue | None = None
        self.session: Session | None = None

    # Lines.

    def _answer(self, lines: list[bytes]) -> int:
        """See `Connection`: all that can be answered before the store has said something."""
        dialogue, session = self._dialogue, self.session
        if dialogue is None or session is None:
            return 0 if session else self._begin(lines[0])
        port = self._port
        taken = 0
        while taken < len(lines) and not (self._suspended or self.ending or self.gone):
            if port.committer.full():
                break
            # As much as makes `_owes_enough` true, so that what is left is read when it is paid.
            again_bytes_max = port.unsent_bytes_pause - self._held_bytes
            rest = lines[taken:] if taken else lines
            if port.committer.tight and grows(
                [line for line in rest if line.startswith(b"ECHO ")], len(dialogue.last)
            ):
                self._refuse(Code.UNAVAILABLE, STORE_FULL)
                break
            reply, count, committed, request = dialogue.take(rest, again_bytes_max)
            taken += count
            self.metrics.lines_received += count
            self.inflight += count
            if committed:
                session.seq = dialogue.seq
            if answered := count - (request is not None):
                self._owe(session, dialogue, reply, answered, committed=committed)
            if request is None:
                break
            self._carry_out(session, request)
        return taken

    def _carry_out(self, session: Session, request: Request) -> None:
        """A line that asks for more than an answer."""
        if isinstance(request, Quit):
            self._quit()
            return
        if self._member is None:
            self._member = self._sessions.member(self, session)
        self._member.handle(request)

    def _owe(
        self, session: Session, dialogue: Dialogue, reply: bytes, lines: int, *, committed: bool
    ) -> None:
        """Have `reply` sent when the store has the state, or has at least confirmed the owner."""
        committer = self._port.committer
        write = self.gathering or committer.open(self, session, KEEP)
        if not write.waiting:
            write.read_at = perf_counter()
            write.queued_at = self._port.clock.now_s
        pair, cut = write.pair, write.cut
        if committed:
            write.operation = None
            pair, cut = dialogue.previous + dialogue.last, len(dialogue.previous)
        self._held_bytes += len(reply)
        committer.add(write, reply, lines, pair, cut)

    def _owes_enough(self) -> bool:
        """See `Connection`: nothing is read while a line takes its time."""
        return self._suspended or super()._owes_enough()

    def _refuse(self, code: Code, text: str) -> None:
        """See `Connection`: that too is an answer, which only the owner may give."""
        if self._dialogue is not None:
            self.inflight += 1
            self.owe(b"")
        self.fail(code, text)

    def _quit(self) -> None:
        """`QUIT` (§2.4): the last line that is taken.

        `BYE` is said as an `ERR` that closes is: what the client sent behind `QUIT` would
        make the kernel reset the connection, and a reset can overtake it (`lingering.py`).
        """

        def ended(write: Write) -> bytes:
            self.metrics.sessions_ended += 1
            for room in write.session.posted:
                self._port.committer.enqueue(write.session, Drop(room))
            return b""

        self._reader.stop()
        self.submit(END, ended)
        self._farewell = BYE
        self.ending = QUIT

    # What a member in rooms needs (rooms/connection.py).

    def owe(self, reply: bytes) -> None:
        """Answer one line when the owner is confirmed."""
        if self.session is not None and self._dialogue is not None:
            self._owe(self.session, self._dialogue, reply, 1, committed=False)

    def submit(self, operation: Operation, then: Callable[[Write], bytes | None]) -> None:
        """Answer one line with what `then` makes of the store's word; None: not yet."""
        if self.session is not None:
            self._port.committer.submit(self, self.session, operation, then)

    def suspend(self) -> None:
        """Read nothing more before this line is answered."""
        self._suspended = True

    def go_on(self) -> None:
        """It is, or is about to be."""
        self._suspended = False

    def reply_now(self, reply: bytes) -> None:
        """Answer the line that was waited for after the store's word."""
        if not self.gone:
            self.go_on()
            self.inflight -= 1
            self.metrics.lines_answered += 1
            self._send(reply)
            self._settle()

    def push(self, data: bytes) -> None:
        """Whole lines, unasked."""
        if not self.gone and not self._farewell:
            try:
                self._send(data)
            except Exception:  # noqa: BLE001 — `broken` logs it; other members get theirs
                self.broken()

    def tell(self, line: bytes) -> bool:
        """See `directory.Addressee`."""
        if self.gone or self.ending:
            return False
        self.push(line)
        return not self.closed

    # Opening.

    def _begin(self, line: bytes) -> int:
        """The first line must be `HELLO` (§2.1)."""
        self.metrics.lines_received += 1
        wanted = hello(line)
        if isinstance(wanted, Refusal):
            self.fail(wanted.code, wanted.text)
        elif wanted.token is None and not self._port.committer.newcomer():
            self.fail(Code.BUSY, STORE_FULL)
        else:
            self._ask_for(wanted)
        return 1

    def _ask_for(self, wanted: Hello) -> None:
        token = wanted.token or Token.new()
        fields = self._sessions.record(self.peer, self._balancer_id)
        self.session = Session(token.name, fields)
        self.inflight = 1
        self.suspend()
        digest = token.digest()
        operation = Resume(digest, wanted.acked) if wanted.token else Open(digest)
        self.submit(operation, lambda write: self._opened(write, token))

    def _opened(self, write: Write, token: Token) -> bytes | None:
        """The store has answered `HELLO`."""
        session, result = write.session, write.result
        resumed = isinstance(write.operation, Resume)
        if isinstance(result, Opened):
            session.own(result.epoch)
            session.seq, session.posted = result.state.seq, result.posted
            self._dialogue = Dialogue(result.state)
            self.go_on()
            self._sessions.directory.welcomed(session.name, self)
            self.metrics.welcomed(resumed=resumed)
            reply = welcome(token, result.epoch, self._sessions.ttl_s, result.state)
            return reply + drain(self._sessions.reconnect_s()) if self._port.leaving else reply
        if isinstance(result, RolledBack):
            self.abandon(Code.ROLLED_BACK, str(result.seq))
        elif resumed:
            self.abandon(UNKNOWN_SESSION.code, UNKNOWN_SESSION.text)
        else:
            # A name was drawn that another session has: draw again.
            self._ask_for(Hello(None, 0))
        return None

    # What the committer says.

    def acknowledged(self, write: Write, now_s: float) -> None:
        """See `store.batch.Client`."""
        if self.gone:
            return
        if write.refused:
            # Nothing more of it may be sent, or answered, while this is looked into.
            self.gone = True
            self.ending = ""
            self._reader.stop()
            Inquiry(self, write.session)
            return
        if write.then is not None:
            reply = write.then(write)
            if reply is None:
                return
            write.reply = reply
            self._held_bytes += len(reply)
        super().acknowledged(write, now_s)

    def _settle(self) -> None:
        """See `Connection`; a member that recovers reads on."""
        super()._settle()
        if self._member is not None and not self.gone:
            self._member.taken()

    def _detach(self, reason: str) -> _socket.socket:
        """See `Connection`; its memberships end with it."""
        if self._member is not None:
            self._member.leave()
        if self.session is not None:
            self._sessions.directory.parted(self.session.name, self)
        return super()._detach(reason)

    # What the daemon says.

    def sweep(self, now_s: float) -> None:
        """See `Connection`; a session whose client is left unread is kept for it.

        A client that takes a long history slowly may say PING all the while: nothing is read
        of it before it has taken what it is owed.
        """
        super().sweep(now_s)
        session = self.session
        if session is None or self._dialogue is None or self.gone or self.ending:
            return
        unread = self._paused or self._outbox is not None
        if unread and now_s >= session.renew_at and self.gathering is None:
            self._port.committer.open(self, session, KEEP)

    def roll_back(self) -> None:
        """The store has lost data: nobody knows what it still has of this session (§5)."""
        if self._dialogue is not None:
            self.abandon(Code.ROLLED_BACK, "the store lost data")

    def ask_to_leave(self) -> None:
        """This daemon is leaving (§2.4)."""
        if self._dialogue is not None and not self.gone and not self.ending:
            self._send(drain(self._sessions.reconnect_s()))


class Inquiry:
    """Asks the store why a session's write was refused, and tells its connection.

    A client of the committer in its connection's place: of the connection nothing is sent
    any more.
    """

    __slots__ = ("_connection", "gathering", "gone")

    def __init__(self, connection: SessionConnection, session: Session) -> None:
        self.gathering: Write | None = None
        self.gone = False
        self._connection = connection
        connection._port.committer.submit(self, session, INQUIRE)  # noqa: SLF001 — its other half

    def acknowledged(self, write: Write, now_s: float) -> None:
        """See `store.batch.Client`."""
        del now_s
        self.gone = True
        if write.result:
            self._connection.abandon(Code.TAKEN_OVER, "the session was resumed elsewhere")
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
