"""Every metric's name and help, in one place. docs/metrics.md says what each is good for.

The samples are made when somebody asks. No label has a value for each session, client or
daemon, and few families have one for each shard (ADR 16).
"""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from echod import __version__, logs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from prometheus_client.core import Metric

    from echod.config import Config
    from echod.metrics import Metrics
    from echod.ports.port import Port
    from echod.rooms.hub import Hub
    from echod.store.shard import Shard


# The number is the daemon's own; by the master's address daemons and exporters agree.
SHARD = ("shard", "master")


class _Collector(Collector):
    """The daemon's numbers as samples, made at each scrape."""

    def __init__(
        self,
        config: Config,
        metrics: Metrics,
        ports: Sequence[Port],
        hub: Hub,
        draining: Callable[[], bool],
    ) -> None:
        self._config = config
        self._metrics = metrics
        self._ports = ports
        self._hub = hub
        terms = ports[0].terms  # the daemon's parts, whichever port is asked
        self._sources, self._unsent = terms.sources, terms.unsent
        self._committer = terms.committer
        self._draining = draining
        self._settled = (_limits(config), _build(config))

    def describe(self) -> Iterator[Metric]:
        """Nothing before the daemon runs; the names are unique by construction."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """All samples."""
        yield from self._counters()
        yield from self._labelled()
        yield from self._gauges()
        yield from self._shards()
        yield from self._histograms()
        yield from self._settled

    def _counters(self) -> Iterator[Metric]:
        metrics = self._metrics
        for name, text, value in (
            ("accept_errors", "Accepts that met no file.", metrics.accept_errors),
            ("log_dropped", "Log lines that nobody took in time.", logs.dropped()),
            ("health_checks", "Connections of the balancer itself.", metrics.health_checks),
            ("lines_received", "Whole lines read.", metrics.lines_received),
            ("lines_answered", "Lines whose reply was handed on.", metrics.lines_answered),
            ("received_bytes", "Bytes read from clients.", metrics.received_bytes),
            ("sent_bytes", "Bytes the kernel took for clients.", metrics.sent_bytes),
            ("source_pauses", "Waits for a source's turn.", self._sources.pauses),
            ("source_paused_seconds", "How long those waited.", self._sources.waited_s),
            ("clients_shed", "Clients closed for the sum of all.", self._unsent.shed_count),
            ("sessions_opened", "Sessions begun.", metrics.sessions_opened),
            ("sessions_resumed", "Sessions taken over.", metrics.sessions_resumed),
            ("sessions_ended", "Sessions ended by QUIT.", metrics.sessions_ended),
            ("room_posts", "SAYs sent to the store.", metrics.rooms.posts),
            ("room_publications", "Messages that arrived.", metrics.rooms.publications),
            (
                "room_publications_vain",
                "Of these, for rooms without a member here.",
                metrics.rooms.publications_vain,
            ),
            ("room_deliveries", "Messages sent to members.", metrics.rooms.deliveries),
            ("joins_refused", "JOINs refused for all rooms here.", metrics.rooms.joins_refused),
            ("room_holes", "Publications that came too early.", metrics.rooms.holes),
            ("room_histories_lost", "Rooms that began anew.", metrics.rooms.histories_lost),
            ("leases_lapsed", "Heartbeats that came too late.", metrics.rooms.leases_lapsed),
            ("subscriptions", "Connections made to listen.", metrics.rooms.subscriptions),
            ("subscriptions_deaf", "Those found deaf.", metrics.rooms.deafened),
            (
                "slots_moved",
                "Slots that came to another shard.",
                self._committer.places.slots_moved,
            ),
        ):
            yield CounterMetricFamily(f"echod_{name}", text, value=value)

    def _labelled(self) -> Iterator[Metric]:
        metrics = self._metrics
        family = CounterMetricFamily(
            "echod_connections_accepted", "Clients that came.", labels=["port"]
        )
        for port in self._ports:
            family.add_metric([port.name], metrics.accepted_by_port.get(port.name, 0))
        yield family
        family = CounterMetricFamily(
            "echod_connections_closed", "Clients' connections ended.", labels=["port", "reason"]
        )
        for (name, reason), count in metrics.closed_by_reason.items():
            family.add_metric([name, reason], count)
        yield family
        family = CounterMetricFamily(
            "echod_handshakes_failed", "Peers without a usable PROXY header.", labels=["reason"]
        )
        for reason, count in metrics.handshakes_failed.items():
            family.add_metric([reason], count)
        yield family
        family = CounterMetricFamily(
            "echod_sockets_cut_short",
            "Sockets closed early, for want of a place or time.",
            labels=["kind"],
        )
        for kind, count in metrics.sockets_cut_short.items():
            family.add_metric([kind], count)
        yield family
        rooms = metrics.rooms
        family = CounterMetricFamily(
            "echod_room_messages", "The ledger: what became of messages.", labels=["fate"]
        )
        for fate, count in (
            ("published", rooms.counts.published),
            ("recovered", rooms.counts.recovered),
            ("duplicate", rooms.counts.known),
            ("missing", rooms.counts.missing),
            ("lost", rooms.silent),
        ):
            family.add_metric([fate], count)
        yield family
        family = CounterMetricFamily(
            "echod_store_errors", "What the store did not do.", labels=["kind"]
        )
        for kind, count in metrics.store_errors.items():
            family.add_metric([kind], count)
        yield family

    def _gauges(self) -> Iterator[Metric]:
        committer = self._committer
        sums = committer.sums()
        shards, places = committer.shards, committer.places
        for name, text, value in (
            ("lines_waiting", "Lines read whose reply waits for the store.", sums.lines_waiting),
            ("held_bytes", "Replies that wait for the store.", sums.held_bytes),
            ("sources", "Client addresses that are known.", len(self._sources)),
            ("sources_held", "Those that sent more than they may.", self._sources.held),
            ("unsent_bytes", "What waits for clients to take or end it.", self._unsent.bytes),
            ("async_lines", "Answered lines that a crash would lose.", sums.lines_answered),
            ("async_seconds", "Age of the oldest of them.", committer.unstored_s()),
            ("degraded", "1 while every shard is away or slow.", committer.degraded()),
            ("draining", "1 since SIGTERM.", self._draining()),
            ("deaf", "1 while a shard's publications don't arrive.", self._hub.deaf),
            ("rooms", "Rooms that are listened to.", len(self._hub.rooms)),
            ("room_members", "Memberships of connections.", self._hub.memberships),
            ("slots_moving", "Slots on their way between shards.", places.slots_moving),
            ("clocks_apart_seconds", "Between the nodes' clocks.", places.clocks_apart_s),
            ("store_replicas", "So many must have a line.", self._config.store_replicas),
            (
                "store_generation",
                "Raised when data was lost; of all shards the sum.",
                sum(each.store.generation for each in shards),
            ),
        ):
            yield GaugeMetricFamily(f"echod_{name}", text, value=value)
        family = GaugeMetricFamily("echod_connections", "Clients connected.", labels=["port"])
        for port in self._ports:
            family.add_metric([port.name], port.clients)
        yield family
        family = GaugeMetricFamily("echod_memory_keys", "What memory:// keeps.", labels=["kind"])
        for kind, count in shards[0].store.kept().items():
            family.add_metric([kind], count)
        yield family

    def _shards(self) -> Iterator[Metric]:
        """What is asked by shard: who has no slots any more only keeps its counters.

        A shard's number is this daemon's own; its master's address is what daemons share. A
        counter that is raised by a failover has no master: it would begin anew with it.
        """
        shards = self._committer.shards
        serving = [shard for shard in shards if shard.place.slots]
        for name, text, values in (
            ("shard_serves", "Whether a new session is well there.", [s.serves for s in serving]),
            ("shard_slots", "Slots that it has.", [len(s.place.slots) for s in serving]),
            ("shard_replicas", "Replicas that are there.", [s.place.replicas for s in serving]),
            ("store_fill_ratio", "How full its Redis is.", [s.fill for s in serving]),
        ):
            family = GaugeMetricFamily(f"echod_{name}", text, labels=SHARD)
            for shard, value in zip(serving, values, strict=True):
                if value is not None:
                    family.add_metric(_names(shard), value)
            yield family
        summary = SummaryMetricFamily(
            "echod_shard_commit_seconds", "A batch's round trip.", labels=SHARD
        )
        for shard in serving:
            summary.add_metric(_names(shard), shard.metrics.commits, shard.metrics.commit_s)
        yield summary
        home = self._committer.home
        info = InfoMetricFamily("echod_home", "Where new sessions are born.", labels=SHARD)
        info.add_metric(_names(home), {})
        yield info
        for name, text, counts in (
            ("store_connections", "Links made.", [s.metrics.connections for s in shards]),
            ("store_data_losses", "Times it lost data.", [s.metrics.data_losses for s in shards]),
            ("shard_failovers", "Other masters seen.", [s.place.failovers for s in shards]),
        ):
            counter = CounterMetricFamily(f"echod_{name}", text, labels=SHARD[:1])
            for shard, count in zip(shards, counts, strict=True):
                counter.add_metric(_names(shard)[:1], count)
            yield counter

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


def _names(shard: Shard) -> list[str]:
    return [str(shard.number), shard.place.master]


def _limits(config: Config) -> Metric:
    family = GaugeMetricFamily(
        "echod_limit", "A limit in force, by its setting's name.", labels=["name"]
    )
    for name, value in config.limits().items():
        family.add_metric([name], value)
    return family


def _build(config: Config) -> Metric:
    """Versions are read from the packages' files: once, not with every scrape."""
    libraries = {name: version(name) for name in ("gevent", "greenlet", "hiredis", "redis")}
    return InfoMetricFamily(
        "echod_build",
        "What is running.",
        value={
            "version": __version__,
            "python": platform.python_version(),
            "durability": config.durability,
            "reader": config.reader,
            **libraries,
        },
    )


class Registry:
    """What `/metrics` shows: the daemon's samples and the process's."""

    def __init__(
        self,
        config: Config,
        metrics: Metrics,
        ports: Sequence[Port],
        hub: Hub,
        draining: Callable[[], bool],
    ) -> None:
        self.metrics = metrics
        self.prometheus = CollectorRegistry()
        self.prometheus.register(_Collector(config, metrics, ports, hub, draining))
        ProcessCollector(registry=self.prometheus)
