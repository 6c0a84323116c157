"""A report's conclusions, and how those of two runs agree. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

YES, NO, SAME = "yes", "no", "not distinguishable"


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


def disagreements(
    earlier: Iterable[Answer], later: Iterable[Answer]
) -> tuple[list[str], list[str]]:
    """Questions that two runs both asked: answered differently, and left open by one only."""
    before = {answer.question: answer.verdict for answer in earlier}
    differ: list[str] = []
    one_open: list[str] = []
    for answer in later:
        verdict = before.get(answer.question, answer.verdict)
        if verdict != answer.verdict:
            (one_open if SAME in {verdict, answer.verdict} else differ).append(answer.question)
    return differ, one_open
