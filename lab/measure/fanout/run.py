"""All measurements of `fleet experiment fanout`, in their order.

    for some repeats: start the peers, and let them settle under each load:
        for each of those repeats: for each system: for each number of servers: for each load:
            measure.measure ─▶ Point

Daemons are started afresh in each repeat.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lab.measure.fanout import measure, systems
from lab.measure.peers import servers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lab.measure.fanout.measure import Point
    from lab.measure.fanout.plan import Plan, Step
    from lab.measure.serving import Running
    from lab.measure.session import Session

# Peers are started afresh so often: to settle takes them longer than to be measured.
REPEATS_OF_A_PEER = 3


@dataclass(slots=True)
class Run:
    """A plan on its way; `points` grows."""

    plan: Plan
    session: Session
    points: list[Point] = field(default_factory=list)

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
                        with self.session.collecting(f"{step.system.title}, repeat {repeat}"):
                            self._step(step, fronts, repeat)

    def _step(self, step: Step, fronts: Iterable[tuple[int, Running]], repeat: int) -> None:
        """Every load on every number of servers."""
        for count, front in fronts:
            for load in step.loads[count]:
                made = self.session.measure(
                    f"{step.system.title}: {count} servers, {load.title}",
                    repeat,
                    partial(measure.measure, self.plan, step.system, front, load, repeat),
                )
                if made:
                    point, others = made
                    self.points.append(replace(point, others=others))

    def _daemons(self, step: Step, repeat: int) -> Iterator[tuple[int, Running]]:
        """Of which there are more and more."""
        with ExitStack() as stack:
            made = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=self.plan.data)))
            daemons = systems.daemons_of(step.system, stack, made, self.plan.appendfsync)
            for count in step.counts(repeat):
                yield count, daemons.running(count, "session")

    def _peers(self, running: ExitStack) -> Iterator[tuple[str, list[tuple[int, Running]]]]:
        """Every peer that starts, by name, settled under its loads; `running` ends them."""
        for step in self.plan.steps:
            if step.system.peer is not None:
                self.session.progress.note(f"{step.system.title}: starts")
                with self.session.collecting(step.system.title):
                    yield (
                        step.system.name,
                        [(count, self._settled(running, step, count)) for count in step.loads],
                    )

    def _settled(self, running: ExitStack, step: Step, count: int) -> Running:
        plan, system = self.plan, step.system
        if system.peer is None:
            raise AssertionError("daemons need no time to settle")
        made = Path(running.enter_context(tempfile.TemporaryDirectory(dir=plan.data)))
        program = plan.peers[system.peer.name]
        front = running.enter_context(servers.running(system.peer, program, count, made))
        if plan.settle and system.peer.settle_s:
            for load in step.loads[count]:
                self.session.progress.note(f"{system.title} settles: {load.title}")
                measure.play(plan, system, front, load, system.peer.settle_s)
        return front
