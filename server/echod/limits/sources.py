"""How many bytes a client's address may send a second: who is read, and who waits its turn.

    readable ─▶ is something left of the source? ─▶ receive ─▶ left -= bytes
                              │ no
                              ▼
                     it waits, unread ─▶ turn: the source has some again ─▶ read on

What is not read stays in the kernel's buffers and the balancer's, and the client is slowed
down as by any slow reader: no byte is lost, and none is reordered. A source is an address,
of IPv6 a customer's /64, as in haproxy.cfg. Why here and not in HAProxy: docs/adr/0011.

No socket, greenlet or clock: callers pass `now_s`, the daemon's own. A connection asks for
one subtraction and one comparison a receive; a source is looked at only when it has used
up what it had.

Invariants (tests/unit/test_sources.py holds them for random schedules):
  rate    in `T` seconds a source is read `bytes_max` times `T + 1` bytes and one receive at most,
          however many connections it has, and whether they stay or come anew;
  order   those that wait are read on in the order in which they began to, each once a turn;
  bound   a source is known while it has a connection, or for as long as it takes it to
          have all that it may: one that leaves in debt finds its debt when it returns.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from typing import Final, Protocol

# What a source may have at once, in seconds of its rate. It is given more when it has none
# left, and then what it has earned since, as much again at most: so a source that has been
# quiet sends one second's worth at once, and after that no more than its rate.
PURSE_S: Final = 0.5


class Receiver(Protocol):
    """Whoever receives of a source: a connection, one that lingers, or a test."""

    def read_on(self) -> None:
        """Receive once, which may take of `Source.left`, and go on; harmless if it has gone."""


class Source:
    """One address.

    Attributes:
        left: bytes that it may send before `Sources.admits` must be asked; whoever receives
            subtracts. Below 0 by one receive at most.
    """

    __slots__ = ("connections", "given_at", "key", "left", "waiting")

    def __init__(self, key: str, left: float, now_s: float) -> None:
        self.key = key
        self.left = left
        self.given_at = now_s  # when it was last given what it had earned
        self.connections = 0
        self.waiting: OrderedDict[Receiver, float] | None = None  # since when, oldest first


# For who is not counted: the balancer's own checks.
UNCOUNTED: Final = Source("", float("inf"), 0.0)


class Sources:
    """All of a daemon's, its ports together.

    Attributes:
        pauses: how often a connection began to wait.
        waited_s: how long those that have been read on had waited, added up.
    """

    def __init__(self, bytes_max: float) -> None:
        """`bytes_max`: of each source, a second."""
        self._bytes_max = bytes_max
        self._purse = bytes_max * PURSE_S
        self._known: dict[str, Source] = {}
        self._left_behind: dict[Source, None] = {}  # without a connection, not yet forgotten
        self._held: dict[Source, None] = {}  # those for which somebody waits
        self.pauses = 0
        self.waited_s = 0.0

    def __len__(self) -> int:
        """How many are known."""
        return len(self._known)

    @property
    def held(self) -> int:
        """How many have somebody who waits."""
        return len(self._held)

    @property
    def waiting(self) -> int:
        """How many connections wait."""
        return sum(len(source.waiting or ()) for source in self._held)

    def join(self, peer: str, now_s: float) -> Source:
        """A connection of `peer` (`address:port`, or "" where nobody knows) has come."""
        key = key_of(peer)
        source = self._known.get(key)
        if source is None:
            source = self._known[key] = Source(key, self._purse, now_s)
        elif not source.connections:
            self._left_behind.pop(source, None)
        source.connections += 1
        return source

    def part(self, source: Source, receiver: Receiver, now_s: float) -> None:
        """It has gone, whether it was waiting or not."""
        if source.waiting is not None:
            source.waiting.pop(receiver, None)
            self._settle(source)
        source.connections -= 1
        if not source.connections:
            self._left_behind[source] = None
            self._forget(source, now_s)

    def admits(self, source: Source, now_s: float) -> bool:
        """Whether it may be read, now that nothing is left; not before those who wait."""
        if source.waiting is None and source.left <= 0:
            self._give(source, now_s)
        return source.left > 0

    def wait(self, source: Source, receiver: Receiver, now_s: float) -> None:
        """`admits` has said no: `receiver` hears `read_on` when it is its turn; asked twice, once."""
        if source.waiting is None:
            source.waiting = OrderedDict()
            self._held[source] = None
        if receiver not in source.waiting:
            source.waiting[receiver] = now_s
            self.pauses += 1

    def may_read(self, source: Source, receiver: Receiver, now_s: float) -> bool:
        """Whether `receiver` may read, now that nothing is left; if not, it waits for its turn."""
        admitted = self.admits(source, now_s)
        if not admitted:
            self.wait(source, receiver, now_s)
        return admitted

    def turn(self, now_s: float) -> None:
        """Give those in debt what they have earned, and read on with it."""
        for source in tuple(self._held):
            self._give(source, now_s)
            while source.left > 0 and source.waiting:
                receiver, since = source.waiting.popitem(last=False)
                self.waited_s += now_s - since
                receiver.read_on()
            self._settle(source)

    def sweep(self, now_s: float) -> None:
        """Forget those who have gone and owe nothing."""
        for source in tuple(self._left_behind):
            self._forget(source, now_s)

    def _give(self, source: Source, now_s: float) -> None:
        """What it has earned; none is left, so it has no more than a purse then."""
        source.left += min(self._purse, (now_s - source.given_at) * self._bytes_max)
        source.given_at = now_s

    def _settle(self, source: Source) -> None:
        if not source.waiting:
            source.waiting = None
            self._held.pop(source, None)

    def _forget(self, source: Source, now_s: float) -> None:
        if source.left + (now_s - source.given_at) * self._bytes_max >= self._purse:
            del self._known[source.key]
            del self._left_behind[source]


def key_of(peer: str) -> str:
    """What `peer` (`192.0.2.9:12345`, `[2001:db8::9]:12345`) is counted by."""
    host = peer.rpartition(":")[0]
    if not host.startswith("["):
        return host
    address = ipaddress.IPv6Address(host[1:-1])
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return f"{int(address) >> 64:x}::"
