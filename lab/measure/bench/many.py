"""Many quiet connections: each sends a line once a second, for a minute.

`many` is one daemon alone; `many-haproxy` is the local fleet, four daemons behind HAProxy.
Both with Redis as it is shipped, fsync always. A reply's time counts from when its line was
due, so a daemon that stalls is charged for every line it kept waiting.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lab.fleet.local import Fleet, Plan
from lab.measure.bench import rows
from lab.measure.bench.measure import PARTS, measure
from lab.measure.clocks import rss_bytes, rss_bytes_max
from lab.measure.generator import Load, Settings
from lab.measure.histogram import percentile
from lab.measure.serving import port_of

if TYPE_CHECKING:
    from lab.measure.bench.measure import Place
    from lab.measure.generator import Result

# What the project promises (docs/bench.md).
P999_MS_MAX = 250.0
MEMORY_BYTES_MAX = 12_000.0

DAEMONS = 4

# HAProxy's SOURCE_RATE_MAX is 2,500 new connections a second from one address.
CONNECTS_PER_S = 2_000.0
INTERVAL_S = 1.0
# One interval: by its end every connection has had its turn.
WARM_UP_S = 1.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was seen; there were no failures, or there would be a `MeasureError` in its place."""

    scenario: str
    connections: int
    seconds: float
    round_trips: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    memory_bytes: float
    """Growth of the daemons' resident memory up to its highest, by connection."""

    @property
    def kept(self) -> bool:
        """Whether it is within what is promised."""
        return self.p999_ms < P999_MS_MAX and self.memory_bytes <= MEMORY_BYTES_MAX

    def explain(self) -> str:
        """The outcome in words, with the limits."""
        return (
            f"{self.scenario}: {self.connections:,} connections, a line a second each for"
            f" {self.seconds:.0f} s, {self.round_trips:,} round trips, no failure\n"
            f"p50 {self.p50_ms:.1f} ms, p99 {self.p99_ms:.1f} ms, p99.9 {self.p999_ms:.1f} ms"
            f" (limit {P999_MS_MAX:g}), longest {self.max_ms:.1f} ms\n"
            f"{self.memory_bytes / 1e3:.1f} kB of the daemons' memory a connection"
            f" (limit {MEMORY_BYTES_MAX / 1e3:g})\n"
            f"{'kept' if self.kept else 'MISSED'}"
        )


def settings(connections: int, seconds: float, line_bytes: int) -> Settings:
    """The paced load."""
    return Settings(
        connections=connections,
        seconds=seconds,
        line_bytes=line_bytes,
        warm_up_s=WARM_UP_S,
        interval_s=INTERVAL_S,
        connects_per_s=CONNECTS_PER_S,
    )


def alone(load: Settings, place: Place) -> Outcome:
    """One daemon, on a core of its own.

    Raises:
        lab.errors.LabError: It could not be run, or a reply failed.
    """
    (row,) = rows.select([f"{rows.COMMIT}-always"])
    run, result = measure(row, 1, load, place)
    return _outcome("many", load, result, run.memory_bytes_max)


def through_haproxy(load: Settings, place: Place) -> Outcome:
    """The local fleet without its own load; nothing is pinned.

    Raises:
        lab.errors.LabError: It could not be run, or a reply failed.
    """
    with tempfile.TemporaryDirectory(dir=place.cache) as made:
        directory = Path(made)
        plan = Plan(directory / "fleet", daemons=DAEMONS, durability="commit", load=False)
        with Fleet(plan) as fleet:
            port = port_of(fleet.ready["echo"])
            pids = [daemon.pid for daemon in fleet.daemons]
            rss_alone = sum(map(rss_bytes, pids))
            with Load(place.programs / "load", port, load, directory / "load.log") as running:
                running.await_connected()
                result, _, _ = running.play(lambda: None)
            memory = (sum(map(rss_bytes_max, pids)) - rss_alone) / load.connections
    return _outcome("many-haproxy", load, result, memory)


def _outcome(scenario: str, load: Settings, result: Result, memory_bytes: float) -> Outcome:
    p50, p99, p999 = (percentile(result.histogram_ns, part) / 1e6 for part in PARTS)
    return Outcome(
        scenario=scenario,
        connections=load.connections,
        seconds=load.seconds,
        round_trips=result.round_trips,
        p50_ms=p50,
        p99_ms=p99,
        p999_ms=p999,
        max_ms=result.histogram_ns[-1][0] / 1e6,
        memory_bytes=memory_bytes,
    )
