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
from echod.ports.handshake import Handshake
from echod.protocol.errors import Code, error_line
from echod.values import addresses

if TYPE_CHECKING:
    import _socket

    from echod.config import Config
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
        self._acceptor = Acceptor(
            port.setting, self._admit, config, port.terms.capacity, port.terms.metrics
        )
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
            Handshake(self._port, sock, peer, self._config, self._refuse).begin()
        else:
            host = addresses.parse(address[0])
            self._refuse(sock, "refused", f"{host} is no balancer of ours")

    def _refuse(self, sock: _socket.socket, reason: str, text: str) -> None:
        """Answer a peer that is no balancer, or speaks no PROXY protocol."""
        self._port.terms.metrics.handshake_failed(reason)
        log.info("handshake-failed reason=%s: %s", reason, text)
        turn_away(self._port.terms, sock, error_line(Code.BAD_REQUEST, text))
