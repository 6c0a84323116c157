"""The Universal Scalability Law, fitted by least squares. Pure.

    X(N) = rate * N / (1 + contention * (N - 1) + crosstalk * N * (N - 1))

N daemons give X(N) round trips/s: `rate` each, but for what they queue for together
(contention, whose limit is Amdahl's law) and what each spends on all others (crosstalk,
which makes more daemons slower beyond a peak). N. J. Gunther, "Guerrilla Capacity
Planning", Springer 2007, chapters 4 to 6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Three unknowns need three different N.
SIZES_MIN = 3


@dataclass(frozen=True, slots=True)
class Law:
    """A fitted law. `error` is the root mean square of the relative residuals of N / X."""

    rate: float
    contention: float
    crosstalk: float
    error: float

    def throughput(self, size: float) -> float:
        """X(size)."""
        lost = self.contention * (size - 1) + self.crosstalk * size * (size - 1)
        return self.rate * size / (1 + lost)

    @property
    def peak(self) -> float:
        """The N beyond which more is slower; infinite without crosstalk."""
        if self.crosstalk <= 0:
            return math.inf
        return math.sqrt(max(0.0, 1 - self.contention) / self.crosstalk)


def fit(points: Sequence[tuple[int, float]]) -> Law:
    """The law that is nearest to `points`, pairs of N and X(N) above 0; repeats are welcome.

    N / X is linear in (1, N - 1, N (N - 1)), with coefficients that can't be negative:
    every choice of which of the last two are there is solved, and the best kept. Residuals
    are relative, so that a fast point weighs no more than a slow one.

    Raises:
        ValueError: Fewer than three different N, or a point that is not above 0.
    """
    if len({size for size, _ in points}) < SIZES_MIN:
        raise ValueError(f"a fit needs {SIZES_MIN} different numbers of daemons")
    if any(size < 1 or rate <= 0 for size, rate in points):
        raise ValueError("sizes and rates are above 0")
    # Each row times X / N: what is to be met is 1.
    rows = [[rate / size, (size - 1) * rate / size, (size - 1) * rate] for size, rate in points]
    best: tuple[float, list[float]] | None = None
    for count in (0, 1, 2):
        for kept in combinations((1, 2), count):
            terms = [0, *kept]
            found = _least_squares([[row[term] for term in terms] for row in rows])
            if found is None or any(value < 0 for value in found):
                continue
            coefficients = [0.0, 0.0, 0.0]
            for term, value in zip(terms, found, strict=True):
                coefficients[term] = value
            squares = sum(
                (sum(a * b for a, b in zip(row, coefficients, strict=True)) - 1) ** 2
                for row in rows
            )
            if best is None or squares < best[0]:
                best = squares, coefficients
    if best is None or best[1][0] <= 0:
        raise ValueError("no law fits these points")
    squares, (base, linear, square) = best
    return Law(1 / base, linear / base, square / base, math.sqrt(squares / len(rows)))


def _least_squares(rows: Sequence[Sequence[float]]) -> list[float] | None:
    """The x for which rows x is nearest to all ones, by the normal equations; None if many are."""
    size = len(rows[0])
    # Columns are brought to the same length, or those that grow with N drown the first.
    lengths = [math.sqrt(sum(row[i] ** 2 for row in rows)) for i in range(size)]
    if not all(lengths):
        return None
    scaled = [[value / length for value, length in zip(row, lengths, strict=True)] for row in rows]
    system = [
        [sum(row[i] * row[j] for row in scaled) for j in range(size)]
        + [sum(row[i] for row in scaled)]
        for i in range(size)
    ]
    solved = _solve(system)
    if solved is None:
        return None
    return [value / length for value, length in zip(solved, lengths, strict=True)]


def _solve(system: list[list[float]]) -> list[float] | None:
    """Gauss and Jordan on an augmented matrix, largest pivot first; None if it is singular."""
    size = len(system)
    for column in range(size):
        pivot = max(range(column, size), key=lambda row: abs(system[row][column]))
        if abs(system[pivot][column]) < 1e-12:  # noqa: PLR2004 — columns have length 1
            return None
        system[column], system[pivot] = system[pivot], system[column]
        lead = system[column][column]
        system[column] = [value / lead for value in system[column]]
        for row in range(size):
            if row != column:
                factor = system[row][column]
                system[row] = [
                    value - factor * above
                    for value, above in zip(system[row], system[column], strict=True)
                ]
    return [row[size] for row in system]
