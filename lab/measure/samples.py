"""Repeats of one figure, and when two figures differ, by the rules of docs/experiments.md. Pure.

E. L. Lehmann, "Nonparametrics: Statistical Methods Based on Ranks", 1975, sections 3.2 and 4.5.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from lab.report.answers import NO, SAME, YES
from lab.report.words import number, percent, span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

# Of two runs of the same, one says yes and the other no: so seldom, at the worst truth.
CONTRADICTION_MAX = 1 / 1000

# "At least twice" is denied only below twice by a tenth. The repeats of one run share the
# machine's mood, and the next run has another, which no interval of one run can know.
GREY = 1.1

# How to read the answers: a paragraph of each report.
READING = (
    "Figures change from run to run, answers should not. So each question names a factor, the two"
    ' sides are compared within each repeat, and the answer is "yes" only if the whole interval of'
    " these ratios (Hodges' and Lehmann's, in brackets) reaches the factor, \"no\" only if it all stays"
    f' below it by another {percent(GREY - 1)}; else it is "{SAME}". By that rule two runs contradict'
    " each other less than once in a thousand times."
)

# Factors that questions name.
A_TENTH_MORE, A_QUARTER_MORE, HALF_AGAIN, TWICE = 1.1, 1.25, 1.5, 2.0


@dataclass(frozen=True, slots=True)
class Repeats:
    """One figure, by the number of the repeat."""

    by_repeat: Mapping[int, float]

    def __post_init__(self) -> None:
        if not self.by_repeat:
            raise ValueError("no repeats to take a median of")

    @property
    def median(self) -> float:
        """Of all."""
        return statistics.median(self.by_repeat.values())

    @property
    def min(self) -> float:
        """Of all."""
        return min(self.by_repeat.values())

    @property
    def max(self) -> float:
        """Of all."""
        return max(self.by_repeat.values())

    def times(self, factor: float) -> Repeats:
        """Each of them times `factor`."""
        return Repeats({repeat: value * factor for repeat, value in self.by_repeat.items()})


# One measurement, once: a line of an experiment's CSV file, by the names of its columns. What a
# system does not have is None.
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measurement, repeated: rows that differ in `repeat` and in their figures."""

    rows: Sequence[Row]

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 — a number or a text
        """What is the same in all of them."""
        return self.rows[0][name]

    def of(self, name: str) -> Repeats:
        """One figure; of what is not there it is 0."""
        return Repeats({row["repeat"]: row[name] or 0.0 for row in self.rows})

    def all(self, name: str) -> list[Any]:
        """One column."""
        return [row[name] for row in self.rows]


def measurements(rows: Iterable[Row], *keys: str) -> list[Measurement]:
    """Rows that are the same in `keys` together, in the order of their first."""
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[key] for key in keys), []).append(row)
    return [Measurement(group) for group in found.values()]


def beside(
    one: Measurement | None, other: Measurement | None, name: str
) -> tuple[Measurement, Measurement, Interval] | None:
    """The two, and how many times `other`'s figure `one`'s is; None if there is no ratio."""
    if one is None or other is None or not comparable(one.of(name), other.of(name)):
        return None
    return one, other, ratio(one.of(name), other.of(name))


class Interval(NamedTuple):
    """Where a figure lies. Too few repeats leave it open: -inf to inf."""

    middle: float
    low: float
    high: float

    @property
    def known(self) -> bool:
        """Whether there were enough repeats to bound it."""
        return math.isfinite(self.low) and math.isfinite(self.high)


def interval(values: Iterable[float]) -> Interval:
    """Hodges' and Lehmann's estimate, and the interval around it.

    Of all means of two values, a value and itself too, the middle one, and those between
    which `left_out` of them lie outside at either end.

    Raises:
        ValueError: There are none.
    """
    known = list(values)
    if not known:
        raise ValueError("no repeats to take a median of")
    means = sorted((one + other) / 2 for at, one in enumerate(known) for other in known[at:])
    outside = left_out(len(known))
    if outside is None:
        return Interval(statistics.median(means), -math.inf, math.inf)
    return Interval(statistics.median(means), means[outside], means[-1 - outside])


@cache
def left_out(count: int) -> int | None:
    """Of the means of two of `count` values, how many lie outside at either end; None: too few.

    The most for which each end misses the truth so seldom that two runs, which must miss at
    opposite ends to contradict each other, do so at most `CONTRADICTION_MAX` of the times.
    """
    miss_max = math.sqrt(CONTRADICTION_MAX / 2)  # one end, then the other: 2 * miss²
    # How many subsets of the ranks 1 to `count` have each sum: Wilcoxon's statistic, exactly.
    subsets = [1]
    for rank in range(1, count + 1):
        longer = subsets + [0] * rank
        for total, ways in enumerate(subsets):
            longer[total + rank] += ways
        subsets = longer
    missed = 0
    for total, ways in enumerate(subsets):
        missed += ways
        if missed > miss_max * 2**count:
            return total - 1 if total else None
    return None


# With fewer repeats nothing is decided.
REPEATS_MIN = next(count for count in range(1, 100) if left_out(count) is not None)


def ratio(one: Repeats, other: Repeats) -> Interval:
    """`one` over `other`, compared within each repeat that both have.

    Raises:
        ValueError: They have none in common, or a repeat is not above 0.
    """
    common = [repeat for repeat in one.by_repeat if repeat in other.by_repeat]
    if min(one.min, other.min) <= 0:
        raise ValueError("no ratio to what is not above 0")
    logs = [math.log(one.by_repeat[repeat] / other.by_repeat[repeat]) for repeat in common]
    return Interval(*map(math.exp, interval(logs)))


def comparable(one: Repeats, other: Repeats) -> bool:
    """Whether they have a ratio."""
    return min(one.min, other.min) > 0 and not one.by_repeat.keys().isdisjoint(other.by_repeat)


def at_least(one: Interval, factor: float, grey: float = GREY) -> str:
    """`YES` if all of it is at least `factor`, `NO` if all is below `factor / grey`; else `SAME`."""
    if one.low >= factor:
        return YES
    return NO if one.high < factor / grey else SAME


def ranged(one: Repeats, unit: str = "") -> str:
    """`1.02 s (1.01-1.05)`, for a sentence or a cell; without the range if there is none."""
    return _with_range(one.median, one.min, one.max, unit)


def bounded(one: Interval, unit: str = "") -> str:
    """`1.78 (1.61-1.95)`, its interval in brackets if it is known."""
    if not one.known:
        return f"{number(one.middle)}{unit}"
    return _with_range(one.middle, one.low, one.high, unit)


def _with_range(middle: float, low: float, high: float, unit: str) -> str:
    text, least, most = f"{number(middle)}{unit}", number(low), number(high)
    return text if least == most else f"{text} ({least}-{most})"


def spread(values: Sequence[float]) -> Repeats:
    """Values that are no repeats of each other, to show their median and range."""
    return Repeats(dict(enumerate(values)))


def cell(column: str, factor: float = 1.0) -> Callable[[Measurement], str]:
    """For a table: how a figure, times `factor`, is shown; `-` if it is 0 in all repeats."""
    return lambda one: ranged(one.of(column).times(factor)) if one.of(column).max else "-"


def shares(column: str) -> Callable[[Measurement], str]:
    """For a table: the least to the most of a share."""
    return lambda one: span(one.all(column))


def whiskers(of: Sequence[Repeats]) -> list[list[float]]:
    """From the medians down to the least and up to the most, as matplotlib's errors."""
    return [[one.median - one.min for one in of], [one.max - one.median for one in of]]
