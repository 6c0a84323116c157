"""Who may have a socket: a budget for each kind, so that no kind's flood takes another's.

    accept ─▶ handshakes ─▶ clients ─▶ departing     connections_max, both together
                      ├──▶ refused                   REFUSED_MAX: `busy` has time to arrive
                      └──▶ checks                    CHECKS_MAX: answered whatever the load

Whoever was let in is never cut for a newcomer's sake, and a check is never refused: what
proves that a daemon is well shares nothing with the refusing (docs/adr/0004). In a crowd
that is full the oldest gives way: a header that is not there yet, a check that is not
over, a client that has been told why and still stays.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from echod.limits.files import SPARE_FILES, Files
from echod.loop.guard import guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from echod.loop.clock import Clock
    from echod.metrics import Metrics

# PROXY headers that are still to come. A balancer sends its header with the connection, or
# within its next turn: of 5,000 connects a second, each may take 100 ms over it.
HANDSHAKES_MAX: Final = 512
# Refused clients that may still read why. Beyond them one hears it too, but is closed at once.
REFUSED_MAX: Final = 128
# HAProxy has one for each port under way, and closes it when it is answered or late.
CHECKS_MAX: Final = 32
# Files that no client has: beside them there are libraries', listeners', the store's.
RESERVED_FILES: Final = HANDSHAKES_MAX + REFUSED_MAX + CHECKS_MAX + SPARE_FILES + 1

T = TypeVar("T")


class Guest(Protocol):
    """Who has a socket and is no client: its header is to come, it is a check, it is leaving."""

    def close(self) -> None:
        """Go at once: another needs the place."""

    def sweep(self, now_s: float) -> None:
        """Called about once a second: go if the time is over."""


class Crowd(Generic[T]):
    """Sockets of one kind, in the order in which they came; at most `most` of them."""

    def __init__(self, kind: str, most: int, drop: Callable[[T], None], metrics: Metrics) -> None:
        """When one too many comes, `drop` is called with the oldest, and counted as `kind`."""
        self._kind = kind
        self._most = most
        self._drop = drop
        self._metrics = metrics
        # An OrderedDict finds its first in the same time however many were before it.
        self._members: OrderedDict[T, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[T]:
        """Over those that are there now, whoever comes or goes meanwhile."""
        return iter(tuple(self._members))

    @property
    def full(self) -> bool:
        """Whether the next to come takes another's place."""
        return len(self._members) >= self._most

    def add(self, member: T) -> None:
        """Let it in; in its place the oldest may have to go."""
        if self.full:
            self.shed()
        self._members[member] = None

    def discard(self, member: T) -> None:
        """It has gone, or is about to."""
        self._members.pop(member, None)

    def shed(self) -> bool:
        """The oldest gives way; whether there was one."""
        if not self._members:
            return False
        oldest, _ = self._members.popitem(last=False)
        self._metrics.cut_short(self._kind)
        guarded(self._drop, oldest)
        return True


class Capacity:
    """The budgets of one daemon, all ports together.

    Attributes:
        clients: how many are served.
    """

    def __init__(self, connections_max: int, clock: Clock, metrics: Metrics) -> None:
        self.connections_max = connections_max
        self.clients = 0
        self.files = Files(clock)
        self.handshakes = _guests("handshake", HANDSHAKES_MAX, metrics)
        self.departing = _guests("departing", connections_max, metrics)
        self.refused = _guests("refused", REFUSED_MAX, metrics)
        self.checks = _guests("check", CHECKS_MAX, metrics)

    def admits(self) -> bool:
        """Whether one more client is served. Then one that is only leaving may have to be quick."""
        if self.clients >= self.connections_max or self.files.short:
            return False
        if self.clients + len(self.departing) >= self.connections_max:
            self.departing.shed()
        return True

    def find_file(self) -> bool:
        """The kernel has none for a new connection: whether there is one now."""
        return (
            self.files.give_up_one()
            or self.refused.shed()
            or self.handshakes.shed()
            or self.departing.shed()
        )

    def sweep(self, now_s: float) -> None:
        """Let everyone but clients look at their deadlines."""
        for crowd in (self.handshakes, self.departing, self.refused, self.checks):
            for each in crowd:
                guarded(each.sweep, now_s)


def _guests(kind: str, most: int, metrics: Metrics) -> Crowd[Guest]:
    return Crowd(kind, most, lambda guest: guest.close(), metrics)
