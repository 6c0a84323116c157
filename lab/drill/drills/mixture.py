"""Faults by chance: a seeded mixture of those that lose no data, one after the other or two at once."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lab.drill.judge.expectations import bites
from lab.drill.scenario import Drill, Load, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lab.drill.judge.outcome import Expectation
    from lab.drill.stage.base import Stage

# From the end of one round of faults to the next: enough to be served again in between.
PAUSE_S = (1.0, 3.0)
TWO_AT_ONCE = 0.3
DAEMONS = ("echod1", "echod2", "echod3", "echod4")
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
    undo: Callable[[Stage], object] | None = None

    def steps(self, at_s: float, chance: random.Random) -> list[Step]:
        """It, and its healing, soon after `at_s`."""
        begin_s = at_s + chance.uniform(0, 0.5)
        if self.undo is None:
            return [Step(begin_s, self.text, self.do, lasts=False)]
        end_s = begin_s + chance.uniform(*self.lasts_s)
        return [
            Step(begin_s, self.text, self.do),
            Step(end_s, f"heal: {self.text}", self.undo, heals=True),
        ]


def kinds() -> list[Kind]:
    """All faults, on every daemon."""
    return [
        *_on_part("redis", 2, 4),
        Kind("reset every client", "clients", (0, 0), lambda s: s.link("clients").reset()),
        *(kind for name in DAEMONS for kind in _on_daemon(name)),
    ]


def _on_part(name: str, down_s_max: float, frozen_s_max: float) -> list[Kind]:
    return [
        Kind(
            f"kill {name}", name, (0.3, down_s_max),
            lambda s: s.do("kill", name), lambda s: s.start_again(name),
        ),
        Kind(
            f"freeze {name}", name, (0.3, frozen_s_max),
            lambda s: s.do("freeze", name), lambda s: s.do("thaw", name),
        ),
    ]  # fmt: skip


def _on_daemon(name: str) -> list[Kind]:
    redis, daemon = f"redis:{name}", f"daemon:{name}"

    def cut(link: str, *ways: str) -> Kind:
        return Kind(
            ", ".join([f"cut {link}", *ways]), name, (0.5, 5),
            lambda s: s.link(link).hold(*ways), lambda s: s.link(link).heal(),
        )  # fmt: skip

    return [
        *_on_part(name, 2, 6),
        Kind(
            f"SIGTERM {name}", name, (0.5, 1),
            lambda s: s.do("terminate", name), lambda s: s.bring_back(name),
        ),
        cut(redis),
        cut(redis, "in"),
        Kind(f"half-open {redis}", name, (0, 0), lambda s: s.link(redis).half_open("far")),
        cut(daemon),
        Kind(f"reset {daemon}", name, (0, 0), lambda s: s.link(daemon).reset()),
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mixture:
    """Steps of a seed: rounds of faults, without end unless `until_s`; the same at each reading."""

    seed: int
    until_s: float = float("inf")
    choices: Sequence[Kind] = field(default_factory=kinds)

    def __iter__(self) -> Iterator[Step]:
        chance = random.Random(self.seed)  # noqa: S311 — a drill's dice, and no secret
        at_s = 2.0
        while at_s < self.until_s:
            chosen = [chance.choice(self.choices)]
            if chance.random() < TWO_AT_ONCE:
                second = chance.choice(self.choices)
                if second.of != chosen[0].of:
                    chosen.append(second)
            of_round = [step for kind in chosen for step in kind.steps(at_s, chance)]
            yield from sorted(of_round, key=lambda step: step.at_s)
            at_s = max(step.at_s for step in of_round) + chance.uniform(*PAUSE_S)


def by_chance(
    name: str, what: str, steps: Mixture, seconds: float, load: Load, *expects: Expectation
) -> Drill:
    """A drill of a mixture; with `seconds` infinite, until its load has done what it should."""
    return Drill(
        name,
        f"Faults by chance (seed {steps.seed}), {what}.",
        steps,
        seconds=seconds,
        expects=[bites(), *expects],
        links=frozenset({"redis", "daemon", "clients"}),
        load=load,
        only_local="it needs links of its own",
    )


def mix(seed: int = 1, seconds: float = SECONDS, load: Load | None = None) -> Drill:
    """One after the other."""
    what = "one after the other or two at once; none loses data"
    load = load or Load(quitters=6, claimants=3)
    return by_chance("mix", what, Mixture(seed, seconds - 4), seconds, load)
