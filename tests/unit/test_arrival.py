"""Slots that have come to a shard, and what is lost where they were or are (ADR 26)."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from echod.config import Config
from echod.loop.clock import Clock
from echod.metrics import Metrics
from echod.store.base import Lives, Place
from echod.store.batch import Nobody
from echod.store.committer import Committer
from echod.store.keys import Session
from echod.store.memory.store import MemoryStore
from echod.store.slots import ALL_SLOTS, slot_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container, Sequence

LIVES = Lives(60, 30)
# What lives in slot 0's half, and in the other.
LOW, HIGH = b"room-3", b"room-0"
HALF = len(ALL_SLOTS) // 2


class Half(MemoryStore):
    """A shard's store, which loses what it is told to, and notes what it is asked."""

    def __init__(self) -> None:
        super().__init__(LIVES)
        self.learned: list[int] = []
        self.unpublished: dict[bytes, list[bytes]] = {}
        self.losing: set[int] = set()
        self.told_all = False

    def connect(self) -> Collection[int]:
        """See `Store`."""
        super().connect()
        losing, self.losing = self.losing, set()
        return losing

    def learn(self, slots: Collection[int]) -> None:
        """See `Store`."""
        self.learned += slots

    def give_unpublished(self, slots: Container[int]) -> dict[bytes, list[bytes]]:
        """See `Store`."""
        given = {room: said for room, said in self.unpublished.items() if slot_of(room) in slots}
        for room in given:
            del self.unpublished[room]
        return given

    def take_unpublished(self, room: bytes, messages: Sequence[bytes]) -> None:
        """See `Store`."""
        self.unpublished[room] = list(messages)

    def lose(self, slots: Collection[int] | None = None) -> None:
        """See `Store`."""
        self.told_all = self.told_all or slots is None
        self.losing.update(slots or ())


class Spot:
    """See `Place`."""

    def __init__(self, number: int, slots: Sequence[int]) -> None:
        self.number = number
        self.slots = slots
        self.store = Half()


class Halves:
    """Two shards; see `Places`."""

    version = 1
    clocks_apart_s = 0.0
    slots_moving = slots_moved = 0

    def __init__(self) -> None:
        self.low = Spot(0, list(ALL_SLOTS[:HALF]))
        self.high = Spot(1, list(ALL_SLOTS[HALF:]))

    def all(self) -> Sequence[Place]:
        """See `Places`."""
        return cast("list[Place]", [self.low, self.high])

    def look(self) -> None:
        """See `Places`."""

    def move(self, slot: int) -> None:
        """From the low half to the high one."""
        self.low.slots = [each for each in self.low.slots if each != slot]
        self.high.slots = sorted([*self.high.slots, slot])
        self.version += 1


def halves() -> tuple[Halves, Committer, list[Callable[[int], bool]]]:
    """Two shards that are connected, and what the daemon is told of losses."""
    told: list[Callable[[int], bool]] = []
    places = Halves()
    committer = Committer(
        *(places, Config(), LIVES, Clock(0.0), Metrics()), on_rollback=told.append
    )
    for shard in committer.shards:
        shard._connect()  # noqa: SLF001 — what its greenlet does, step by step
    return places, committer, told


def test_the_names_are_in_the_halves() -> None:
    """Or the tests below would show nothing."""
    assert slot_of(LOW) < HALF <= slot_of(HIGH)


def test_what_has_come_is_learned_before_anything_is_sent() -> None:
    """How often it has lost data: a loss is told above that."""
    places, committer, _ = halves()
    slot = slot_of(LOW)
    high = committer.shards[1]
    high._turn()  # noqa: SLF001 — what it has begun with
    places.high.store.learned.clear()
    places.move(slot)
    committer.tick()
    assert committer.shard_of(LOW) is high
    high._turn()  # noqa: SLF001
    assert places.high.store.learned == [slot]


def test_what_is_missing_in_a_slot_that_stayed_is_missing_in_the_shard() -> None:
    """An older copy may have taken its master's place."""
    places, committer, _ = halves()
    committer.lose(HIGH, "a message")
    assert places.high.store.told_all
    assert not places.high.store.connected


def test_what_is_missing_in_a_slot_that_has_just_come_is_missing_there_alone() -> None:
    """Who took it may have died before its replicas had it: the others lack nothing."""
    places, committer, told = halves()
    places.move(slot_of(LOW))
    committer.tick()
    committer.lose(LOW, "a message")
    assert not places.high.store.told_all
    assert places.high.store.losing == {slot_of(LOW)}
    committer.shards[1]._connect()  # noqa: SLF001
    (concerns,) = told
    assert [slot for slot in ALL_SLOTS if concerns(slot)] == [slot_of(LOW)]


def test_a_loss_is_told_where_its_slots_are_now() -> None:
    """One has moved since it was acknowledged: its sessions are told by the shard that has it."""
    places, committer, told = halves()
    slot = slot_of(LOW)
    places.low.store.losing = {slot, slot + 1}
    places.move(slot)
    low, high = committer.shards
    low._connect()  # noqa: SLF001 — before the daemon has handed over
    (concerns,) = told
    assert [each for each in ALL_SLOTS if concerns(each)] == [slot + 1]
    assert places.high.store.losing == {slot}
    high._connect()  # noqa: SLF001
    assert [each for each in ALL_SLOTS if told[-1](each)] == [slot]
    assert len(told) == 2


def test_what_is_to_be_published_goes_along() -> None:
    """Of what stays, its own shard publishes (ADR 23)."""
    places, committer, _ = halves()
    stays = next(
        name for name in (b"room-%d" % n for n in range(99)) if slot_of(LOW) != slot_of(name) < HALF
    )
    places.low.store.unpublished = {LOW: [b"x", b"y"], stays: [b"z"]}
    places.move(slot_of(LOW))
    committer.tick()
    assert places.low.store.unpublished == {stays: [b"z"]}
    assert places.high.store.unpublished == {LOW: [b"x", b"y"]}


@pytest.mark.parametrize("elsewhere", [False, True])
def test_what_is_in_doubt_goes_on_under_new_keys(*, elsewhere: bool) -> None:
    """Where another master serves: the former link is not known to be dead (ADR 24)."""
    places, committer, _ = halves()
    session = Session(HIGH, ())
    session.own(1)
    shard = committer.shard_of(HIGH)
    before = session.state_key
    shard.add(shard.open(Nobody(), session), b"", 1, b"x", 0)
    shard._send()  # noqa: SLF001 — it is not answered
    shard._reset()  # noqa: SLF001
    places.high.store.elsewhere = elsewhere
    shard._connect()  # noqa: SLF001
    assert (session.state_key != before) is elsewhere
    assert session.former_keys == ((before,) if elsewhere else ())
