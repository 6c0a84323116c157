"""The end of a connection that the server closes: its ERR must arrive.

Closing a socket that holds unread bytes makes the kernel send a reset, which can
overtake the ERR in the client's receive queue (RFC 1122, 4.2.2.13). So the server shuts
its sending side, reads on and throws away, and closes when the client does, or after
`linger_s_max` (the sweeper looks), or after `DISCARD_BYTES_MAX`. What it throws away counts
as the address's, as all that is read of it (sources.py): who sends on would else make the
daemon read as fast as it can.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import _socket

    from echod.port import Port

# Thrown away at most so much a turn …
DISCARD_BYTES = 65_536
# … and in all: more than was on its way when ERR was sent (the kernels' buffers on both
# sides of a balancer). Who sends on is not reading, and gets a reset.
DISCARD_BYTES_MAX = 1 << 20


def linger(port: Port, sock: _socket.socket, farewell: bytes, peer: str = "") -> None:
    """Send `farewell`, close the sending side, and keep `sock` until the client has read it.

    `peer` is the client's address, as in `Sources.join`.
    """
    try:
        port.metrics.sent_bytes += sock.send(farewell)
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        # The client is gone, or takes nothing: it will not read this either.
        sock.close()
        return
    Lingering(port, sock, peer)


class Lingering:
    """A socket that is only read any more; one of the port's `lingering`.

    Attributes:
        source: the address it comes from.
    """

    __slots__ = ("_left", "_port", "_reader", "_socket", "_until_s", "source")

    def __init__(self, port: Port, sock: _socket.socket, peer: str) -> None:
        self._port = port
        self.source = port.sources.join(peer, port.clock.now_s)
        self._socket = sock
        self._left = DISCARD_BYTES_MAX
        self._until_s = port.clock.now_s + port.linger_s_max
        self._reader = port.reader(sock.fileno(), self._discard)
        self._reader.start()
        port.lingering.add(self)

    def read_on(self) -> None:
        """Its source may send again, and it is its turn (sources.Receiver)."""
        if self in self._port.lingering:
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
        if now_s >= self._until_s:
            self.close()

    def close(self) -> None:
        """Close for good."""
        if self in self._port.lingering:
            self._port.lingering.discard(self)
            self._port.sources.part(self.source, self, self._port.clock.now_s)
            self._reader.close()
            self._socket.close()
