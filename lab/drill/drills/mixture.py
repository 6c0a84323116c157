"""Faults by chance: a seeded mixture of those that lose no data, one after the other or two at once."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.drill.drills.steps import bring_back
from lab.drill.judge.expectations import bites
from lab.drill.scenario import Drill, Load, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lab.drill.stage.base import Stage

# From the end of one round of faults to the next: enough to be served again in between.
PAUSE_S = (1.0, 3.0)
TWO_AT_ONCE = 0.3
DAEMONS = 4
# Of the list's; another one is asked for by its seed.
SECONDS = 24.0


@dataclass(frozen=True, slots=True)
class Kind:
    """A fault on something, for a time between two bounds; without `undo` it heals by itself."""

    text: str
    of: str
    """What it is on: two at once are never on the same."""
    lasts_s: tuple[float, float]
    do: Callable[[Stage], object]
    undo: Callable[[Stage], object] | None


def kinds() -> list[Kind]:
    """All faults, on every daemon."""
    found = [
        Kind("kill redis", "redis", (0.3, 2), lambda s: s.kill("redis"),
             lambda s: s.start_again("redis")),
        Kind("freeze redis", "redis", (0.3, 4), lambda s: s.freeze("redis"),
             lambda s: s.thaw("redis")),
        Kind("reset every client", "clients", (0, 0), lambda s: s.link("clients").reset(), None),
    ]  # fmt: skip
    for number in range(1, DAEMONS + 1):
        found += _on_daemon(f"echod{number}")
    return found


def _on_daemon(name: str) -> list[Kind]:
    redis, daemon = f"redis:{name}", f"daemon:{name}"

    def cut(link: str, *ways: str) -> Kind:
        return Kind(
            ", ".join([f"cut {link}", *ways]), name, (0.5, 5),
            lambda s: s.link(link).hold(*ways), lambda s: s.link(link).heal(),
        )  # fmt: skip

    return [
        Kind(f"kill {name}", name, (0.3, 2), lambda s: s.kill(name),
             lambda s: s.start_again(name)),
        Kind(f"freeze {name}", name, (0.3, 6), lambda s: s.freeze(name), lambda s: s.thaw(name)),
        Kind(f"SIGTERM {name}", name, (0.5, 1), lambda s: s.terminate(name),
             lambda s: bring_back(s, name)),
        cut(redis),
        cut(redis, "in"),
        Kind(f"half-open {redis}", name, (0, 0), lambda s: s.link(redis).half_open("far"), None),
        cut(daemon),
        Kind(f"reset {daemon}", name, (0, 0), lambda s: s.link(daemon).reset(), None),
    ]  # fmt: skip


def _made(kind: Kind, at_s: float, chance: random.Random) -> list[Step]:
    begin_s = at_s + chance.uniform(0, 0.5)
    if kind.undo is None:
        return [Step(begin_s, kind.text, kind.do, lasts=False)]
    return [
        Step(begin_s, kind.text, kind.do),
        Step(begin_s + chance.uniform(*kind.lasts_s), f"heal: {kind.text}", kind.undo, heals=True),
    ]


class Mixture:
    """Steps of a seed: rounds of faults, without end unless `until_s`; the same at each reading."""

    def __init__(
        self, seed: int, until_s: float = float("inf"), choices: Sequence[Kind] = ()
    ) -> None:
        self._seed = seed
        self._until_s = until_s
        self._choices = choices or kinds()

    def __iter__(self) -> Iterator[Step]:
        chance = random.Random(self._seed)  # noqa: S311 — a drill's dice, and no secret
        at_s = 2.0
        while at_s < self._until_s:
            chosen = [chance.choice(self._choices)]
            if chance.random() < TWO_AT_ONCE:
                second = chance.choice(self._choices)
                if second.of != chosen[0].of:
                    chosen.append(second)
            of_round = [step for kind in chosen for step in _made(kind, at_s, chance)]
            yield from sorted(of_round, key=lambda step: step.at_s)
            at_s = max(step.at_s for step in of_round) + chance.uniform(*PAUSE_S)


def drill(seed: int, seconds: float, load: Load | None = None) -> Drill:
    """The drill `mix`; with `seconds` infinite, until its lines are sent."""
    return Drill(
        "mix",
        f"Faults by chance (seed {seed}), one after the other or two at once; none loses data.",
        Mixture(seed, seconds - 4),
        seconds=seconds,
        expects=[bites()],
        links=frozenset({"redis", "daemon", "clients"}),
        load=load or Load(quitters=6, claimants=3),
        only_local="it needs links of its own",
    )
