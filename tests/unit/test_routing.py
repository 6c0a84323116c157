"""Slots move while batches are pending, flying and in doubt: nothing is lost, and order holds (ADR 26)."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, cast

import pytest

from echod.config import Config
from echod.loop.clock import Clock
from echod.metrics import Metrics
from echod.store.base import Lives, Place, StoreError
from echod.store.batch import Nobody, Write
from echod.store.committer import Committer
from echod.store.keys import PlainSession
from echod.store.memory.store import MemoryStore
from echod.store.operations import MEASURE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from echod.loop.parking import Parking
    from echod.store.shard import Shard

SHARDS, CLIENTS = 3, 9
LIVES = Lives(60, 30)


class Part(MemoryStore):
    """A shard's store, which carries out and answers when it is told to."""

    def __init__(self, fleet: Cluster, number: int) -> None:
        super().__init__(LIVES)
        self.fleet, self.number = fleet, number
        self.flight: list[Write] | None = None

    def begin(self, writes: Sequence[Write]) -> None:
        """See `Store`."""
        self.flight = list(writes)

    def finish(self) -> list[Write]:
        """All of it, or as much as the dice say and then an error; what is not here is refused."""
        flight, self.flight = self.flight or [], None
        breaks = self.fleet.dice.random() < self.fleet.breaks
        count = self.fleet.dice.randint(0, len(flight)) if breaks else len(flight)
        for at, write in enumerate(flight):
            elsewhere = write.slot >= 0 and self.fleet.owner[write.slot] != self.number
            if at == count or elsewhere:
                breaks = True
                break
            if write.operation is None:
                self.fleet.carried.append((write.client, write.seq))
        if breaks:
            self.fleet.doubted |= {(write.client, write.seq) for write in flight}
            raise StoreError("closed", "in doubt")
        return []

    def reset(self) -> None:
        """See `Store`: what was on its way is not carried out any more."""
        super().reset()
        if self.flight is not None:
            self.fleet.doubted |= {(write.client, write.seq) for write in self.flight}
            self.flight = None


class Spot:
    """See `Place`: its slots as the daemon has heard last."""

    def __init__(self, fleet: Cluster, number: int) -> None:
        self.number = number
        self.store = Part(fleet, number)
        self.slots: Sequence[int] = ()


class Cluster:
    """Slots that move, and a daemon that hears of it later; see `Places`."""

    clocks_apart_s = 0.0
    slots_moving = slots_moved = 0

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.breaks = 0.3
        self.version = 0
        self.clients = [Line() for _ in range(CLIENTS)]
        self.owner = {client.session.slot: dice.randrange(SHARDS) for client in self.clients}
        self.places = [Spot(self, number) for number in range(SHARDS)]
        self.carried: list[tuple[object, int]] = []
        self.doubted: set[tuple[object, int]] = set()
        self.tell()

    def all(self) -> Sequence[Place]:
        """See `Places`."""
        return cast("list[Place]", self.places)

    def look(self) -> None:
        """See `Places`."""

    def tell(self) -> None:
        """The daemon hears where everything is."""
        self.version += 1
        for place in self.places:
            mine = [slot for slot, owner in self.owner.items() if owner == place.number]
            place.slots = sorted(mine)


class Line(Nobody):
    """A client that sends numbered lines, each with the number as its reply."""

    def __init__(self) -> None:
        self.session = PlainSession(())
        self.gathering: Write | None = None
        self.heard: list[int] = []
        self.lines = 0

    def acknowledged(self, write: Write, now_s: float) -> None:
        """Its last number, and how many lines that is."""
        del now_s
        self.heard.append(write.seq)
        self.lines += write.waiting

    def broken(self) -> None:
        """A bug, which the test shall show."""
        raise  # noqa: PLE0704 — in an `except`

    def send(self, committer: Committer) -> None:
        """A line, as plain.py has it."""
        session = self.session
        write = self.gathering or committer.open(self, session)
        session.seq += 1
        committer.routes[session.slot].add(write, b"r\n", 1, b"x", 0)


class Watched(Committer):
    """It sees that no route changes while something of its slot flies."""

    def _hand_over(self, shard: Shard) -> None:
        before = list(self.routes)
        store = cast("Part", shard.store)
        flying = {write.slot for write in store.flight or ()}
        super()._hand_over(shard)
        assert not any(self.routes[slot] is not before[slot] for slot in flying)


class Nowhere:
    """As `Parking`; nobody waits: a shard is stepped by hand."""

    def park(self) -> None:
        """At once."""

    def wake(self) -> None:
        """Nobody."""


def step(committer: Committer, shard: Shard, dice: random.Random) -> None:
    """What `Shard._run` does in a round, cut in two where it waits for the answer."""
    # ruff: noqa: SLF001 — the shard's greenlet, by hand
    try:
        if shard.leaving and shard._begun_at is None:
            committer._reroute()
        if not shard.place.slots and shard._begun_at is None:
            shard._reset()
            return
        if not shard.store.connected:
            shard._connect()
            committer._reroute()
        if shard._begun_at is None and dice.random() < 0.5:
            if not shard.settled() and not shard.leaving:
                shard._send()  # and its answer is still to come
            return
        shard._turn()
    except StoreError:
        shard._reset()


@pytest.mark.parametrize("seed", range(60))
def test_whatever_moves_when(seed: int) -> None:  # noqa: C901 — a case for each step
    """Each line is answered once, in order, and carried out in order, twice only in doubt."""
    dice = random.Random(seed)
    cluster = Cluster(dice)
    committer = Watched(
        *(cluster, Config(), LIVES, Clock(0.0), Metrics()), on_rollback=lambda _: None
    )
    for shard in committer.shards:
        shard._idle = cast("Parking", Nowhere())

    def turn() -> None:
        committer.tick()
        for shard in dice.sample(committer.shards, SHARDS):
            step(committer, shard, dice)

    for _ in range(150):
        match dice.choice(("send", "send", "send", "step", "step", "step", "move", "tell", "tick")):
            case "send":
                dice.choice(cluster.clients).send(committer)
            case "step":
                step(committer, dice.choice(committer.shards), dice)
            case "move":
                cluster.owner[dice.choice(list(cluster.owner))] = dice.randrange(SHARDS)
            case "tell":
                cluster.tell()
            case "tick":
                committer.tick()
    cluster.breaks = 0.0
    cluster.tell()
    for _ in range(60):
        turn()
    for client in cluster.clients:
        session = client.session
        assert client.lines == session.seq, "each line is answered, once"
        assert client.heard == sorted(set(client.heard))
        mine = [seq for who, seq in cluster.carried if who is client]
        assert sorted(set(mine)) == list(dict.fromkeys(mine)), "first times are in order"
        assert list(dict.fromkeys(reversed(mine))) == sorted(set(mine), reverse=True), "and last"
        assert all(mine.count(seq) == 1 or (client, seq) in cluster.doubted for seq in mine)
        assert set(client.heard) <= set(mine)
        assert committer.routes[session.slot].number == cluster.owner[session.slot]
    left = [
        write for shard in committer.shards
        for write in (*shard._batcher.pending, *shard._batcher.flying)
    ]  # fmt: skip
    assert all(write.operation is MEASURE for write in left)
    sums = committer.sums()
    assert (sums.held_bytes, sums.lines_waiting, sums.lines_answered, sums.frees) == (0, 0, 0, 0)
