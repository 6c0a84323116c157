"""What the connections of one port share: its limits, its parts, and the set of them."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from echod.connection import Connection
from echod.lingering import Lingering, linger
from echod.metrics import Metrics
from echod.protocol.errors import Code, error_line
from echod.reader import READERS
from echod.session import Session

if TYPE_CHECKING:
    import _socket

    from echod.clock import Clock
    from echod.config import Config
    from echod.listener import Handshake
    from echod.store.committer import Committer

log = logging.getLogger(__name__)

# Sockets beside the clients: PROXY headers that are still read, health checks, and
# connections that linger. Beyond them a socket is closed without a word.
SPARE_SOCKETS: Final = 256


class Port:
    """The plain port, PROTOCOL §1."""

    name = "echo"

    def __init__(
        self, config: Config, clock: Clock, committer: Committer, metrics: Metrics
    ) -> None:
        self.clock = clock
        self.committer = committer
        self.metrics = metrics
        self.reader = READERS[config.reader]
        self.line_bytes_max = config.line_bytes_max
        self.line_s_max = config.line_s_max
        self.idle_s_max = config.echo_idle_s_max
        self.inflight_lines_max = config.inflight_lines_max
        self.outbox_bytes_max = config.outbox_bytes_max
        # Replies that are held will be unsent: reading stops at half of what may be, so
        # that what one more receive can add still fits, and only who takes nothing is slow.
        self.unsent_bytes_pause = config.outbox_bytes_max // 2
        self.pending_bytes_max = config.pending_bytes_max
        self.send_s_max = config.send_s_max
        self.linger_s_max = config.linger_s_max
        self.stores = config.durability != "none"
        self.defers = config.durability == "async"
        self.connections: set[Connection] = set()
        self.clients = 0
        self.leaving = False  # nobody new is served; health checks are
        self.handshakes: set[Handshake] = set()
        self.lingering: set[Lingering] = set()
        self._checks = Metrics()  # what health checks do is counted here, and shown nowhere
        self._connections_max = config.connections_max
        self._daemon = config.name

    def crowded(self) -> bool:
        """Whether even the spare sockets are taken."""
        sockets = len(self.connections) + len(self.handshakes) + len(self.lingering)
        return sockets >= self._connections_max + SPARE_SOCKETS

    def join(self, sock: _socket.socket, peer: str, balancer_id: str, received: bytes) -> None:
        """A client has come, and `received` is what it has sent; served unless full or leaving."""
        self.metrics.accepted(self.name)
        if self.leaving:
            self._refuse(sock, Code.DRAINING, "this daemon is leaving; reconnect")
            return
        if self.clients >= self._connections_max:
            self._refuse(sock, Code.BUSY, f"{self._connections_max} connections are open here")
            return
        session = Session(self._daemon, peer, balancer_id, time.time()) if self.stores else None
        if log.isEnabledFor(logging.DEBUG):
            name = session.name.decode() if session else ""
            log.debug("connection-accepted name=%s peer=%s id=%s", name, peer, balancer_id)
        connection = Connection(self, sock, peer, session, self.metrics)
        self.clients += 1
        self.connections.add(connection)
        connection.start(received)

    def check(self, sock: _socket.socket, received: bytes) -> None:
        """The balancer tests whether this daemon echoes.

        It is answered without the store, whose faults are the agent's to tell (DESIGN
        D11), and above the cap too: a full daemon is not a dead one.
        """
        self.metrics.health_checks += 1
        connection = Connection(self, sock, "", None, self._checks)
        self.connections.add(connection)
        connection.start(received)

    def _refuse(self, sock: _socket.socket, code: Code, text: str) -> None:
        self.metrics.closed(self.name, code.value)
        linger(self, sock, error_line(code, text))

    def left(self, connection: Connection, reason: str) -> None:
        """A connection has ended."""
        self.connections.discard(connection)
        if connection.metrics is not self._checks:
            self.clients -= 1
            if log.isEnabledFor(logging.DEBUG):
                log.debug("connection-closed peer=%s reason=%s", connection.peer, reason)
            self.metrics.closed(self.name, reason)

    def sweep(self, now_s: float) -> None:
        """Let every connection look at its deadlines."""
        for connection in tuple(self.connections):
            connection.sweep(now_s)
        for handshake in tuple(self.handshakes):
            handshake.sweep(now_s)
        for lingering in tuple(self.lingering):
            lingering.sweep(now_s)

    def unsent_bytes(self) -> int:
        """What waits in all outboxes."""
        return sum(connection.unsent_bytes() for connection in self.connections)
