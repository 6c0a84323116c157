"""A client of the session port that outlives its connections: Locust's, the drills', the tests'.

    send(texts) ─▶ Outbox ─▶ SessionConnection ─▶ … cut … ─▶ another ─▶ WELCOME ─▶ the rest again
    receive()   ◀─ Acknowledged, Resumed, and what else the server said

`send`, `ask` and `receive` are the lower level: many in flight, nothing waited for.
`echo`, `ping` and `quit` wait for their answers. Every fault that PROTOCOL §4 tells a
client to survive is survived: it reconnects with backoff, resumes, learns from WELCOME
what was committed and sends the rest again. What the caller gets:

    RolledBack          decide: `accept_loss()`, and the next call goes on with what is left
    SessionLost         there is no such session; nothing can be resumed
    Overtaken           only if `shared`: other owners wrote lines meanwhile
    WrongReply          the server broke the protocol
    ServerError         a code that means a mistake of the caller's
    the latest error    there was no service for `give_up_s`; the next call goes on trying

Any request can be asked with `ask`, so that rooms need no second client: its answer comes
out of `receive`, and what a fault left unanswered is asked again after it. (Membership
ends with a connection: `room_member.RoomMember`, over a client of this kind, joins rooms again
at their last position.)

For one greenlet or thread at a time.
"""

from __future__ import annotations

import contextlib
import math
import secrets
import time
from dataclasses import dataclass
from random import SystemRandom
from typing import TYPE_CHECKING, Final, Self

from loadtest import session_events as events
from loadtest import sockets
from loadtest.entrances import Entrances, blames
from loadtest.errors import (
    ClientError,
    ConnectFailed,
    EarlyClose,
    Overtaken,
    ReplyTimeout,
    RolledBack,
    ServerError,
    SessionLost,
    WrongReply,
)
from loadtest.session_connection import SessionConnection
from loadtest.session_memory import Line, Memory, Untrue
from loadtest.session_notes import Notes
from loadtest.session_outbox import KEEP_ALIVE, Outbox
from loadtest.session_requests import Echo, Hello, Ping, Quit, Request, encode
from loadtest.session_retry import PATIENCE, Patience, Resumed, Retry
from loadtest.session_rooms import Rooms

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from loadtest.entrances import Address
    from loadtest.history import Recorder
    from loadtest.session_events import ErrorLine, Event, Welcome

# HAProxy's session port.
DEFAULT_ADDRESS: Final = ("127.0.0.1", 1235)

# §4: after these a client resumes by itself. `taken-over` too: it holds one connection at
# a time, so that the newer one was an own HELLO that came late.
SURVIVED: Final = frozenset(
    {"busy", "draining", "idle-timeout", "internal", "slow-consumer", "taken-over", "unavailable"}
)


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A line is committed: its reply said so, or a WELCOME after a fault (`resumed`)."""

    line: Line
    resumed: bool = False


Happening = events.Event | Acknowledged | Resumed

# What whoever waited for lines or a resume has learnt by their end.
_NO_NEWS: Final = (Acknowledged, Resumed, events.Welcome, events.Drain)


class SessionClient:
    """One session, and its connection of the moment.

    Attributes:
        memory: the session as it is known here: token, lines that wait.
        entrance: the latest that was tried, (host, port); None before the first.

    Args:
        addresses: where sessions are served, each (host, port); after each failure another
            is taken (entrances.py). By default 127.0.0.1:1235.
        entrances: in the place of `addresses`: these, and what is known of them; clients of
            one process may share it.
        name: the client's in the history; a random one by default.
        token: of a session to resume instead of a new one.
        patience: waits and limits.
        recorder: takes the history (history.py).
        random, clock, sleep: for tests; the system's by default.
        shared: others may own the session in between (a drill's two claimants): their
            lines are `Overtaken` and not a `WrongReply`.
        rooms: who judges what is said of rooms (session_rooms.py).
    """

    def __init__(  # noqa: PLR0913 — one constructor, settings by name
        self,
        *addresses: Address,
        entrances: Entrances | None = None,
        name: str = "",
        token: bytes = b"",
        patience: Patience = PATIENCE,
        recorder: Recorder | None = None,
        random: Random | None = None,
        clock: Callable[[], float] | None = None,
        sleep: Callable[[float], object] | None = None,
        shared: bool = False,
        rooms: type[Rooms] = Rooms,
    ) -> None:
        self.name = name or secrets.token_hex(4)
        self.patience = patience
        self.memory = Memory(token)
        self._outbox = Outbox(self.memory, patience)
        self._shared = shared
        self._rooms = rooms
        self._notes = Notes(recorder, self.name)
        self._random = random or SystemRandom()
        self._retry = Retry(patience, self._random)
        # Looked up now: gevent may have patched `time` since this file was read.
        self._clock = clock or time.monotonic
        self._sleep = sleep or time.sleep
        self._entrances = entrances or Entrances(*(addresses or (DEFAULT_ADDRESS,)))
        self._known: list[Address] = []  # the entrances, names resolved, at the latest attempt
        self.entrance: Address | None = None
        self._connection: SessionConnection | None = None
        self._leave_at_s = math.inf  # the connection's moment within a DRAIN's time
        self._awaited: Request | None = None  # by `ping` or `quit`
        # For `receive`.
        self._happened: list[Happening] = []
        self._error: ClientError | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "connected" if self.connected else "not connected"
        return f"SessionClient({self.name}, session {self.memory.name or 'none'}, {state})"

    @property
    def connected(self) -> bool:
        """Whether the session is open on a connection, as far as is known here."""
        return self._connection is not None and self._connection.welcomed

    @property
    def now_s(self) -> float:
        """The client's clock."""
        return self._clock()

    # Waiting for the answer. Raises: ClientError, as in the module's docstring.

    def connect(self) -> None:
        """Open or resume the session, unless it is open."""
        self._await(lambda: self.connected)

    def echo(self, *texts: bytes) -> list[Line]:
        """Send lines, wait until these and all before are acknowledged.

        Raises:
            ClientError: then lines not acknowledged are still on their way.
            ValueError: for what is not a text; nothing is sent then.
        """
        lines = self.send(*texts)
        self._await(lambda: not self.memory.waiting)
        return lines

    def ping(self, text: bytes = b"") -> float:
        """Ask for a sign of life of daemon and store; the seconds that it took."""
        began_s = self._clock()
        self._await_answer(Ping(text))
        return self._clock() - began_s

    def quit(self) -> None:
        """End the session for good, and close."""
        self._await_answer(Quit())
        self.close()

    # The lower level.

    def send(self, *texts: bytes) -> list[Line]:
        """Lines on their way: sent as far as limits allow now, the rest in `receive`.

        A connection that is not there, or breaks, is `receive`'s business.

        Raises:
            ValueError: for what is not a text; nothing is sent then.
        """
        for n, text in enumerate(texts, self.memory.next):
            encode(Echo(n, text))
        lines = [self.memory.add(text) for text in texts]
        self._push_if_connected()
        return lines

    def ask(self, request: Request) -> None:
        """Any request but lines and HELLO; its answer comes out of `receive`.

        Raises:
            ValueError: for what can't be sent.
        """
        if isinstance(request, Echo | Hello):
            raise ValueError("lines go with send, and HELLO by itself")  # noqa: TRY004 — a value
        encode(request)
        self._outbox.ask(request)
        self._push_if_connected()

    def withdraw_rooms(self) -> None:
        """Ask nothing of rooms that is not under way: for `RoomMember`, after a WELCOME."""
        self._outbox.withdraw_rooms()

    def receive(self, wait_s: float) -> list[Happening]:
        """What happens within `wait_s`: at least one thing, or nothing.

        Faults are mended meanwhile. A connect, which is part of that, may take longer than
        `wait_s`: up to `connect_s_max`, and as long as the system takes to resolve names.

        Raises:
            ClientError: as in the module's docstring.
        """
        until_s = self._clock() + wait_s
        while not self._happened:  # what happened before an error comes before it
            self._raise_error()
            self._advance(until_s)
            if self._clock() >= until_s:
                break
        if not self._happened:
            self._raise_error()
        happened, self._happened = self._happened, []
        return happened

    def accept_loss(self) -> None:
        """After `RolledBack`: go on with what the store still has (§2.1)."""
        self._notes.note("accept", acked=self.memory.acked)
        self.memory.accepting = True

    def abandon(self) -> None:
        """Cut the connection as a fault would, at once; the next call resumes."""
        if self._connection is not None:
            self._drop("by client")
            self._cut("Abandoned()")

    def sever(self) -> None:
        """Break the connection as a network would; any greenlet or thread may.

        Its owner finds the end of the stream, and resumes as after any fault.
        """
        connection = self._connection
        if connection is not None:
            connection.sever()

    def leave(self, wait_s: float = 1.0) -> None:
        """QUIT, if there is a connection, with little patience for the answer; and close.

        For whoever has no more time: what can't be had so is left to expire. (To close at
        once would reset the connection under replies that still come, and QUIT with it.)
        """
        connection, until_s = self._connection, self._clock() + wait_s
        if connection is not None and connection.welcomed and not connection.quitting:
            with contextlib.suppress(ClientError):
                connection.send(Quit())
                said: list[Event] = []
                while events.Bye() not in said and self._clock() < until_s:
                    said = connection.receive(until_s)
        self.close()

    def close(self) -> None:
        """Close without QUIT: the session can be resumed; may be called again."""
        if self._connection is not None:
            self._drop("by client")

    # How they wait.

    def _await(self, done: Callable[[], bool]) -> None:
        """Go on until `done`; what else happens stays for `receive`."""
        while not done():
            self._raise_error()
            self._advance(self._clock() + self.patience.reply_s_max)
        if isinstance(self._error, Overtaken):
            self._raise_error()  # nothing waits any more, for it was forgotten
        self._happened = [one for one in self._happened if not isinstance(one, _NO_NEWS)]

    def _await_answer(self, request: Request) -> None:
        self._awaited = request
        self.ask(request)
        self._await(lambda: self._awaited is None)

    def _advance(self, until_s: float) -> None:
        """One step; a fault that the caller must hear of is left in `_error`."""
        try:
            self._step(until_s)
        except ClientError as error:
            self._fail(error)

    def _raise_error(self) -> None:
        latest, self._error = self._error, None
        if latest is not None:
            raise latest

    def _step(self, until_s: float) -> None:
        """Whatever is next."""
        connection, now_s = self._connection, self._clock()
        if connection is None:
            self._reconnect(until_s)
        elif connection.welcomed and now_s >= self._leave_at_s and not connection.owing:
            # §2.4: what was in flight is finished.
            self._drop("by client")
            self._cut("Drain()")
        else:
            if connection.welcomed:
                if now_s >= connection.sent_s + self.patience.ping_every_s:
                    self._outbox.keep_alive()
                self._push(connection)
            for event in connection.receive(min(until_s, self._wake_s(connection, now_s))):
                self._digest(event)

    def _wake_s(self, connection: SessionConnection, now_s: float) -> float:
        """When to stop waiting for the server: to leave, or to say something."""
        ping_at_s = connection.sent_s + self.patience.ping_every_s
        moments_s = (self._leave_at_s, ping_at_s)
        # What has passed and was not done must wait for something else: for the server.
        return min((at_s for at_s in moments_s if at_s > now_s), default=math.inf)

    # Out.

    def _push_if_connected(self) -> None:
        """Send what can be sent now; a fault shows in `receive`."""
        if self._connection is not None and self.connected and self._error is None:
            try:
                self._push(self._connection)
            except ClientError as error:
                self._fail(error)

    def _push(self, connection: SessionConnection) -> None:
        """Send lines and requests, as far as what is under way allows."""
        if self._clock() >= self._leave_at_s or connection.quitting:
            return  # what is in flight is finished, and no more begun (§2.4)
        batch = self._outbox.batch(connection.lines, connection.line_bytes, self._clock())
        if batch:
            connection.send(*batch)

    # In.

    def _digest(self, event: Event) -> None:
        """What an event changes, and what the caller hears of it."""
        match event:
            case events.Answered():
                self._acknowledge(self.memory.answered(event), resumed=False)
            case events.Welcome():
                self._on_welcome(event)
            case events.ErrorLine():
                self._on_error(event)
            case events.Drain(ms):
                self._leave_at_s = self._clock() + self._random.uniform(0, ms / 1000)
                self._happened.append(event)
            case events.Joined(asked=False) | events.Msg() | events.Gap() | events.From():
                self._happened.append(event)
            case _:
                self._on_answer(event)

    def _on_answer(self, event: Event) -> None:
        """The answer to the request asked first."""
        self._retry.served()
        request = self._outbox.answered()
        if request is self._awaited:
            self._awaited = None
        elif request is not KEEP_ALIVE:
            self._happened.append(event)

    def _acknowledge(self, line: Line, *, resumed: bool) -> None:
        self._retry.served()
        line.took_s = self._clock() - (line.sent_s or 0.0)
        self._happened.append(Acknowledged(line, resumed))

    def _on_welcome(self, welcome: Welcome) -> None:
        """§2.2: what was committed, and what has to be sent again."""
        committed: list[Line] = []
        try:
            committed = self.memory.welcomed(welcome)
        except Untrue as untrue:
            if not self._shared:
                raise WrongReply("WELCOME can't be true", untrue) from None
            self.memory.overtaken(welcome)
            self._error = Overtaken("shared session", untrue)
        if self.entrance is not None:
            self._entrances.served(self.entrance)
        resumed = self._retry.back(self._clock())
        if resumed is not None:
            self._happened.append(resumed)
        self._happened.append(welcome)
        for line in committed:
            self._acknowledge(line, resumed=True)
        if self._outbox.empty:
            self._retry.served()

    def _on_error(self, error: ErrorLine) -> None:
        """§4's last column."""
        if error.request is not None and not isinstance(error.request, Echo):
            self._on_answer(error)
        elif error.code == "rolled-back":
            raise RolledBack(error.number, error.text)
        elif error.code == "unknown-session":
            raise SessionLost(error.code, error.text)
        else:
            raise ServerError(error.code, error.text)

    # Faults.

    def _reconnect(self, until_s: float) -> None:
        """Connect and say HELLO, when its time has come."""
        wait_s = min(self._retry.due_s, until_s) - self._clock()
        if wait_s > 0:
            self._sleep(wait_s)
        if self._clock() < self._retry.due_s:
            return
        self._retry.trying()
        self._known = sockets.resolve(self._entrances.addresses)
        self.entrance = self._entrances.choose(
            self._clock(), self._random, known=self._known, last=self.entrance
        )
        self._connection = SessionConnection(
            self.entrance, self._notes, self.patience, self._clock, self._rooms
        )
        memory = self.memory
        acked = memory.acked if memory.token and not memory.accepting else None
        self._connection.send(Hello(memory.token, acked))

    def _fail(self, error: ClientError) -> None:
        """Close; the caller gets what it has to decide, or what lasts too long."""
        elsewhere = self._blame(error)
        self._drop(_how(error))
        if isinstance(error, SessionLost) and self._outbox.quit_sent:
            self._ended()
            return
        self._cut(repr(error))
        if self._retry.failed(self._clock(), elsewhere=elsewhere) or not _survived(error):
            self._error = error

    def _blame(self, error: ClientError) -> bool:
        """Leave the entrance alone, if it was its fault; whether there is another to go to."""
        entrance = self.entrance
        if entrance is None or not blames(error, served=self.connected):
            return False
        self._entrances.failed(entrance, self._clock())
        return self._entrances.others(entrance, known=self._known)

    def _ended(self) -> None:
        """The answer to QUIT was lost, QUIT was not."""
        self._outbox.ended()
        if self._awaited is None:
            self._happened.append(events.Bye())
        self._awaited = None

    def _drop(self, how: str) -> None:
        """Close the connection; what was under way on it is to be sent again."""
        if self._connection is not None:
            self._connection.close(how)
            self._connection = None
        self._leave_at_s = math.inf
        self._outbox.cut()

    def _cut(self, cause: str) -> None:
        if self.memory.token:
            self._retry.cut(self._clock(), cause)


def _survived(error: ClientError) -> bool:
    """Whether a client mends this by resuming (§4)."""
    if isinstance(error, ServerError):
        return error.kind in SURVIVED
    return isinstance(error, ConnectFailed | EarlyClose | ReplyTimeout)


def _how(error: ClientError) -> str:
    """The history's word for the end of a connection."""
    if isinstance(error, EarlyClose):
        return error.kind
    return "timeout" if isinstance(error, ReplyTimeout) else f"by client after {error.kind}"
