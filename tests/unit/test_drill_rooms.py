"""What a drill says of rooms, from histories made by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from lab.drill.judge import violations as rules
from lab.drill.judge.checker import Checker
from lab.drill.judge.expectations import WHO_S, all_back, nothing_lost, who_is_right
from lab.drill.judge.figures import Figures
from lab.drill.judge.outcome import Mark, Outcome
from loadtest.room_ledger import DELIVERED, LOST

if TYPE_CHECKING:
    from loadtest.history import Event

FAULT_S, HEAL_S = 10.0, 20.0


def outcome(*events: dict[str, Any]) -> Outcome:
    """Of a history in which a daemon was killed at `FAULT_S`."""
    checker = Checker()
    for event in events:
        checker.feed(cast("Event", {"k": 1, **event}))
    checker.finish()
    marks = [
        Mark(FAULT_S, FAULT_S, "kill", heals=False, loses=False),
        Mark(HEAL_S, HEAL_S, "", heals=True, loses=False),
    ]
    figures = Figures(patient=lambda _: True)
    return Outcome(0.0, 30.0, marks, figures, checker)


def entered(client: str, t: float = 1.0) -> list[dict[str, Any]]:
    """A member is in the room."""
    where = {"t": t, "c": client, "room": "r", "life": "1", "offset": 0}
    opened = {"t": t, "c": client, "name": f"name-{client}"}
    return [
        {**opened, "e": "welcome", "epoch": 1, "seq": 0, "text": None},
        {**where, "e": "join"},
        {**where, "e": "joined", "how": "fresh"},
    ]


def message(client: str, offset: int, t: float = 5.0) -> dict[str, Any]:
    """It gets one."""
    return {
        "t": t, "c": client, "e": "msg", "room": "r", "offset": offset,
        "sender": "name-m0", "text": str(offset),
    }  # fmt: skip


def who(t: float, members: int, daemons: int) -> dict[str, Any]:
    """It is told how many there are."""
    return {"t": t, "c": "m0", "e": "members", "room": "r", "members": members, "daemons": daemons}


def test_a_silent_loss_fails_a_drill() -> None:
    """One member of two misses one message: the ledger says who and where."""
    both = [*entered("m0"), *entered("m1")]
    said = [message(client, n) for n in range(1, 1001) for client in ("m0", "m1")]
    assert nothing_lost(outcome(*both, *said)).passed
    del said[-1]
    verdict = nothing_lost(outcome(*both, *said))
    assert not verdict.passed
    assert "1 lost" in verdict.text
    assert "name-m1 in r" in verdict.text


def test_silence_is_no_pass() -> None:
    """Nothing was said, so nothing was lost, and nothing was tried."""
    assert not nothing_lost(outcome(*entered("m0"))).passed


def test_others_are_not_members() -> None:
    """Who has no session, and events of no room, are passed over."""
    found = outcome(
        {"t": 1.0, "c": "x", "e": "msg", "room": "r"}, {"t": 1.0, "c": "p", "e": "plain"}
    )
    assert not found.checker.rooms.ledger.counts


@pytest.mark.parametrize(
    "wrong_until_s, passed", [(WHO_S - 1, True), (WHO_S + 1, False)], ids=["in time", "late"]
)
def test_who_is_right_in_time(wrong_until_s: float, *, passed: bool) -> None:
    """Wrong for a while after the death, never after that."""
    found = outcome(
        *entered("m0"), *entered("m1"),
        who(FAULT_S - 1, 7, 7),
        who(FAULT_S + wrong_until_s, 3, 4),
        who(FAULT_S + wrong_until_s + 0.5, 2, 3),
        who(HEAL_S + 1, 9, 9),
    )  # fmt: skip
    assert who_is_right(3)(found).passed is passed


def test_who_that_never_becomes_right() -> None:
    """The last answer is wrong, however early it was."""
    found = outcome(*entered("m0"), who(FAULT_S + 1, 2, 4))
    assert not who_is_right(3)(found).passed


def ghostly(said_s: float, heard: str = "late") -> Checker:
    """A session is resumed at 3 s, and its new owner joins at 4; its old connection posts."""
    ghost = {"c": "g1", "e": "welcome", "name": "name-g1", "seq": 0, "text": None}
    checker = Checker(haunts=lambda client: client == "g1")
    told = [
        *entered("m0"),
        {**ghost, "t": 1.0, "epoch": 1},
        {"t": 2.0, "c": "g1", "e": "hello", "name": "name-g1", "acked": 0, "k": 2},
        {**ghost, "t": 3.0, "epoch": 2, "k": 2},
        {"t": 3.0, "c": "g1", "e": "join", "room": "r", "life": None, "offset": None, "k": 2},
        {"t": 4.0, "c": "g1", "e": "joined", "room": "r", "life": "1", "offset": 0, "how": "fresh",
         "k": 2},
        {"t": said_s, "c": "g1", "e": "say", "room": "r", "id": 1, "text": "late"},
        {**message("m0", 1, 5.0), "sender": "name-g1", "text": heard},
    ]  # fmt: skip
    for event in sorted(told, key=lambda event: event["t"]):
        checker.feed(cast("Event", {"k": 1, **event}))
    checker.finish()
    return checker


def test_nobody_hears_an_earlier_owner() -> None:
    """Once a later one has joined; what was on its way before may still come."""
    assert ghostly(4.5).counts == {rules.FENCE: 1}
    assert not ghostly(3.5).counts


def test_a_ghost_is_owed_nothing() -> None:
    """It does not hear its room's messages on either connection, and nothing is lost by it."""
    checker = ghostly(4.5, heard="another's")

    assert not checker.counts
    assert checker.rooms.ledger.counts[LOST] == 0


def test_how_long_members_were_away() -> None:
    """From the end of a connection to the first JOINED of the next; nobody away is no pass."""
    away = [*entered("m0"), {"t": 10.0, "c": "m0", "e": "closed", "how": "ECONNRESET"}]
    opened = {"t": 12.0, "c": "m0", "k": 2, "name": "name-m0"}
    found = outcome(
        *away,
        {**opened, "e": "hello", "acked": 0},
        {**opened, "e": "welcome", "epoch": 2, "seq": 0, "text": None},
        *({**one, "k": 2} for one in entered("m0", 12.5)[1:]),
    )
    assert all_back(3.0)(found).passed
    assert not all_back(2.0)(found).passed
    assert not all_back(3.0)(outcome(*entered("m0"))).passed
    assert found.checker.rooms.ledger.counts[LOST] == found.checker.rooms.ledger.counts[DELIVERED]
