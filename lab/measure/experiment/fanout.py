"""One measurement of `fleet experiment fanout`: a load on the servers of one system.

    members join ─▶ warm-up ─▶ CPU clocks ─▶ posts ─▶ CPU clocks ─▶ the account ─▶ Point

The load (c/fanout.c) is an open loop: so many posts a second, whatever becomes of them, at
rates that leave the machine some of its CPUs. What is compared is what a delivery costs.
`fanout_run.py` has measurement after measurement made.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lab.measure.bench.histogram import percentile
from lab.measure.bench.process_stats import cpu_ns
from lab.measure.experiment.calm import cpus
from lab.measure.experiment.errors import ExperimentError
from lab.measure.experiment.fanout_load import Fanout, Settings
from lab.measure.experiment.fanout_systems import POSTS, PUBLICATIONS, VAIN

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from lab.fleet.redis_server import Appendfsync
    from lab.measure.experiment.calm import Cpus
    from lab.measure.experiment.fanout_load import Result
    from lab.measure.experiment.fanout_systems import Front, System

# Channels takes some ten times the others' CPU: at their rates it would only queue.
SLOW_PEERS = {"channels": 0.1}

# Between the fewest and the most daemons there is a curve to draw, and nothing to decide.
NOW_AND_THEN = 3


@dataclass(frozen=True, slots=True)
class Load:
    """Rooms and posts."""

    rooms: int
    members: int
    """Of each room."""
    posts_per_s: float
    """In all rooms together."""

    @property
    def name(self) -> str:
        """In tables and files."""
        return f"{self.rooms}x{self.members}@{self.posts_per_s:g}"

    @property
    def title(self) -> str:
        """In sentences: `50 rooms of 20 at 400 posts/s`."""
        rooms = "one room" if self.rooms == 1 else f"{self.rooms:,} rooms"
        return f"{rooms} of {self.members:,} at {self.posts_per_s:g} posts/s"

    def times(self, factor: float) -> Load:
        """The same rooms with so many times the posts."""
        return Load(self.rooms, self.members, self.posts_per_s * factor)


@dataclass(frozen=True, slots=True)
class Step:
    """One system with some numbers of servers, each under some loads."""

    system: System
    loads: Mapping[int, Sequence[Load]]
    """By the number of servers, rising."""
    now_and_then: Collection[int] = ()
    """Numbers of servers that no question compares: every `NOW_AND_THEN` repeats will do."""

    def counts(self, repeat: int) -> list[int]:
        """The numbers of servers of that repeat, counted from 1."""
        all_of_them = repeat % NOW_AND_THEN == 1
        return [count for count in self.loads if all_of_them or count not in self.now_and_then]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure."""

    steps: Sequence[Step]
    seconds: float
    warm_up_s: float
    repeats: int
    appendfsync: Appendfsync
    programs: Path
    """The built C programs."""
    peers: Mapping[str, Path]
    """What each peer is started from."""
    settle: bool
    """Whether peers get the time that they need to be at their best."""
    data: Path
    """For Redis's files: a disk, not memory, or fsync costs nothing."""

    @property
    def measurements(self) -> int:
        """Of all repeats."""
        return sum(
            len(step.loads[count])
            for repeat in range(1, self.repeats + 1)
            for step in self.steps
            for count in step.counts(repeat)
        )


@dataclass(frozen=True, slots=True)
class Busy:
    """How much of what it can have each part used: 1 is all of it."""

    server: float
    """The busiest server process."""
    redis: float
    load: float
    machine: float


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement. µs are CPU for a delivery."""

    system: str
    servers: int
    load: Load
    repeat: int
    deliveries_per_s: float
    p50_ms: float
    p99_ms: float
    servers_us: float
    redis_us: float
    load_us: float
    copies: float
    """Publications that reached a daemon, for a post; 0 for a peer."""
    vain: float
    """The share of them that found no member there."""
    late_ms: float
    """How late the generator sent, at worst."""
    lost: int
    """Deliveries missing, repeated or wrong: never of a daemon, a finding of a peer."""
    reordered: int
    """Deliveries behind a later post; no peer promises an order."""
    busy: Busy
    others: float = 0.0
    """What other programs used of the CPUs meanwhile (calm.py), 0 to 1."""

    @property
    def per_cpu_s(self) -> float:
        """Deliveries for a CPU second of servers and Redis together."""
        return 1e6 / (self.servers_us + self.redis_us)


@dataclass(frozen=True, slots=True)
class _Clocks:
    """CPU seconds since they began."""

    servers: list[float]
    redis: float
    machine: Cpus


@dataclass(frozen=True, slots=True)
class _Played:
    """One load, as it was played."""

    result: Result
    words: str
    counters: Mapping[str, float]
    before: _Clocks
    after: _Clocks


def play(plan: Plan, system: System, front: Front, load: Load, seconds: float) -> _Played:
    """Have one load played.

    Raises:
        LabError: It could not be.
    """
    settings = Settings(
        speech=system.speech,
        rooms=load.rooms,
        members=load.members,
        posts_per_s=load.posts_per_s,
        seconds=seconds,
        warm_up_s=plan.warm_up_s,
    )
    with tempfile.TemporaryDirectory() as made:
        log = Path(made) / "fanout.log"
        with Fanout(plan.programs / "fanout", front.ports, settings, log) as fanout:
            fanout.await_connected()
            counted = front.counters()
            fanout.go()
            before = _clocks(front)
            fanout.await_measured()
            after = _clocks(front)
            result = fanout.await_result()
            counters = {name: value - counted[name] for name, value in front.counters().items()}
            return _Played(result, fanout.words(), counters, before, after)


def measure(plan: Plan, system: System, front: Front, load: Load, repeat: int) -> Point:
    """One measurement.

    Raises:
        LabError: It could not be made, or a daemon did not deliver what it promises.
    """
    played = play(plan, system, front, load, plan.seconds)
    result = played.result
    if not result.deliveries or (system.peer is None and (result.lost or result.reordered)):
        raise ExperimentError(f"{result.explain()}\n{played.words}".strip())
    return _point((system.name, len(front.servers), load, repeat), played)


def _point(key: tuple[str, int, Load, int], played: _Played) -> Point:
    result, counters = played.result, played.counters
    before, after = played.before, played.after
    each_s = [now - then for now, then in zip(after.servers, before.servers, strict=True)]
    redis_s = after.redis - before.redis
    machine_s = after.machine.total - before.machine.total
    us = 1e6 / result.deliveries
    publications = counters.get(PUBLICATIONS, 0.0)
    return Point(
        *key,
        deliveries_per_s=result.deliveries / result.seconds,
        p50_ms=percentile(result.histogram_ns, 0.5) / 1e6,
        p99_ms=percentile(result.histogram_ns, 0.99) / 1e6,
        servers_us=sum(each_s) * us,
        redis_us=redis_s * us,
        load_us=result.cpu_s * us,
        copies=publications / counters[POSTS] if counters.get(POSTS) else 0.0,
        vain=counters[VAIN] / publications if publications else 0.0,
        late_ms=result.late_ns_max / 1e6,
        lost=result.lost,
        reordered=result.reordered,
        busy=Busy(
            server=max(each_s) / result.seconds,
            redis=redis_s / result.seconds,
            load=result.cpu_s / result.seconds,
            machine=(after.machine.used - before.machine.used) / machine_s if machine_s else 0.0,
        ),
    )


def _clocks(front: Front) -> _Clocks:
    return _Clocks(
        servers=[cpu_ns(pid) / 1e9 for pid in front.servers],
        redis=cpu_ns(front.redis) / 1e9,
        machine=cpus(),
    )
