"""Faults: what is done to a stage, and what undoes it. Drills and mixtures make their steps of them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.drill.scenario import Step
from lab.drill.stage.base import REDIS, DrillError

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable

    from lab.drill.stage.base import Stage

# Of a drill's 60 clients, those that a fault must reach, or nothing was tried: on one of four
# daemons, which have as many clients each; on one of three shards, where at least one of those
# daemons is at home; and on all that is there.
OF_A_DAEMON, OF_A_SHARD, OF_ALL = 10, 10, 50


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault on something, and its healing; without `undo` it heals by itself."""

    text: str
    of: str
    """What it is on."""
    do: Callable[[Stage], object]
    undone: str = ""
    """The healing in words."""
    undo: Callable[[Stage], object] | None = None
    lasts_s: tuple[float, float] = (0, 0)
    """In a mixture, between these bounds."""
    loses: bool = False
    """It may lose data that Redis had acknowledged."""

    @property
    def thing(self) -> str:
        """A mixture never makes two faults at once on the same: a part, or a shard."""
        return self.of.rpartition(" of ")[2]

    def steps(self, begin_s: float, end_s: float = 0) -> list[Step]:
        """It happens, and is healed, at these times."""
        begin = Step(
            begin_s, self.text, self.do, loses=self.loses, of=self.of, lasts=self.undo is not None
        )
        if self.undo is None:
            return [begin]
        return [begin, Step(end_s, self.undone, self.undo, heals=True, of=self.of)]

    def by_chance(self, at_s: float, chance: random.Random) -> list[Step]:
        """Its steps in a mixture, soon after `at_s`."""
        begin_s = at_s + chance.uniform(0, 0.5)
        return self.steps(begin_s, begin_s + chance.uniform(*self.lasts_s) if self.undo else 0)


def in_order(*steps: Iterable[Step]) -> list[Step]:
    """The steps of several faults, by their time."""
    return sorted(itertools.chain(*steps), key=lambda step: step.at_s)


def kill(*names: str, loses: bool = False) -> Fault:
    """SIGKILL; `loses`: of so many nodes of a shard that an answered line may be lost."""

    def do(stage: Stage) -> None:
        for name in names:
            stage.do("kill", name)

    def undo(stage: Stage) -> None:
        for name in names:
            stage.do("start", name)

    what = " and ".join(names)
    return Fault(f"kill {what}", what, do, f"start {what}", undo, (0.3, 2), loses=loses)


def freeze(name: str) -> Fault:
    """SIGSTOP: its kernel accepts, it does not answer."""
    return Fault(
        f"freeze {name}", name, lambda stage: stage.do("freeze", name),
        f"thaw {name}", lambda stage: stage.do("thaw", name), (0.3, 4 if name == REDIS else 6),
    )  # fmt: skip


def terminate(name: str) -> Fault:
    """SIGTERM."""
    return Fault(
        f"SIGTERM {name}", name, lambda stage: stage.do("drain", name),
        f"wait for its end, start {name}", lambda stage: stage.bring_back(name), (0.5, 1),
    )  # fmt: skip


def restart(name: str) -> Fault:
    """In order; it serves again when the step is done."""

    def act(stage: Stage) -> None:
        stage.do("drain", name)
        stage.bring_back(name)
        stage.await_balance()

    return Fault(f"SIGTERM {name}, wait for its end, start it", name, act)


def cut(link: str, *ways: str) -> Fault:
    """It stands still, both ways or one; what was on the way comes late."""
    return Fault(
        ", ".join([f"cut {link}", *ways]), _end(link), lambda stage: stage.link(link).hold(*ways),
        f"heal {link}", lambda stage: stage.link(link).heal(), (0.5, 5),
    )  # fmt: skip


def isolate(part: str, *daemons: str) -> Fault:
    """Nodes are cut off from all others; `daemons` too, and reach these alone."""
    beside = f", {' and '.join(daemons)} beside it" if daemons else ""
    return Fault(
        f"cut {part} off from all other nodes{beside}", part,
        lambda stage: stage.isolate(part, *daemons),
        f"heal the links of {part}", lambda stage: stage.rejoin(part, *daemons), (0.5, 5),
    )  # fmt: skip


def half_open(link: str, end: str) -> Fault:
    """One end of each connection is gone, the other does not know."""
    text = f"half-open {link}, the {end} end is reset"
    return Fault(text, _end(link), lambda stage: stage.link(link).half_open(end))


def reset(link: str) -> Fault:
    """Both ends of every connection."""
    text = "reset every client" if link == "clients" else f"reset {link}"
    return Fault(text, _end(link), lambda stage: stage.link(link).reset())


def deafen(name: str, *, lasting: bool) -> Fault:
    """A daemon's subscription alone stands still; `lasting`: any that follows it too.

    Half-open, as after a firewall forgot it: its other connection to Redis, and its clients, go on.
    """
    link = f"redis:{name}"

    def do(stage: Stage) -> None:
        if not stage.link(link).deafen(lasting=lasting)["deaf"]:
            raise DrillError(f"{link}: no connection has subscribed")

    return Fault(
        f"deafen {name}" + (", its next subscriptions too" if lasting else ""), name, do,
        f"heal {link}", lambda stage: stage.link(link).heal(), (0.5, 6),
    )  # fmt: skip


def lose(part: str) -> Fault:
    """A node is killed, its disk deleted, and it joins again as the empty node that it is."""

    def undo(stage: Stage) -> None:
        stage.do("start", part)
        stage.await_whole()

    return Fault(
        f"kill {part}, delete its disk", part, lambda stage: stage.lose(part),
        f"start {part} again, wait until its shard is whole", undo,
    )  # fmt: skip


def restart_at_once(part: str) -> Fault:
    """SIGKILL, and it starts again before anybody has taken its place."""

    def act(stage: Stage) -> None:
        stage.do("kill", part)
        stage.do("start", part)

    return Fault(f"kill {part}, start it at once", part, act)


def hand_over(shard: int) -> Fault:
    """A replica becomes the shard's master, in order."""

    def act(stage: Stage) -> None:
        stage.await_whole()
        stage.hand_over(shard)

    return Fault(f"hand shard {shard} over to a replica", f"nodes of shard {shard}", act)


def _end(link: str) -> str:
    """The daemon that a link is of, or the clients."""
    return link.rpartition(":")[2]
