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

from lab.errors import LabError
from lab.measure.bench.errors import BenchError
from lab.measure.bench.generator import Load, Result, Settings
from lab.measure.bench.histogram import percentile
from lab.measure.bench.process_stats import cpu_ns
from lab.measure.experiment import stack
from lab.measure.experiment.calm import Cpus, cpus
from lab.measure.experiment.costs import Busy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lab.fleet.redis_server import Appendfsync
    from lab.measure.experiment.calm import Calm
    from lab.measure.experiment.stack import Front, Shape, Stack
    from lab.report.progress import Progress

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


@dataclass(frozen=True, slots=True)
class _Clocks:
    """CPU seconds of every part since they began, and of the machine's CPUs."""

    daemons: float
    redis: float
    haproxy: float
    machine: Cpus


@dataclass(frozen=True, slots=True)
class _Seen:
    """Of one measured period: the clocks around it, and whether each look saw a disk wait."""

    before: _Clocks
    after: _Clocks
    disk: Sequence[bool]


def measure_all(plan: Plan, calm: Calm, progress: Progress) -> tuple[list[Point], list[str]]:
    """Every shape with every number of daemons, in every repeat; and what failed, in words."""
    points: list[Point] = []
    failed: list[str] = []
    for start in range(ceil(plan.repeats / REPEATS_OF_A_START)):
        first = start * REPEATS_OF_A_START + 1
        repeats = range(first, min(first + REPEATS_OF_A_START, plan.repeats + 1))
        for shape in reversed(stack.SHAPES) if start % 2 else stack.SHAPES:
            with (
                tempfile.TemporaryDirectory(dir=plan.data) as made,
                _collecting(failed, f"{shape.name}, repeat {first}"),
                stack.running(shape, max(plan.daemons), plan.appendfsync, Path(made)) as running,
            ):
                for repeat in repeats:
                    for count in plan.daemons if repeat % 2 else reversed(plan.daemons):
                        what = f"{shape.name}, {count} daemons, repeat {repeat}"
                        progress.step(what)
                        with _collecting(failed, what), running.front(count) as front:
                            point, others = calm.measure(
                                repeat, partial(_measure, running, front, count, repeat, plan)
                            )
                            points.append(replace(point, others=others))
    return points, failed


@contextmanager
def _collecting(failed: list[str], what: str) -> Iterator[None]:
    try:
        yield
    except LabError as error:
        failed.append(f"{what}: {error}")


def _measure(running: Stack, front: Front, count: int, repeat: int, plan: Plan) -> Point:
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
        with _disk_waits(front.redis) as disk:
            before = _clocks(front)
            list(pool.map(Load.await_measured, loads))
            after = _clocks(front)
        results = list(pool.map(Load.await_result, loads))
        words = "\n".join(load.words() for load in loads)
    failures = [result for result in results if result.failures or not result.round_trips]
    if failures:
        raise BenchError(f"{failures[0].explain()}\n{words}".strip())
    return _point(running.shape, count, repeat, results, _Seen(before, after, disk))


def _point(shape: Shape, count: int, repeat: int, results: Sequence[Result], seen: _Seen) -> Point:
    before, after = seen.before, seen.after
    allowed = len(os.sched_getaffinity(0))
    trips = sum(result.round_trips for result in results)
    took_s = sum(result.seconds for result in results) / len(results)
    load_s = sum(result.cpu_s for result in results)
    daemons_s, redis_s = after.daemons - before.daemons, after.redis - before.redis
    haproxy_s = after.haproxy - before.haproxy
    disk_share = sum(seen.disk) / len(seen.disk) if seen.disk else 0.0
    counted: Counter[int] = Counter()
    for result in results:
        counted.update(dict(result.histogram_ns))
    latencies = sorted(counted.items())
    machine_s = after.machine.total - before.machine.total
    return Point(
        shape=shape,
        daemons=count,
        repeat=repeat,
        round_trips_per_s=sum(result.round_trips / result.seconds for result in results),
        p50_us=percentile(latencies, 0.5) / 1e3,
        p99_us=percentile(latencies, 0.99) / 1e3,
        daemons_us=daemons_s / trips * 1e6,
        redis_us=redis_s / trips * 1e6,
        redis_disk_us=disk_share * took_s / trips * 1e6,
        haproxy_us=haproxy_s / trips * 1e6,
        load_us=load_s / trips * 1e6,
        busy=Busy(
            daemons=daemons_s / took_s / count,
            redis=redis_s / took_s,
            redis_disk=disk_share,
            haproxy=haproxy_s / took_s / allowed,  # as many threads as CPUs
            load=max(result.cpu_s / result.seconds for result in results),
            machine=(after.machine.used - before.machine.used) / machine_s if machine_s else 0.0,
        ),
    )


def _clocks(front: Front) -> _Clocks:
    return _Clocks(
        daemons=sum(map(cpu_ns, front.daemons)) / 1e9,
        redis=cpu_ns(front.redis) / 1e9 if front.redis else 0.0,
        haproxy=cpu_ns(front.haproxy) / 1e9 if front.haproxy else 0.0,
        machine=cpus(),
    )


@contextmanager
def _disk_waits(pid: int | None) -> Iterator[list[bool]]:
    """Look at the process's main thread again and again: does it wait for a disk?"""
    looks: list[bool] = []
    if pid is None:
        yield looks
        return
    file = Path(f"/proc/{pid}/stat")
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
