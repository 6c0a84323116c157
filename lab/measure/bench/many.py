"""Many quiet connections: each sends a line once a second, for a minute (docs/bench.md).

`many` is one daemon alone; `many-haproxy` is the local fleet, four daemons behind HAProxy.
Both with Redis as it is shipped, fsync always.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from lab.fleet.local import Fleet, Plan
from lab.measure.bench import rows
from lab.measure.bench.measure import beside_the_load, measure, measure_running
from lab.measure.generator import Settings
from lab.measure.serving import REDIS, SERVERS, Running, port_of

if TYPE_CHECKING:
    from lab.measure.bench.measure import Place
    from lab.measure.samples import Row

# What the project promises (docs/bench.md).
P999_MS_MAX = 250.0
MEMORY_BYTES_MAX = 12_000.0

DAEMONS = 4

# HAProxy's SOURCE_RATE_MAX is 2,500 new connections a second from one address.
CONNECTS_PER_S = 2_000.0
INTERVAL_S = 1.0
# One interval: by its end every connection has had its turn.
WARM_UP_S = 1.0


def kept(outcome: Row) -> bool:
    """Whether it is within what is promised."""
    return bool(outcome["p999_ms"] < P999_MS_MAX and outcome["memory_bytes"] <= MEMORY_BYTES_MAX)


def explain(outcome: Row) -> str:
    """The outcome in words, with the limits."""
    return (
        "{scenario}: {connections:,} connections, a line a second each for {seconds:.0f} s,"
        " {round_trips:,} round trips, no failure\n"
        "p50 {p50_ms:.1f} ms, p99 {p99_ms:.1f} ms, p99.9 {p999_ms:.1f} ms"
        f" (limit {P999_MS_MAX:g}), longest {{max_ms:.1f}} ms\n"
        f"{outcome['memory_bytes'] / 1e3:.1f} kB of the daemons' memory a connection"
        f" (limit {MEMORY_BYTES_MAX / 1e3:g})\n"
        f"{'kept' if kept(outcome) else 'MISSED'}"
    ).format(**outcome)


def measure_many(
    scenario: str, connections: int, seconds: float, line_bytes: int, place: Place
) -> Row:
    """One daemon on a core of its own, or the local fleet without its own load, unpinned.

    Returns what was seen, by name, without a failure; memory is the growth of the daemons'
    resident memory up to its highest, by connection.

    Raises:
        lab.errors.LabError: It could not be run, or a reply failed.
    """
    load = Settings(
        connections=connections,
        seconds=seconds,
        line_bytes=line_bytes,
        warm_up_s=WARM_UP_S,
        interval_s=INTERVAL_S,
        connects_per_s=CONNECTS_PER_S,
    )
    if scenario == "many":
        (row,) = rows.select([f"{rows.COMMIT}-always"])
        with beside_the_load(place):
            run = measure(row, 1, load, place)
    else:
        with tempfile.TemporaryDirectory(dir=place.cache) as made:
            plan = Plan(Path(made) / "fleet", daemons=DAEMONS, durability="commit", load=False)
            with Fleet(plan) as fleet:
                servers = [daemon.pid for daemon in fleet.daemons]
                parts = {SERVERS: servers, REDIS: [fleet.parts["redis"].pid]}
                running = Running([port_of(fleet.ready["echo"])], parts)
                run = measure_running(running, scenario, 1, load, place)
    return {
        "scenario": scenario,
        "connections": connections,
        "seconds": seconds,
        "round_trips": run["round_trips"],
        "p50_ms": run["p50_us"] / 1e3,
        "p99_ms": run["p99_us"] / 1e3,
        "p999_ms": run["p999_us"] / 1e3,
        # A percentile is a bucket's bound, up to 1 % above its values.
        "max_ms": max(run["p999_us"], run["max_us"]) / 1e3,
        "memory_bytes": run["memory_bytes_max"],
    }
