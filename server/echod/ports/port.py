"""What the connections of one port share: its limits, its parts, and the set of them."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from echod.client.lingering import turn_away
from echod.client.plain import PlainConnection
from echod.client.session import SessionConnection
from echod.loop.guard import guarded
from echod.loop.reader import READERS
from echod.metrics import Metrics
from echod.protocol.errors import STORE_FULL, Code, error_line
from echod.rooms.member import Member
from echod.store.keys import PlainSession, record

if TYPE_CHECKING:
    import _socket

    from echod.client.connection import Connection
    from echod.client.lingering import Lingering
    from echod.config import Config
    from echod.limits.capacity import Capacity
    from echod.limits.sources import Sources
    from echod.limits.unsent import Unsent
    from echod.loop.clock import Clock
    from echod.ports.directory import Directory
    from echod.rooms.hub import Hub
    from echod.store.committer import Committer
    from echod.store.keys import Session

log = logging.getLogger(__name__)

# Of the time that a leaving daemon has left, how much its clients are given to go: the
# rest is for those that begin late.
RECONNECT_SHARE: Final = 0.6


@dataclass(frozen=True, slots=True)
class Parts:
    """What a daemon has one of, and all its ports use."""

    config: Config
    clock: Clock
    committer: Committer
    metrics: Metrics
    capacity: Capacity
    sources: Sources
    unsent: Unsent


class Port:
    """See the module; `PlainPort` and `SessionPort` are the two there are."""

    name: ClassVar[str]
    setting: ClassVar[str]
    """The setting that says where it listens."""
    defers = False
    """Durability async: whether lines may be answered before they are stored."""

    def __init__(self, parts: Parts, idle_s_max: float) -> None:
        config = parts.config
        self.clock = parts.clock
        self.committer = parts.committer
        self.metrics = parts.metrics
        self.unsent = parts.unsent
        self.reader = READERS[config.reader]
        self.line_bytes_max = config.line_bytes_max
        self.line_s_max = config.line_s_max
        self.idle_s_max = idle_s_max
        self.inflight_lines_max = config.inflight_lines_max
        self.outbox_bytes_max = config.outbox_bytes_max
        # Replies that are held will be unsent: reading stops at half of what may be, so
        # that what one more receive can add still fits, and only who takes nothing is slow.
        self.unsent_bytes_pause = config.outbox_bytes_max // 2
        self.pending_bytes_max = config.pending_bytes_max
        self.send_s_max = config.send_s_max
        self.linger_s_max = config.linger_s_max
        self.daemon = config.name
        self.connections: set[Connection] = set()
        self.clients = 0
        self.leaving = False  # nobody new is served; health checks are
        self._checks = Metrics()  # what health checks do is counted here, and shown nowhere
        self.capacity = parts.capacity
        self.sources = parts.sources

    def join(self, sock: _socket.socket, peer: str, balancer_id: str, received: bytes) -> None:
        """A client has come, and `received` is what it has sent; served unless full or leaving."""
        self.metrics.accepted(self.name)
        if self.leaving:
            self._refuse(sock, peer, Code.DRAINING, "this daemon is leaving; reconnect")
            return
        if not self.capacity.admits():
            short = self.capacity.files.short
            text = f"{self.capacity.connections_max} connections are open here"
            self._refuse(sock, peer, Code.BUSY, "no file is left here" if short else text)
            return
        if not self._has_place():
            self._refuse(sock, peer, Code.BUSY, STORE_FULL)
            return
        connection = self._connection(sock, peer, balancer_id)
        if log.isEnabledFor(logging.DEBUG):
            log.debug("connection-accepted port=%s peer=%s id=%s", self.name, peer, balancer_id)
        connection.source = self.sources.join(peer, self.clock.now_s)
        self.clients += 1
        self.capacity.clients += 1
        self.connections.add(connection)
        connection.start(received)

    def _has_place(self) -> bool:
        """Whether the store has room for one client more, as far as this port's needs it now."""
        return True

    def _connection(self, sock: _socket.socket, peer: str, balancer_id: str) -> Connection:
        """The kind of connection that this port has."""
        raise NotImplementedError

    def check(self, sock: _socket.socket, received: bytes) -> None:
        """The balancer tests whether this daemon echoes: a plain echo, on every port.

        It is answered without the store, whose faults are the agent's to tell, and above the
        cap too: a full daemon is not a dead one (docs/adr/0004).
        """
        self.metrics.health_checks += 1
        connection = PlainConnection(self, sock, "", None, self._checks)
        self.connections.add(connection)
        self.capacity.checks.add(connection)
        connection.start(received)

    def _refuse(self, sock: _socket.socket, peer: str, code: Code, text: str) -> None:
        self.metrics.closed(self.name, code.value)
        turn_away(self, sock, error_line(code, text), peer)

    def left(self, connection: Connection, reason: str) -> None:
        """A connection has ended."""
        self.connections.discard(connection)
        if connection.metrics is self._checks:
            self.capacity.checks.discard(connection)
        else:
            self.sources.part(connection.source, connection, self.clock.now_s)
            self.clients -= 1
            self.capacity.clients -= 1
            if log.isEnabledFor(logging.DEBUG):
                log.debug("connection-closed peer=%s reason=%s", connection.peer, reason)
            self.metrics.closed(self.name, reason)

    def may_read(self, socket: Connection | Lingering) -> bool:
        """Whether its source may send more, of which nothing was left; if not, it waits for it."""
        now_s = self.clock.now_s
        admitted = self.sources.admits(socket.source, now_s)
        if not admitted:
            self.sources.wait(socket.source, socket, now_s)
        return admitted

    def leave(self, within_s: float) -> None:
        """Serve nobody new; those who are here may finish within so many seconds."""
        del within_s
        self.leaving = True

    def sweep(self, now_s: float) -> None:
        """Let every connection look at its deadlines."""
        for connection in tuple(self.connections):
            try:
                connection.sweep(now_s)
            except Exception:  # noqa: BLE001 — `broken` logs it; it ends one connection
                guarded(connection.broken)


class PlainPort(Port):
    """The plain port, PROTOCOL §1."""

    name = "echo"
    setting = "echo_port"

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts, parts.config.echo_idle_s_max)
        self.defers = parts.config.durability == "async"
        self._stores = parts.config.durability != "none"

    def _has_place(self) -> bool:
        """See `Port`."""
        return not self._stores or self.committer.newcomer()

    def _connection(self, sock: _socket.socket, peer: str, balancer_id: str) -> PlainConnection:
        session = None
        if self._stores:
            fields = record(b"plain", self.daemon, peer, balancer_id, time.time())
            session = PlainSession(fields)
        return PlainConnection(self, sock, peer, session, self.metrics)


class SessionPort(Port):
    """The session port, PROTOCOL §2. Its durability is always `commit` (§5)."""

    name = "session"
    setting = "session_port"

    def __init__(self, parts: Parts, hub: Hub, directory: Directory) -> None:
        super().__init__(parts, parts.config.session_idle_s_max)
        self.ttl_s = parts.config.session_ttl_s
        self.hub = hub
        self.directory = directory
        self._rooms_max = parts.config.rooms_joined_max
        self._leave_until_s = 0.0

    def _connection(self, sock: _socket.socket, peer: str, balancer_id: str) -> SessionConnection:
        return SessionConnection(self, sock, peer, balancer_id, self.metrics)

    def record(self, peer: str, balancer_id: str) -> tuple[bytes, ...]:
        """The fields of a session's record that say whose it is now, and where it is found."""
        fields = record(b"session", self.daemon, peer, balancer_id, time.time())
        return (*fields, b"inbox", self.hub.inbox)

    def member(self, connection: SessionConnection, session: Session) -> Member:
        """The connection's part in rooms."""
        return Member(connection, session, self.hub, self._rooms_max)

    def roll_back(self) -> None:
        """The store has lost data: every session's client must decide (PROTOCOL §5)."""
        for connection in tuple(self.connections):
            if isinstance(connection, SessionConnection):
                guarded(connection.roll_back)

    def leave(self, within_s: float) -> None:
        """See `Port`; every client is told `DRAIN` (PROTOCOL §2.4)."""
        super().leave(within_s)
        self._leave_until_s = self.clock.now_s + within_s * RECONNECT_SHARE
        for connection in tuple(self.connections):
            if isinstance(connection, SessionConnection):
                guarded(connection.ask_to_leave)

    def reconnect_s(self) -> float:
        """Within which a client shall have reconnected elsewhere; see `leave`."""
        return max(0.0, self._leave_until_s - self.clock.now_s)
