"""The end of a connection that the server closes: its ERR must arrive.

Closing a socket that holds unread bytes makes the kernel send a reset, which can
overtake the ERR in the client's receive queue (RFC 1122, 4.2.2.13). So the server shuts
its sending side, reads on and throws away, and closes when the client does, or after
`linger_s_max` (the sweeper looks), or after `DISCARD_BYTES_MAX`.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import _socket

    from echod.port import Port

# Thrown away at most so much a turn …
DISCARD_BYTES = 65_536
# … and in all: more than was on its way when ERR was sent (the kernels' buffers on both
# sides of a balancer). Who sends on is not reading, and gets a reset.
DISCARD_BYTES_MAX = 1 << 20
# SO_LINGER on with 0 seconds: closing resets, and the kernel keeps nothing.
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
# Linux's; elsewhere the kernel has its own, longer, patience.
USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", None)


def reset(sock: _socket.socket) -> None:
    """Close, and keep nothing of what the client has not taken: it was given its time."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    sock.close()


def part(sock: _socket.socket, patience_s: float) -> None:
    """Close in order; what the client has still to take is kept for so long without progress.

    By itself the kernel keeps its send buffer for minutes, for every client that comes, takes
    nothing, is closed and comes again.
    """
    if USER_TIMEOUT is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, USER_TIMEOUT, int(1000 * patience_s))
    sock.close()


def linger(port: Port, sock: _socket.socket, farewell: bytes) -> None:
    """Send `farewell`, close the sending side, and keep `sock` until the client has read it."""
    try:
        port.metrics.sent_bytes += sock.send(farewell)
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        # The client is gone, or takes nothing: it will not read this either.
        part(sock, port.send_s_max)
        return
    Lingering(port, sock)


class Lingering:
    """A socket that is only read any more; one of the port's `lingering`."""

    __slots__ = ("_left", "_port", "_reader", "_socket", "_until_s")

    def __init__(self, port: Port, sock: _socket.socket) -> None:
        self._port = port
        self._socket = sock
        self._left = DISCARD_BYTES_MAX
        self._until_s = port.clock.now_s + port.linger_s_max
        self._reader = port.reader(sock.fileno(), self._discard)
        self._reader.start()
        port.lingering.add(self)

    def _discard(self) -> None:
        try:
            received = len(self._socket.recv(DISCARD_BYTES))
            self._left -= received
            if received and self._left > 0:
                return
        except BlockingIOError:
            return
        except OSError:
            pass  # a reset: the client has closed in its way
        self.close()

    def sweep(self, now_s: float) -> None:
        """Close when the time is over."""
        if now_s >= self._until_s:
            self.close()

    def close(self) -> None:
        """Close for good."""
        if self in self._port.lingering:
            self._port.lingering.discard(self)
            self._reader.close()
            part(self._socket, self._port.send_s_max)
