"""What a drill is: steps at their times, and what must come of them. Pure.

    Drill ──steps──▶ Stage (local_stage, compose_stage)
      └──expects──▶ Outcome (what the histories said) ──▶ Verdict, a sentence with figures

`drills.py` is the list of them; `run.py` plays one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from lab.drill.errors import DrillError
from lab.drill.figures import BIN_S, PARTS, rank

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from lab.drill.figures import Break, Figures
    from lab.drill.violations import Violation


class CannotError(DrillError):
    """This stage can't make this fault; the text says why."""


class Stage(Protocol):
    """The fleet that a drill breaks. A name is `echod1` …, `redis` or `haproxy`.

    What can't be done on a stage raises `CannotError`.
    """

    @property
    def daemons(self) -> Sequence[str]:
        """Their names."""

    def kill(self, name: str) -> None:
        """SIGKILL."""

    def freeze(self, name: str) -> None:
        """It stands still, and its kernel goes on for it."""

    def thaw(self, name: str) -> None:
        """It goes on."""

    def terminate(self, name: str) -> None:
        """SIGTERM; returns at once."""

    def await_end(self, name: str, end_s_max: float) -> None:
        """Wait until it has ended."""

    def start_again(self, name: str) -> None:
        """A part that has ended comes back, at the same addresses; returns when it is ready."""

    def await_up(self, name: str) -> None:
        """Wait until a daemon is in the balance."""

    def reload(self) -> None:
        """HAProxy begins afresh with the same configuration; connections that are finish."""

    def fill_files(self, name: str) -> None:
        """It can open no more files."""

    def free_files(self, name: str) -> None:
        """It can again."""

    def copy_data(self) -> None:
        """Keep a copy of Redis's data."""

    def lose_data(self, how: str) -> None:
        """While Redis is down: `truncate` its file, `empty` it, or `restore` the copy."""

    def cut(self, link: str, *ways: str) -> None:
        """Let a link stand still: `redis:echod1`, `daemon:echod1` or `clients`."""

    def heal(self, link: str) -> None:
        """It goes on, and what was on the way comes late."""

    def reset(self, link: str) -> int:
        """Reset every connection of it, and lose what is on the way; returns how many."""

    def refuse(self, link: str) -> None:
        """Refuse new connections on it until `heal`."""

    def strand(self, link: str) -> None:
        """Reset the near ends; what they have sent comes with `heal`, new connections pass."""

    def half_open(self, link: str, end: str) -> None:
        """Reset one end (`near`: who connected) of every connection; the other hears nothing."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something done to the stage.

    Attributes:
        at_s: When, in seconds from the moment at which all clients are served.
        text: What, for the picture and the report.
        act: Does it.
        heals: It undoes a fault, rather than making one.
        lasts: The fault is there until a step heals it.
        loses: It loses data that Redis had acknowledged.
    """

    at_s: float
    text: str
    act: Callable[[Stage], object]
    heals: bool = False
    loses: bool = False
    lasts: bool = True


@dataclass(frozen=True, slots=True)
class Load:
    """Who is there while it happens. Rates are lines a second, of one client."""

    clients: int = 60
    rate: float = 10.0
    inflight: int = 4
    reply_s_max: float = 2.5
    """Patience of a client: above the daemon's commit_s_max of 2 s, `unavailable` is heard."""
    claimants: int = 0
    """Pairs that hold one token each, and take their sessions from each other."""
    quitters: int = 0
    """Clients whose sessions end after a few lines, and that begin others."""
    ghosts: int = 2
    """`ghosts.py`: they go on asking on connections that they have left."""
    plain: int = 8
    text_bytes: int = 60


@dataclass(frozen=True, slots=True)
class Mark:
    """A step that was done."""

    t: float
    text: str
    heals: bool
    loses: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that is known at the end of a drill; times are on the history's clock."""

    began: float
    ended: float
    marks: Sequence[Mark]
    figures: Figures
    violations: Sequence[Violation]
    counts: dict[str, int]
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def first_fault(self) -> float:
        """When the first fault was made."""
        return min((mark.t for mark in self.marks if not mark.heals), default=self.began)

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


@dataclass(frozen=True, slots=True)
class Drill:
    """One of the list.

    Attributes:
        name: On the command line.
        what: One sentence.
        steps: In the order of time.
        seconds: How long clients send, from the moment at which all are served.
        expects: Beside `ALWAYS`.
        links: Which links are there to be cut: `redis`, `daemon`, `clients`.
        only_local: Why it can't be made on containers; empty if it can.
    """

    name: str
    what: str
    steps: Iterable[Step]
    seconds: float
    expects: Sequence[Callable[[Outcome], Verdict]] = ()
    links: frozenset[str] = frozenset()
    load: Load = field(default_factory=Load)
    only_local: str = ""


# Expectations.


def no_violation(outcome: Outcome) -> Verdict:
    """The checker found nothing."""
    total = sum(outcome.counts.values())
    question = "Does what clients saw keep every rule?"
    if not total:
        return Verdict(question, passed=True, text=f"{_lines(outcome)} and 0 violations.")
    by_rule = ", ".join(f"`{rule}` {count:,}" for rule, count in sorted(outcome.counts.items()))
    first = outcome.violations[0]
    text = f"{total:,} violations ({by_rule}). The first, of `{first.rule}`: {first.text}."
    return Verdict(question, passed=False, text=text)


def all_served(outcome: Outcome) -> Verdict:
    """At the end every client is served, and every line's fate is known."""
    figures = outcome.figures
    question = "Is every client served at the end?"
    lost = sum(not one.over for one in figures.breaks)
    passed = not figures.unknown and not lost and figures.answered > 0
    text = (
        f"{figures.unknown:,} lines without a fate, {lost} clients without service;"
        f" {figures.answered:,} lines answered, {figures.told:,} told by WELCOME."
    )
    return Verdict(question, passed, text)


ALWAYS = (no_violation, all_served)


def bites(least: int = 1) -> Callable[[Outcome], Verdict]:
    """The fault was one: at least so many clients lost their connection by it."""

    def judge(outcome: Outcome) -> Verdict:
        met = len({one.client for one in outcome.breaks})
        text = f"{met} of the clients were cut (at least {least} must be, or nothing was tried)."
        return Verdict("Did the fault reach clients?", met >= least, text)

    return judge


def spares() -> Callable[[Outcome], Verdict]:
    """No client loses its connection by it, but those that obey DRAIN."""

    def judge(outcome: Outcome) -> Verdict:
        cut = [one for one in outcome.breaks if one.why != "DRAIN"]
        text = f"{len(cut)} connections were cut against their clients' will."
        if cut:
            text += f" The first by `{cut[0].why}`."
        return Verdict("Is it without any failure that a client sees?", not cut, text)

    return judge


def served_again(p99_s: float, share: float = 0.99) -> Callable[[Outcome], Verdict]:
    """Who was cut is served again soon: 99 of 100 within `p99_s`."""

    def judge(outcome: Outcome) -> Verdict:
        took = [one.took_s if one.over else math.inf for one in outcome.breaks]
        question = f"Is who was cut served again within {p99_s:g} s (p{100 * share:g})?"
        if not took:
            return Verdict(question, passed=True, text="Nobody was cut.")
        worst = rank(took, share)
        text = (
            f"{len(took)} breaks: p50 {rank(took, 0.5):.2f} s, p{100 * share:g} {worst:.2f} s,"
            f" longest {max(took):.2f} s. {spent(outcome.breaks)}"
        )
        return Verdict(question, worst <= p99_s, text)

    return judge


def goes_on(gap_s: float) -> Callable[[Outcome], Verdict]:
    """The fleet as a whole is never silent for so long."""

    def judge(outcome: Outcome) -> Verdict:
        gap = longest_gap(outcome)
        text = f"The longest time in which no line at all was answered: {gap:.1f} s."
        question = f"Does the fleet go on (no gap of {gap_s:g} s)?"
        return Verdict(question, gap < gap_s, text)

    return judge


def heard(code: str, least: int = 1) -> Callable[[Outcome], Verdict]:
    """At least so many clients heard this error."""

    def judge(outcome: Outcome) -> Verdict:
        count = outcome.figures.codes[code]
        text = f"`{code}` was heard {count} times (at least {least} expected)."
        return Verdict(f"Are clients told `{code}`?", count >= least, text)

    return judge


def told_of_loss() -> Callable[[Outcome], Verdict]:
    """Clients heard that data was lost: `rolled-back` or `unknown-session`."""

    def judge(outcome: Outcome) -> Verdict:
        codes = outcome.figures.codes
        back, gone = codes["rolled-back"], codes["unknown-session"]
        text = f"`rolled-back` {back} times, `unknown-session` {gone} times."
        return Verdict("Are clients told that data was lost?", back + gone > 0, text)

    return judge


def replies_lost(least: int = 1) -> Callable[[Outcome], Verdict]:
    """Lines were committed whose replies never came: what WELCOME is for."""

    def judge(outcome: Outcome) -> Verdict:
        told = outcome.figures.told
        text = f"{told} lines were committed, their replies lost, and told by WELCOME."
        return Verdict("Were replies cut between commit and send?", told >= least, text)

    return judge


def longest_gap(outcome: Outcome) -> float:
    """The longest time without any answer while clients were sending, in seconds."""
    timeline = outcome.figures.timeline
    if timeline is None:
        return math.inf
    longest = run = 0
    for at in range(timeline.bin(outcome.began), timeline.bin(outcome.ended)):
        run = 0 if timeline.answered[at] else run + 1
        longest = max(longest, run)
    return longest * BIN_S


def spent(breaks: Sequence[Break]) -> str:
    """On what the time of the longest hundredth of breaks, and of the median, was spent."""
    over = sorted((one for one in breaks if one.over), key=lambda one: one.took_s)
    if not over:
        return ""
    middle, late = over[len(over) // 2], over[min(len(over) - 1, math.ceil(0.99 * len(over)) - 1)]
    parts = [
        f"{what}: " + ", ".join(
            f"{name} {part:.2f} s" for name, part in zip(PARTS, one.parts_s, strict=True)
        )
        for what, one in (("The median break", middle), ("the p99 break", late))
    ]  # fmt: skip
    return "; ".join(parts) + "."


def _lines(outcome: Outcome) -> str:
    figures = outcome.figures
    return (
        f"{figures.sent:,} lines sent, {figures.answered:,} answered, {figures.resumes:,} resumes,"
    )
