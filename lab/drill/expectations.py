"""What can be expected of a drill: each is a question, and its answer from an `Outcome`. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lab.drill.figures import BIN_S, PARTS, rank
from lab.drill.scenario import Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lab.drill.figures import Break


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


def served_since(p99_s: float) -> Callable[[Outcome], Verdict]:
    """Everybody is served soon once the last step is done: 99 of 100 within `p99_s`.

    For faults that leave nobody to go to: how long they last is not the fleet's doing.
    """

    def judge(outcome: Outcome) -> Verdict:
        healed = max((mark.done for mark in outcome.marks), default=outcome.began)
        took = [one.answered - healed if one.over else math.inf for one in outcome.breaks]
        question = f"Is everybody served within {p99_s:g} s of the last step (p99)?"
        if not took:
            return Verdict(question, passed=True, text="Nobody was cut.")
        worst = rank(took, 0.99)
        text = (
            f"{len(took)} breaks: p50 {rank(took, 0.5):.2f} s, p99 {worst:.2f} s after it."
            f" {spent(outcome.breaks)}"
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


def newcomers(least: int, refused_share_max: float) -> Callable[[Outcome], Verdict]:
    """At least so many new sessions begin, and few who come are told `busy`."""

    def judge(outcome: Outcome) -> Verdict:
        figures = outcome.figures
        begun, refused = figures.sessions, figures.codes["busy"]
        share = refused / (begun + refused) if begun else 1.0
        text = (
            f"{begun} sessions began (at least {least} must), {refused} times a newcomer was"
            f" refused: {share:.0%} (at most {refused_share_max:.0%})."
        )
        passed = begun >= least and share <= refused_share_max
        return Verdict("Are newcomers served elsewhere?", passed, text)

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
