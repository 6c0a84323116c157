"""The report for people: aligned tables, verdicts and a legend, as text. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.measure.bench import rows
from lab.measure.bench.summary import MEMORY_CONNECTIONS_MIN, PROMISE_CONNECTIONS
from lab.report.words import align

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab.measure.bench.cores import Cores
    from lab.measure.bench.summary import Spread, Summary, Verdict
    from lab.report.machine import Machine

NOTHING = "-"

HEADERS = (
    *("server", "CPU µs", "(min-max)", "kernel", "busy", "redis µs"),
    *("trips/s", "(min-max)", "p50 ms", "p99 ms", "p99.9 ms", "kB idle", "kB busy"),
    *("x floor", "x redis-py"),
)

LEGEND = f"""\
CPU µs      CPU of the server process per round trip, user and kernel (kernel: its part);
            busy: of its core. Below 95 % it waited for Redis, the disk or the load
redis µs    CPU of the Redis process per round trip
p50 … p99.9 from a reply to the next one on the same connection, in closed loop
kB idle     growth of the server's resident memory by one connection that has said nothing, in
            1,000 bytes; busy: at the highest moment of the load. Both from {MEMORY_CONNECTIONS_MIN:,} connections
x floor     CPU µs over those of {rows.FLOOR}; x redis-py: trips/s over those of {rows.REDIS_PY}
Medians of the rounds. Compare within one run only; docs/bench.md says how to read it."""


def table(summaries: Sequence[Summary]) -> str:
    """One aligned table of the summaries of one number of connections."""
    return align([HEADERS, *(_cells(summary) for summary in summaries)])


def verdicts(judged: Sequence[Verdict]) -> str:
    """A line for each promise: kept or missed, the ratio, the limit."""
    lines = []
    for verdict in judged:
        promise = verdict.promise
        bound = "at most" if promise.at_most is not None else "at least"
        limit = promise.at_most if promise.at_most is not None else promise.at_least
        lines.append(
            (
                promise.text,
                f"{verdict.ratio:.2f} x",
                f"{bound} {limit:g}",
                "kept" if verdict.kept else "MISSED",
            )
        )
    if not lines:
        return ""
    return f"Promises, at {PROMISE_CONNECTIONS} connections:\n{align(lines)}"


def machine(found: Machine, cores: Cores, compiler: str) -> str:
    """What it ran on, and warnings about what makes its figures worse."""
    where = "nothing is pinned: the server shares its CPU with its load"
    if cores.pinned:
        where = f"server on CPU {cores.server}; load, Redis and this on {cores.load}"
    notes = list(found.warnings)
    if found.cpus == 1:
        notes.append("There is only one CPU for this program and all that it starts.")
    if cores.siblings:
        notes.append("Both CPUs are threads of one physical core: each slows the other.")
    load_average = found.facts["load_average"]
    if load_average > found.cpus / 4:
        notes.append(f"The machine was busy before: load average {load_average:.2f}.")
    rows = [*found.rows, ("Compiler", compiler), ("Places", where)]
    return "\n".join(
        [*(f"{name:<13} {text}" for name, text in rows), *(f"NOTE {text}" for text in notes)]
    )


def _cells(summary: Summary) -> tuple[str, ...]:
    figures = summary.figures
    server, rate = figures["server_us"], figures["round_trips_per_s"]
    return (
        summary.row,
        f"{server.median:.1f}",
        f"({server.min:.1f}-{server.max:.1f})",
        _median(figures.get("server_kernel_share"), 100, 0, "%"),
        _median(figures.get("server_busy"), 100, 0, "%"),
        _median(figures.get("redis_us"), 1, 1),
        f"{rate.median:,.0f}",
        f"({rate.min:,.0f}-{rate.max:,.0f})",
        *(_median(figures.get(name), 1e-3, 2) for name in ("p50_us", "p99_us", "p999_us")),
        *(_median(figures.get(name), 1e-3, 1) for name in ("memory_bytes", "memory_bytes_max")),
        _ratio(summary.cpu_to_floor),
        _ratio(summary.rate_to_redis_py),
    )


def _median(spread: Spread | None, factor: float, digits: int, unit: str = "") -> str:
    return NOTHING if spread is None else f"{spread.median * factor:,.{digits}f}{unit}"


def _ratio(ratio: float | None) -> str:
    return NOTHING if ratio is None else f"{ratio:.2f}"
