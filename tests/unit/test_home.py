"""Where daemons are at home: on a shard that serves, and as many on each (ADR 21)."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, cast

import pytest

from echod.config import Config
from echod.loop.clock import Clock
from echod.metrics import Metrics
from echod.store.base import Lives, Place
from echod.store.committer import Committer
from echod.store.memory.store import MemoryStore
from echod.store.slots import SLOTS, slot_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from echod.store.shard import Shard

SHARDS, DAEMONS = 4, 8
LIVES = Lives(60, 30)


class Quarter:
    """A shard's place; see `Place`."""

    def __init__(self, number: int) -> None:
        self.number = number
        each = SLOTS // SHARDS
        self.slots: Sequence[int] = range(number * each, (number + 1) * each)
        self.store = MemoryStore(LIVES)
        self.store.connect()


class Quarters:
    """See `Places`."""

    version, clocks_apart_s = 0, 0.0
    slots_moving = slots_moved = 0

    def __init__(self) -> None:
        self.places = [Quarter(number) for number in range(SHARDS)]

    def all(self) -> Sequence[Place]:
        """See `Places`."""
        return cast("list[Place]", self.places)

    def look(self) -> None:
        """See `Places`."""


class Fleet:
    """Daemons whose leases say where they are at home."""

    def __init__(self, homes: Sequence[int]) -> None:
        self.daemons = [
            Committer(
                *(Quarters(), Config(), LIVES, Clock(0.0), Metrics()), on_rollback=lambda _: None
            )
            for _ in homes
        ]
        # Of each shard: the daemons that say that it is their home.
        self.leases: list[set[bytes]] = [set() for _ in range(SHARDS)]
        for number, (daemon, home) in enumerate(zip(self.daemons, homes, strict=True)):
            daemon.home = daemon.shards[home]
            self.leases[home].add(b"d%d" % number)

    def beat(self, number: int, shard: int) -> None:
        """A daemon's heartbeat on a shard, as beat.lua and heartbeat.py have it."""
        daemon, inbox = self.daemons[number], b"d%d" % number
        here, lease = daemon.shards[shard], self.leases[shard]
        (lease.add if daemon.home is here else lease.discard)(inbox)
        here.homes, here.first_home = len(lease), min(lease, default=b"")
        if daemon.home is here:
            daemon.spread_homes(inbox)

    def homes(self) -> list[int]:
        """Daemons at home, by shard."""
        at = [daemon.home.number for daemon in self.daemons]
        return [at.count(shard) for shard in range(SHARDS)]


@pytest.mark.parametrize("seed", range(20))
def test_eight_daemons_on_four_shards_are_two_each(seed: int) -> None:
    """From any start, beats in any order; of a shard one moves between two of its beats."""
    dice = random.Random(seed)
    crowded = dice.randint(1, SHARDS)
    fleet = Fleet([dice.randrange(crowded) for _ in range(DAEMONS)])
    beats = [(number, shard) for number in range(DAEMONS) for shard in range(SHARDS)]
    for turn in range(60):
        before = [daemon.home.number for daemon in fleet.daemons]
        dice.shuffle(beats)
        for number, shard in beats:
            fleet.beat(number, shard)
        moved = [
            number for number, home in enumerate(before)
            if fleet.daemons[number].home.number != home
        ]  # fmt: skip
        left = [before[number] for number in moved]
        # The first has said so elsewhere by then, and the second is the first.
        assert all(left.count(shard) <= 2 for shard in range(SHARDS))
        assert turn < 50 or not moved, "they settle"
    assert max(fleet.homes()) - min(fleet.homes()) < 2
    assert fleet.homes() == [DAEMONS // SHARDS] * SHARDS


def lone() -> Committer:
    """A daemon alone."""
    return Fleet([0]).daemons[0]


def away(shard: Shard) -> None:
    """It does not serve."""
    shard.store.reset()


def test_home_is_where_it_serves() -> None:
    """One that does not is left, for the emptiest of the others; back it does not go by itself."""
    daemon = lone()
    for number, homes in enumerate((0, 3, 1, 2)):
        daemon.shards[number].homes = homes
    daemon.choose_home()
    assert daemon.home.number == 0
    away(daemon.shards[0])
    daemon.choose_home()
    assert daemon.home.number == 2
    daemon.shards[2].deaf = True
    assert daemon.newcomer()
    assert daemon.home.number == 3
    daemon.shards[0].store.connect()
    daemon.choose_home()
    assert daemon.home.number == 3
    assert slot_of(daemon.new_name()) in daemon.home.place.slots


def test_a_home_that_is_full_is_left() -> None:
    """While another has room; a newcomer to a full store is turned away."""
    daemon = lone()
    for shard in daemon.shards:
        assert daemon.newcomer()
        assert daemon.home is shard
        shard.homes = shard.number  # the next is the emptiest of those behind it
        for other in daemon.shards[shard.number + 1 :]:
            other.homes = other.number
        shard.fill = 0.9
    assert not daemon.newcomer()
    assert daemon.serves()
    daemon.shards[2].fill = 0.1
    assert daemon.newcomer()
    assert daemon.home is daemon.shards[2]
    daemon.home.homes, daemon.home.first_home = 9, b"d0"
    daemon.spread_homes(b"d0")
    assert daemon.home is daemon.shards[2]


def test_with_nowhere_to_go_it_stays() -> None:
    """And the daemon says that it does not serve."""
    daemon = lone()
    for shard in daemon.shards:
        away(shard)
    daemon.choose_home()
    daemon.spread_homes(b"d0")
    assert daemon.home.number == 0
    assert not daemon.serves()


def test_nobody_moves_to_a_shard_that_does_not_serve() -> None:
    """However empty it is."""
    daemon = lone()
    daemon.home.homes, daemon.home.first_home = 5, b"d0"
    for shard in daemon.shards[1:]:
        away(shard)
    daemon.spread_homes(b"d0")
    assert daemon.home.number == 0


def test_only_the_first_moves() -> None:
    """Or all would, at once."""
    daemon = lone()
    daemon.home.homes, daemon.home.first_home = 5, b"c9"
    daemon.spread_homes(b"d0")
    assert daemon.home.number == 0
    daemon.home.first_home = b"d0"
    daemon.spread_homes(b"d0")
    assert daemon.home.number != 0
