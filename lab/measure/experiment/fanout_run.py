"""All measurements of `fleet experiment fanout`, in their order.

    for some repeats: start the peers, and let them settle under each load:
        for each of those repeats: for each system: for each number of servers: for each load:
            fanout.measure ─▶ Point

Daemons are started afresh in each repeat.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lab.errors import LabError
from lab.measure.experiment import fanout
from lab.measure.experiment import fanout_systems as systems

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lab.measure.experiment.calm import Calm
    from lab.measure.experiment.fanout import Plan, Point, Step
    from lab.measure.experiment.fanout_systems import Front
    from lab.report.progress import Progress

# Peers are started afresh so often: to settle takes them longer than to be measured.
REPEATS_OF_A_PEER = 3


@dataclass(slots=True)
class Run:
    """A plan on its way; `points` and `failed` grow."""

    plan: Plan
    calm: Calm
    progress: Progress
    points: list[Point] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    """In words."""

    def measure_all(self) -> None:
        """Every step in every repeat, every second time in reverse."""
        repeats = self.plan.repeats
        for first in range(1, repeats + 1, REPEATS_OF_A_PEER):
            with ExitStack() as running:
                peers = dict(self._peers(running))
                for repeat in range(first, min(first + REPEATS_OF_A_PEER, repeats + 1)):
                    for step in self.plan.steps if repeat % 2 else reversed(self.plan.steps):
                        fronts = (
                            self._daemons(step, repeat)
                            if step.system.peer is None
                            else peers.get(step.system.name, ())
                        )
                        with self._collecting(f"{step.system.title}, repeat {repeat}"):
                            self._step(step, fronts, repeat)

    def _step(self, step: Step, fronts: Iterable[tuple[int, Front]], repeat: int) -> None:
        """Every load on every number of servers."""
        for count, front in fronts:
            for load in step.loads[count]:
                text = f"{step.system.title}: {count} servers, {load.title}"
                self.progress.step(text)
                with self._collecting(f"{text}, repeat {repeat}"):
                    point, others = self.calm.measure(
                        repeat,
                        partial(fanout.measure, self.plan, step.system, front, load, repeat),
                    )
                    self.points.append(replace(point, others=others))

    def _daemons(self, step: Step, repeat: int) -> Iterator[tuple[int, Front]]:
        """Of which there are more and more."""
        plan = self.plan
        with (
            tempfile.TemporaryDirectory(dir=plan.data) as made,
            systems.running_daemons(step.system, plan.appendfsync, Path(made)) as (echods, redis),
        ):
            for count in step.counts(repeat):
                yield count, systems.front_of(echods.grow(count), redis)

    def _peers(self, running: ExitStack) -> Iterator[tuple[str, list[tuple[int, Front]]]]:
        """Every peer that starts, by name, settled under its loads; `running` ends them."""
        for step in self.plan.steps:
            if step.system.peer is not None:
                self.progress.note(f"{step.system.title}: starts")
                with self._collecting(step.system.title):
                    yield (
                        step.system.name,
                        [(count, self._settled(running, step, count)) for count in step.loads],
                    )

    def _settled(self, running: ExitStack, step: Step, count: int) -> Front:
        plan, system = self.plan, step.system
        if system.peer is None:
            raise AssertionError("daemons need no time to settle")
        made = Path(running.enter_context(tempfile.TemporaryDirectory(dir=plan.data)))
        program = plan.peers[system.peer.name]
        front = running.enter_context(systems.running_peer(system, program, count, made))
        if plan.settle and system.peer.settle_s:
            for load in step.loads[count]:
                self.progress.note(f"{system.title} settles: {load.title}")
                fanout.play(plan, system, front, load, system.peer.settle_s)
        return front

    @contextmanager
    def _collecting(self, what: str) -> Iterator[None]:
        """Note a LabError and go on."""
        try:
            yield
        except LabError as error:
            self.failed.append(f"{what}: {error}")
