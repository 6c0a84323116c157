"""Medians, spreads and ratios of the rounds, and the promises they are held to. Pure."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.measure.bench import rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lab.measure.bench.measure import Run

# Below this a server's own growth is not small beside its connections'.
MEMORY_CONNECTIONS_MIN = 1_000

COLUMNS = (
    "server_us",
    "server_kernel_share",
    "server_busy",
    "redis_us",
    "round_trips_per_s",
    "p50_us",
    "p99_us",
    "p999_us",
    "memory_bytes",
    "memory_bytes_max",
)


@dataclass(frozen=True, slots=True)
class Spread:
    """The rounds of one figure."""

    median: float
    min: float
    max: float


@dataclass(frozen=True, slots=True)
class Summary:
    """One line of the table."""

    row: str
    connections: int
    rounds: int
    figures: dict[str, Spread]
    """By the name in `COLUMNS`; what a row does not have is missing."""
    cpu_to_floor: float | None
    """Its CPU per round trip over the floor's."""
    rate_to_redis_py: float | None
    """Its round trips/s over those of one redis-py call a line, no AOF."""


@dataclass(frozen=True, slots=True)
class Promise:
    """A ratio of two rows' medians, and the limit that the project set itself for it."""

    text: str
    row: str
    other: str
    figure: str
    at_most: float | None = None
    at_least: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """A promise and what this run says to it."""

    promise: Promise
    ratio: float
    kept: bool


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
        "CPU of none to uvloop's",
        *("echod-none", rows.UVLOOP, "server_us"),
        at_most=1.4,
    ),
)


def summarise(runs: Iterable[Run]) -> list[Summary]:
    """One summary for each row at each number of connections, in the order of the runs."""
    grouped: dict[tuple[int, str], list[Run]] = {}
    for run in runs:
        grouped.setdefault((run.connections, run.row), []).append(run)
    figures = {key: _figures(group) for key, group in grouped.items()}
    summaries = []
    for (connections, row), group in grouped.items():
        own = figures[connections, row]
        floor = figures.get((connections, rows.FLOOR), {})
        redis_py = figures.get((connections, rows.REDIS_PY), {})
        summaries.append(
            Summary(
                row=row,
                connections=connections,
                rounds=len(group),
                figures=own,
                cpu_to_floor=_ratio(own, floor, "server_us"),
                rate_to_redis_py=_ratio(own, redis_py, "round_trips_per_s"),
            )
        )
    return summaries


def judge(summaries: Sequence[Summary]) -> list[Verdict]:
    """The promises whose two rows were measured at `PROMISE_CONNECTIONS`."""
    measured = {
        summary.row: summary.figures
        for summary in summaries
        if summary.connections == PROMISE_CONNECTIONS
    }
    verdicts = []
    for promise in PROMISES:
        ratio = _ratio(
            measured.get(promise.row, {}), measured.get(promise.other, {}), promise.figure
        )
        if ratio is not None:
            kept = (promise.at_most is None or ratio <= promise.at_most) and (
                promise.at_least is None or ratio >= promise.at_least
            )
            verdicts.append(Verdict(promise, ratio, kept))
    return verdicts


def _figures(group: Sequence[Run]) -> dict[str, Spread]:
    figures = {}
    for name in COLUMNS:
        if name.startswith("memory") and group[0].connections < MEMORY_CONNECTIONS_MIN:
            continue
        values = [value for run in group if (value := getattr(run, name)) is not None]
        if values:
            figures[name] = Spread(statistics.median(values), min(values), max(values))
    return figures


def _ratio(own: dict[str, Spread], other: dict[str, Spread], name: str) -> float | None:
    if name not in own or name not in other or not other[name].median:
        return None
    return own[name].median / other[name].median
