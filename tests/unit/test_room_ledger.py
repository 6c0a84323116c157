"""The rooms' ledger: silent about a correct room, and each way to falsify one is found."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.room_ledger import (
    ALTERED,
    BROKEN,
    DELIVERED,
    DUPLICATED,
    HOLES_MAX,
    LOST,
    MISSING,
    REORDERED,
    Ledger,
    Path,
)
from loadtest.session_requests import Join
from loadtest.session_rooms import LedgerRooms, Rooms

if TYPE_CHECKING:
    from collections.abc import Callable

Event = tuple[Any, ...]

ROOMS = ("lobby", "attic")
MEMBERS = ("ann", "bob", "cyd")


class Room:
    """A room that keeps PROTOCOL §3: members come, are cut, come back, are told of gaps."""

    def __init__(self, name: str, chance: random.Random) -> None:
        self.name = name
        self.life = "one"
        self.posts: list[tuple[str, str]] = []
        self.kept_from = 1
        self.at: dict[str, int] = {}
        self.here: set[str] = set()
        self.ids = 0
        self.owed = 0
        self.missing = 0
        self._chance = chance

    def step(self) -> list[Event]:
        """Anything that may happen."""
        member = self._chance.choice(MEMBERS)
        if member not in self.at:
            return self._come(member)
        if member not in self.here:
            return self._come_back(member)
        what = self._chance.random()
        if what < 0.15:
            self.here.discard(member)
            return []
        if what < 0.25 and self.posts:
            self.kept_from = max(self.kept_from, len(self.posts) - self._chance.randint(0, 3))
            return []
        return self._post(member)

    def end(self) -> list[Event]:
        """Everybody is back."""
        away = sorted(set(self.at) - self.here)
        return [event for member in away for event in self._come_back(member)]

    def _come(self, member: str) -> list[Event]:
        self.at[member] = len(self.posts)
        self.here.add(member)
        return [("joined", member, self.name, self.life, len(self.posts), "fresh")]

    def _come_back(self, member: str) -> list[Event]:
        self.here.add(member)
        position, last = self.at[member], len(self.posts)
        self.at[member] = last
        if self._chance.random() < 0.2:
            self.missing += last - position
            return [("joined", member, self.name, self.life, last, "lost")]
        events: list[Event] = [("joined", member, self.name, self.life, position, "recovered")]
        first = max(position + 1, self.kept_from)
        if first > position + 1:
            events.append(("gap", member, self.name, position + 1, first - 1))
            self.missing += first - 1 - position
        return events + [self._told(member, offset) for offset in range(first, last + 1)]

    def _post(self, member: str) -> list[Event]:
        self.ids += 1
        text = f"{self.name} {self.ids}"
        says: list[Event] = [("say", member, self.name, self.ids, text)] * self._chance.randint(
            1, 2
        )
        self.posts.append((member, text))
        offset = len(self.posts)
        told = [self._told(one, offset) for one in sorted(self.here)]
        for one in self.here:
            self.at[one] = offset
        said = ("answered", member, self.name, self.ids, offset)
        told.insert(self._chance.randint(0, len(told)), said)
        return says + told

    def _told(self, member: str, offset: int) -> Event:
        self.owed += 1
        return ("message", member, self.name, offset, *self.posts[offset - 1])


def history(seed: int, steps: int = 60) -> tuple[list[Event], int, int]:
    """What members of correct rooms saw; how many were delivered, and how many declared."""
    chance = random.Random(seed)
    rooms = [Room(name, chance) for name in ROOMS]
    events = [event for _ in range(steps) for event in chance.choice(rooms).step()]
    events += [event for room in rooms for event in room.end()]
    return events, sum(room.owed for room in rooms), sum(room.missing for room in rooms)


def account(events: list[Event]) -> Ledger:
    """The ledger of these, settled."""
    ledger = Ledger()
    for kind, *words in events:
        getattr(ledger, kind)(*words)
    ledger.settle()
    return ledger


@given(st.integers())
def test_a_correct_room_breaks_nothing(seed: int) -> None:
    """Every message on every path is delivered or declared missing, and each is counted once."""
    events, owed, missing = history(seed)
    ledger = account(events)
    assert ledger.faults == []
    assert {fate: n for fate, n in ledger.counts.items() if n} == {
        fate: n for fate, n in ((DELIVERED, owed), (MISSING, missing)) if n
    }
    assert ledger.posts == ledger.said == sum(kind == "answered" for kind, *_ in events)


def drop(events: list[Event], at: int) -> list[Event]:
    """It never comes."""
    return events[:at] + events[at + 1 :]


def twice(events: list[Event], at: int) -> list[Event]:
    """It comes again, at once."""
    return [*events[: at + 1], events[at], *events[at + 1 :]]


def late(events: list[Event], at: int) -> list[Event]:
    """It comes after its member's next message in that room."""
    for behind in range(at + 1, len(events)):
        kind, member, room, *_ = events[behind]
        if (member, room) == events[at][1:3] and kind == "joined":
            break
        if (kind, member, room) == events[at][:3]:
            return [*events[:at], *events[at + 1 : behind + 1], events[at], *events[behind + 1 :]]
    return []


def other_text(events: list[Event], at: int) -> list[Event]:
    """It says something else."""
    changed = (*events[at][:5], "forged")
    return [*events[:at], changed, *events[at + 1 :]]


def other_sender(events: list[Event], at: int) -> list[Event]:
    """Another is said to have posted it."""
    sender = next(name for name in MEMBERS if name != events[at][4])
    changed = (*events[at][:4], sender, events[at][5])
    return [*events[:at], changed, *events[at + 1 :]]


CORRUPTIONS = [
    (drop, LOST),
    (twice, DUPLICATED),
    (late, REORDERED),
    (other_text, ALTERED),
    (other_sender, ALTERED),
]


@pytest.mark.parametrize("corrupt, fate", CORRUPTIONS, ids=[f.__name__ for f, _ in CORRUPTIONS])
@given(seed=st.integers(), choice=st.integers(min_value=0))
def test_each_corruption_is_found(
    corrupt: Callable[[list[Event], int], list[Event]], fate: str, seed: int, choice: int
) -> None:
    """One message of a correct history is falsified: the ledger names what became of it."""
    events, _, _ = history(seed)
    messages = [at for at, event in enumerate(events) if event[0] == "message"]
    if not messages:
        return
    falsified = corrupt(events, messages[choice % len(messages)])
    if not falsified or alone(events, messages[choice % len(messages)]):
        return
    ledger = account(falsified)
    assert ledger.counts[fate] >= 1
    assert fate in {fault.fate for fault in ledger.faults}
    # A wrong text at an offset that others have too may be believed first: then it is theirs
    # that differs, which is ALTERED as well. Nothing else is found.
    assert {one for one in BROKEN if ledger.counts[one]} == {fate}


def alone(events: list[Event], at: int) -> bool:
    """Whether a later `lost` excuses it: a JOINED without its position declares what is before."""
    _, member, room, offset, *_ = events[at]
    rest = [event for event in events[at + 1 :] if event[1:3] == (member, room)]
    first = next((e for e in rest if e[0] in ("message", "gap", "joined")), None)
    return first is not None and first[0] == "joined" and offset > 0


def test_a_post_that_stands_twice() -> None:
    """One post at two offsets is a duplicate on every path, though every offset comes once."""
    ledger = Ledger()
    for member in ("ann", "bob"):
        ledger.joined(member, "lobby", "one", 0, "fresh")
    ledger.say("ann", "lobby", 1, "hello")
    for offset in (1, 2):
        for member in ("ann", "bob"):
            ledger.message(member, "lobby", offset, "ann", "hello")
    ledger.settle()
    assert ledger.counts[DELIVERED] == ledger.counts[DUPLICATED] == 2


def test_an_answered_post_that_nobody_gets() -> None:
    """SAID is enough to know of a message: the last one too, which leaves no hole."""
    ledger = Ledger()
    for member in ("ann", "bob"):
        ledger.joined(member, "lobby", "one", 7, "fresh")
    ledger.say("ann", "lobby", 1, "hello")
    ledger.answered("ann", "lobby", 1, 8)
    assert ledger.settle()[LOST] == 2
    assert ledger.broken == 2


def test_another_history_declares_what_is_left() -> None:
    """JOINED `lost` under a member: what of the first history it had not got was declared."""
    ledger = Ledger()
    for member in ("ann", "bob"):
        ledger.joined(member, "lobby", "one", 0, "fresh")
    for offset in (1, 2, 3):
        ledger.message("ann", "lobby", offset, "x", str(offset))
    for member in ("ann", "bob"):
        ledger.joined(member, "lobby", "two", 0, "lost")
    assert ledger.settle()[MISSING] == 3
    assert not ledger.broken


def test_recovered_from_the_wrong_position() -> None:
    """JOINED `recovered` ahead of the member leaves a hole; behind it, what follows is twice."""
    path = Path()
    path.joined("one", 5, "fresh")
    assert path.joined("one", 8, "recovered") == LOST
    assert path.counts[LOST] == 3
    path.joined("one", 7, "recovered")
    assert path.message(8) == REORDERED
    assert path.message(8) == DUPLICATED


def test_gaps_that_can_not_be() -> None:
    """A GAP behind the position takes back what came; one ahead of it leaves a hole."""
    path = Path()
    path.joined("one", 5, "fresh")
    assert path.gap(4, 5) == DUPLICATED
    assert path.gap(8, 9) == LOST
    assert path.counts == {DUPLICATED: 1, LOST: 2, MISSING: 2}


def test_holes_are_bounded() -> None:
    """A path remembers so many of its holes, and counts all."""
    path = Path()
    path.joined("one", 0, "fresh")
    path.message(10 * HOLES_MAX)
    assert path.counts[LOST] == 10 * HOLES_MAX - 1
    assert path.message(10 * HOLES_MAX - 1) == REORDERED
    assert path.message(1) == DUPLICATED


def test_the_lenient_judge_passes_on_what_the_strict_one_ends() -> None:
    """What may not stand there reaches a ledger by `LedgerRooms`, and only by it."""
    join = Join(b"lobby", b"one", 5)
    wrong = (b"lobby", b"9", b"aaaaaaaaaa", b"text")
    for kind, passes in ((Rooms, False), (LedgerRooms, True)):
        rooms = kind()
        assert rooms.joined(join, (b"lobby", b"one", b"5", b"recovered"))
        assert bool(rooms.msg(wrong)) is passes
        assert bool(rooms.gap((b"lobby", b"1", b"2"))) is passes
        assert rooms.msg((b"attic", *wrong[1:])) is None
