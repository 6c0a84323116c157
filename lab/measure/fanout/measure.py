"""All measurements of `fleet experiment fanout`, in their order.

    for some repeats: start the peers, and let them settle under each load:
        for each of those repeats: for each system: for each number of servers: for each load:
            members join ─▶ warm-up ─▶ CPU clocks ─▶ posts ─▶ CPU clocks ─▶ the account ─▶ a row

The load (c/fanout.c) is an open loop: so many posts a second, whatever becomes of them, at
rates that leave the machine some of its CPUs. What is compared is what a delivery costs.
Daemons are started afresh in each repeat.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lab.measure.clocks import Clocks
from lab.measure.errors import MeasureError
from lab.measure.fanout.systems import COMPARED_SERVERS, POSTS, PUBLICATIONS, VAIN, counters
from lab.measure.generator import SLACK_S, Generator, flags, percentile
from lab.measure.peers import servers
from lab.measure.serving import REDIS, SERVERS, Daemons, Stored

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lab.measure.clocks import Used
    from lab.measure.fanout.systems import Load, Plan, Step, System
    from lab.measure.samples import Row
    from lab.measure.serving import Running
    from lab.measure.session import Session

# Peers are started afresh so often: to settle takes them longer than to be measured.
REPEATS_OF_A_PEER = 3


@dataclass(frozen=True, slots=True)
class Settings:
    """What the generator is told; c/fanout.c says what each means."""

    speech: str
    rooms: int
    members: int
    """Of each room."""
    posts_per_s: float
    """In all rooms together."""
    seconds: float
    warm_up_s: float = 1.0
    text_bytes: int = 64
    joining_max: int = 32
    answer_s_max: float = 5.0
    join_s_max: float = 60.0

    @property
    def took_s_max(self) -> float:
        """How long any of its steps may take before it counts as hung."""
        return self.join_s_max + self.warm_up_s + self.seconds + self.answer_s_max + SLACK_S


@dataclass(frozen=True, slots=True)
class Result:
    """What it measured; what went wrong is counted from the first post, the warm-up's included."""

    deliveries: int
    posts: int
    seconds: float
    cpu_s: float
    late_ns_max: int
    """How late a post left, at worst: the generator's own fault."""
    wrong: int
    duplicated: int
    reordered: int
    missing: int
    unacknowledged: int
    closed: int
    histogram_ns: list[tuple[int, int]]
    """From a post to each of its deliveries."""

    @property
    def lost(self) -> int:
        """Deliveries that were wrong, repeated or missing, and connections that ended."""
        return self.wrong + self.duplicated + self.missing + self.unacknowledged + self.closed

    def explain(self) -> str:
        """What went wrong, by kind, in words."""
        return (
            f"{self.missing} deliveries missing, {self.wrong} wrong, {self.duplicated} repeated,"
            f" {self.reordered} out of order, {self.unacknowledged} posts unacknowledged,"
            f" {self.closed} connections closed"
        )


class Fanout(Generator[Result]):
    """The generator, with members on every one of `ports` of 127.0.0.1."""

    result = Result

    def __init__(self, program: Path, ports: Sequence[int], settings: Settings, log: Path) -> None:
        told = {"ports": ",".join(map(str, ports)), **asdict(settings)}
        super().__init__([str(program), *flags(told)], settings.took_s_max, log)


def measure_all(plan: Plan, session: Session) -> list[Row]:
    """Every step in every repeat."""
    rows: list[Row] = []
    for repeat, step, peers in _turns(plan, session):
        system = step.system
        with session.collecting(f"{system.title}, repeat {repeat}"):
            for count, front in _fronts(plan, step, repeat, peers):
                for load in step.loads[count]:
                    made = session.measure(
                        f"{system.title}: {count} servers, {load.title}",
                        repeat,
                        partial(measure, plan, system, front, load),
                    )
                    if made:
                        figures, others = made
                        named = {"system": system.name, "servers": count, "repeat": repeat}
                        rows.append({**asdict(load), **named, **figures, "others": others})
    return rows


def _turns(plan: Plan, session: Session) -> Iterator[tuple[int, Step, Mapping[str, Running]]]:
    """Each repeat's steps, every second time in reverse, and the peers that run meanwhile."""
    for first in range(1, plan.repeats + 1, REPEATS_OF_A_PEER):
        with ExitStack() as running:
            peers = _peers(plan, session, running)
            for repeat in range(first, min(first + REPEATS_OF_A_PEER, plan.repeats + 1)):
                for step in plan.steps if repeat % 2 else reversed(plan.steps):
                    yield repeat, step, peers


def _fronts(
    plan: Plan, step: Step, repeat: int, peers: Mapping[str, Running]
) -> Iterator[tuple[int, Running]]:
    """What is put under load, by the number of its servers; of daemons there are more and more."""
    system = step.system
    if system.peer:
        if system.name in peers:
            yield COMPARED_SERVERS, peers[system.name]
        return
    with ExitStack() as stack:
        made = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=plan.data)))
        flags = f"--room-route={system.route}", f"--room-tick-s={system.tick_s:g}"
        daemons = Daemons(stack, made, Stored(plan.appendfsync), *flags)
        for count in step.counts(repeat):
            yield count, daemons.running(count, "session")


def _peers(plan: Plan, session: Session, running: ExitStack) -> dict[str, Running]:
    """Every peer that starts, by name, settled under its loads; `running` ends them."""
    found = {}
    for step in plan.steps:
        system, peer = step.system, step.system.peer
        if peer is None:
            continue
        session.progress.note(f"{system.title}: starts")
        with session.collecting(system.title):
            made = Path(running.enter_context(tempfile.TemporaryDirectory(dir=plan.data)))
            program = plan.peers[peer.name]
            front = running.enter_context(servers.running(peer, program, COMPARED_SERVERS, made))
            for load in step.loads[COMPARED_SERVERS] if plan.settle and peer.settle_s else ():
                session.progress.note(f"{system.title} settles: {load.title}")
                play(plan, system, front, load, peer.settle_s)
            found[system.name] = front
    return found


def measure(plan: Plan, system: System, front: Running, load: Load) -> Row:
    """The figures of one measurement. µs are CPU for a delivery; busy is 0 to 1.

    Raises:
        LabError: It could not be made, or a daemon did not deliver what it promises.
    """
    result, words, counted, used = play(plan, system, front, load, plan.seconds)
    if not result.deliveries or (system.peer is None and (result.lost or result.reordered)):
        raise MeasureError(f"{result.explain()}\n{words}".strip())
    us = 1e6 / result.deliveries
    servers_us, redis_us = used.s(SERVERS) * us, used.s(REDIS) * us
    publications = counted[PUBLICATIONS]
    return {
        "deliveries_per_s": result.deliveries / result.seconds,
        "p50_ms": percentile(result.histogram_ns, 0.5) / 1e6,
        "p99_ms": percentile(result.histogram_ns, 0.99) / 1e6,
        "servers_us": servers_us,
        "redis_us": redis_us,
        "total_us": servers_us + redis_us,
        "per_cpu_s": 1e6 / (servers_us + redis_us),  # deliveries for a CPU second of both
        "load_us": result.cpu_s * us,
        # Publications that reached a daemon, for a post, and the share of them that found no
        # member there; 0 for a peer.
        "copies": publications / counted[POSTS] if counted[POSTS] else 0.0,
        "vain": counted[VAIN] / publications if publications else 0.0,
        "late_ms": result.late_ns_max / 1e6,  # how late the generator sent, at worst
        # Deliveries missing, repeated or wrong: never of a daemon, a finding of a peer. And those
        # behind a later post: no peer promises an order.
        "lost": result.lost,
        "reordered": result.reordered,
        "server_busy": max(used.each_s[SERVERS]) / result.seconds,  # the busiest process
        "redis_busy": used.s(REDIS) / result.seconds,
        "load_busy": result.cpu_s / result.seconds,
        "machine_busy": used.machine,
    }


def play(
    plan: Plan, system: System, front: Running, load: Load, seconds: float
) -> tuple[Result, str, dict[str, float], Used]:
    """Have one load played: what the generator measured and said, daemons counted, and CPU.

    Raises:
        LabError: It could not be.
    """
    settings = Settings(
        system.speech,
        **asdict(load),
        seconds=seconds,
        warm_up_s=plan.warm_up_s,
    )
    with tempfile.TemporaryDirectory() as made:
        log = Path(made) / "fanout.log"
        with Fanout(plan.programs / "fanout", front.ports, settings, log) as fanout:
            fanout.await_connected()
            earlier = counters(front)
            fanout.go()
            before = Clocks.now(front.parts)
            fanout.await_measured()
            used = Clocks.now(front.parts).since(before)
            result = fanout.await_result()
            counted = {name: value - earlier[name] for name, value in counters(front).items()}
            return result, fanout.words(), counted, used
