"""At the door: the PROXY v2 header, and whom the port gets.

    accept ─▶ (header) ─▶ client ─▶ port.join        over the cap: busy, answered
                     └──▶ health check ─▶ port.check

A full daemon goes on accepting, so that a client is told `busy` instead of hanging in
the kernel's backlog; and it reads every header, because only the header tells a check
from a client.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from echod.client.lingering import turn_away
from echod.ports.accepting import Acceptor
from echod.protocol.errors import Code, error_line
from echod.protocol.proxy import ProxyHeaderError, parse
from echod.values import addresses

if TYPE_CHECKING:
    import _socket

    from echod.config import Config
    from echod.loop.reader import CallbackReader, GreenletReader
    from echod.ports.port import Port

log = logging.getLogger(__name__)

# Peers whose networks have been looked up: a balancer has a handful of addresses.
PEERS_KEPT = 256


class Listener:
    """The door of one port."""

    def __init__(self, port: Port, config: Config) -> None:
        """Bind and listen; connections wait until `start`.

        Raises:
            ConfigError: the address can't be had.
        """
        self._port = port
        self._networks = config.networks() if config.proxy_protocol else None
        self._config = config
        self._is_balancer = lru_cache(PEERS_KEPT)(self._in_networks)
        self._acceptor = Acceptor(port.setting, self._admit, config, port.capacity, port.metrics)
        self.address = self._acceptor.address
        self.start = self._acceptor.start
        self.stop = self._acceptor.stop
        self.tick = self._acceptor.tick

    def _in_networks(self, host: str) -> bool:
        """Whether this peer's PROXY headers are believed."""
        peer = addresses.parse(host)
        return any(peer in network for network in self._networks or ())

    def _admit(self, sock: _socket.socket, address: Any) -> None:  # noqa: ANN401 — as accept's
        peer = addresses.show(*address[:2])
        if self._networks is None:
            self._port.join(sock, peer, "", b"")
        elif self._is_balancer(address[0]):
            Handshake(self, self._port, sock, peer, self._config).begin()
        else:
            host = addresses.parse(address[0])
            self.refuse(sock, "refused", f"{host} is no balancer of ours")

    def refuse(self, sock: _socket.socket, reason: str, text: str) -> None:
        """Answer a peer that is no balancer, or speaks no PROXY protocol."""
        self._port.metrics.handshake_failed(reason)
        log.info("handshake-failed reason=%s: %s", reason, text)
        turn_away(self._port, sock, error_line(Code.BAD_REQUEST, text))


class Handshake:
    """A balancer's connection, up to the end of its PROXY v2 header."""

    __slots__ = (
        "_listener",
        "_max",
        "_peer",
        "_port",
        "_reader",
        "_received",
        "_socket",
        "_until_s",
    )

    def __init__(
        self, listener: Listener, port: Port, sock: _socket.socket, peer: str, config: Config
    ) -> None:
        self._listener = listener
        self._peer = peer
        self._port = port
        self._socket = sock
        self._max = config.proxy_header_bytes_max
        self._received = b""
        self._until_s = port.clock.now_s + config.proxy_s_max
        self._reader: CallbackReader | GreenletReader | None = None

    def begin(self) -> None:
        """Read what there is; mostly the header came with the connection, and nobody waits."""
        if not self._over():
            self._reader = self._port.reader(self._socket.fileno(), self._readable)
            self._reader.start()
            self._port.capacity.handshakes.add(self)

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
            self._port.metrics.handshake_failed("closed")
            return True
        self._received += data
        try:
            header = parse(self._received, self._max)
        except ProxyHeaderError as error:
            self._listener.refuse(self._end(), "invalid", str(error))
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
            self._port.capacity.handshakes.discard(self)
        return self._socket

    def close(self) -> None:
        """End it without a word."""
        self._end().close()

    def sweep(self, now_s: float) -> None:
        """End it when its time is over."""
        if now_s >= self._until_s:
            self._listener.refuse(self._end(), "timeout", "no PROXY v2 header in time")
