"""One connection to the session port that holds the server to PROTOCOL §2, and notes what it sees.

Blocking sockets of the standard library, as in `client.py`. It survives no fault: that is
`session_client.py`, which makes one of these after the other. Drills that want to see the
fault itself use it alone.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from collections import deque
from typing import TYPE_CHECKING

from loadtest import sockets
from loadtest.errors import ConnectFailed, EarlyClose, ReplyTimeout, WrongReply, kind_of
from loadtest.session import Dialogue
from loadtest.session_events import Answered, Drain, From, Gap, Msg, Welcome
from loadtest.session_notes import Notes
from loadtest.session_requests import Echo, Quit
from loadtest.session_retry import PATIENCE, Patience
from loadtest.session_rooms import Rooms

if TYPE_CHECKING:
    from collections.abc import Callable

    from loadtest.session_events import Event
    from loadtest.session_requests import Request

# One recv: a good many replies, and the longest two lines.
_RECV_BYTES = 32_768

# Not answers: they don't show that what was asked is being worked on.
_UNASKED = (Msg, Gap, From, Drain)


class SessionConnection:
    """A connection, and what is under way on it. For one greenlet or thread at a time.

    After an error it is of no more use: close it.

    Attributes:
        welcomed: WELCOME has come.
        quitting: QUIT has gone out, and nothing can follow it.
        lines: lines in flight; `line_bytes` are their texts'.
        sent_s: when something was last sent, by the clock.

    Args:
        address: the entrance: host and port.
        notes: its client's.
        patience: how long it waits.
        clock: seconds; the monotonic one by default.
        rooms: who judges what is said of rooms.

    Raises:
        ConnectFailed: no connection, within `connect_s_max`.
    """

    def __init__(
        self,
        address: tuple[str, int],
        notes: Notes | None = None,
        patience: Patience = PATIENCE,
        clock: Callable[[], float] | None = None,
        rooms: type[Rooms] = Rooms,
    ) -> None:
        self.welcomed = False
        self.quitting = False
        self.lines = 0
        self.line_bytes = 0
        self._dialogue = Dialogue(rooms=rooms)
        self._owed: deque[int] = deque()  # bytes of each request not answered yet
        self._owed_bytes = 0
        self._patient = False  # with the other kernel, see sockets.SURE_BYTES_MAX
        self._notes = notes or Notes()
        self._patience = patience
        self._clock = clock or time.monotonic
        self._socket: socket.socket | None = None
        self._connect(address)
        self.sent_s = self._clock()
        self._unanswered_s = self.sent_s  # since when, while something is owed

    def _connect(self, address: tuple[str, int]) -> None:
        self._notes.connecting(address)
        try:
            self._socket = sockets.connect(address, self._patience.connect_s_max)
        except OSError as error:
            self._notes.note("closed", how=kind_of(error))
            raise ConnectFailed(kind_of(error), f"{address[0]}:{address[1]}") from error
        self._notes.note("connected")

    @property
    def owing(self) -> int:
        """Requests not answered yet."""
        return self._dialogue.owing

    def send(self, *asked: Request) -> None:
        """Send requests in one piece.

        What is in flight must fit the sockets' buffers (`bytes_in_flight_max`), or a
        server that waits for us to read is waited for in turn.

        Raises:
            ReplyTimeout: the server took nothing for `reply_s_max`.
            EarlyClose: nobody is there any more, as the network says.
            ValueError: for what can't be sent; nothing was.
        """
        self.sent_s = self._clock()
        if not self.owing:
            self._unanswered_s = self.sent_s
        lines = [self._dialogue.sent(request) for request in asked]
        for request, line in zip(asked, lines, strict=True):
            self._owed.append(len(line))
            self._owed_bytes += len(line)
            self._notes.request(request)
            if isinstance(request, Echo):
                self.lines += 1
                self.line_bytes += len(request.text)
            self.quitting |= isinstance(request, Quit)
        if self._socket is None:
            return  # receive says so
        self._bear()
        try:
            self._socket.settimeout(self._patience.reply_s_max)
            self._socket.sendall(b"".join(lines))
        except OSError as error:
            if sockets.is_ours(error):
                raise ReplyTimeout("silence", "and nothing taken") from None
            if error.errno == errno.ETIMEDOUT:
                raise EarlyClose(kind_of(error)) from error
            # The server has closed. It may have said why: that can still be read, and the
            # end of it says the rest.

    def receive(self, until_s: float) -> list[Event]:
        """What comes until then, by the clock: nothing, or at least one event.

        It may return before its time, with nothing: call it again.

        Raises:
            WrongReply: when the events before it have been returned.
            EarlyClose: the server has ended the connection, with or without replies due; or
                nobody is there any more, as the network says (`ETIMEDOUT`).
            ReplyTimeout: no answer for `reply_s_max`, with one due.
        """
        if self._dialogue.fault is not None:
            raise WrongReply("not a line that may stand there", self._dialogue.fault)
        silent_s = self._unanswered_s + self._patience.reply_s_max
        data = self._recv(min(until_s, silent_s) if self.owing else until_s)
        if data is None:
            if self.owing and self._clock() >= silent_s:
                raise ReplyTimeout("part of a reply" if self._dialogue.begun else "silence")
            return []
        if not data:
            raise EarlyClose("end of stream")
        said = self._dialogue.received(data)
        for event in said:
            self._heard(event)
        self._bear()
        if not said and self._dialogue.fault is not None:
            raise WrongReply("not a line that may stand there", self._dialogue.fault)
        return said

    def sever(self) -> None:
        """Break it under its owner, who finds the end of the stream; any greenlet may."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self, how: str = "by client") -> None:
        """Let go of the socket; may be called again. `how` is for the history."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
            self._socket = None
            self._notes.note("closed", how=how)

    def _heard(self, event: Event) -> None:
        self._notes.event(event)
        while len(self._owed) > self._dialogue.owing:
            self._owed_bytes -= self._owed.popleft()
        if not isinstance(event, _UNASKED):
            self._unanswered_s = self._clock()
        if isinstance(event, Answered):
            self.lines -= 1
            self.line_bytes -= len(event.text)
        elif isinstance(event, Welcome):
            self.welcomed = True

    def _bear(self) -> None:
        """Let the other kernel's silence mean the peer's death only where it must mean that."""
        patient = self._owed_bytes > sockets.SURE_BYTES_MAX
        if patient != self._patient and self._socket is not None:
            self._patient = patient
            sockets.be_patient(
                self._socket, self._patience.reply_s_max if patient else sockets.UNACKED_S_MAX
            )

    def _recv(self, until_s: float) -> bytes | None:
        """Bytes, none at the end of the stream, None where nothing came."""
        if self._socket is None:
            raise EarlyClose("closed")
        self._socket.settimeout(max(0.0, until_s - self._clock()))
        try:
            return self._socket.recv(_RECV_BYTES)
        except OSError as error:
            if sockets.is_ours(error):
                return None
            raise EarlyClose(kind_of(error)) from error
