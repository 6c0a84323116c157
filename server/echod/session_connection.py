"""One client of the session port, PROTOCOL §2: a session that outlives it.

    HELLO ─▶ Open, Resume at the store ─▶ WELCOME ─▶ lines ─▶ state, or KEEP ─▶ replies
                                                       │
                        refused: the session is another's ─▶ Inquire ─▶ ERR, closed

Every answer after WELCOME, errors and repeated replies too, waits for the store to say
that the session is still this owner's (§2.3, DESIGN D3): it rides in a batch with the
state that its line made, or with a KEEP where it made none.
"""

from __future__ import annotations

import time
from time import perf_counter
from typing import TYPE_CHECKING

from echod.connection import Connection
from echod.protocol.errors import Code
from echod.protocol.session import (
    UNKNOWN_SESSION,
    Dialogue,
    Hello,
    Refusal,
    drain,
    hello,
    welcome,
)
from echod.session import Session, Token, record
from echod.store.operations import END, INQUIRE, KEEP, Open, Opened, Resume, RolledBack

if TYPE_CHECKING:
    import _socket

    from echod.metrics import Metrics
    from echod.port import SessionPort
    from echod.store.batch import Write

# Why a connection ended, beside the codes of PROTOCOL §4.
QUIT = "quit"

BYE = b"BYE\n"


class SessionConnection(Connection):
    """See `Connection`.

    Attributes:
        session: what the store knows of it; None before `HELLO`.
    """

    __slots__ = ("_balancer_id", "_dialogue", "_sessions", "_token", "session")

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
        self._token: Token | None = None
        self._dialogue: Dialogue | None = None
        self.session: Session | None = None

    # Lines.

    def _answer(self, lines: list[bytes]) -> int:
        """See `Connection`: all that can be answered before the store has said something."""
        dialogue, session = self._dialogue, self.session
        if dialogue is None or session is None:
            return 0 if session else self._begin(lines[0])
        reply, count, committed, request = dialogue.take(lines)
        self.metrics.lines_received += count
        self.inflight += count
        if committed:
            session.seq = dialogue.seq
        if request is None:
            self._owe(session, dialogue, reply, count, committed=committed)
            return count
        if count > 1:
            self._owe(session, dialogue, reply, count - 1, committed=committed)
        self._quit(session)
        return count

    def _owe(
        self, session: Session, dialogue: Dialogue, reply: bytes, lines: int, *, committed: bool
    ) -> None:
        """Have `reply` sent when the store has the state, or has at least confirmed the owner."""
        committer = self._port.committer
        write = self.gathering or committer.open(self, session, KEEP)
        if not write.waiting:
            write.at_s = perf_counter()
            write.since_s = self._port.clock.now_s
        if committed:
            write.operation = None
        self._held_bytes += len(reply)
        pair = dialogue.previous + dialogue.last
        committer.batcher.add(write, reply, lines, pair, len(dialogue.previous))

    def _owes_enough(self) -> bool:
        """See `Connection`: nothing is read while it is not known who speaks."""
        return (self.session is not None and self._dialogue is None) or super()._owes_enough()

    def _refuse(self, code: Code, text: str) -> None:
        """See `Connection`: that too is an answer, which only the owner may give."""
        if self._dialogue is not None and self.session is not None:
            self.inflight += 1
            self._owe(self.session, self._dialogue, b"", 1, committed=False)
        self.fail(code, text)

    def _quit(self, session: Session) -> None:
        """`QUIT` (§2.4): the last line that is taken."""
        self._reader.stop()
        self._held_bytes += len(BYE)
        self._port.committer.submit(self, session, END, BYE)
        self.ending = QUIT

    # Opening.

    def _begin(self, line: bytes) -> int:
        """The first line must be `HELLO` (§2.1)."""
        self.metrics.lines_received += 1
        wanted = hello(line)
        if isinstance(wanted, Refusal):
            self.fail(wanted.code, wanted.text)
        else:
            self._ask_for(wanted)
        return 1

    def _ask_for(self, wanted: Hello) -> None:
        token = wanted.token or Token.new()
        port = self._sessions
        fields = record(b"session", port.daemon, self.peer, self._balancer_id, time.time())
        self._token = token
        self.session = Session(token.name, fields)
        self.inflight = 1
        digest = token.digest()
        operation = Resume(digest, wanted.acked) if wanted.token else Open(digest)
        port.committer.submit(self, self.session, operation)

    def _opened(self, write: Write) -> None:
        """The store has answered `HELLO`; the reply is in `write` then."""
        session, token, result = write.session, self._token, write.result
        resumed = isinstance(write.operation, Resume)
        if isinstance(result, Opened) and token is not None:
            session.own(result.epoch)
            session.seq = result.state.seq
            self._dialogue = Dialogue(result.state)
            write.reply = welcome(token, result.epoch, self._sessions.ttl_s, result.state)
            if self._port.leaving:
                write.reply += drain(self._sessions.reconnect_s())
            self._held_bytes += len(write.reply)
            self.metrics.welcomed(resumed=resumed)
        elif isinstance(result, RolledBack):
            self.abandon(Code.ROLLED_BACK, str(result.seq))
        elif resumed:
            self.abandon(UNKNOWN_SESSION.code, UNKNOWN_SESSION.text)
        else:
            # A name was drawn that another session has: draw again.
            self.inflight = 0
            self._ask_for(Hello(None, 0))

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
        if isinstance(write.operation, (Open, Resume)):
            self._opened(write)
            if self.gone or self._dialogue is None:
                return
        elif write.operation is END:
            self.metrics.sessions_ended += 1
        super().acknowledged(write, now_s)

    # What the daemon says.

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
