"""Which part of the fleet is full, and what measured costs predict for more CPUs. Pure."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from lab.measure.samples import Repeats, interval, spread
from lab.report.answers import SAME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab.measure.samples import Measurement

# Of what a part can use: it is full if the interval of its repeats (samples.py) lies above the
# first, and free if it lies below the second. What lies between them says nothing.
FULL, FREE = 0.88, 0.8

DAEMONS, REDIS, HAPROXY, LOAD, CPUS, NOTHING = (
    "the daemons",
    "Redis's single thread",
    "HAProxy's threads",
    "the load generator",
    "this machine's CPUs",
    "no part",
)

# In the place of REDIS, of the busiest.
SHARD = "a shard's single thread"

# In a prediction: the load generator is elsewhere then.
PREDICTED_CPUS = "the CPUs, with daemons and HAProxy"


def saturated(measured: Measurement) -> str:
    """The part that was full; `SAME` if that is not certain.

    A part's own limit comes before the machine's: a daemon that fills its CPU is the limit
    also where no CPU is left. A machine without a free CPU hides every other limit.
    """
    for name, column in (
        (DAEMONS, "daemons_busy"),
        (REDIS, "redis_thread_busy"),
        (HAPROXY, "haproxy_busy"),
        (LOAD, "load_busy"),
        (CPUS, "machine_busy"),
    ):
        used = interval(measured.of(column).by_repeat.values())
        if used.low >= FULL:
            return SHARD if name == REDIS and measured["shards"] > 1 else name
        if used.high >= FREE:
            return SAME
    return NOTHING


# µs of each part for a round trip, by its column; ranges over all numbers of daemons.
Costs = dict[str, Repeats]


def costs(fleet: Sequence[Measurement]) -> Costs:
    """The medians, with each number of daemons."""
    columns = "daemons_us", "redis_us", "redis_disk_us", "haproxy_us"
    return {column: spread([one.of(column).median for one in fleet]) for column in columns}


def costs_on_shards(fleet: Sequence[Measurement], sharded: Sequence[Measurement]) -> Costs:
    """A fleet's on so many shards as it was measured without HAProxy, whose cost is the fleet's."""
    return costs(sharded) | {"haproxy_us": costs(fleet)["haproxy_us"]}


class Prediction(NamedTuple):
    """Limits in round trips/s of a machine with so many CPUs: (least, most)."""

    all_cpus: tuple[float, float]
    redis: tuple[float, float]
    """Of one shard's thread; of so many as `on` was asked for."""

    @property
    def shards(self) -> tuple[int, int]:
        """How many shards, each with a thread of its own, are never full before the CPUs.

        By their CPU alone, and with the wait for the disk as it was measured.
        """
        return ceil(self.all_cpus[1] / self.redis[1]), ceil(self.all_cpus[1] / self.redis[0])

    def on(self, shards: int) -> Prediction:
        """The same, where so many threads carry even shares."""
        low, high = self.redis
        return self._replace(redis=(low * shards, high * shards))

    @property
    def limit(self) -> tuple[float, float]:
        """What the fleet can do there, at most."""
        return min(self.all_cpus[0], self.redis[0]), min(self.all_cpus[1], self.redis[1])

    @property
    def first(self) -> str:
        """What is full first: the CPUs (daemons and HAProxy), or Redis; `SAME` if it may be both."""
        if self.all_cpus[1] <= self.redis[0]:
            return PREDICTED_CPUS
        if self.redis[1] < self.all_cpus[0]:
            return REDIS
        return SAME


def predict(measured: Costs, cpus: int) -> Prediction:
    """By `all_cpus = cpus / (daemon + HAProxy + Redis)` and `redis = 1 / (Redis + disk)`.

    Costs are of a round trip, and are taken as they were measured: with more load the disk's
    share falls, for one fsync then serves more lines. So its wait is in the least limit only.
    """
    parts = [measured[column] for column in ("daemons_us", "haproxy_us", "redis_us")]
    dear, cheap = sum(part.max for part in parts), sum(part.min for part in parts)
    redis, disk = measured["redis_us"], measured["redis_disk_us"]
    return Prediction(
        all_cpus=(cpus * 1e6 / dear, cpus * 1e6 / cheap),
        redis=(1e6 / (redis.max + disk.max), 1e6 / redis.min),
    )
