"""One measurement of `fleet experiment fanout`: a load on the servers of one system.

    members join ─▶ warm-up ─▶ CPU clocks ─▶ posts ─▶ CPU clocks ─▶ the account ─▶ Point

The load (c/fanout.c) is an open loop: so many posts a second, whatever becomes of them, at
rates that leave the machine some of its CPUs. What is compared is what a delivery costs.
`run.py` has measurement after measurement made.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lab.measure.clocks import Clocks
from lab.measure.errors import MeasureError
from lab.measure.fanout.generator import Fanout, Settings
from lab.measure.fanout.systems import POSTS, PUBLICATIONS, VAIN, counters
from lab.measure.generator import percentile
from lab.measure.serving import REDIS, SERVERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lab.measure.clocks import Used
    from lab.measure.fanout.generator import Result
    from lab.measure.fanout.plan import Load, Plan
    from lab.measure.fanout.systems import System
    from lab.measure.serving import Running


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
class _Played:
    """One load, as it was played."""

    result: Result
    words: str
    counted: Mapping[str, float]
    used: Used


def play(plan: Plan, system: System, front: Running, load: Load, seconds: float) -> _Played:
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
            earlier = counters(front)
            fanout.go()
            before = Clocks.now(front.parts)
            fanout.await_measured()
            used = Clocks.now(front.parts).since(before)
            result = fanout.await_result()
            counted = {name: value - earlier[name] for name, value in counters(front).items()}
            return _Played(result, fanout.words(), counted, used)


def measure(plan: Plan, system: System, front: Running, load: Load, repeat: int) -> Point:
    """One measurement.

    Raises:
        LabError: It could not be made, or a daemon did not deliver what it promises.
    """
    played = play(plan, system, front, load, plan.seconds)
    result, used, counted = played.result, played.used, played.counted
    if not result.deliveries or (system.peer is None and (result.lost or result.reordered)):
        raise MeasureError(f"{result.explain()}\n{played.words}".strip())
    us = 1e6 / result.deliveries
    publications = counted.get(PUBLICATIONS, 0.0)
    return Point(
        *(system.name, len(front.ports), load, repeat),
        deliveries_per_s=result.deliveries / result.seconds,
        p50_ms=percentile(result.histogram_ns, 0.5) / 1e6,
        p99_ms=percentile(result.histogram_ns, 0.99) / 1e6,
        servers_us=used.s(SERVERS) * us,
        redis_us=used.s(REDIS) * us,
        load_us=result.cpu_s * us,
        copies=publications / counted[POSTS] if counted.get(POSTS) else 0.0,
        vain=counted[VAIN] / publications if publications else 0.0,
        late_ms=result.late_ns_max / 1e6,
        lost=result.lost,
        reordered=result.reordered,
        busy=Busy(
            server=max(used.each_s[SERVERS]) / result.seconds,
            redis=used.s(REDIS) / result.seconds,
            load=result.cpu_s / result.seconds,
            machine=used.machine,
        ),
    )
