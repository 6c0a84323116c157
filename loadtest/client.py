"""One connection to the plain port that holds the server to PROTOCOL §1.

Blocking sockets of the standard library: the same code serves tests and drills, and,
once Locust has let gevent patch the process, ten thousand users of a worker.

What can go wrong is in errors.py.
"""

from __future__ import annotations

import errno
import socket
import time
from random import SystemRandom
from typing import TYPE_CHECKING, Self

from loadtest import sockets
from loadtest.entrances import Entrances, blames
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

    from loadtest.entrances import Address

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

# Through all entrances together. The last has what is left: of one alone, long enough for a SYN
# that is lost twice (sent again after 1 s and 3 s).
CONNECT_S_MAX = 5.0
# Above the daemon's commit_s_max, of 2 s and 6 s with a cluster: its `ERR unavailable` comes before we give up.
REPLY_S_MAX = 8.0
# Which entrance, nobody needs to foretell or repeat.
_RANDOM = SystemRandom()
# One recv: the longest reply, two lines of line_bytes_max.
_RECV_BYTES = 16_384

# What this client raises, by the name that its callers catch.
PlainError = ClientError


class PlainClient:
    """A connection, and what is still owed on it. For one greenlet or thread at a time.

    After a `PlainError` it is of no more use: close it.

    Attributes:
        address: the entrance that it goes through, (host, port).

    Args:
        host, port: where the plain port is; or
        entrances: several, and what is known of them (entrances.py): the next is tried where
            one can't be reached, each once. Clients made one after the other, or at once, share
            what they learn by sharing this.
        connect_s_max: seconds until the connection is made, whichever entrance it goes through.
        reply_s_max: seconds from a call's first byte to the last byte of its last reply.

    Raises:
        ConnectFailed: no entrance, within `connect_s_max` seconds; the last one's failure.
    """

    __slots__ = ("_entrances", "_replies", "_reply_s_max", "_served", "_socket", "address")

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 1234,
        *,
        entrances: Entrances | None = None,
        connect_s_max: float = CONNECT_S_MAX,
        reply_s_max: float = REPLY_S_MAX,
    ) -> None:
        self._reply_s_max = reply_s_max
        self._replies = Replies()
        self._served = False
        self._entrances = entrances or Entrances((host, port))
        self.address: Address = (host, port)
        self._socket = self._connect(connect_s_max)

    def _connect(self, connect_s_max: float) -> socket.socket:
        """Through one entrance after the other, each once, until one lets this in."""
        entrances, until_s = self._entrances, time.monotonic() + connect_s_max
        left = sockets.resolve(entrances.addresses)
        while True:
            now_s = time.monotonic()
            self.address = entrances.choose(now_s, _RANDOM, known=left)
            left.remove(self.address)
            wait_s = max(0.001, until_s - now_s)
            try:
                return sockets.connect(
                    self.address, min(wait_s, sockets.CONNECT_S_MAX) if left else wait_s
                )
            except OSError as error:
                entrances.failed(self.address, time.monotonic())
                if not left or time.monotonic() >= until_s:
                    host, port = self.address
                    raise ConnectFailed(kind_of(error), f"{host}:{port}") from error

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
        for line in lines:
            self._replies.sent(line)
        try:
            received = self._send_and_read(b"".join(lines), half_close=half_close)
        except ClientError as error:
            if blames(error, served=self._served):
                self._entrances.failed(self.address, time.monotonic())
            raise
        if lines and not self._served:
            self._served = True
            self._entrances.served(self.address)
        return received

    def _send_and_read(self, data: bytes, *, half_close: bool) -> int:
        deadline = time.monotonic() + self._reply_s_max
        full = len(data) > sockets.SURE_BYTES_MAX
        if full:
            sockets.be_patient(self._socket, self._reply_s_max)
        try:
            self._socket.settimeout(self._reply_s_max)
            if data:
                self._socket.sendall(data)
            if half_close:
                self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            if sockets.is_ours(error):
                raise self._timeout(half_close=half_close) from None
            if error.errno == errno.ETIMEDOUT:
                raise EarlyClose(kind_of(error)) from error
            # The server has closed. It may have said why: that can still be read, and
            # the end of it says the rest.
        received = self._read(deadline, to_end=half_close)
        if full:
            sockets.be_patient(self._socket, sockets.UNACKED_S_MAX)
        return received

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
        remaining_s = deadline - time.monotonic()
        if remaining_s <= 0:
            raise self._timeout(half_close=to_end)
        self._socket.settimeout(remaining_s)
        try:
            return self._socket.recv(_RECV_BYTES)
        except OSError as error:
            if sockets.is_ours(error):
                raise self._timeout(half_close=to_end) from None
            raise EarlyClose(kind_of(error)) from error

    def _timeout(self, *, half_close: bool) -> ReplyTimeout:
        if self._replies.begun:
            return ReplyTimeout("part of a reply")
        if half_close and not self._replies.owing:
            return ReplyTimeout("no end of stream")
        return ReplyTimeout("silence")
