"""The checker: right histories break no rule, and each kind of wrong one the rule that it should."""

from __future__ import annotations

import ast
import random
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from echod.store.slots import ALL_SLOTS, slot_of
from lab.drill import judge
from lab.drill.judge import violations as rules
from lab.drill.judge.checker import KEPT_MAX, Checker, Expiry, Loss
from tests.unit.drill_model import Model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from loadtest.history import Event

STEPS = 800


def checked(history: Sequence[Event], losses: Sequence[Loss] = ()) -> Checker:
    """A checker that has seen `history`."""
    checker = Checker(losses)
    for event in history:
        checker.feed(event)
    return checker


@given(st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_a_correct_service_breaks_no_rule(seed: int) -> None:
    """Takeovers, lost replies, late connections, two claimants, ends: nothing to complain of."""
    checker = checked(Model(random.Random(seed)).run(STEPS))

    assert checker.violations == []


@given(st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_a_loss_that_is_told_of_breaks_no_rule(seed: int) -> None:
    """An older copy in the store's place, `rolled-back`, counted epochs: all of it allowed."""
    model = Model(random.Random(seed), loss=True)
    history = model.run(2 * STEPS)
    assume(model.losses)

    assert checked(history, model.losses).violations == []


@given(st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_a_loss_excuses_its_own_slots_alone(seed: int) -> None:
    """The same histories, the losses said to be of slots that nobody is in: each is found (S12)."""
    model = Model(random.Random(seed), loss=True)
    history = model.run(2 * STEPS)
    assume(any(event["e"] == "error" and event["code"] == "rolled-back" for event in history))
    slots = {slot_of(name.encode()) for name in model.store}
    elsewhere = [slot for slot in ALL_SLOTS if slot not in slots]

    assert rules.LOST in checked(history, [Loss(loss.t, elsewhere) for loss in model.losses]).counts


def test_the_model_does_what_it_is_for() -> None:
    """Its histories have all that the rules are about: else their silence would say nothing."""
    kinds: set[str] = set()
    codes: set[str] = set()
    resumed = late = repeated = 0
    for seed in range(40):
        model = Model(random.Random(seed), loss=seed % 2 == 0)
        highest: dict[str, int] = {}
        for event in model.run(STEPS):
            kinds.add(event["e"])
            if event["e"] == "error":
                codes.add(event["code"])
            elif event["e"] == "welcome":
                resumed += (event["epoch"] or 0) > 1
                late += (event["epoch"] or 0) < highest.get(event["name"], 0)
                highest[event["name"]] = event["epoch"] or 0
            elif event["e"] == "sent":
                repeated += event["n"] < 0
    assert {"welcome", "answered", "pong", "bye", "closed", "accept", "error"} <= kinds
    assert {"taken-over", "unknown-session", "rolled-back"} <= codes
    assert resumed > 500
    assert late > 5


# Corruptions: each changes a right history in place and says whether it found where.


def of_kind(history: list[Event], *kinds: str) -> list[int]:
    """Where events of these kinds are."""
    return [at for at, event in enumerate(history) if event["e"] in kinds]


def pick(history: list[Event], chance: random.Random, places: list[int]) -> Event | None:
    """One of them, as a copy that has taken its place."""
    if not places:
        return None
    at = chance.choice(places)
    history[at] = cast("Event", dict(history[at]))
    return history[at]


def another_text(history: list[Event], chance: random.Random) -> bool:
    """A reply's second half is not the line."""
    event = pick(history, chance, of_kind(history, "answered"))
    if event:
        event["text"] = f"{event['text']}!"
    return event is not None


def another_previous(history: list[Event], chance: random.Random) -> bool:
    """A reply's first half is not the line before, for a line whose predecessor is known."""
    places = [
        at
        for before, at in pairwise(of_kind(history, "answered"))
        if (history[before]["c"], history[before]["k"]) == (history[at]["c"], history[at]["k"])
        and history[before]["n"] + 1 == history[at]["n"]
    ]
    event = pick(history, chance, places)
    if event:
        event["previous"] = f"{event['previous']}!"
    return event is not None


def a_first_reply_with_a_previous(history: list[Event], chance: random.Random) -> bool:
    """Line 1 has no line before it."""
    places = [at for at in of_kind(history, "answered") if history[at]["n"] == 1]
    event = pick(history, chance, places)
    if event:
        event["previous"] = "?"
    return event is not None


def an_answer_twice(history: list[Event], chance: random.Random) -> bool:
    """One reply too many."""
    places = of_kind(history, "answered", "pong")
    if not places:
        return False
    at = chance.choice(places)
    history.insert(at + 1, history[at])
    return True


def another_sessions_line(history: list[Event], chance: random.Random) -> bool:
    """A reply has what another session has just sent."""
    latest: dict[str, str | None] = {}
    places = []
    for at in of_kind(history, "answered"):
        text = history[at]["text"] or ""
        session = text.split()[0]
        others = [told for name, told in latest.items() if name != session]
        if others:
            places.append((at, others[-1]))
        latest.pop(session, None)
        latest[session] = text
    if not places:
        return False
    at, told = chance.choice(places)
    history[at] = cast("Event", {**history[at], "text": told})
    return True


def another_sessions_welcome(history: list[Event], chance: random.Random) -> bool:
    """WELCOME names another session than HELLO."""
    places = [at for at in of_kind(history, "welcome") if (history[at]["epoch"] or 0) > 1]
    event = pick(history, chance, places)
    if event:
        event["name"] = "s0"
    return event is not None


def resumes(history: list[Event], proof: str) -> Iterator[tuple[int, Event]]:
    """Places of WELCOMEs whose session was last told its seq by an event of kind `proof`.

    Not those that come after another claimant's WELCOME overtook one.
    """
    told: dict[str, Event] = {}
    epochs: dict[str, int] = {}
    sessions: dict[tuple[str, int], tuple[str, int]] = {}
    for at, event in enumerate(history):
        key = event["c"], event["k"]
        if event["e"] == "welcome":
            name = event["name"]
            sessions[key] = name, event["epoch"] or 0
            known = told.get(name)
            if known and known["e"] == proof and (event["epoch"] or 0) > 1 and event["seq"]:
                yield at, known
            if sessions[key][1] < epochs.get(name, 0):
                told.pop(name, None)
                continue
            told[name] = event
            epochs[name] = event["epoch"] or 0
        elif event["e"] == "answered":
            name, epoch = sessions[key]
            if epoch < epochs[name]:
                told.pop(name, None)
            else:
                told[name] = event


def an_answered_line_lost(history: list[Event], chance: random.Random) -> bool:
    """WELCOME says less than was answered."""
    places = [
        at for at, known in resumes(history, "answered") if hello_of(history, at)["t"] > known["t"]
    ]
    event = pick(history, chance, places)
    if event:
        event["seq"] = 0
        event["text"] = None
    return event is not None


def a_told_line_lost(history: list[Event], chance: random.Random) -> bool:
    """WELCOME says less than an earlier WELCOME."""
    places = [
        at for at, known in resumes(history, "welcome")
        if hello_of(history, at)["t"] > known["t"] and known["seq"]
    ]  # fmt: skip
    event = pick(history, chance, places)
    if event:
        event["seq"] = 0
        event["text"] = None
    return event is not None


def hello_of(history: list[Event], at: int) -> Event:
    """The HELLO of the connection whose WELCOME is at `at`."""
    key = history[at]["c"], history[at]["k"]
    return next(e for e in history if e["e"] == "hello" and (e["c"], e["k"]) == key)


def a_line_nobody_sent(history: list[Event], chance: random.Random) -> bool:
    """WELCOME says more than was ever sent: a line was committed twice."""
    places = [at for at in of_kind(history, "welcome") if (history[at]["epoch"] or 0) > 1]
    event = pick(history, chance, places)
    if event:
        event["seq"] += 9
        event["text"] = "never sent"
    return event is not None


def another_line_committed(history: list[Event], chance: random.Random) -> bool:
    """WELCOME's text is not the line that was sent under its number."""
    places = [at for at, _ in resumes(history, "answered")]
    event = pick(history, chance, places)
    if event:
        event["text"] = f"{event['text']}!"
    return event is not None


def an_answer_after_a_takeover(history: list[Event], chance: random.Random) -> bool:
    """A frozen daemon thaws and answers what was sent after the takeover."""
    places = [at for at in of_kind(history, "welcome") if (history[at]["epoch"] or 0) > 1]
    chance.shuffle(places)
    for at in places:
        name, epoch = history[at]["name"], history[at]["epoch"]
        for event in history[:at]:
            if event["e"] == "welcome" and event["name"] == name:
                key = event["c"], event["k"]
                mine = [e for e in history[:at] if (e["c"], e["k"]) == key]
                asked = sum(e["e"] in ("sent", "ping", "quit") for e in mine)
                told = sum(e["e"] in ("answered", "pong", "bye") for e in mine)
                if asked > told or mine[-1]["e"] in ("closed", "error"):
                    continue
                if (event["epoch"] or 0) < (epoch or 0) and len(mine) > 1:
                    history[at + 1 :] = later(history[at]["t"], key, chance)
                    return True
    return False


def later(t: float, key: tuple[str, int], chance: random.Random) -> list[Event]:
    """A line, or a PING, and its answer, on connection `key`."""
    stamp: dict[str, Any] = {"t": t + 0.001, "c": key[0], "k": key[1]}
    if chance.random() < 0.5:
        pair = [{**stamp, "e": "ping", "text": "?"}, {**stamp, "e": "pong", "text": "?"}]
    else:
        line = {"n": 7, "text": "late"}
        pair = [
            {**stamp, "e": "sent", **line},
            {**stamp, "e": "answered", "previous": "x", **line},
        ]
    return cast("list[Event]", pair)


def an_epoch_counted_twice(history: list[Event], chance: random.Random) -> bool:
    """A resume that does not raise the epoch."""
    places = [
        at
        for proof in ("answered", "welcome")
        for at, known in resumes(history, proof)
        if hello_of(history, at)["t"] > known["t"]
    ]
    event = pick(history, chance, places)
    if event:
        earlier = history[: history.index(event)]
        event["epoch"] = max(
            e["epoch"] or 0
            for e in earlier
            if e["e"] == "welcome" and e["name"] == event["name"] and e is not event
        )
    return event is not None


def a_session_lost(history: list[Event], chance: random.Random) -> bool:
    """`unknown-session` for one that had neither ended nor been told to."""
    places = []
    quits: set[str] = set()
    names: dict[tuple[str, int], str] = {}
    for at, event in enumerate(history):
        key = event["c"], event["k"]
        if event["e"] == "welcome":
            names[key] = event["name"]
            if (event["epoch"] or 0) > 1 and event["name"] not in quits:
                places.append(at)
        elif event["e"] == "quit":
            quits.add(names[key])
    if not places:
        return False
    at = chance.choice(places)
    old = history[at]
    history[at] = cast(
        "Event",
        {"t": old["t"], "c": old["c"], "k": old["k"], "e": "error", "code": "unknown-session",
         "text": ""},
    )  # fmt: skip
    return True


def a_session_resurrected(history: list[Event], chance: random.Random) -> bool:
    """One that ended answers to its token."""
    names = {(e["c"], e["k"]): e["name"] for e in history if e["e"] == "welcome"}
    places = of_kind(history, "bye")
    if not places:
        return False
    bye = history[chance.choice(places)]
    stamp: dict[str, Any] = {"t": history[-1]["t"] + 1, "c": "again", "k": 1}
    name = names[bye["c"], bye["k"]]
    history.append(cast("Event", {**stamp, "e": "hello", "name": name, "acked": None}))
    history.append(
        cast("Event", {**stamp, "e": "welcome", "name": name, "epoch": 99, "seq": 0, "text": None})
    )
    return True


def a_right_line_refused(history: list[Event], chance: random.Random) -> bool:
    """The next line, or the last one repeated, gets an error."""
    event = pick(history, chance, of_kind(history, "answered"))
    if event:
        event["e"] = "error"
        event["code"] = chance.choice(["out-of-order", "conflict"])
    return event is not None


def a_bug(history: list[Event], chance: random.Random) -> bool:
    """A daemon says that it has one."""
    event = pick(history, chance, of_kind(history, "answered"))
    if event:
        event["e"] = "error"
        event["code"] = "internal"
    return event is not None


def a_wrong_plain_reply(history: list[Event], chance: random.Random) -> bool:
    """The judge of the plain port found a wrong byte."""
    stamp: dict[str, Any] = {"t": history[-1]["t"], "c": "p1", "k": 1}
    history.append(cast("Event", {**stamp, "e": "plain-wrong", "text": str(chance.random())}))
    return True


CORRUPTIONS = {
    another_text: rules.REPLY,
    another_previous: rules.REPLY,
    a_first_reply_with_a_previous: rules.REPLY,
    an_answer_twice: rules.REPLY,
    another_sessions_line: rules.FOREIGN,
    another_sessions_welcome: rules.FOREIGN,
    an_answered_line_lost: rules.ACKNOWLEDGED,
    a_told_line_lost: rules.FORWARD,
    a_line_nobody_sent: rules.UNKNOWN,
    another_line_committed: rules.UNKNOWN,
    an_answer_after_a_takeover: rules.OWNER,
    an_epoch_counted_twice: rules.EPOCH,
    a_session_lost: rules.LOST,
    a_session_resurrected: rules.ENDED,
    a_right_line_refused: rules.REFUSED,
    a_bug: rules.INTERNAL,
    a_wrong_plain_reply: rules.PLAIN,
}


@pytest.mark.parametrize("corrupt", CORRUPTIONS, ids=lambda corrupt: corrupt.__name__)
@given(seed=st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_every_corruption_is_caught(corrupt: Callable[..., bool], seed: int) -> None:
    """By the rule that it breaks, and before any other."""
    chance = random.Random(seed)
    history = Model(chance).run(STEPS)
    assume(corrupt(history, chance))

    found = checked(history).violations

    assert found
    assert found[0].rule == CORRUPTIONS[corrupt]
    assert found[0].events


NAME = "n"
SLOT = slot_of(NAME.encode())


@pytest.mark.parametrize("code", ["unknown-session", "rolled-back"])
@pytest.mark.parametrize(
    "expiry, asked_s, fine",
    [
        pytest.param(Expiry(5, 6, [SLOT]), 4.0, True, id="it was there before"),
        pytest.param(Expiry(5, 6, [SLOT]), 5.5, True, id="it was there meanwhile"),
        pytest.param(Expiry(5, 6, [SLOT]), 7.0, False, id="it was there afterwards"),
        pytest.param(Expiry(5, 6, [SLOT + 1]), 4.0, False, id="another slot"),
        pytest.param(Expiry(11, 12, [SLOT]), 4.0, False, id="it is heard before"),
    ],
)
def test_who_may_expire_early(code: str, expiry: Expiry, asked_s: float, *, fine: bool) -> None:
    """A session of that slot that was not seen since; nothing else is excused."""
    checker = Checker(expiries=[expiry])

    def feed(t: float, **fields: object) -> None:
        checker.feed(cast("Event", {"t": t, "c": "s", "k": 1, **fields}))

    feed(0, e="hello", name="", acked=None)
    feed(0, e="welcome", name=NAME, epoch=1, seq=0, text=None)
    feed(asked_s, e="sent", n=1, text="x")
    feed(8, e="answered", n=1, previous=None, text="x")
    feed(10, e="error", code=code, text="")

    assert checker.counts == ({} if fine else {rules.LOST: 1})


def test_a_session_that_expired_early_does_not_come_back() -> None:
    """Whatever it is told: it has expired, and not gone back."""
    checker = Checker(expiries=[Expiry(5, 6, [SLOT])])

    def feed(t: float, connection: int, **fields: object) -> None:
        checker.feed(cast("Event", {"t": t, "c": "s", "k": connection, **fields}))

    feed(0, 1, e="hello", name="", acked=None)
    feed(0, 1, e="welcome", name=NAME, epoch=1, seq=0, text=None)
    feed(7, 1, e="error", code="rolled-back", text="")
    feed(8, 2, e="hello", name=NAME, acked=None)
    feed(9, 2, e="error", code="unknown-session", text="")
    assert checker.counts == {}

    feed(10, 3, e="hello", name=NAME, acked=None)
    feed(11, 3, e="welcome", name=NAME, epoch=2, seq=0, text=None)
    assert checker.counts == {rules.ENDED: 1}


def test_connections_in_the_metrics() -> None:
    """They are compared with those in the kernel, daemon by daemon."""
    checker = Checker()

    checker.finish([("echod1", 3, 3), ("echod2", 4, 3)])

    (found,) = checker.violations
    assert found.rule == rules.QUIET
    assert "echod2" in found.text


def test_every_rule_has_a_corruption() -> None:
    """No rule goes unproven: `test_drill_soak` has those of lives, `test_drill_rooms` the fence."""
    assert {*CORRUPTIONS.values(), rules.QUIET, rules.FENCE} == set(rules.RULES) - rules.OF_LIVES | {
        rules.LOST, rules.ENDED, rules.REFUSED, rules.INTERNAL,
    }  # fmt: skip


def test_what_is_kept_is_bounded() -> None:
    """A service that is always wrong fills no memory; all of it is counted."""
    checker = Checker()
    for number in range(3 * KEPT_MAX):
        event = {"t": float(number), "c": "p", "k": 1, "e": "plain-wrong", "text": ""}
        checker.feed(cast("Event", event))

    assert len(checker.violations) == KEPT_MAX
    assert checker.counts[rules.PLAIN] == 3 * KEPT_MAX


def test_memory_is_what_is_in_flight() -> None:
    """Ten thousand lines on a connection, four in flight: a handful are remembered."""
    checker = Checker()
    stamp: dict[str, Any] = {"c": "s", "k": 1}

    def feed(t: int, **fields: object) -> None:
        checker.feed(cast("Event", {"t": float(t), **stamp, **fields}))

    feed(0, e="hello", name="", acked=None)
    feed(0, e="welcome", name="n", epoch=1, seq=0, text=None)
    for n in range(1, 10_001):
        feed(n, e="sent", n=n, text=f"t{n}")
        if n > 4:
            previous = f"t{n - 5}" if n > 5 else None
            feed(n, e="answered", n=n - 4, previous=previous, text=f"t{n - 4}")
        assert checker.lines_remembered < 16
    assert checker.violations == []


@pytest.mark.parametrize(
    "path", sorted(Path(judge.__file__).parent.rglob("*.py")), ids=lambda path: path.stem
)
def test_what_judges_is_pure(path: Path) -> None:
    """Events go in, verdicts come out: no socket, clock, process or greenlet is near them."""
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else alias.name) or ""
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }

    allowed = {"__future__", "array", "collections", "dataclasses", "functools", "itertools"}
    allowed |= {"math", "re", "typing"}
    assert {one.partition(".")[0] for one in imported} - allowed <= {"echod", "lab", "loadtest"}
    assert all(
        one.startswith("lab.drill.judge") or one == "lab.drill.lives"
        for one in imported
        if one.startswith("lab")
    )
