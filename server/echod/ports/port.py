"""One port: whom it serves, whom it turns away, and the set of those who are here."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, ClassVar, Final

from echod.client.check import Check
from echod.client.connection import Connection
from echod.client.lingering import turn_away
from echod.client.plain import PlainConversation
from echod.client.session import SessionConversation, SessionTerms
from echod.loop.guard import guarded
from echod.protocol.errors import STORE_FULL, Code, error_line
from echod.rooms.member import Member
from echod.store.keys import PlainSession, record

if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable

    from echod.client.conversation import Conversation
    from echod.client.directory import Directory
    from echod.client.terms import Terms
    from echod.config import Config
    from echod.rooms.hub import Hub

log = logging.getLogger(__name__)

# Of the time that a leaving daemon has left, how much its clients are given to go: the
# rest is for those that begin late.
RECONNECT_SHARE: Final = 0.6


class Port:
    """See the module; `PlainPort` and `SessionPort` are the two there are.

    Attributes:
        connections: those that are served; `clients` of them.
    """

    name: ClassVar[str]
    setting: ClassVar[str]
    """The setting that says where it listens."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.connections: set[Connection] = set()
        self._leaving = False  # nobody new is served; health checks are

    @property
    def clients(self) -> int:
        """How many are served."""
        return len(self.connections)

    def join(self, sock: _socket.socket, peer: str, balancer_id: str, received: bytes) -> None:
        """A client has come, and `received` is what it has sent; served unless full or leaving."""
        terms = self.terms
        capacity = terms.capacity
        terms.metrics.accepted(self.name)
        if self._leaving:
            self._refuse(sock, peer, Code.DRAINING, "this daemon is leaving; reconnect")
            return
        if not capacity.admits():
            text = f"{capacity.connections_max} connections are open here"
            self._refuse(
                sock, peer, Code.BUSY, "no file is left here" if capacity.files.short else text
            )
            return
        if not self._has_place():
            self._refuse(sock, peer, Code.BUSY, STORE_FULL)
            return
        source = terms.sources.join(peer, terms.clock.now_s)
        connection = Connection(terms, sock, peer, source, self._left)
        if log.isEnabledFor(logging.DEBUG):
            log.debug("connection-accepted port=%s peer=%s id=%s", self.name, peer, balancer_id)
        capacity.clients += 1
        self.connections.add(connection)
        connection.start(self._conversation(connection, balancer_id), received)

    def _has_place(self) -> bool:
        """Whether the store has room for one client more, as far as this port's needs it now."""
        return True

    def _conversation(self, connection: Connection, balancer_id: str) -> Conversation:
        """What this port's lines mean."""
        raise NotImplementedError

    def check(self, sock: _socket.socket, received: bytes) -> None:
        """The balancer wants to know whether this daemon is well, however full it is."""
        Check(self.terms, sock).start(received)

    def _refuse(self, sock: _socket.socket, peer: str, code: Code, text: str) -> None:
        self.terms.metrics.closed(self.name, code.value)
        turn_away(self.terms, sock, error_line(code, text), peer)

    def _left(self, connection: Connection, reason: str) -> None:
        """A connection has ended."""
        terms = self.terms
        self.connections.discard(connection)
        terms.sources.part(connection.source, connection, terms.clock.now_s)
        terms.capacity.clients -= 1
        if log.isEnabledFor(logging.DEBUG):
            log.debug("connection-closed peer=%s reason=%s", connection.peer, reason)
        terms.metrics.closed(self.name, reason)

    def roll_back(self, concerns: Callable[[int], bool]) -> None:
        """The store has lost data of the slots that it `concerns`: clients must decide (§5)."""
        for connection in tuple(self.connections):
            guarded(connection.conversation.roll_back, concerns)

    def leave(self, within_s: float) -> None:
        """Serve nobody new; those who are here may finish within so many seconds."""
        del within_s
        self._leaving = True
        for connection in tuple(self.connections):
            guarded(connection.conversation.ask_to_leave)

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

    def __init__(self, terms: Terms, config: Config) -> None:
        super().__init__(terms)
        self._daemon = config.name
        self._stores = config.durability != "none"
        self._defers = config.durability == "async"

    def _has_place(self) -> bool:
        """See `Port`."""
        return not self._stores or self.terms.committer.newcomer()

    def _conversation(self, connection: Connection, balancer_id: str) -> PlainConversation:
        session = None
        if self._stores:
            fields = record(b"plain", self._daemon, connection.peer, balancer_id, time.time())
            session = PlainSession(fields, self.terms.committer.new_name())
        return PlainConversation(connection, session, defers=self._defers)


class SessionPort(Port):
    """The session port, PROTOCOL §2. Its durability is always `commit` (§5)."""

    name = "session"
    setting = "session_port"

    def __init__(self, terms: Terms, config: Config, hub: Hub, directory: Directory) -> None:
        super().__init__(terms)
        self._daemon = config.name
        self._inbox_of = hub.inbox_of
        self._leave_ends_at = 0.0
        self._session_terms = SessionTerms(
            ttl_s=config.session_ttl_s,
            directory=directory,
            record=self._record,
            member=lambda conversation, session: Member(
                conversation, session, hub, config.rooms_joined_max
            ),
            leave_within_s=self._leave_within_s,
        )

    def _conversation(self, connection: Connection, balancer_id: str) -> SessionConversation:
        return SessionConversation(connection, self._session_terms, balancer_id)

    def _record(self, name: bytes, peer: str, balancer_id: str) -> tuple[bytes, ...]:
        """The fields of a session's record that say whose it is now, and where it is found."""
        fields = record(b"session", self._daemon, peer, balancer_id, time.time())
        return (*fields, b"inbox", self._inbox_of(name))

    def leave(self, within_s: float) -> None:
        """See `Port`; every client is told `DRAIN` (PROTOCOL §2.4)."""
        self._leave_ends_at = self.terms.clock.now_s + within_s * RECONNECT_SHARE
        super().leave(within_s)

    def _leave_within_s(self) -> float | None:
        """Within which a client shall have reconnected elsewhere; see `leave`."""
        return max(0.0, self._leave_ends_at - self.terms.clock.now_s) if self._leaving else None
