"""`fleet experiment scaling`: the same load on 1, 2, 4, 8 daemons, and what each part uses.

    for every two repeats: for each shape: start 8 daemons:
        for each of the two repeats: for each number of daemons, rising, then falling:
            load processes ─▶ connected ─▶ warm-up ─▶ CPU clocks ─▶ load ─▶ CPU clocks ─▶ Point

There are as many load processes (c/load.c) as daemons in use: directly, each has a daemon
of its own; through HAProxy they share its port.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from lab.measure.clocks import Clocks
from lab.measure.generator import Load, Settings, percentile
from lab.measure.scaling import stack
from lab.measure.scaling.costs import Busy
from lab.measure.serving import HAPROXY, REDIS, SERVERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lab.fleet.redis_server import Appendfsync
    from lab.measure.scaling.stack import Shape, Stack
    from lab.measure.serving import Running
    from lab.measure.session import Session

# Daemons, Redis and HAProxy are started afresh so often: a start takes as long as four of the
# measurements, and what it leaves to chance (addresses, hashes) must not be one draw for all.
REPEATS_OF_A_START = 2

# How often Redis's thread is looked at: 120 looks in 0.6 s tell a tenth from a fifth.
LOOK_EVERY_S = 0.005

# The kernel's letter for a thread that waits for a disk (proc(5), stat).
DISK_WAIT = "D"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure."""

    daemons: Sequence[int]
    connections: int
    """In all, whatever the number of daemons: the same load."""
    seconds: float
    warm_up_s: float
    repeats: int
    appendfsync: Appendfsync
    programs: Path
    """The built C programs."""
    data: Path
    """For Redis's files: a disk, not memory, or fsync costs nothing."""


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement. µs are CPU for a round trip."""

    shape: Shape
    daemons: int
    repeat: int
    round_trips_per_s: float
    p50_us: float
    p99_us: float
    daemons_us: float
    redis_us: float
    redis_disk_us: float
    """Redis's wait for the disk for a round trip; sampled."""
    haproxy_us: float
    load_us: float
    busy: Busy
    others: float = 0.0
    """What other programs used of the CPUs meanwhile (calm.py), 0 to 1."""


def measure_all(plan: Plan, session: Session) -> list[Point]:
    """Every shape with every number of daemons, in every repeat."""
    points: list[Point] = []
    for start in range(ceil(plan.repeats / REPEATS_OF_A_START)):
        first = start * REPEATS_OF_A_START + 1
        repeats = range(first, min(first + REPEATS_OF_A_START, plan.repeats + 1))
        for shape in reversed(stack.SHAPES) if start % 2 else stack.SHAPES:
            with (
                tempfile.TemporaryDirectory(dir=plan.data) as made,
                session.collecting(f"{shape.name}, repeat {first}"),
                stack.running(shape, max(plan.daemons), plan.appendfsync, Path(made)) as running,
            ):
                for repeat in repeats:
                    for count in plan.daemons if repeat % 2 else reversed(plan.daemons):
                        points += _measured(running, count, repeat, plan, session)
    return points


def _measured(
    running: Stack, count: int, repeat: int, plan: Plan, session: Session
) -> Iterator[Point]:
    """One, or none if it failed."""
    what = f"{running.shape.name}, {count} daemons"
    with session.collecting(f"{what}, repeat {repeat}"), running.front(count) as front:
        made = session.measure(what, repeat, partial(_measure, running, front, repeat, plan))
        if made:
            point, others = made
            yield replace(point, others=others)


def _measure(running: Stack, front: Running, repeat: int, plan: Plan) -> Point:
    count = len(front.ports)
    settings = Settings(
        connections=max(1, plan.connections // count),
        seconds=plan.seconds,
        warm_up_s=plan.warm_up_s,
    )
    program = plan.programs / "load"
    with ExitStack() as opened, ThreadPoolExecutor(count) as pool:
        loads = [
            opened.enter_context(
                Load(program, port, settings, running.directory / f"load{number}.log")
            )
            for number, port in enumerate(front.ports)
        ]
        list(pool.map(Load.await_connected, loads))
        list(pool.map(Load.go, loads))
        with _disk_waits(front.parts[REDIS]) as disk:
            before = Clocks.now(front.parts)
            list(pool.map(Load.await_measured, loads))
            used = Clocks.now(front.parts).since(before)
        results = list(pool.map(Load.right_result, loads))
    trips = sum(result.round_trips for result in results)
    took_s = sum(result.seconds for result in results) / len(results)
    us = 1e6 / trips
    disk_share = sum(disk) / len(disk) if disk else 0.0
    counted: Counter[int] = Counter()
    for result in results:
        counted.update(dict(result.histogram_ns))
    latencies = sorted(counted.items())
    return Point(
        shape=running.shape,
        daemons=count,
        repeat=repeat,
        round_trips_per_s=sum(result.round_trips / result.seconds for result in results),
        p50_us=percentile(latencies, 0.5) / 1e3,
        p99_us=percentile(latencies, 0.99) / 1e3,
        daemons_us=used.s(SERVERS) * us,
        redis_us=used.s(REDIS) * us,
        redis_disk_us=disk_share * took_s * us,
        haproxy_us=used.s(HAPROXY) * us,
        load_us=sum(result.cpu_s for result in results) * us,
        busy=Busy(
            daemons=used.s(SERVERS) / took_s / count,
            redis=used.s(REDIS) / took_s,
            redis_disk=disk_share,
            haproxy=used.s(HAPROXY) / took_s / len(os.sched_getaffinity(0)),  # a thread a CPU
            load=max(result.cpu_s / result.seconds for result in results),
            machine=used.machine,
        ),
    )


@contextmanager
def _disk_waits(redis: Sequence[int]) -> Iterator[list[bool]]:
    """Look at Redis's main thread again and again, if there is one: does it wait for a disk?"""
    looks: list[bool] = []
    if not redis:
        yield looks
        return
    file = Path(f"/proc/{redis[0]}/stat")
    over = threading.Event()

    def watch() -> None:
        while not over.wait(LOOK_EVERY_S):
            try:
                # The program's name, in brackets, may hold spaces and brackets.
                state = file.read_text().rpartition(")")[2].split()[0]
            except OSError:
                return  # it has ended: the load's failures say so
            looks.append(state == DISK_WAIT)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield looks
    finally:
        over.set()
        watcher.join()
