"""What a load needs, from measured costs alone. Pure.

    measured (rows of scaling and fanout) + wanted ─▶ CPUs by part ─▶ daemons, shards ─▶ what is full first

A cost is a range, from the least to the highest of the medians over the numbers of daemons that
were measured, so what is computed from it is a range too.
"""

from __future__ import annotations

import math
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from lab.measure.fanout.answers import under
from lab.measure.fanout.systems import ROOM, Load, daemons
from lab.measure.samples import measurements, spread
from lab.measure.scaling import costs
from lab.measure.scaling.answers import FULL_FLEET, RATE, by_shape, sharded

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lab.measure.samples import Measurement, Repeats, Row

# A cluster of fewer has no majority when one of its masters dies (docs/adr/0027).
CLUSTER_SHARDS_MIN = 3

DAEMONS, HAPROXY, STORE = "daemons", "HAProxy", "store"


class Range(NamedTuple):
    """From the least to the most."""

    low: float
    high: float

    @classmethod
    def of(cls, one: Repeats) -> Range:
        """Of medians."""
        return cls(one.min, one.max)

    def __add__(self, other: object) -> Range:
        """Both together."""
        if not isinstance(other, Range):
            return NotImplemented
        return Range(self.low + other.low, self.high + other.high)

    def times(self, factor: float) -> Range:
        """Both ends."""
        return Range(self.low * factor, self.high * factor)


NO_COST = Range(0, 0)


class Lines(NamedTuple):
    """What one line costs, in µs of CPU, and of waiting for the disk; and where that was measured."""

    daemon_us: Range
    haproxy_us: Range
    store_us: Range
    disk_us: Range
    per_s_max: float
    connections: int | None
    """That one daemon held; None: not tried."""
    connection_bytes: float
    """Of a daemon's memory, at the highest moment."""


class Posts(NamedTuple):
    """What one post costs with all its deliveries, in µs of CPU; and where that was measured."""

    daemon_us: Range
    store_us: Range
    load: Load


class Wanted(NamedTuple):
    """A load, and how much of what a part can have it may use."""

    connections: int
    lines_per_s: float
    rooms: int
    members: int
    posts_per_s: float
    busy: float


class Needs(NamedTuple):
    """What it takes.

    Attributes:
        cpus: By part.
        daemons, shards: How many.
        haproxy_threads: Of one HAProxy, or of several together.
        threads: CPUs' worth of the shards' threads, with their waiting for the disk.
        memory_bytes: Of all daemons, for their connections.
        beyond: What lies outside the measured range, how many times, and what was measured.
    """

    cpus: dict[str, Range]
    daemons: Range
    shards: Range
    haproxy_threads: Range
    threads: Range
    memory_bytes: float
    beyond: list[tuple[str, float, float]]

    @property
    def all_cpus(self) -> Range:
        """Of all parts."""
        daemon, haproxy, store = self.cpus.values()
        return daemon + haproxy + store

    @property
    def one_redis(self) -> Range:
        """At how many times this load one Redis's thread is full; from the dearest cost."""
        low, high = self.threads
        return Range(1 / high if high else math.inf, 1 / low if low else math.inf)

    @property
    def full_first(self) -> str:
        """Of so many daemons and shards, the part whose share is largest, by the dearest costs."""
        daemon = self.cpus[DAEMONS].high / self.daemons.high
        shard = self.threads.high / self.shards.high
        return DAEMONS if daemon >= shard else STORE


def lines(rows: Iterable[Row], held: Row | None) -> Lines | None:
    """What `fleet experiment scaling` measured; None if the whole fleet is not in it.

    On the largest number of shards, if there was one: those lines are the dearer ones.
    """
    shapes = by_shape(measurements(rows, "shape", "daemons"))
    fleet = shapes.get(FULL_FLEET)
    if not fleet:
        return None
    on_shards = sharded(shapes)
    found = costs.costs_on_shards(fleet, on_shards[-1]) if on_shards else costs.costs(fleet)
    return Lines(
        daemon_us=Range.of(found["daemons_us"]),
        haproxy_us=Range.of(found["haproxy_us"]),
        store_us=Range.of(found["redis_us"]),
        disk_us=Range.of(found["redis_disk_us"]),
        per_s_max=max(one.of(RATE).median for one in fleet),
        connections=held["connections"] if held else None,
        connection_bytes=held["busy_bytes"] if held else 0.0,
    )


def posts(rows: Iterable[Row], members: int) -> Posts | None:
    """What `fleet experiment fanout` measured by a channel for each room; None if it did not.

    Of the rooms whose size is nearest to `members`: a delivery costs more in small ones.
    """
    measured = measurements(rows, "system", "servers", "rooms", "members", "posts_per_s")
    system = daemons(ROOM).name
    loads = {Load.of(one) for one in measured if one["system"] == system}
    if not loads:
        return None
    nearest = min(loads, key=lambda load: (abs(math.log(load.members / members)), load.posts_per_s))
    found = under(measured, system, nearest)

    def a_post(column: str) -> Range:
        deliveries = spread([one.of(column).median for one in found])
        return Range.of(deliveries).times(members)

    return Posts(a_post("servers_us"), a_post("redis_us"), nearest)


def needs(wanted: Wanted, line: Lines, post: Posts | None) -> Needs:
    """What `wanted` needs; without `post` there are no posts in it."""
    per_s, posts_per_s = wanted.lines_per_s / 1e6, wanted.posts_per_s / 1e6
    daemon = line.daemon_us.times(per_s)
    store = line.store_us.times(per_s)
    if post is not None:
        daemon += post.daemon_us.times(posts_per_s)
        store += post.store_us.times(posts_per_s)
    threads = store + line.disk_us.times(per_s)
    haproxy = line.haproxy_us.times(per_s)
    for_files = ceil(wanted.connections / line.connections) if line.connections else 1
    return Needs(
        cpus={DAEMONS: daemon, HAPROXY: haproxy, STORE: store},
        daemons=Range(*(max(1, for_files, ceil(cpus / wanted.busy)) for cpus in daemon)),
        shards=Range(*(_shards(share, wanted.busy) for share in threads)),
        haproxy_threads=Range(*(max(1, ceil(cpus / wanted.busy)) for cpus in haproxy)),
        threads=threads,
        memory_bytes=wanted.connections * line.connection_bytes,
        beyond=list(_beyond(wanted, line, post)),
    )


def _shards(threads: float, busy: float) -> int:
    """One Redis, or a cluster."""
    count = ceil(threads / busy)
    return max(CLUSTER_SHARDS_MIN, count) if count > 1 else 1


def _beyond(wanted: Wanted, line: Lines, post: Posts | None) -> Iterable[tuple[str, float, float]]:
    """What was asked for and not measured: its name, how many times as much, what was measured."""
    asked = [("lines a second", wanted.lines_per_s, line.per_s_max)]
    if line.connections:
        asked.append(("connections", wanted.connections, line.connections))
    if post is not None:
        asked += [
            ("posts a second", wanted.posts_per_s, post.load.posts_per_s),
            ("rooms", wanted.rooms, post.load.rooms),
            ("members of a room", wanted.members, post.load.members),
        ]
    for name, wants, most in asked:
        if wants > most:
            yield name, wants / most, most


class Held(NamedTuple):
    """A prediction for so many daemons on this machine, against what they gave."""

    daemons: int
    predicted: Range
    measured: Range

    @property
    def within(self) -> bool:
        """Whether the two ranges meet."""
        return self.predicted.low <= self.measured.high and self.measured.low <= self.predicted.high


def check(rows: Iterable[Row], cpus: int) -> list[Held]:
    """For each number of daemons: predicted by what the *other* numbers cost, and measured.

    A machine that also runs the load has less for the fleet: its part is counted as a cost.
    """
    fleet = by_shape(measurements(rows, "shape", "daemons")).get(FULL_FLEET, [])
    held = []
    for one in fleet:
        others = [other for other in fleet if other is not one]
        if others:
            held.append(Held(one["daemons"], _rate(others, one["daemons"], cpus), _measured(one)))
    return held


def _rate(others: Sequence[Measurement], count: int, cpus: int) -> Range:
    """Round trips/s of `count` daemons: the least of what each part allows."""
    found: Mapping[str, Repeats] = costs.costs(others)
    load = spread([one.of("load_us").median for one in others])
    low, high = Range.of(load)
    for column in ("daemons_us", "haproxy_us", "redis_us"):
        low, high = low + found[column].min, high + found[column].max
    daemon, redis, disk = (found[name] for name in ("daemons_us", "redis_us", "redis_disk_us"))
    return Range(
        1e6 * min(cpus / high, count / daemon.max, 1 / (redis.max + disk.max)),
        1e6 * min(cpus / low, count / daemon.min, 1 / redis.min),
    )


def _measured(one: Measurement) -> Range:
    return Range.of(one.of(RATE))
