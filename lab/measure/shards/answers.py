"""What `fleet experiment shards` concludes, from the figures of its run alone. Pure.

A `Measurement` (samples.py) is one system under one load here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lab.measure.samples import (
    A_QUARTER_MORE,
    HALF_AGAIN,
    at_least,
    beside,
    bounded,
    measurements,
    ranged,
)
from lab.measure.shards.measure import HOME, ONE, POSTS, REPLICA, SPREAD
from lab.report.answers import Answer
from lab.report.words import number

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from lab.measure.samples import Interval, Measurement, Row
    from lab.measure.shards.measure import System

    # By system and load, in the order of their first repeat.
    Measured = Mapping[tuple[str, str], Measurement]

CPU, P50 = "daemon_us", "p50_us"


class Question(NamedTuple):
    """Whether one system takes so much more than another, under each load that both have."""

    dear: System
    cheap: System
    column: str
    factor: float
    asked: str
    """With the load's name before it; `{}` is a line or a post."""
    told: str
    """Of lines, in one sentence; `{}` is how many times."""


QUESTIONS = (
    Question(
        *(HOME, ONE, CPU, A_QUARTER_MORE),
        asked="does {} on a cluster, of a session at home, take at least a quarter more of the"
        " daemon's CPU than on one Redis?",
        told="A line on a cluster, of a session at home, takes {} times the daemon's CPU that it takes"
        " on one Redis.",
    ),
    Question(
        *(SPREAD, HOME, CPU, A_QUARTER_MORE),
        asked="does {} take at least a quarter more of the daemon's CPU if sessions are spread over"
        " all shards than at home?",
        told="If sessions are spread over all shards, it takes {} times what it takes at home.",
    ),
    Question(
        *(REPLICA, HOME, CPU, HALF_AGAIN),
        asked="does {} take at least half again as much of the daemon's CPU if its answer waits for a"
        " replica?",
        told="If its answer waits for a replica, it takes {} times the CPU that it takes without.",
    ),
    Question(
        *(REPLICA, HOME, P50, HALF_AGAIN),
        asked="does {} take at least half again as long (p50) if its answer waits for a replica?",
        told="And it takes {} times as long (p50).",
    ),
)


def summarise(rows: Iterable[Row]) -> dict[tuple[str, str], Measurement]:
    """One for each system and load."""
    return {(one["system"], one["load"]): one for one in measurements(rows, "system", "load")}


def loads(measured: Measured) -> list[str]:
    """Their names, in the order of their first."""
    return list(dict.fromkeys(load for _, load in measured))


def answers(measured: Measured) -> Iterator[Answer]:
    """Every conclusion that these measurements allow."""
    for question in QUESTIONS:
        for load in loads(measured):
            yield from _answer(question, load, measured)


def _answer(question: Question, load: str, measured: Measured) -> Iterator[Answer]:
    found = _compared(question, load, measured)
    if not found:
        return
    one, other, times = found
    asked = question.asked.format("a post" if load == POSTS else "a line")
    cpu, p50 = (f"{ranged(one.of(CPU), ' µs')} against {ranged(other.of(CPU), ' µs')}",
                f"{_ms(one)} against {_ms(other)}")  # fmt: skip
    text = f"{bounded(times)} times as much: {cpu}. Half of them took {p50}."
    if question.column == P50:
        text = f"{bounded(times)} times as long: {p50}. Of the daemon's CPU it took {cpu}."
    yield Answer(f"{load[0].upper()}{load[1:]}: {asked}", at_least(times, question.factor), text)


def _ms(one: Measurement) -> str:
    return ranged(one.of(P50).times(1e-3), " ms")


def lead(measured: Measured) -> str:
    """The answer in one paragraph."""
    told = []
    for question in QUESTIONS:
        ratios = [
            f"{number(found[2].middle)} ({load})"
            for load in loads(measured)
            if load != POSTS and (found := _compared(question, load, measured))
        ]
        if ratios:
            told.append(question.told.format(", ".join(ratios)))
    return " ".join(told) or "No two systems were measured in one repeat: see below."


def _compared(
    question: Question, load: str, measured: Measured
) -> tuple[Measurement, Measurement, Interval] | None:
    dear, cheap = (measured.get((one.name, load)) for one in (question.dear, question.cheap))
    return beside(dear, cheap, question.column)
