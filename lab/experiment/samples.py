"""Repeats of one figure: their spread, ratios, and when two can be told apart. Pure.

A report's sentence must come out the same in the next run. So two figures differ only if
their whole ranges lie apart, by `MARGIN`; else the report says `SAME` and no more.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.bench.summary import Spread

if TYPE_CHECKING:
    from collections.abc import Iterable

# Between the nearest ends of two ranges. The repeats of one run share a machine's mood, and
# the next run has another: without a margin, ranges that just miss each other would touch
# then. A quarter is also the least that anyone should choose a library by.
MARGIN = 1.25

MORE, LESS, SAME = "more", "less", "not distinguishable"


@dataclass(frozen=True, slots=True)
class Answer:
    """One conclusion of a report.

    Attributes:
        question: What a reader would ask.
        verdict: The answer without a figure. Two runs agree when these are the same.
        text: The answer in a few sentences, with this run's figures.
    """

    question: str
    verdict: str
    text: str


def spread(values: Iterable[float]) -> Spread:
    """Median and range of the repeats; `ValueError` if there are none."""
    known = list(values)
    if not known:
        raise ValueError("no repeats to take a median of")
    return Spread(statistics.median(known), min(known), max(known))


def scaled(one: Spread, factor: float) -> Spread:
    """Every repeat times a positive `factor`."""
    return Spread(one.median * factor, one.min * factor, one.max * factor)


def ratio(one: Spread, other: Spread) -> Spread:
    """`one` over `other`: of the medians, and the widest that the ranges allow.

    Raises:
        ValueError: A repeat of `other` is not above 0.
    """
    if other.min <= 0:
        raise ValueError(f"{other}: no ratio to what is not above 0")
    return Spread(one.median / other.median, one.min / other.max, one.max / other.min)


def compare(one: Spread, other: Spread, margin: float = MARGIN) -> str:
    """`MORE` or `LESS` if all of `one` is that, by `margin`, beside all of `other`; else `SAME`."""
    if one.min > other.max * margin:
        return MORE
    if one.max * margin < other.min:
        return LESS
    return SAME


def disagreements(earlier: Iterable[Answer], later: Iterable[Answer]) -> list[str]:
    """The questions that two runs both asked and answered differently."""
    before = {answer.question: answer.verdict for answer in earlier}
    return [
        answer.question
        for answer in later
        if before.get(answer.question, answer.verdict) != answer.verdict
    ]


def number(value: float) -> str:
    """Three significant digits, without an exponent: 0.0123, 4.56, 78.9, 12,300."""
    if value == 0:
        return "0"
    shown = float(f"{value:.3g}")
    size = abs(shown)
    digits = 0
    while size < 100 and digits < 6:  # noqa: PLR2004 — three digits
        size *= 10
        digits += 1
    return f"{shown:,.{digits}f}"


def ranged(one: Spread, unit: str = "") -> str:
    """`1.02 s (1.01-1.05)`, for a sentence or a cell; without the range if there is none."""
    text = f"{number(one.median)}{unit}"
    low, high = number(one.min), number(one.max)
    return text if low == high else f"{text} ({low}-{high})"
