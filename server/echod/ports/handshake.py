"""A balancer's connection, up to the end of its PROXY v2 header.

begin, readable ─▶ header ─▶ client ─▶ Port.join
                      │ └──▶ health check ─▶ Port.check
                      └ none, or none in time ─▶ refuse
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from echod.protocol.proxy import ProxyHeaderError, parse

if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable

    from echod.config import Config
    from echod.loop.reader import CallbackReader, GreenletReader
    from echod.ports.port import Port


class Handshake:
    """See the module; one of `Capacity.handshakes` while its header is to come."""

    __slots__ = (
        "_ends_at",
        "_max",
        "_peer",
        "_port",
        "_reader",
        "_received",
        "_refuse",
        "_socket",
    )

    def __init__(
        self,
        port: Port,
        sock: _socket.socket,
        peer: str,
        config: Config,
        refuse: Callable[[_socket.socket, str, str], None],
    ) -> None:
        """`refuse` gets the socket of who sends no header, why in a word, and in a sentence."""
        self._port = port
        self._socket = sock
        self._peer = peer
        self._refuse = refuse
        self._max = config.proxy_header_bytes_max
        self._received = b""
        self._ends_at = port.terms.clock.now_s + config.proxy_s_max
        self._reader: CallbackReader | GreenletReader | None = None

    def begin(self) -> None:
        """Read what there is; mostly the header came with the connection, and nobody waits."""
        if not self._over():
            terms = self._port.terms
            self._reader = terms.reader(self._socket.fileno(), self._readable)
            self._reader.start()
            terms.capacity.handshakes.add(self)

    def _readable(self) -> None:
        self._over()

    def _over(self) -> bool:
        """Receive once; whether that was the end of it."""
        try:
            data = self._socket.recv(self._max)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self.close()
            self._port.terms.metrics.handshake_failed("closed")
            return True
        self._received += data
        try:
            header = parse(self._received, self._max)
        except ProxyHeaderError as error:
            self._refuse(self._end(), "invalid", str(error))
            return True
        if header is None:
            return False
        sock, received = self._end(), self._received[header.length :]
        if header.local:
            self._port.check(sock, received)
        else:
            # Where the header does not say, the connection's own end counts (specification, 2.2).
            source = header.source or self._peer
            self._port.join(sock, source, header.unique_id, received)
        return True

    def _end(self) -> _socket.socket:
        if self._reader is not None:
            self._reader.close()
            self._port.terms.capacity.handshakes.discard(self)
        return self._socket

    def close(self) -> None:
        """End it without a word."""
        self._end().close()

    def sweep(self, now_s: float) -> None:
        """End it when its time is over."""
        if now_s >= self._ends_at:
            self._refuse(self._end(), "timeout", "no PROXY v2 header in time")
