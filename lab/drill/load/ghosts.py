"""Clients that do all that a well-bred client never does, and the protocol allows.

A ghost resumes its session on another daemon while its first connection is still open, and
then goes on asking on the first: lines, PINGs, sometimes QUIT. It repeats its last line. So a
daemon that answers after a takeover, ends a session that is another's, or does not know a
repeated line again has somebody who notices. Where there are rooms, it joins one on each daemon,
and goes on posting from the connection that it has left: nobody may hear of that. It speaks to the daemons directly: HAProxy would
end its connection to a frozen one.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from typing import TYPE_CHECKING

import gevent

from lab.drill.load.crowd import Crowd, Someone
from loadtest import session_events as events
from loadtest.errors import ClientError
from loadtest.session_connection import SessionConnection
from loadtest.session_notes import Notes
from loadtest.session_requests import Echo, Hello, Join, Ping, Quit, Say
from loadtest.session_retry import Patience

if TYPE_CHECKING:
    from loadtest.session_requests import Request

# Short: a frozen daemon's session is taken over while it is frozen, if only for a second.
PATIENCE_S = 0.4
PATIENCE = Patience(connect_s_max=PATIENCE_S, reply_s_max=1e9)
# How long a left connection is listened to: longer than any daemon is frozen.
HAUNT_S = 70.0
PAUSE_S = (0.05, 0.4)
LINES = (1, 4)
QUIT_SHARE = 0.3
# Where members are that hear it.
ROOM = b"room0"

# PROXY v2: signature, version 2 and PROXY, TCP over IPv4, 12 bytes of addresses (any will do).
PROXY_HEADER = b"\r\n\r\n\x00\r\nQUIT\n" + b"\x21\x11\x00\x0c" + bytes([127, 0, 0, 1] * 2 + [0] * 4)


class DirectConnection(SessionConnection):
    """A connection that goes to a daemon itself, as if it came from the balancer."""

    def _connect(self, address: tuple[str, int]) -> None:
        super()._connect(address)
        if self._socket is not None:
            with contextlib.suppress(OSError):  # that it has gone is seen at the first reading
                self._socket.sendall(PROXY_HEADER)


class Ghost(Someone):
    """See the module. Each session is a client of its own in the history."""

    expected = False
    _last: bytes | None

    def run(self) -> None:
        """Session after session, until lines end."""
        for life in itertools.count(1):
            if self.crowd.finishing:
                return
            self._life = f"{self.name}.{life}"
            self._token, self._last = b"", None
            self._connections = self._acked = self._seq = self._posts = 0
            with contextlib.suppress(ClientError):  # in the history
                self._live()
            gevent.sleep(self.chance.uniform(*PAUSE_S))

    def _live(self) -> None:
        """On daemon after daemon: take over, leave the last one open, go on asking there."""
        daemons = self.crowd.direct
        first, *others = self.chance.sample(daemons, len(daemons))
        left = self._connect(first)
        if self.crowd.load.members and self._heard_welcome:
            self._enter(left)
        self._speak(left)
        for other in others:
            taken = self._connect(other)
            if not self._token or not self._heard_welcome:
                taken.close("timeout")
                continue
            if self.crowd.load.members:
                # Not before it is there: until then, what was on its way may still be posted.
                self._enter(taken)
            gevent.spawn(self._haunt, left, self._seq, self._last)
            self._speak(taken)
            left = taken
        left.close()

    def _connect(self, daemon: tuple[str, int]) -> DirectConnection:
        """A connection, and HELLO; `_heard_welcome` says whether it was answered in time."""
        # Numbers of its own: the one before goes on being noted under its.
        notes = Notes(self.crowd.history, self._life)
        notes.connection = self._connections
        self._connections += 1
        connection = DirectConnection(daemon, notes, PATIENCE)
        self._heard_welcome = False
        self._ask(connection, Hello(self._token, self._acked if self._token else None))
        return connection

    def _enter(self, connection: DirectConnection) -> None:
        """Join the room, and post there."""
        if self._ask(connection, Join(ROOM)):
            self._ask(connection, self._post())

    def _post(self) -> Say:
        self._posts += 1
        return Say(ROOM, self._posts, b"%b %d" % (self._life.encode(), self._posts))

    def _speak(self, connection: DirectConnection) -> None:
        """Some lines; the last one again."""
        if not self._heard_welcome:
            return
        for _ in range(self.chance.randint(*LINES)):
            self._seq += 1
            self._last = self.some_bytes()
            if not self._ask(connection, Echo(self._seq, self._last)):
                return
        if self._last is not None:
            self._ask(connection, Echo(self._seq, self._last))

    def _ask(self, connection: DirectConnection, request: Request) -> bool:
        """Ask, and listen for a moment; whether it was answered."""
        try:
            connection.send(request)
            until_s = time.monotonic() + PATIENCE_S
            while connection.owing:
                for event in connection.receive(until_s):
                    self._learn(event)
                if time.monotonic() >= until_s:
                    return not connection.owing
        except ClientError as error:
            connection.close(error.kind)
            return False
        return True

    def _learn(self, event: events.Event) -> None:
        match event:
            case events.Welcome(token, _, seq, _, text):
                self._heard_welcome = True
                self._token, self._seq, self._acked, self._last = token, seq, seq, text
            case events.Answered(n):
                self._acked = max(self._acked, n)

    def _haunt(self, left: DirectConnection, seq: int, last: bytes | None) -> None:
        """Go on asking where another owner has taken over, and listen long."""
        ghostly: list[Request] = [Ping(b"boo"), Echo(seq + 1, self.some_bytes())]
        if last is not None:
            ghostly.append(Echo(seq, last))
        self.chance.shuffle(ghostly)
        if self.crowd.load.members:
            ghostly = [self._post()]
        elif self.chance.random() < QUIT_SHARE:
            ghostly = [Quit()]
        try:
            left.send(*ghostly)
            until_s = time.monotonic() + HAUNT_S
            while time.monotonic() < until_s:
                left.receive(until_s)
            left.close()
        except ClientError as error:
            left.close(error.kind)


def everyone(crowd: Crowd) -> list[Ghost]:
    """As many as the load has, if daemons can be reached directly."""
    return [Ghost(crowd, f"g{number}") for number in range(crowd.load.ghosts) if crowd.direct]
