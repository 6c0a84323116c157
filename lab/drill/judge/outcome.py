"""What is known at the end of a drill, and the answer to a question about it. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from lab.drill.judge.checker import Checker
    from lab.drill.judge.figures import Break, Figures
    from lab.drill.judge.violations import Violation


@dataclass(frozen=True, slots=True)
class Mark:
    """A step that was done: begun at `t`, and there at `done`; as the step, for the rest."""

    t: float
    done: float
    text: str
    heals: bool
    loses: bool
    lasts: bool = True
    expires: bool = False
    slots: Collection[int] = ()
    """That the nodes had which it was on."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that is known at the end of a drill; times are on the history's clock."""

    began: float
    ended: float
    marks: Sequence[Mark]
    figures: Figures
    checker: Checker
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def violations(self) -> Sequence[Violation]:
        """What was found, some of each rule."""
        return self.checker.violations

    @property
    def counts(self) -> Mapping[str, int]:
        """Rule → how often it was broken."""
        return self.checker.counts

    @property
    def first_fault(self) -> float:
        """When the first fault was made."""
        return min((mark.t for mark in self.marks if not mark.heals), default=self.began)

    @property
    def slots(self) -> Collection[int]:
        """Of the shard that the first fault on the store was on."""
        return next((mark.slots for mark in self.marks if mark.slots and not mark.heals), ())

    def waits(self, *, of_shard: bool, before: bool = False) -> list[float]:
        """For how long each line had waited that was answered since the first fault.

        Args:
            of_shard: Lines of sessions in `slots`; or of all others.
            before: Those that were answered before the first fault, instead.
        """
        figures, slots, first = self.figures, self.slots, self.first_fault
        return [
            waited_s
            for t, waited_s, slot in zip(
                figures.answered_at, figures.waited_s, figures.slots, strict=True
            )
            if (t < first) is before and (slot in slots) is of_shard
        ]

    @property
    def breaks(self) -> list[Break]:
        """Those that ended at the first fault or later."""
        return [one for one in self.figures.breaks if not one.closed < self.first_fault]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one expectation."""

    question: str
    passed: bool
    text: str


Expectation = Callable[[Outcome], Verdict]
"""One question that a drill must answer with yes."""
