"""One connection to the session port that holds the server to PROTOCOL §2, and records what it sees.

Blocking sockets of the standard library, as in `client.py`. It survives no fault: that is
`session_client.py`, which makes one of these after the other.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

from loadtest import session_events as events
from loadtest import session_requests as requests
from loadtest.errors import ConnectFailed, EarlyClose, ReplyTimeout, WrongReply, kind_of
from loadtest.session import LINE_BYTES_MAX, Dialogue

if TYPE_CHECKING:
    from loadtest.history import Recorder
    from loadtest.session_events import Event
    from loadtest.session_requests import Request

# One recv: a good many replies, and the longest two lines.
_RECV_BYTES = 32_768


class SessionConnection:
    """A connection, what is owed on it, and its part of the history.

    For one greenlet or thread at a time. After an error it is of no more use: close it.

    Args:
        address: host and port.
        client: the history's `c`; `number` is its `k`.
        connect_s_max: for the connection to be made.
        recorder: where events go, if anywhere.

    Raises:
        ConnectFailed: no connection, within `connect_s_max`.
    """

    def __init__(
        self,
        address: tuple[str, int],
        *,
        client: str = "",
        number: int = 1,
        connect_s_max: float,
        recorder: Recorder | None = None,
        line_bytes_max: int = LINE_BYTES_MAX,
    ) -> None:
        self.dialogue = Dialogue(line_bytes_max)
        self._recorder = recorder
        self._stamp = {"c": client, "k": number}
        self._socket: socket.socket | None = None
        self._record("connect", to=f"{address[0]}:{address[1]}")
        try:
            self._socket = socket.create_connection(address, connect_s_max)
        except OSError as error:
            self._record("closed", how=kind_of(error))
            raise ConnectFailed(kind_of(error), f"{address[0]}:{address[1]}") from error
        # A second line must not wait for the acknowledgement of the first.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._record("connected")

    def send(self, *asked: Request, send_s_max: float) -> None:
        """Send requests in one piece.

        What is in flight must fit the sockets' buffers, or a server that waits for us to
        read is waited for in turn.

        Raises:
            ReplyTimeout: the server took nothing for `send_s_max`.
            ValueError: for what can't be sent; nothing was.
        """
        data = b"".join([self.dialogue.sent(request) for request in asked])
        if self._recorder is not None:
            for request in asked:
                self._record_request(request)
        if self._socket is None:
            return  # receive says so
        self._socket.settimeout(send_s_max)
        try:
            self._socket.sendall(data)
        except TimeoutError:
            raise ReplyTimeout("silence", "and nothing taken") from None
        except OSError:
            # The server has closed. It may have said why: that can still be read, and the
            # end of it says the rest.
            pass

    def receive(self, wait_s: float) -> list[Event]:
        """What comes within `wait_s` (0: what is there): nothing, or at least one event.

        No event for some bytes also ends it, before its time: call it again.

        Raises:
            WrongReply: at the call after the events before it were returned.
            EarlyClose: the server has ended the connection, with or without replies due.
        """
        if self.dialogue.fault is not None:
            raise WrongReply("not a line that may stand there", self.dialogue.fault)
        data = self._recv(wait_s)
        if data is None:
            return []
        if not data:
            raise EarlyClose("end of stream")
        said = self.dialogue.received(data)
        if self._recorder is not None:
            for event in said:
                self._record_event(event)
        if not said and self.dialogue.fault is not None:
            raise WrongReply("not a line that may stand there", self.dialogue.fault)
        return said

    def close(self, how: str = "by client") -> None:
        """Let go of the socket; may be called again. `how` is for the history."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
            self._socket = None
            self._record("closed", how=how)

    def _recv(self, wait_s: float) -> bytes | None:
        """Bytes, none at the end of the stream, None where nothing came."""
        if self._socket is None:
            raise EarlyClose("closed")
        self._socket.settimeout(max(0.0, wait_s))
        try:
            return self._socket.recv(_RECV_BYTES)
        except (TimeoutError, BlockingIOError):
            return None
        except OSError as error:
            raise EarlyClose(kind_of(error)) from error

    # The history (history.py); rooms' requests and events included.

    def _record(self, kind: str, **fields: object) -> None:
        if self._recorder is not None:
            self._recorder.record(kind, **self._stamp, **fields)

    def _record_request(self, request: Request) -> None:
        match request:
            case requests.Echo(n, text):
                self._record("sent", n=n, text=text)
            case requests.Hello():
                self._record("hello", name=request.name, acked=request.acked)
            case requests.Ping(text):
                self._record("ping", text=text)
            case requests.Quit():
                self._record("quit")
            case requests.Join(room, life, offset):
                self._record("join", room=room, life=life, offset=offset)
            case requests.Say(room, id_, text):
                self._record("say", room=room, id=id_, text=text)
            case requests.Tell(name, text):
                self._record("tell", name=name, text=text)
            case requests.Part(room):
                self._record("part", room=room)
            case requests.Who(room):
                self._record("who", room=room)

    def _record_event(self, event: Event) -> None:
        match event:
            case events.Answered(n, previous, text):
                self._record("answered", n=n, previous=previous, text=text)
            case events.Welcome(_, epoch, seq, _, text):
                self._record("welcome", name=event.name, epoch=epoch, seq=seq, text=text)
            case events.Pong(text):
                self._record("pong", text=text)
            case events.Bye():
                self._record("bye")
            case events.Drain(ms):
                self._record("drain", ms=ms)
            case events.ErrorLine(code, text):
                self._record("error", code=code, text=text)
            case _:
                self._record_room_event(event)

    def _record_room_event(self, event: Event) -> None:
        match event:
            case events.Msg(room, offset, sender, text):
                self._record("msg", room=room, offset=offset, sender=sender, text=text)
            case events.Gap(room, first, last):
                self._record("gap", room=room, first=first, last=last)
            case events.Said(room, id_, offset):
                self._record("said", room=room, id=id_, offset=offset)
            case events.Joined(room, life, offset, how):
                self._record("joined", room=room, life=life, offset=offset, how=how)
            case events.Parted(room):
                self._record("parted", room=room)
            case events.Members(room, members, daemons):
                self._record("members", room=room, members=members, daemons=daemons)
            case events.Told(name, how):
                self._record("told", name=name, how=how)
            case events.From(sender, text):
                self._record("from", sender=sender, text=text)
