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
from typing import TYPE_CHECKING

import numpy as np

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
    rows = np.array(
        [[rate / size, (size - 1) * rate / size, (size - 1) * rate] for size, rate in points]
    )
    # Columns are brought to the same length, or those that grow with N drown the first.
    lengths = np.linalg.norm(rows, axis=0)
    ones = np.ones(len(rows))
    best: tuple[float, list[float]] | None = None
    for kept in ([0], [0, 1], [0, 2], [0, 1, 2]):
        if not lengths[kept].all():
            continue
        found, _, rank, _ = np.linalg.lstsq(rows[:, kept] / lengths[kept], ones, rcond=1e-9)
        if rank < len(kept) or (found < 0).any():
            continue
        coefficients = np.zeros(3)
        coefficients[kept] = found / lengths[kept]
        squares = float(((rows @ coefficients - ones) ** 2).sum())
        if best is None or squares < best[0]:
            best = squares, coefficients.tolist()
    if best is None or best[1][0] <= 0:
        raise ValueError("no law fits these points")
    squares, (base, linear, square) = best
    return Law(1 / base, linear / base, square / base, math.sqrt(squares / len(rows)))
