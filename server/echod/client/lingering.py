"""The end of a connection that the server closes: its ERR must arrive.

Closing a socket that holds unread bytes makes the kernel send a reset, which can
overtake the ERR in the client's receive queue (RFC 1122, 4.2.2.13). So the server shuts
its sending side, reads on and throws away, and closes when the client does, or after
`linger_s_max` (the sweeper looks), or after `DISCARD_BYTES_MAX`. What it throws away counts
as the address's, as all that is read of it (sources.py): who sends on would else make the
daemon read as fast as it can.

Who was served lingers in the place that it had. Who was refused lingers as long as few do:
a flood of them is closed at once, and costs no more than it must.
"""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
import sys
import termios
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import _socket

    from echod.limits.capacity import Crowd
    from echod.ports.port import Port

# Thrown away at most so much a turn …
DISCARD_BYTES = 65_536
# … and in all: more than was on its way when ERR was sent (the kernels' buffers on both
# sides of a balancer). Who sends on is not reading, and gets a reset.
DISCARD_BYTES_MAX = 1 << 20
# SO_LINGER on with 0 seconds: closing resets, and the kernel keeps nothing.
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def reset(sock: _socket.socket) -> None:
    """Close, and keep nothing of what the client has not taken: it was given its time."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    sock.close()


def unacknowledged_bytes(sock: _socket.socket) -> int:
    """What the kernel keeps of what was sent, until the client's kernel has it (tcp(7), SIOCOUTQ).

    What a slow client takes shows here first: the kernel takes nothing more of a connection
    before it has freed a whole segment, which may be 64 kB.
    """
    return int.from_bytes(fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def part(port: Port, sock: _socket.socket) -> None:
    """Close, once the client has taken what was sent; at once if it has, as most have."""
    try:
        if unacknowledged_bytes(sock):
            sock.shutdown(socket.SHUT_WR)
            port.capacity.departing.add(Parting(port, sock))
            return
    except OSError:
        pass  # the client is gone
    sock.close()


def linger(port: Port, sock: _socket.socket, farewell: bytes, peer: str = "") -> None:
    """Send `farewell`, close the sending side, and keep `sock` until the client has read it.

    `peer` is the client's address, as in `Sources.join`.
    """
    capacity = port.capacity
    if capacity.clients + len(capacity.departing) >= capacity.connections_max:
        turn_away(port, sock, farewell, peer)  # a check's: it had no client's place
    elif _said(port, sock, farewell):
        Lingering(port, sock, capacity.departing, peer)


def turn_away(port: Port, sock: _socket.socket, farewell: bytes, peer: str = "") -> None:
    """The same for who had no place, and may have to go at once."""
    capacity = port.capacity
    if capacity.refused.full or capacity.files.short:
        port.metrics.cut_short("refused")
        with contextlib.suppress(OSError):
            port.metrics.sent_bytes += sock.send(farewell)
        sock.close()
    elif _said(port, sock, farewell):
        Lingering(port, sock, capacity.refused, peer)


def _said(port: Port, sock: _socket.socket, farewell: bytes) -> bool:
    """Whether the client is there to hear it; if not, the socket is closed."""
    try:
        port.metrics.sent_bytes += sock.send(farewell)
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        # The client is gone, or takes nothing: it will not read this either.
        reset(sock)
        return False
    return True


class Parting:
    """A socket on which all was sent and not all is taken, in the place that its client had.

    The daemon keeps it, for the kernel can't be told for how long to: closed, it would keep
    what a client never takes for minutes, and TCP_USER_TIMEOUT counts a client that reads
    slowly but steadily, its window shut between, as one that reads nothing.
    """

    __slots__ = ("_left", "_port", "_progress_s", "_socket")

    def __init__(self, port: Port, sock: _socket.socket) -> None:
        self._port = port
        self._socket = sock
        self._left = 0
        self._progress_s = port.clock.now_s

    def sweep(self, now_s: float) -> None:
        """Close when all is taken; reset without progress for `send_s_max`."""
        sock = self._socket
        # Of a client that has reset the connection the kernel counts on what it never took.
        gone = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        left = 0 if gone else unacknowledged_bytes(sock)
        if left and left != self._left:
            self._left = left
            self._progress_s = now_s
        elif not left or now_s - self._progress_s > self._port.send_s_max:
            self.close()

    def close(self) -> None:
        """Close for good: what has not been taken by now is dropped."""
        self._port.capacity.departing.discard(self)
        reset(self._socket) if self._left else self._socket.close()


class Lingering:
    """A socket that is only read any more; one of a `crowd`.

    Attributes:
        source: the address it comes from.
    """

    __slots__ = ("_closed", "_crowd", "_left", "_port", "_reader", "_socket", "_until_s", "source")

    def __init__(
        self,
        port: Port,
        sock: _socket.socket,
        crowd: Crowd[Lingering] | Crowd[Lingering | Parting],
        peer: str,
    ) -> None:
        self._port = port
        self._crowd = crowd
        self._closed = False
        self.source = port.sources.join(peer, port.clock.now_s)
        self._socket = sock
        self._left = DISCARD_BYTES_MAX
        self._until_s = port.clock.now_s + port.linger_s_max
        self._reader = port.reader(sock.fileno(), self._discard)
        self._reader.start()
        crowd.add(self)

    def read_on(self) -> None:
        """Its source may send again, and it is its turn (sources.Receiver)."""
        if not self._closed:
            self._reader.start()
            self._discard()

    def _discard(self) -> None:
        if self.source.left <= 0 and not self._port.may_read(self):
            self._reader.stop()  # until it is its turn, or its time is over
            return
        try:
            received = len(self._socket.recv(DISCARD_BYTES))
            self.source.left -= received
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
        if now_s >= self._until_s and (sock := self._detach()):
            # Who was refused has had its time: others are waiting for the place.
            if self._crowd is self._port.capacity.departing:
                part(self._port, sock)
            else:
                sock.close()

    def close(self) -> None:
        """Close for good."""
        if sock := self._detach():
            sock.close()

    def _detach(self) -> _socket.socket | None:
        """Leave the crowd; whoever asked has the socket now. None if it was closed before."""
        if self._closed:
            return None
        self._closed = True
        self._crowd.discard(self)
        self._port.sources.part(self.source, self, self._port.clock.now_s)
        self._reader.close()
        return self._socket
