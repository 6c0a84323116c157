"""The comparison behind the table: every row, at every number of connections, in rounds.

    for each number of connections: for each round: for each row: measure

Rounds are interleaved, so a machine that grows slower slows every row alike.
Called by `cli.py`.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.errors import LabError
from lab.measure.bench.measure import Place, Run, beside_the_load, measure
from lab.measure.generator import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.measure.bench.rows import Row

# Many connections take long to make: they get a third of the rounds.
ROUNDS_WHOLE_BELOW = 1_000


@dataclass(frozen=True, slots=True)
class Comparison:
    """What to measure."""

    rows: list[Row]
    connections: tuple[int, ...]
    rounds: int
    seconds: float
    line_bytes: int
    warm_up_s: float

    def rounds_at(self, connections: int) -> int:
        """How many rounds so many connections get."""
        return self.rounds if connections < ROUNDS_WHOLE_BELOW else max(1, self.rounds // 3)

    def measurements(self) -> Iterator[tuple[Settings, int, Row]]:
        """Every measurement in its order: the load, the round from 1, the row."""
        for count in self.connections:
            load = Settings(
                connections=count,
                seconds=self.seconds,
                line_bytes=self.line_bytes,
                warm_up_s=self.warm_up_s,
            )
            for number in range(1, self.rounds_at(count) + 1):
                for row in self.rows:
                    yield load, number, row


def compare(comparison: Comparison, place: Place) -> tuple[list[Run], list[str]]:
    """Measure all, telling of each on stderr.

    Returns:
        The runs, and a text for each measurement that failed.
    """
    runs: list[Run] = []
    failed: list[str] = []
    with beside_the_load(place):
        for load, number, row in comparison.measurements():
            what = f"{load.connections:,} connections, round {number}, {row.name}"
            _say(f"{what} … ", end="")
            begin = time.monotonic()
            try:
                run, _ = measure(row, number, load, place)
            except LabError as error:
                _say("FAILED")
                failed.append(f"{what}: {error}")
                continue
            runs.append(run)
            took_s = time.monotonic() - begin
            _say(f"{run.server_us:.1f} µs, {run.round_trips_per_s:,.0f}/s ({took_s:.1f} s)")
    return runs, failed


def _say(text: str, end: str = "\n") -> None:
    print(text, end=end, file=sys.stderr, flush=True)
