"""What `fleet experiment fanout` measures: rooms and posts, on whom, how often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.measure.fanout.systems import ROOM, daemons, peers

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from lab.fleet.redis_server import Appendfsync
    from lab.measure.fanout.systems import System
    from lab.measure.samples import Row

# For comparing with the peers: processes of each.
COMPARED_SERVERS = 4

# Channels takes some ten times the others' CPU: at their rates it would only queue.
SLOW_PEERS = {"channels": 0.1}

# Between the fewest and the most daemons there is a curve to draw, and nothing to decide.
NOW_AND_THEN = 3


@dataclass(frozen=True, slots=True)
class Load:
    """Rooms and posts."""

    rooms: int
    members: int
    """Of each room."""
    posts_per_s: float
    """In all rooms together."""

    @classmethod
    def of(cls, row: Row) -> Load:
        """That of a measurement."""
        return cls(row["rooms"], row["members"], row["posts_per_s"])

    @property
    def title(self) -> str:
        """In sentences: `50 rooms of 20 at 400 posts/s`."""
        rooms = "one room" if self.rooms == 1 else f"{self.rooms:,} rooms"
        return f"{rooms} of {self.members:,} at {self.posts_per_s:g} posts/s"

    def times(self, factor: float) -> Load:
        """The same rooms with so many times the posts."""
        return Load(self.rooms, self.members, self.posts_per_s * factor)


@dataclass(frozen=True, slots=True)
class Loads:
    """What every route is put under, and what is measured with a tick too."""

    large: Load
    some: Load
    small: Load
    fast: Load
    """From here on a tick of `TICK_S` gathers two posts or more."""

    @property
    def grid(self) -> tuple[Load, Load, Load]:
        """Those that compare the routes."""
        return self.large, self.some, self.small


# Rooms of 1,000, 20 and 2; one, some and many. Rates that leave two CPUs something to spare.
LOADS = Loads(Load(1, 1_000, 40), Load(50, 20, 400), Load(500, 2, 400), fast=Load(1, 1_000, 100))
QUICK = Loads(Load(1, 60, 40), Load(5, 8, 50), Load(20, 2, 50), fast=Load(1, 60, 100))

TICK_S = 0.02


@dataclass(frozen=True, slots=True)
class Step:
    """One system with some numbers of servers, each under some loads."""

    system: System
    loads: Mapping[int, Sequence[Load]]
    """By the number of servers, rising."""
    now_and_then: Collection[int] = ()
    """Numbers of servers that no question compares: every `NOW_AND_THEN` repeats will do."""

    def counts(self, repeat: int) -> list[int]:
        """The numbers of servers of that repeat, counted from 1."""
        all_of_them = repeat % NOW_AND_THEN == 1
        return [count for count in self.loads if all_of_them or count not in self.now_and_then]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure."""

    loads: Loads
    steps: Sequence[Step]
    seconds: float
    warm_up_s: float
    repeats: int
    appendfsync: Appendfsync
    programs: Path
    """The built C programs."""
    peers: Mapping[str, Path]
    """What each peer is started from."""
    settle: bool
    """Whether peers get the time that they need to be at their best."""
    data: Path
    """For Redis's files: a disk, not memory, or fsync costs nothing."""

    @property
    def measurements(self) -> int:
        """Of all repeats."""
        return sum(
            len(step.loads[count])
            for repeat in range(1, self.repeats + 1)
            for step in self.steps
            for count in step.counts(repeat)
        )


def steps(
    counts: Sequence[int], routes: Sequence[str], loads: Loads, programs: Mapping[str, Path]
) -> list[Step]:
    """The routes; then, side by side, what is compared with four servers: the tick, the peers.

    Args:
        counts: Numbers of daemons.
        routes: By their names.
        loads: What they are put under.
        programs: What each peer is started from, by name.
    """
    made = []
    for route in sorted(routes, key=lambda one: one == ROOM):
        # With peers these four are measured beside them.
        beside = programs and route == ROOM
        own = [count for count in counts if not (beside and count == COMPARED_SERVERS)]
        made.append(Step(daemons(route), dict.fromkeys(own, loads.grid), now_and_then=own[1:-1]))
    compared = [*loads.grid, loads.fast] if programs else [loads.fast]
    made += [
        Step(daemons(ROOM), {COMPARED_SERVERS: compared}),
        Step(daemons(ROOM, TICK_S), {COMPARED_SERVERS: [loads.fast]}),
    ]
    for system in peers(programs):
        slower = SLOW_PEERS.get(system.name, 1.0)
        under = [loads.large, loads.some, *([loads.fast] if slower == 1 else [])]
        made.append(Step(system, {COMPARED_SERVERS: [load.times(slower) for load in under]}))
    return made
