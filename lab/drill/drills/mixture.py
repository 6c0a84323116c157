"""Faults by chance: a seeded mixture of those that lose no data, one after the other or two at once."""

from __future__ import annotations

import contextlib
import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lab.drill.drills.faults import (
    cut,
    deafen,
    freeze,
    half_open,
    hand_over,
    in_order,
    kill,
    lose,
    reset,
    restart_at_once,
    terminate,
)
from lab.drill.drills.rooms import LOAD
from lab.drill.judge.expectations import bites, nothing_lost
from lab.drill.scenario import Drill, Load, Step
from lab.drill.stage.base import REDIS, DrillError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lab.drill.drills.faults import Fault
    from lab.drill.stage.base import Stage

# From the end of one round of faults to the next: enough to be served again in between.
PAUSE_S = (1.0, 3.0)
TWO_AT_ONCE = 0.3
DAEMONS = ("echod1", "echod2", "echod3", "echod4")


def faults(shards: int = 1) -> list[Fault]:
    """All, on every daemon and every shard."""
    found = [reset("clients")]
    if shards == 1:
        found += [kill(REDIS), freeze(REDIS)]
    for shard in range(shards if shards > 1 else 0):
        master, replica = f"master of shard {shard}", f"replica of shard {shard}"
        found += [kill(master), freeze(master), restart_at_once(master), hand_over(shard)]
        found += [kill(replica), freeze(replica), lose(f"node of shard {shard}")]
        found += [kill(f"nodes of shard {shard}")]
    for name in DAEMONS:
        redis, daemon = f"redis:{name}", f"daemon:{name}"
        found += [kill(name), freeze(name), terminate(name), cut(redis), cut(redis, "in")]
        found += [half_open(redis, "far"), cut(daemon), reset(daemon)]
    return found


@dataclass(frozen=True, slots=True)
class Mixture:
    """Steps of a seed: rounds of faults, until `until_s`, which may be never; the same each time."""

    seed: int
    until_s: float
    choices: Sequence[Fault]

    def __iter__(self) -> Iterator[Step]:
        chance = random.Random(self.seed)  # noqa: S311 — a drill's dice, and no secret
        at_s = 2.0
        while at_s < self.until_s:
            chosen = [chance.choice(self.choices)]
            if chance.random() < TWO_AT_ONCE:
                second = chance.choice(self.choices)
                if second.thing != chosen[0].thing:
                    chosen.append(second)
            of_round = in_order(*(fault.by_chance(at_s, chance) for fault in chosen))
            yield from of_round
            at_s = of_round[-1].at_s + chance.uniform(*PAUSE_S)


def mix(seed: int = 1, seconds: float = 24.0, load: Load | None = None, shards: int = 1) -> Drill:
    """With `seconds` infinite, until its lines are sent."""
    return Drill(
        "mix",
        f"Faults by chance (seed {seed}), one after the other or two at once; none loses data.",
        Mixture(seed, seconds - 4, faults(shards)),
        seconds=seconds,
        expects=[bites()],
        links=frozenset({REDIS, "daemon", "clients"}),
        load=load or Load(quitters=6, claimants=3),
        only_local="it needs links of its own",
    )


def rooms_mix(
    seed: int = 1, seconds: float = 20.0, load: Load | None = None, shards: int = 1
) -> Drill:
    """Deafness among the faults; with `seconds` infinite, until all is delivered."""
    deafness = [
        _where_it_hears(deafen(name, lasting=lasting))
        for name in DAEMONS
        for lasting in (False, True)
    ]
    return replace(
        mix(seed, seconds, load or LOAD, shards),
        name="rooms-mix",
        what=f"Faults by chance (seed {seed}), among them deafened daemons, under members of rooms.",
        steps=Mixture(seed, seconds - 4, [*faults(shards), *deafness]),
        expects=[bites(), nothing_lost],
    )


def _where_it_hears(fault: Fault) -> Fault:
    """A subscription may be down with another fault: then there is none to cut."""

    def do(stage: Stage) -> None:
        with contextlib.suppress(DrillError):
            fault.do(stage)

    return replace(fault, do=do)
