"""What a soak must come to: what lives must live, and what has ended must be gone. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lab.drill.judge.expectations import expectation
from lab.drill.judge.outcome import Outcome, Verdict
from lab.drill.judge.soak.figures import COMING, SLOW, SoakFigures
from lab.drill.lives import LIVES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lab.drill.lives import Short

STORES = {"m": "memory", "r": "Redis"}
# What stays in Redis when nobody is there: of each daemon that runs its lease and its marker,
# and the fleet's count of losses, should there have been one.
OF_DAEMONS = ("l", "d")
GENERATION = "generation"
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


def remains(keys: Mapping[str, int], daemons: int) -> dict[str, int]:
    """What is there and may not be, with so many daemons on Redis and no client."""
    allowed = {**dict.fromkeys(OF_DAEMONS, daemons), GENERATION: 1}
    return {kind: count for kind, count in keys.items() if count > allowed.get(kind, 0)}


def in_time_lives(outcome: Outcome) -> Verdict:
    """Who gave signs of life in time has lost nothing."""
    found = _soak(outcome)
    text = (
        f"{sum(found.signs.values()):,} signs of life; {_each(found.resumed, len)} sessions"
        f" resumed, {_each(found.unused, len)} used for the first time; {_each(found.told)} TELLs"
        f" delivered; {_each(found.rooms.repeats, len)} posts known again."
    )
    if found.wrongs:
        what = ", ".join(f"{rule} {count}" for rule, count in sorted(found.wrongs.items()))
        text += f" But: {what}. The first: {'; '.join(found.wrong[:3])}."
    question = "Does all live that gave a sign of life in time?"
    return Verdict(question, not found.wrongs, text)


def all_present(outcome: Outcome) -> Verdict:
    """At the end TELL finds everybody who was there all the time."""
    found = _soak(outcome)
    missing = sorted(
        name for store, names in found.steady.items()
        for name in names - found.present.get(store, set())
    )  # fmt: skip
    text = f"{_each(found.present, len)} of {_each(found.steady, len)} answered the roll call."
    if missing:
        text += f" Missing: {', '.join(missing[:10])}."
    passed = not missing and set(found.steady) == set(STORES)
    return Verdict("Is everybody there at the end?", passed, text)


def rooms_are_kept(outcome: Outcome) -> Verdict:
    """Rooms live on quietly, and WHO counts right: what was wrong is in `in_time_lives`."""
    rooms = _soak(outcome).rooms
    text = (
        f"WHO was right {_each(rooms.counted)} times where all was calm;"
        f" {_each(rooms.recovered, len)} members came back at their positions."
    )
    passed = all(
        rooms.counted.get(store, 0) >= COUNTED_MIN
        and len(rooms.recovered.get(store, ())) >= TIMES_MIN
        for store in STORES
    )
    return Verdict("Do rooms live, and are their members counted right?", passed, text)


@expectation
def tried(outcome: Outcome, short: Short) -> Verdict:
    """Every kind of client was there and in time, or the run proves nothing."""
    pace_s = short.idle_s
    found = _soak(outcome)
    least = SIGNS_SHARE * (outcome.ended - outcome.began) / pace_s
    kinds = sorted({kind for _, kind in found.signs})
    silent = [
        f"{STORES[store]} {kind} {found.signs[store, kind]}"
        for store in STORES for kind in kinds
        if kind not in COMING | {SLOW} and found.signs[store, kind] < least
    ]  # fmt: skip
    lacking = [
        f"{STORES[store]}: {what}" for store in STORES for what in _lacking(found, store, short)
    ]
    excused, sessions = sum(found.excused.values()), _sessions(found)
    text = (
        f"{len(kinds)} kinds of clients, {sessions} sessions; {excused} were late by their"
        f" own clocks. PINGs of slow readers waited {_each(found.unread_s)} s."
    )
    if silent or lacking:
        text += f" Too little: {'; '.join([*silent, *lacking])}."
    if found.excused:
        text += f" Late: {dict(found.excused)}."
    passed = not silent and not lacking and excused <= EXCUSED_SHARE * sessions
    return Verdict("Was enough tried?", passed, text)


def _lacking(found: SoakFigures, store: str, short: Short) -> list[str]:
    lives = short.lives
    enough = {
        "resumed at the last moment": sum(
            away_s >= lives.state_s / 2 for away_s in found.resumed.get(store, ())
        ),
        "first line at the last moment": sum(
            unused_s >= short.idle_s / 2 for unused_s in found.unused.get(store, ())
        ),
        "posts known again after a record's life": sum(
            age_s >= lives.record_s for age_s in found.rooms.repeats.get(store, ())
        ),
        "sessions seen to expire": found.expired[store],
        "sessions seen to have ended": found.ended[store],
    }
    if found.slow[store] > SLOW_SHARE * found.verbs[store, "tell"]:
        enough["TELLs that were not too late"] = 0
    lacking = [f"{what} {count}" for what, count in enough.items() if count < TIMES_MIN]
    if found.unread_s.get(store, 0.0) < lives.state_s:
        lacking.append(f"unread for {found.unread_s.get(store, 0.0):.1f} s")
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


def _sessions(found: SoakFigures) -> int:
    """How many were opened and used, or resumed."""
    return sum(len(one) for kind in (found.resumed, found.unused) for one in kind.values())


def _soak(outcome: Outcome) -> SoakFigures:
    found = outcome.facts["soak"]
    assert isinstance(found, SoakFigures)  # noqa: S101 — for mypy; `run.judge` puts it there
    return found


def _each(by_store: Mapping[str, Any], count: Callable[[Any], float] = float) -> str:
    """`12 (memory), 13 (Redis)`, of what is kept for each store."""
    counts = {store: count(kept) for store, kept in by_store.items()}
    return ", ".join(f"{counts.get(store, 0):,.0f} ({name})" for store, name in STORES.items())


def _keys(keys: Mapping[str, int]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in sorted(keys.items())) or "none"
