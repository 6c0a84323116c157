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

    from echod.client.terms import Terms
    from echod.limits.capacity import Crowd, Guest

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
    before it has freed a whole segment, which may be 64 kB. 0 where the system does not say
    (macOS): then only what the kernel takes is progress.
    """
    try:
        answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))
    except OSError:
        return 0
    return int.from_bytes(answer, sys.byteorder)


def part(terms: Terms, sock: _socket.socket) -> None:
    """Close, once the client has taken what was sent; at once if it has, as most have."""
    try:
        if unacknowledged_bytes(sock):
            sock.shutdown(socket.SHUT_WR)
            Parting(terms, sock)
            return
    except OSError:
        pass  # the client is gone
    sock.close()


def linger(terms: Terms, sock: _socket.socket, farewell: bytes, peer: str) -> None:
    """Send `farewell`, close the sending side, and keep `sock` until the client has read it.

    `peer` is the client's address, as in `Sources.join`. It was served, and keeps its place.
    """
    if _said(terms, sock, farewell):
        Lingering(terms, sock, terms.capacity.departing, peer)


def turn_away(terms: Terms, sock: _socket.socket, farewell: bytes, peer: str = "") -> None:
    """The same for who had no place, and may have to go at once."""
    capacity = terms.capacity
    if capacity.refused.full or capacity.files.short:
        terms.metrics.cut_short("refused")
        with contextlib.suppress(OSError):
            terms.metrics.sent_bytes += sock.send(farewell)
        sock.close()
    elif _said(terms, sock, farewell):
        Lingering(terms, sock, capacity.refused, peer)


def _said(terms: Terms, sock: _socket.socket, farewell: bytes) -> bool:
    """Whether the client is there to hear it; if not, the socket is closed."""
    try:
        terms.metrics.sent_bytes += sock.send(farewell)
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        # The client is gone, or takes nothing: it will not read this either.
        reset(sock)
        return False
    return True


class Parting:
    """A socket on which all was sent and not all is taken, in the place that its client had.

    The daemon keeps the socket because the kernel cannot be told for how long to do so: a
    closed socket keeps what its client never takes for minutes, and TCP_USER_TIMEOUT counts
    a client that reads slowly but steadily as one that reads nothing, once its window was shut.
    """

    __slots__ = ("_left", "_moved_at", "_socket", "_terms")

    def __init__(self, terms: Terms, sock: _socket.socket) -> None:
        self._terms = terms
        self._socket = sock
        self._left = 0
        self._moved_at = terms.clock.now_s
        terms.capacity.departing.add(self)

    def sweep(self, now_s: float) -> None:
        """Close when all is taken; reset without progress for `send_s_max`."""
        sock = self._socket
        # After a reset by the client the kernel still counts what the client never took.
        gone = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        left = 0 if gone else unacknowledged_bytes(sock)
        if left and left != self._left:
            self._left = left
            self._moved_at = now_s
        elif not left or now_s - self._moved_at > self._terms.send_s_max:
            self._left = left
            self.close()

    def close(self) -> None:
        """Close for good: what has not been taken by now is dropped."""
        self._terms.capacity.departing.discard(self)
        if self._left:
            reset(self._socket)
        else:
            self._socket.close()


class Lingering:
    """A socket that is only read any more; one of a `crowd`.

    Attributes:
        source: the address it comes from.
    """

    __slots__ = ("_closed", "_crowd", "_ends_at", "_left", "_reader", "_socket", "_terms", "source")

    def __init__(self, terms: Terms, sock: _socket.socket, crowd: Crowd[Guest], peer: str) -> None:
        self._terms = terms
        self._crowd = crowd
        self._closed = False
        self.source = terms.sources.join(peer, terms.clock.now_s)
        self._socket = sock
        self._left = DISCARD_BYTES_MAX
        self._ends_at = terms.clock.now_s + terms.linger_s_max
        self._reader = terms.reader(sock.fileno(), self._discard)
        self._reader.start()
        crowd.add(self)

    def read_on(self) -> None:
        """Its source may send again, and it is its turn (sources.Receiver)."""
        if not self._closed:
            self._reader.start()
            self._discard()

    def _discard(self) -> None:
        terms = self._terms
        if self.source.left <= 0 and not terms.sources.may_read(
            self.source, self, terms.clock.now_s
        ):
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
        if now_s >= self._ends_at and (sock := self._detach()):
            # One that was refused has had its time: others are waiting for the place.
            if self._crowd is self._terms.capacity.departing:
                part(self._terms, sock)
            else:
                sock.close()

    def close(self) -> None:
        """Close for good."""
        if sock := self._detach():
            sock.close()

    def _detach(self) -> _socket.socket | None:
        """Leave the crowd; the caller has the socket now. None if it was closed before."""
        if self._closed:
            return None
        self._closed = True
        self._crowd.discard(self)
        self._terms.sources.part(self.source, self, self._terms.clock.now_s)
        self._reader.close()
        return self._socket
