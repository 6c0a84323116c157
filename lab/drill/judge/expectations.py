"""What can be expected of a drill: each is a question, and its answer from an `Outcome`. Pure."""

from __future__ import annotations

import math
from functools import wraps
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

from lab.drill.judge.figures import PARTS, rank
from lab.drill.judge.outcome import Outcome, Verdict
from lab.drill.judge.signs import COMING, SLOW
from lab.drill.judge.violations import OF_LIVES
from lab.drill.lives import LIVES
from loadtest.room_ledger import BROKEN, DELIVERED, MISSING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lab.drill.judge.figures import Break
    from lab.drill.judge.outcome import Expectation
    from lab.drill.judge.signs import Signs
    from lab.drill.lives import Short

P = ParamSpec("P")

# Issue 5: WHO is right within 5 s of a daemon's death.
WHO_S = 5.0
DELIVERED_MIN = 1_000

# A shard that is away makes no other one slower than this many times what it was; below so much
# it is the machine that is measured, on which a node has just started.
OTHERS_MOST = 2.0
OTHERS_S = 0.1

STORES = {"m": "memory", "r": "Redis"}
# Of all sessions that were opened or resumed, who may have been late by his own clock: with
# more of them the machine was too busy to prove anything.
EXCUSED_SHARE = 0.02
# Of all TELLs, those that may have found a deaf daemon: one of four is for a twelfth of the time.
SLOW_SHARE = 0.1
# Of what a client would say if it were always on time.
SIGNS_SHARE = 0.5
# Between two faults, most of a lease is not calm; of the rest so many answers are judged.
COUNTED_MIN = 100
TIMES_MIN = 5


def expectation(
    judge: Callable[Concatenate[Outcome, P], Verdict],
) -> Callable[P, Expectation]:
    """`judge(outcome, *how)` becomes `judge(*how)`, which a drill asks of its outcome."""

    @wraps(judge)
    def expected(*how: P.args, **more: P.kwargs) -> Expectation:
        return lambda outcome: judge(outcome, *how, **more)

    return expected


def no_violation(outcome: Outcome) -> Verdict:
    """The checker found nothing."""
    total = sum(outcome.counts.values())
    question = "Does what clients saw keep every rule?"
    if not total:
        figures = outcome.figures
        text = (
            f"{figures.sent:,} lines sent, {figures.answered:,} answered,"
            f" {figures.resumes:,} resumes, and 0 violations."
        )
        return Verdict(question, passed=True, text=text)
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


@expectation
def bites(outcome: Outcome, least: int = 1) -> Verdict:
    """The fault was one: at least so many clients lost their connection by it."""
    met = len({one.client for one in outcome.breaks})
    text = f"{met} of the clients were cut (at least {least} must be, or nothing was tried)."
    return Verdict("Did the fault reach clients?", met >= least, text)


@expectation
def spares(outcome: Outcome) -> Verdict:
    """No client loses its connection by it, but those that obey DRAIN."""
    cut = [one for one in outcome.breaks if one.why != "DRAIN"]
    text = f"{len(cut)} connections were cut against their clients' will."
    if cut:
        text += f" The first by `{cut[0].why}`."
    return Verdict("Is it without any failure that a client sees?", not cut, text)


@expectation
def served_again(outcome: Outcome, p99_s: float, share: float = 0.99) -> Verdict:
    """Who was cut is served again soon: 99 of 100 within `p99_s`."""
    took = [one.took_s if one.over else math.inf for one in outcome.breaks]
    question = f"Is who was cut served again within {p99_s:g} s (p{100 * share:g})?"
    return _served(outcome, question, took, p99_s, share)


@expectation
def served_since(outcome: Outcome, p99_s: float) -> Verdict:
    """Everybody is served soon once the last step is done: 99 of 100 within `p99_s`.

    For faults that leave nobody to go to: how long they last is not the fleet's doing.
    """
    healed = max((mark.done for mark in outcome.marks), default=outcome.began)
    took = [one.answered - healed if one.over else math.inf for one in outcome.breaks]
    question = f"Is everybody served within {p99_s:g} s of the last step (p99)?"
    return _served(outcome, question, took, p99_s, 0.99)


@expectation
def goes_on(outcome: Outcome, gap_s: float) -> Verdict:
    """The fleet as a whole is never silent for so long."""
    inside = [t for t in outcome.figures.answered_at if outcome.began < t < outcome.ended]
    gap = max(later - t for t, later in pairwise([outcome.began, *inside, outcome.ended]))
    text = f"The longest time in which no line at all was answered: {gap:.1f} s."
    question = f"Does the fleet go on (no gap of {gap_s:g} s)?"
    return Verdict(question, gap < gap_s, text)


@expectation
def heard(outcome: Outcome, code: str, least: int = 1) -> Verdict:
    """At least so many clients heard this error."""
    count = outcome.figures.codes[code]
    text = f"`{code}` was heard {count} times (at least {least} expected)."
    return Verdict(f"Are clients told `{code}`?", count >= least, text)


@expectation
def newcomers(outcome: Outcome, least: int, refused_share_max: float) -> Verdict:
    """At least so many new sessions begin, and few who come are told `busy`."""
    figures = outcome.figures
    begun, refused = figures.sessions, figures.codes["busy"]
    share = refused / (begun + refused) if begun else 1.0
    text = (
        f"{begun} sessions began (at least {least} must), {refused} times a newcomer was"
        f" refused: {share:.0%} (at most {refused_share_max:.0%})."
    )
    passed = begun >= least and share <= refused_share_max
    return Verdict("Are newcomers served elsewhere?", passed, text)


@expectation
def told_of_loss(outcome: Outcome, least: int = 1) -> Verdict:
    """At least so many clients heard that data was lost: `rolled-back` or `unknown-session`."""
    codes = outcome.figures.codes
    back, gone = codes["rolled-back"], codes["unknown-session"]
    text = f"`rolled-back` {back} times, `unknown-session` {gone} times."
    return Verdict("Are clients told that data was lost?", back + gone >= least, text)


@expectation
def clocks_seen(outcome: Outcome, least_s: float) -> Verdict:
    """Every daemon says how far the nodes' clocks are apart; above a second it is an alert."""
    apart_s: Mapping[str, float] = outcome.facts["clocks_apart_s"]
    text = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in apart_s.items())
    passed = bool(apart_s) and min(apart_s.values()) >= least_s
    return Verdict("Do the daemons see that clocks are apart?", passed, f"{text}.")


@expectation
def replies_lost(outcome: Outcome, least: int = 1) -> Verdict:
    """Lines were committed whose replies never came: what WELCOME is for."""
    told = outcome.figures.told
    text = f"{told} lines were committed, their replies lost, and told by WELCOME."
    return Verdict("Were replies cut between commit and send?", told >= least, text)


# Shards.


@expectation
def shard_serves(outcome: Outcome, within_s: float) -> Verdict:
    """No line of the shard that was hit waits longer, and there are some."""
    waits = outcome.waits(of_shard=True)
    longest_s = max(waits, default=math.inf)
    text = f"{len(waits):,} lines of its sessions, the longest waited for {longest_s:.2f} s."
    question = f"Is the shard that was hit served again within {within_s:g} s?"
    return Verdict(question, longest_s <= within_s, text)


@expectation
def others_go_on(outcome: Outcome) -> Verdict:
    """The sessions of all other shards do not wait longer for it (S12)."""
    usual_s = rank(outcome.waits(of_shard=False, before=True), 0.99)
    waits = outcome.waits(of_shard=False)
    now_s, longest_s = rank(waits, 0.99), max(waits, default=math.inf)
    most_s = max(OTHERS_MOST * usual_s, OTHERS_S)
    text = (
        f"{len(waits):,} lines, p99 {1000 * now_s:.0f} ms, the longest {longest_s:.2f} s;"
        f" before the fault p99 {1000 * usual_s:.0f} ms."
    )
    question = f"Do the other shards go on (p99 at most {OTHERS_MOST:g} times what it was)?"
    return Verdict(question, now_s <= most_s, text)


# Rooms.


def nothing_silent(outcome: Outcome) -> Verdict:
    """The ledger has nothing that may not be.

    For faults after which more is posted at once than a room keeps: what is gone then is declared.
    """
    return _fates(outcome, missing_max=math.inf)


def nothing_lost(outcome: Outcome) -> Verdict:
    """The ledger has nothing that may not be, and nothing was given up: streams keep enough."""
    return _fates(outcome, missing_max=0)


def _fates(outcome: Outcome, missing_max: float) -> Verdict:
    ledger = outcome.checker.rooms.ledger
    counts = ledger.counts
    text = (
        f"{ledger.posts:,} posts, {counts[DELIVERED]:,} delivered, {counts[MISSING]:,} declared"
        " missing; " + ", ".join(f"{counts[fate]:,} {fate}" for fate in BROKEN) + "."
    )
    if ledger.faults:
        first = ledger.faults[0]
        text += f" The first, {first.fate}, of {first.member} in {first.room}: {first.text}."
    # A room in which nothing was said would pass too.
    whole = not ledger.broken and counts[MISSING] <= missing_max
    passed = whole and counts[DELIVERED] >= DELIVERED_MIN
    return Verdict("Has every message on every path its fate?", passed, text)


@expectation
def all_back(outcome: Outcome, within_s: float) -> Verdict:
    """Members that were cut are in their rooms again."""
    took = outcome.checker.rooms.back
    longest = max(took, default=0.0)
    text = f"{len(took)} came back, the longest after {longest:.2f} s."
    question = f"Are members who were cut back in their rooms within {within_s:g} s?"
    return Verdict(question, longest <= within_s and bool(took), text)


@expectation
def who_is_right(outcome: Outcome, daemons: int) -> Verdict:
    """WHO counts everybody once, soon after the first fault."""
    began, rooms = outcome.first_fault, outcome.checker.rooms
    healed = min((mark.t for mark in outcome.marks if mark.heals), default=math.inf)
    asked = [one.event for one in rooms.counts if began < one.event["t"] < healed]
    wrong = [
        one["t"] - began for one in asked
        if one["members"] != rooms.members(one["room"]) or one["daemons"] != daemons
    ]  # fmt: skip
    last = max(wrong, default=0.0)
    # Right at the end, or else nobody has seen it become so.
    settled = any(one["t"] - began > last for one in asked)
    text = f"{len(asked)} answers while it was dead; the last wrong one {last:.2f} s after."
    return Verdict(f"Is WHO right within {WHO_S:g} s?", settled and last <= WHO_S, text)


# Lives, in a soak.


def remains(keys: Mapping[str, int], daemons: int) -> dict[str, int]:
    """What is there and may not be, with so many daemons on Redis and no client."""
    # The leases, each daemon's marker, and of each slot the count of losses, should there be one.
    allowed = {"l": 1, "d": daemons, "g": 16_384}
    return {kind: count for kind, count in keys.items() if count > allowed.get(kind, 0)}


def in_time_lives(outcome: Outcome) -> Verdict:
    """Who gave signs of life in time has lost nothing."""
    found = outcome.checker.signs
    resumed, unused, repeats = (
        _each(found.times, what, len) for what in ("resumed", "unused", "repeats")
    )
    text = (
        f"{sum(found.given.values()):,} signs of life; {resumed} sessions resumed, {unused} used"
        f" for the first time; {_each(found.counts, 'told')} TELLs delivered; {repeats} posts"
        " known again."
    )
    wrong = [one for one in outcome.violations if one.rule in OF_LIVES]
    if wrong:
        rules = ", ".join(
            f"{rule} {count}" for rule, count in sorted(outcome.counts.items()) if rule in OF_LIVES
        )
        first = "; ".join(f"{one.events[-1]['c']}: {one.text}" for one in wrong[:3])
        text += f" But: {rules}. The first: {first}."
    return Verdict("Does all live that gave a sign of life in time?", not wrong, text)


def all_present(outcome: Outcome) -> Verdict:
    """At the end TELL finds everybody who was there all the time."""
    found = outcome.checker.signs
    missing = sorted(
        name for store in STORES for name in found.steady[store] - found.present[store]
    )
    present, steady = (
        ", ".join(f"{len(those[store])} ({name})" for store, name in STORES.items())
        for those in (found.present, found.steady)
    )
    text = f"{present} of {steady} answered the roll call."
    if missing:
        text += f" Missing: {', '.join(missing[:10])}."
    passed = not missing and all(found.steady[store] for store in STORES)
    return Verdict("Is everybody there at the end?", passed, text)


def rooms_are_kept(outcome: Outcome) -> Verdict:
    """Rooms live on quietly, and WHO counts right: what was wrong is in `in_time_lives`."""
    found = outcome.checker.signs
    text = (
        f"WHO was right {_each(found.counts, 'counted')} times where all was calm;"
        f" {_each(found.times, 'recovered', len)} members came back at their positions."
    )
    passed = all(
        found.counts["counted", store] >= COUNTED_MIN
        and len(found.times["recovered", store]) >= TIMES_MIN
        for store in STORES
    )
    return Verdict("Do rooms live, and are their members counted right?", passed, text)


@expectation
def tried(outcome: Outcome, short: Short) -> Verdict:
    """Every kind of client was there and in time, or the run proves nothing."""
    found = outcome.checker.signs
    least = SIGNS_SHARE * (outcome.ended - outcome.began) / short.idle_s
    kinds = sorted({kind for _, kind in found.given})
    lacking = [
        f"{name} {kind} {found.given[store, kind]}"
        for store, name in STORES.items() for kind in kinds
        if kind not in COMING | {SLOW} and found.given[store, kind] < least
    ]  # fmt: skip
    for store, name in STORES.items():
        lacking += [f"{name}: {what}" for what in _lacking(found, store, short)]
    excused = sum(found.excused.values())
    sessions = sum(len(found.times[what, s]) for what in ("resumed", "unused") for s in STORES)
    text = (
        f"{len(kinds)} kinds of clients, {sessions} sessions; {excused} were late by their"
        f" own clocks. PINGs of slow readers waited {_each(found.times, 'unread', max)} s."
    )
    if lacking:
        text += f" Too little: {'; '.join(lacking)}."
    if found.excused:
        text += f" Late: {dict(found.excused)}."
    passed = not lacking and excused <= EXCUSED_SHARE * sessions
    return Verdict("Was enough tried?", passed, text)


def _lacking(found: Signs, store: str, short: Short) -> list[str]:
    """What was not seen often enough on one store."""
    lives = short.lives
    enough = {
        what: sum(seconds >= least_s for seconds in found.times[kept, store])
        for what, kept, least_s in (
            ("resumed at the last moment", "resumed", lives.state_s / 2),
            ("first line at the last moment", "unused", short.idle_s / 2),
            ("posts known again after a record's life", "repeats", lives.record_s),
        )
    }
    enough["sessions seen to expire"] = found.counts["expired", store]
    enough["sessions seen to have ended"] = found.counts["ended", store]
    if found.counts["slow", store] > SLOW_SHARE * found.counts["tells", store]:
        enough["TELLs that were not too late"] = 0
    lacking = [f"{what} {count}" for what, count in enough.items() if count < TIMES_MIN]
    unread_s = max(found.times["unread", store], default=0.0)
    if unread_s < lives.state_s:
        lacking.append(f"unread for {unread_s:.1f} s")
    return lacking


@expectation
def ten_lives(outcome: Outcome, short: Short) -> Verdict:
    """How many of each passed."""
    took_s = outcome.ended - outcome.began
    passed = {name: took_s / life_s for name, life_s in short.named.items()}
    text = "; ".join(
        f"{name} {short.named[name]:.2g} s, {count:.0f}" for name, count in passed.items()
    )
    question = f"Did {LIVES} lives of everything pass?"
    # Steps may make a run longer, never shorter; the division is not exact.
    return Verdict(question, min(passed.values()) > LIVES - 0.1, f"In {took_s:.0f} s: {text}.")


def all_gone(outcome: Outcome) -> Verdict:
    """Nobody is there, and the longest life is over: nothing is left of anybody."""
    keys, left = outcome.facts["keys"], outcome.facts["keys_left"]
    rest = remains(keys, outcome.facts["daemons"])
    text = f"When the last client left: {_keys(left)}. At the end: {_keys(keys)}."
    if rest:
        text += f" Too many: {_keys(rest)}."
    # A store that was empty before has let nothing go.
    passed = not rest and bool(remains(left, outcome.facts["daemons"]))
    return Verdict("Is all gone that has ended?", passed, text)


# What they count.


def _served(
    outcome: Outcome, question: str, took: Sequence[float], most_s: float, share: float
) -> Verdict:
    if not took:
        return Verdict(question, passed=True, text="Nobody was cut.")
    worst = rank(took, share)
    text = (
        f"{len(took)} breaks: p50 {rank(took, 0.5):.2f} s, p{100 * share:g} {worst:.2f} s,"
        f" longest {max(took):.2f} s. {spent(outcome.breaks)}"
    )
    return Verdict(question, worst <= most_s, text)


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


def _each(
    kept: Mapping[tuple[str, str], Any], what: str, count: Callable[[Any], float] = float
) -> str:
    """`12 (memory), 13 (Redis)`, of what is kept for each store."""
    found = [(count(kept[what, store]) if kept[what, store] else 0, store) for store in STORES]
    return ", ".join(f"{number:,.0f} ({STORES[store]})" for number, store in found)


def _keys(keys: Mapping[str, int]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in sorted(keys.items())) or "none"
