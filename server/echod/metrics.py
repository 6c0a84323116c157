"""Every metric of a daemon, in one place. docs/metrics.md says what each is good for.

On the way of a line they are plain numbers; they become Prometheus samples when somebody
asks (DESIGN D8). No label has a value for each session, client or daemon.
"""

from __future__ import annotations

import platform
from bisect import bisect_left
from importlib.metadata import version
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.registry import Collector

from echod import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from prometheus_client.core import Metric

    from echod.config import Config
    from echod.port import Port
    from echod.store.committer import Committer

# 50 µs to 10 s, three or four to a decade: a commit on this machine's disk or in its memory,
# and a client's 5 s of patience, all stand well inside.
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


class Metrics:
    """The counters. Whoever counts adds to an attribute, or calls one of the methods."""

    def __init__(self) -> None:
        self.accept_errors = 0
        self.health_checks = 0
        self.lines_received = self.lines_answered = 0
        self.received_bytes = self.sent_bytes = 0
        self.store_connections = self.store_data_losses = 0
        self.reply_seconds = Histogram(SECONDS)
        self.commit_seconds = Histogram(SECONDS)
        self.batch_writes = Histogram(WRITES)
        self.loop_lag_seconds = Histogram(SECONDS)
        self.accepted_by_port: dict[str, int] = {}
        self.closed_by_reason: dict[tuple[str, str], int] = {}
        self.handshakes_failed: dict[str, int] = {}
        self.store_errors: dict[str, int] = {}

    def accepted(self, port: str) -> None:
        """A client has come."""
        self.accepted_by_port[port] = self.accepted_by_port.get(port, 0) + 1

    def closed(self, port: str, reason: str) -> None:
        """A client's connection has ended."""
        key = (port, reason)
        self.closed_by_reason[key] = self.closed_by_reason.get(key, 0) + 1

    def handshake_failed(self, reason: str) -> None:
        """A peer was no balancer, or did not say for whom it came."""
        self.handshakes_failed[reason] = self.handshakes_failed.get(reason, 0) + 1

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


class _Collector(Collector):
    """The daemon's numbers as samples, made at each scrape."""

    def __init__(self, config: Config, metrics: Metrics, port: Port, committer: Committer) -> None:
        self._config = config
        self._metrics = metrics
        self._port = port
        self._committer = committer
        self.draining = False

    def describe(self) -> Iterator[Metric]:
        """Nothing before the daemon runs; the names are unique by construction."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """All samples."""
        yield from self._counters()
        yield from self._labelled()
        yield from self._gauges()
        yield from self._histograms()
        limits = GaugeMetricFamily(
            "echod_limit", "A limit in force, by its setting's name.", labels=["name"]
        )
        for name, value in self._config.limits().items():
            limits.add_metric([name], value)
        yield limits
        libraries = {name: version(name) for name in ("gevent", "greenlet", "hiredis", "redis")}
        yield InfoMetricFamily(
            "echod_build",
            "What is running.",
            value={
                "version": __version__,
                "python": platform.python_version(),
                "durability": self._config.durability,
                "reader": self._config.reader,
                **libraries,
            },
        )

    def _counters(self) -> Iterator[Metric]:
        metrics = self._metrics
        for name, text, value in (
            ("accept_errors", "Accepts that failed for want of files.", metrics.accept_errors),
            ("health_checks", "Connections of the balancer itself.", metrics.health_checks),
            ("lines_received", "Whole lines read.", metrics.lines_received),
            ("lines_answered", "Lines whose reply was handed on.", metrics.lines_answered),
            ("received_bytes", "Bytes read from clients.", metrics.received_bytes),
            ("sent_bytes", "Bytes the kernel took for clients.", metrics.sent_bytes),
            ("store_connections", "Connections made to the store.", metrics.store_connections),
            ("store_data_losses", "Times the store had lost data.", metrics.store_data_losses),
        ):
            yield CounterMetricFamily(f"echod_{name}", text, value=value)

    def _labelled(self) -> Iterator[Metric]:
        metrics = self._metrics
        family = CounterMetricFamily(
            "echod_connections_accepted", "Clients that came.", labels=["port"]
        )
        for port in (self._port.name,):
            family.add_metric([port], metrics.accepted_by_port.get(port, 0))
        yield family
        family = CounterMetricFamily(
            "echod_connections_closed", "Clients' connections ended.", labels=["port", "reason"]
        )
        for (port, reason), count in metrics.closed_by_reason.items():
            family.add_metric([port, reason], count)
        yield family
        family = CounterMetricFamily(
            "echod_handshakes_failed", "Peers without a usable PROXY header.", labels=["reason"]
        )
        for reason, count in metrics.handshakes_failed.items():
            family.add_metric([reason], count)
        yield family
        family = CounterMetricFamily(
            "echod_store_errors", "What the store did not do.", labels=["kind"]
        )
        for kind, count in metrics.store_errors.items():
            family.add_metric([kind], count)
        yield family

    def _gauges(self) -> Iterator[Metric]:
        committer, batcher = self._committer, self._committer.batcher
        for name, text, value in (
            ("lines_waiting", "Lines read whose reply waits for the store.", batcher.lines_waiting),
            ("held_bytes", "Replies that wait for the store.", batcher.held_bytes),
            ("outbox_bytes", "Replies that clients have not taken.", self._port.unsent_bytes()),
            ("async_lines", "Answered lines that a crash would lose.", batcher.lines_answered),
            ("async_seconds", "Age of the oldest of them.", committer.unstored_s()),
            ("degraded", "1 while the store is away or slow.", committer.degraded()),
            ("draining", "1 since SIGTERM.", self.draining),
            ("store_generation", "Raised when data was lost.", committer.store.generation),
        ):
            yield GaugeMetricFamily(f"echod_{name}", text, value=value)
        family = GaugeMetricFamily("echod_connections", "Clients connected.", labels=["port"])
        family.add_metric([self._port.name], self._port.clients)
        yield family

    def _histograms(self) -> Iterator[Metric]:
        metrics = self._metrics
        for name, text, histogram in (
            ("reply_seconds", "From reading a line to sending its reply.", metrics.reply_seconds),
            ("commit_seconds", "A batch's round trip to the store.", metrics.commit_seconds),
            ("batch_writes", "Connections that shared a batch.", metrics.batch_writes),
            ("loop_lag_seconds", "How late the loop's tick came.", metrics.loop_lag_seconds),
        ):
            yield HistogramMetricFamily(
                f"echod_{name}", text, buckets=histogram.buckets(), sum_value=histogram.total
            )


class Registry:
    """What `/metrics` shows: the daemon's samples and the process's."""

    def __init__(self, config: Config, metrics: Metrics, port: Port, committer: Committer) -> None:
        self.prometheus = CollectorRegistry()
        self._collector = _Collector(config, metrics, port, committer)
        self.prometheus.register(self._collector)
        ProcessCollector(registry=self.prometheus)

    def drain(self) -> None:
        """The daemon is leaving."""
        self._collector.draining = True
