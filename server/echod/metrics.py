"""The daemon's numbers: plain ones, which the way of a line can afford (ADR 16).

`admin/exposition.py` gives them their names and makes Prometheus samples of them.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# 50 µs to 10 s, three or four to a decade: a commit on this machine's disk or in its memory,
# and a client's 8 s of patience, all stand well inside.
SECONDS = (
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
# Up to the default of batch_writes_max.
WRITES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Histogram:
    """Counts by bucket; the last one is above all bounds."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count `value`, `times` times."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative, as Prometheus wants them."""
        below, rows = 0, []
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            below += count
            rows.append(("+Inf" if bound == float("inf") else str(bound), float(below)))
        return rows


@dataclass(slots=True)
class Counts:
    """The ledger: what became of the messages of one way (docs/metrics.md)."""

    published: int = 0
    recovered: int = 0
    known: int = 0
    missing: int = 0


class ShardMetrics:
    """What happened on this daemon's way to one shard: the few numbers that are told by shard."""

    def __init__(self) -> None:
        self.connections = self.data_losses = 0
        self.commits, self.commit_s = 0, 0.0


class RoomMetrics:
    """What became of messages: the ledger of this daemon, and what it cost."""

    def __init__(self) -> None:
        self.counts = Counts()
        self.silent = 0
        self.posts = self.publications = self.publications_vain = self.deliveries = 0
        self.holes = self.histories_lost = self.leases_lapsed = 0
        self.subscriptions = self.deafened = self.joins_refused = 0


class Metrics:
    """The counters. Whoever counts adds to an attribute, or calls one of the methods."""

    def __init__(self) -> None:
        self.accept_errors = 0
        self.health_checks = 0
        self.lines_received = self.lines_answered = 0
        self.received_bytes = self.sent_bytes = 0
        self.sessions_opened = self.sessions_resumed = self.sessions_ended = 0
        self.rooms = RoomMetrics()
        self._shards: dict[int, ShardMetrics] = {}
        self.reply_seconds = Histogram(SECONDS)
        self.commit_seconds = Histogram(SECONDS)
        self.batch_writes = Histogram(WRITES)
        self.loop_lag_seconds = Histogram(SECONDS)
        self.accepted_by_port: dict[str, int] = {}
        self.closed_by_reason: dict[tuple[str, str], int] = {}
        self.handshakes_failed: dict[str, int] = {}
        self.sockets_cut_short: dict[str, int] = {}
        self.store_errors: dict[str, int] = {}

    def shard(self, number: int) -> ShardMetrics:
        """Those of the shard that has this number here."""
        return self._shards.setdefault(number, ShardMetrics())

    def accepted(self, port: str) -> None:
        """A client has come."""
        self.accepted_by_port[port] = self.accepted_by_port.get(port, 0) + 1

    def closed(self, port: str, reason: str) -> None:
        """A client's connection has ended."""
        key = (port, reason)
        self.closed_by_reason[key] = self.closed_by_reason.get(key, 0) + 1

    def welcomed(self, *, resumed: bool) -> None:
        """A session has begun, or goes on here."""
        if resumed:
            self.sessions_resumed += 1
        else:
            self.sessions_opened += 1

    def handshake_failed(self, reason: str) -> None:
        """A peer was no balancer, or did not say for whom it came."""
        self.handshakes_failed[reason] = self.handshakes_failed.get(reason, 0) + 1

    def cut_short(self, kind: str) -> None:
        """A socket that is no served client's was closed early, for want of a place."""
        self.sockets_cut_short[kind] = self.sockets_cut_short.get(kind, 0) + 1

    def store_error(self, kind: str) -> None:
        """The store did not do what it was asked; see `StoreError.kind`."""
        self.store_errors[kind] = self.store_errors.get(kind, 0) + 1

    def replied(self, seconds: float, lines: int) -> None:
        """`lines` lines were answered, the first of them `seconds` after it was read."""
        self.lines_answered += lines
        # `Histogram.observe`, inline: this is on the way of every line.
        histogram = self.reply_seconds
        histogram.counts[bisect_left(SECONDS, seconds)] += lines
        histogram.total += seconds * lines
