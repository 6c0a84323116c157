"""How a daemon leaves (ADR 18): the order, as one list.

Nobody loses a reply, and the balancer sends nobody to a closed port: it hears first, then
clients are told, then those that stay are closed, and the store has the last word.
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING

import gevent
from gevent.event import Event

from echod.loop.guard import guarded
from echod.protocol.errors import Code

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from echod.client.connection import Connection
    from echod.config import Config
    from echod.limits.capacity import Capacity
    from echod.ports.listener import Listener
    from echod.ports.port import Port
    from echod.store.committer import Committer

log = logging.getLogger(__name__)

# How often it is looked whether what is waited for is over.
POLL_S = 0.02


class Drain:
    """See the module.

    Attributes:
        begun: the agent says `drain`, and `/readyz` that nobody should come.
    """

    def __init__(
        self,
        config: Config,
        capacity: Capacity,
        ports: Sequence[Port],
        listeners: Sequence[Listener],
        committer: Committer,
    ) -> None:
        self.begun = False
        self._config = config
        self._capacity = capacity
        self._ports = ports
        self._listeners = listeners
        self._committer = committer
        self._wanted = Event()
        self._hurry = False
        self._ends_at = 0.0

    def request(self) -> None:
        """Leave; requested again, without waiting for clients."""
        self._hurry = self.begun
        self.begun = True
        self._wanted.set()

    def wait(self) -> None:
        """Return when it was requested."""
        self._wanted.wait()

    def steps(self) -> tuple[Callable[[], None], ...]:
        """What is done, each when the one before is over."""
        return (
            self._set_the_end,  # the agent says `drain`; nobody new is sent here …
            self._accept_the_last,  # … once it has heard, for which two intervals are enough
            self._refuse_the_next,  # but health checks; sessions are told DRAIN
            self._let_clients_finish,  # until drain_s after the signal
            self._close_the_rest,  # ERR draining, after what is due
            self._close_ports,
            self._commit_the_last,  # the deletions
        )

    def _set_the_end(self) -> None:
        self._ends_at = monotonic() + self._config.drain_s
        log.info("draining clients=%d", self._capacity.clients)

    def _accept_the_last(self) -> None:
        self._wait_until(monotonic() + 2 * self._config.agent_interval_s)

    def _refuse_the_next(self) -> None:
        for port in self._ports:
            port.leave(self._ends_at - monotonic())

    def _let_clients_finish(self) -> None:
        while self._capacity.clients and not self._wait_until(monotonic() + POLL_S):
            if monotonic() >= self._ends_at:
                return

    def _wait_until(self, until: float) -> bool:
        """Wait; returns at once, and true, when there is a hurry."""
        until = min(until, self._ends_at)
        while not self._hurry and (left_s := until - monotonic()) > 0:
            gevent.sleep(min(POLL_S, left_s))
        return self._hurry

    def _close_the_rest(self) -> None:
        log.info("closing clients=%d", self._capacity.clients)
        for connection in self._connections():
            guarded(connection.fail, Code.DRAINING, "this daemon is leaving; reconnect")
        until = monotonic() + self._config.commit_s_max + self._config.linger_s_max
        while monotonic() < until and any(self._here()):
            gevent.sleep(POLL_S)
        for connection in self._connections():
            guarded(connection.close, Code.DRAINING.value)
        for check in self._capacity.checks:
            guarded(check.close)

    def _connections(self) -> list[Connection]:
        return [connection for port in self._ports for connection in port.connections]

    def _here(self) -> Iterable[object]:
        """Clients and those that were, and health checks, which hear an echo to the end."""
        capacity = self._capacity
        return (*self._connections(), *capacity.checks, *capacity.departing, *capacity.refused)

    def _close_ports(self) -> None:
        for listener in self._listeners:
            listener.stop()

    def _commit_the_last(self) -> None:
        until = monotonic() + self._config.commit_s_max
        while not self._committer.settled() and monotonic() < until:
            gevent.sleep(POLL_S)
