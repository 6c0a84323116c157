"""One connection to the plain port that holds the server to PROTOCOL §1.

Blocking sockets of the standard library: the same code serves tests and drills, and,
once Locust has let gevent patch the process, ten thousand users of a worker.

What can go wrong is in errors.py.
"""

from __future__ import annotations

import socket
from time import perf_counter
from typing import TYPE_CHECKING, Self

from loadtest.errors import (
    ClientError,
    ConnectFailed,
    EarlyClose,
    ReplyTimeout,
    ServerError,
    WrongReply,
    kind_of,
)
from loadtest.plain import Difference, ErrorLine, Replies

if TYPE_CHECKING:
    from types import TracebackType

__all__ = [
    "CONNECT_S_MAX",
    "REPLY_S_MAX",
    "ConnectFailed",
    "EarlyClose",
    "PlainClient",
    "PlainError",
    "ReplyTimeout",
    "ServerError",
    "WrongReply",
]

# Long enough for a SYN that is lost twice (sent again after 1 s and 3 s).
CONNECT_S_MAX = 5.0
# Above the daemon's commit_s_max, of 2 s and 6 s with a cluster: its `ERR unavailable` comes before we give up.
REPLY_S_MAX = 8.0
# One recv: the longest reply, two lines of line_bytes_max.
_RECV_BYTES = 16_384

# What this client raises, by the name that its callers catch.
PlainError = ClientError


class PlainClient:
    """A connection, and what is still owed on it. For one greenlet or thread at a time.

    After a `PlainError` it is of no more use: close it.

    Raises:
        ConnectFailed: within `connect_s_max` seconds.
    """

    __slots__ = ("_replies", "_reply_s_max", "_socket")

    def __init__(
        self,
        host: str,
        port: int,
        *,
        connect_s_max: float = CONNECT_S_MAX,
        reply_s_max: float = REPLY_S_MAX,
    ) -> None:
        self._reply_s_max = reply_s_max
        self._replies = Replies()
        try:
            self._socket = socket.create_connection((host, port), connect_s_max)
        except OSError as error:
            raise ConnectFailed(kind_of(error), f"{host}:{port}") from error
        # A second line must not wait for the acknowledgement of the first.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def ask(self, *lines: bytes) -> int:
        """Send lines in one piece, wait for the replies to all; return the bytes received.

        Each line ends with its LF. Keep what is in flight below what the sockets'
        buffers hold: nothing is read until all is sent.

        Raises:
            ServerError, WrongReply, EarlyClose, ReplyTimeout: as named.
            ValueError: for what is not a line.
        """
        return self._exchange(lines, half_close=False)

    def finish(self, tail: bytes = b"") -> int:
        """Half-close, after `tail` (a last line without LF, §1.4), and wait for the end.

        Return the bytes received: none, but for the tail's reply. That is how a reply
        too many is found.

        Raises:
            ServerError, WrongReply, EarlyClose, ReplyTimeout: as for `ask`.
        """
        return self._exchange((tail,) if tail else (), half_close=True)

    def close(self) -> None:
        """Let go of the socket; may be called again."""
        self._socket.close()

    def _exchange(self, lines: tuple[bytes, ...], *, half_close: bool) -> int:
        deadline = perf_counter() + self._reply_s_max
        for line in lines:
            self._replies.sent(line)
        try:
            self._socket.settimeout(self._reply_s_max)
            if lines:
                self._socket.sendall(b"".join(lines))
            if half_close:
                self._socket.shutdown(socket.SHUT_WR)
        except TimeoutError:
            raise self._timeout(half_close=half_close) from None
        except OSError:
            # The server has closed. It may have said why: that can still be read, and
            # the end of it says the rest.
            pass
        return self._read(deadline, to_end=half_close)

    def _read(self, deadline: float, *, to_end: bool) -> int:
        """Read until nothing is owed, and, if `to_end`, until the server has closed."""
        received = 0
        while True:
            fault = self._replies.fault
            if isinstance(fault, Difference):
                raise WrongReply("not the bytes owed", fault)
            if not self._replies.owing and not to_end:
                # An ERR behind the last reply is the next call's: these lines are answered.
                return received
            if isinstance(fault, ErrorLine):
                raise ServerError(fault.code, fault.text)
            data = self._recv(deadline, to_end=to_end)
            if not data:
                if self._replies.owing or self._replies.begun:
                    raise EarlyClose("end of stream")
                return received
            received += len(data)
            self._replies.received(data)

    def _recv(self, deadline: float, *, to_end: bool) -> bytes:
        remaining_s = deadline - perf_counter()
        if remaining_s <= 0:
            raise self._timeout(half_close=to_end)
        self._socket.settimeout(remaining_s)
        try:
            return self._socket.recv(_RECV_BYTES)
        except TimeoutError:
            raise self._timeout(half_close=to_end) from None
        except OSError as error:
            raise EarlyClose(kind_of(error)) from error

    def _timeout(self, *, half_close: bool) -> ReplyTimeout:
        if self._replies.begun:
            return ReplyTimeout("part of a reply")
        if half_close and not self._replies.owing:
            return ReplyTimeout("no end of stream")
        return ReplyTimeout("silence")
