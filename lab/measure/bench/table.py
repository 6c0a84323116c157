"""Medians, spreads and ratios of the rounds, the promises they are held to, and the text. Pure."""

from __future__ import annotations

import math
import statistics
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from lab.measure.bench import rows
from lab.measure.samples import measurements
from lab.report.words import align

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lab.measure.cores import Cores
    from lab.measure.samples import Measurement, Row
    from lab.report.machine import Machine

# Below this a server's own growth is not small beside its connections'.
MEMORY_CONNECTIONS_MIN = 1_000

NOTHING = "-"

# Header, figure of a run, what it is multiplied by, its format.
COLUMNS = (
    ("CPU µs", "server_us", 1, ".1f"),
    ("kernel", "server_kernel_share", 1, ".0%"),
    ("busy", "server_busy", 1, ".0%"),
    ("redis µs", "redis_us", 1, ",.1f"),
    ("trips/s", "round_trips_per_s", 1, ",.0f"),
    ("p50 ms", "p50_us", 1e-3, ",.2f"),
    ("p99 ms", "p99_us", 1e-3, ",.2f"),
    ("p99.9 ms", "p999_us", 1e-3, ",.2f"),
    ("kB idle", "memory_bytes", 1e-3, ",.1f"),
    ("kB busy", "memory_bytes_max", 1e-3, ",.1f"),
)
# After these stands a column of their least and most.
RANGED = ("server_us", "round_trips_per_s")

LEGEND = f"""\
CPU µs      CPU of the server process per round trip, user and kernel (kernel: its part);
            busy: of its core. Below 95 % it waited for Redis, the disk or the load
redis µs    CPU of the Redis process per round trip
p50 … p99.9 from a reply to the next one on the same connection, in closed loop
kB idle     growth of the server's resident memory by one connection that has said nothing, in
            1,000 bytes; busy: at the highest moment of the load. Both from {MEMORY_CONNECTIONS_MIN:,} connections
x floor     CPU µs over those of {rows.FLOOR}; x redis-py: trips/s over those of {rows.REDIS_PY}
Medians of the rounds. Compare within one run only; docs/bench.md says how to read it."""


@dataclass(frozen=True, slots=True)
class Promise:
    """A ratio of two rows' medians, and the limit that the project set itself for it."""

    text: str
    row: str
    other: str
    figure: str
    at_most: float | None = None
    at_least: float | None = None


# Of 100 connections: there each row's server is what limits it.
PROMISE_CONNECTIONS = 100
PROMISES = (
    Promise(
        "CPU of commit (no AOF) to the floor's",
        *(rows.COMMIT, rows.FLOOR, "server_us"),
        at_most=2.0,
    ),
    Promise(
        "CPU of one redis-py call a line to that of commit (no AOF)",
        *(rows.REDIS_PY, rows.COMMIT, "server_us"),
        at_least=8.0,
    ),
    Promise(
        "round trips/s of commit (fsync always) to redis-py's (no AOF)",
        *(f"{rows.COMMIT}-always", rows.REDIS_PY, "round_trips_per_s"),
        at_least=5.0,
    ),
    Promise(
        "CPU of session to that of commit (both no AOF)",
        *(rows.SESSION, rows.COMMIT, "server_us"),
        at_most=1.5,
    ),
    Promise(
        "CPU of commit on a cluster, at home, to that on one Redis (no AOF)",
        *(f"{rows.COMMIT}-cluster", rows.COMMIT, "server_us"),
        at_most=1.05,
    ),
    Promise("CPU of none to uvloop's", "echod-none", rows.UVLOOP, "server_us", at_most=1.4),
)


def summarise(runs: Iterable[Row]) -> list[Row]:
    """A line of the table for each row at each number of connections, in the order of the runs.

    `figures` has the median, min and max of what a row has, by the name in `COLUMNS`.
    `cpu_to_floor` is its CPU per round trip over the floor's, and `rate_to_redis_py` its round
    trips/s over those of one redis-py call a line (no AOF); None without the other row.
    """
    groups = {
        (group["connections"], group["row"]): group
        for group in measurements(runs, "connections", "row")
    }
    figures = {key: _figures(group) for key, group in groups.items()}
    summaries = []
    for (connections, row), group in groups.items():
        own = figures[connections, row]
        floor = figures.get((connections, rows.FLOOR), {})
        redis_py = figures.get((connections, rows.REDIS_PY), {})
        summaries.append(
            {
                "row": row,
                "connections": connections,
                "rounds": len(group.rows),
                "figures": own,
                "cpu_to_floor": _ratio(own, floor, "server_us"),
                "rate_to_redis_py": _ratio(own, redis_py, "round_trips_per_s"),
            }
        )
    return summaries


def judge(summaries: Sequence[Row]) -> list[Row]:
    """The promises whose two rows were measured at `PROMISE_CONNECTIONS`: `ratio`, and if `kept`."""
    measured = {
        one["row"]: one["figures"] for one in summaries if one["connections"] == PROMISE_CONNECTIONS
    }
    verdicts = []
    for promise in PROMISES:
        own, other = measured.get(promise.row, {}), measured.get(promise.other, {})
        ratio = _ratio(own, other, promise.figure)
        if ratio is not None:
            kept = (promise.at_least or 0) <= ratio <= (promise.at_most or math.inf)
            verdicts.append({"promise": asdict(promise), "ratio": ratio, "kept": kept})
    return verdicts


def table(summaries: Sequence[Row]) -> str:
    """One aligned table of the summaries of one number of connections."""
    headers = ["server"]
    for header, name, _, _ in COLUMNS:
        headers += [header, "(min-max)"] if name in RANGED else [header]
    return align([[*headers, "x floor", "x redis-py"], *map(_cells, summaries)])


def verdicts(judged: Sequence[Row]) -> str:
    """A line for each promise: kept or missed, the ratio, the limit."""
    lines = []
    for verdict in judged:
        promise = Promise(**verdict["promise"])
        limit = (
            f"at least {promise.at_least:g}" if promise.at_least else f"at most {promise.at_most:g}"
        )
        kept = "kept" if verdict["kept"] else "MISSED"
        lines.append((promise.text, f"{verdict['ratio']:.2f} x", limit, kept))
    return f"Promises, at {PROMISE_CONNECTIONS} connections:\n{align(lines)}" if lines else ""


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
    shown = [*found.rows, ("Compiler", compiler), ("Places", where)]
    lines = [f"{name:<13} {text}" for name, text in shown]
    return "\n".join([*lines, *(f"NOTE {text}" for text in notes)])


def _cells(summary: Row) -> list[str]:
    cells = [summary["row"]]
    for _, name, factor, form in COLUMNS:
        spread = summary["figures"].get(name)
        cells.append(format(spread["median"] * factor, form) if spread else NOTHING)
        if spread and name in RANGED:
            cells.append(f"({spread['min']:{form}}-{spread['max']:{form}})")
    ratios = (summary["cpu_to_floor"], summary["rate_to_redis_py"])
    return [*cells, *(NOTHING if ratio is None else f"{ratio:.2f}" for ratio in ratios)]


def _figures(group: Measurement) -> dict[str, dict[str, float]]:
    figures = {}
    for _, name, _, _ in COLUMNS:
        if name.startswith("memory") and group["connections"] < MEMORY_CONNECTIONS_MIN:
            continue
        values = [value for value in group.all(name) if value is not None]
        if values:
            median = statistics.median(values)
            figures[name] = {"median": median, "min": min(values), "max": max(values)}
    return figures


def _ratio(own: Row, other: Row, name: str) -> float | None:
    if name not in own or name not in other or not other[name]["median"]:
        return None
    return float(own[name]["median"] / other[name]["median"])
