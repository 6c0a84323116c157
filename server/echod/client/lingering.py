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
import socket
import struct
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
# Linux's; elsewhere the kernel has its own, longer, patience.
USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", None)
# Of `send_s_max`, for what is in the kernel already: the progress of who reads slowly behind a
# balancer shows in steps of that one's buffers, and these bytes answer lines.
PATIENCES = 3
# It is told milliseconds, as an int of 32 bits.
USER_TIMEOUT_S_MAX = 2_000_000


def reset(sock: _socket.socket) -> None:
    """Close, and keep nothing of what the client has not taken: it was given its time."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    sock.close()


def part(sock: _socket.socket, patience_s: float) -> None:
    """Close in order; what the client has still to take is kept for a time without progress.

    That is three times `patience_s`, which is `send_s_max`.

    By itself the kernel keeps its send buffer for minutes, for every client that comes, takes
    nothing, is closed and comes again.
    """
    if USER_TIMEOUT is not None:
        with contextlib.suppress(OSError):
            patience_ms = int(1000 * min(PATIENCES * patience_s, USER_TIMEOUT_S_MAX))
            sock.setsockopt(socket.IPPROTO_TCP, USER_TIMEOUT, patience_ms)
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
        part(sock, terms.send_s_max)
        return False
    return True


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
        if now_s >= self._ends_at:
            self.close()

    def close(self) -> None:
        """Close for good."""
        if self._closed:
            return
        self._closed = True
        self._crowd.discard(self)
        self._terms.sources.part(self.source, self, self._terms.clock.now_s)
        self._reader.close()
        part(self._socket, self._terms.send_s_max)
