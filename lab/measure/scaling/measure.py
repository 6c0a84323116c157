"""`fleet experiment scaling`: the same load on 1, 2, 4, 8 daemons, and what each part uses.

    for every two repeats: for each shape: start 8 daemons, wait until their homes are spread:
        for each of the two repeats: for each number of daemons, rising, then falling:
            load processes ─▶ connected ─▶ warm-up ─▶ CPU clocks ─▶ load ─▶ CPU clocks ─▶ a row

There are as many load processes (c/load.c) as daemons in use: directly, each has a daemon
of its own; through HAProxy they share its port. `lab.fleet.local.Fleet` is the fleet as shipped;
here the daemons stay while the number of them in use changes, and each of Redis and HAProxy may
be absent.
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

from lab.fleet import haproxy_server
from lab.fleet.local import ROOT
from lab.measure.clocks import Clocks
from lab.measure.generator import Load, Settings, percentile
from lab.measure.serving import HAPROXY, REDIS, SERVERS, Daemons, Stored, by_shard, port_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lab.fleet.redis_server import Appendfsync
    from lab.measure.samples import Row
    from lab.measure.serving import Running
    from lab.measure.session import Session

# Daemons, Redis and HAProxy are started afresh so often: a start takes as long as four of the
# measurements, and what it leaves to chance (addresses, hashes) must not be one draw for all.
REPEATS_OF_A_START = 2

# How often Redis's thread is looked at: 120 looks in 0.6 s tell a tenth from a fifth.
LOOK_EVERY_S = 0.005

# The kernel's letter for a thread that waits for a disk (proc(5), stat).
DISK_WAIT = "D"


# What of the fleet is there, and how many shards the store has.
Shape = dict[str, int]

# By their names in tables, plots and files: with Redis and durability `commit`, or without and
# `none`; behind HAProxy, or clients go to the daemons directly. Those that are compared with each
# other are neighbours, so that they are measured near in time.
SHAPES: dict[str, Shape] = {
    "no store, direct": {"stored": False, "proxied": False, "shards": 1},
    "Redis, direct": {"stored": True, "proxied": False, "shards": 1},
    "Redis, HAProxy": {"stored": True, "proxied": True, "shards": 1},
    "no store, HAProxy": {"stored": False, "proxied": True, "shards": 1},
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure."""

    daemons: Sequence[int]
    connections: int
    """In all, whatever the number of daemons: the same load."""
    seconds: float
    warm_up_s: float
    repeats: int
    shards: Sequence[int]
    """Of the store, on which the daemons are measured too, beside one Redis."""
    appendfsync: Appendfsync
    programs: Path
    """The built C programs."""
    data: Path
    """For Redis's files: a disk, not memory, or fsync costs nothing."""

    @property
    def shapes(self) -> dict[str, Shape]:
        """What is measured, by its name."""
        sharded = {
            f"{count} shards, direct": {"stored": True, "proxied": False, "shards": count}
            for count in self.shards
        }
        return {**SHAPES, **sharded}


def measure_all(plan: Plan, session: Session) -> list[Row]:
    """Every shape with every number of daemons, in every repeat."""
    rows: list[Row] = []
    for start in range(ceil(plan.repeats / REPEATS_OF_A_START)):
        first = start * REPEATS_OF_A_START + 1
        repeats = range(first, min(first + REPEATS_OF_A_START, plan.repeats + 1))
        shapes = plan.shapes
        for shape in reversed(shapes) if start % 2 else shapes:
            with session.collecting(f"{shape}, repeat {first}"), ExitStack() as stack:
                made = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=plan.data)))
                daemons = _daemons(plan, shape, stack, made)
                for repeat in repeats:
                    for count in plan.daemons if repeat % 2 else reversed(plan.daemons):
                        what = f"{shape}, {count} daemons"
                        with (
                            session.collecting(f"{what}, repeat {repeat}"),
                            _front(
                                daemons, count, made, proxied=bool(shapes[shape]["proxied"])
                            ) as front,
                        ):
                            make = partial(_measure, front, made, plan)
                            if seen := session.measure(what, repeat, make):
                                figures, others = seen
                                named = {"shape": shape, "daemons": count, "repeat": repeat}
                                named |= shapes[shape] | {"others": others}
                                homes = by_shard(daemons.homes(count), shapes[shape]["shards"])
                                rows.append({**named, **figures, **_spread(homes)})
    return rows


def _daemons(plan: Plan, shape: str, stack: ExitStack, directory: Path) -> Daemons:
    """The most that are measured, and their Redis if the shape has one."""
    made = plan.shapes[shape]
    flags = ["--durability", "commit" if made["stored"] else "none"]
    flags += ["--proxy-protocol"] if made["proxied"] else []
    flags += ["--store-replicas", "0"]  # where one Redis has no replica, a shard has none
    stored = Stored(plan.appendfsync, made["shards"]) if made["stored"] else None
    daemons = Daemons(stack, directory, stored, *flags)
    daemons.grow(max(plan.daemons))
    daemons.take_turns()
    return daemons


def _spread(homes: Sequence[int]) -> Row:
    """How the homes of the daemons in use fell on the shards, in words and as figures."""
    return {"homes": ", ".join(map(str, homes)), "homes_apart": max(homes) - min(homes)}


@contextmanager
def _front(daemons: Daemons, count: int, directory: Path, *, proxied: bool) -> Iterator[Running]:
    """The first `count` daemons, behind a HAProxy if they are `proxied`.

    Raises:
        lab.errors.LabError: A part did not start.
    """
    direct = daemons.running(count, "echo")
    if not proxied:
        yield direct
        return
    haproxy = haproxy_server.start(
        directory,
        ROOT / "haproxy" / "haproxy.cfg",
        [haproxy_server.Daemon.of(daemon.ready) for daemon in daemons.grow(count)],
    )
    try:
        port = port_of(haproxy.ready["echo"])
        parts = {**direct.parts, HAPROXY: [haproxy.pid]}
        yield replace(direct, ports=[port] * count, parts=parts)
    finally:
        haproxy.kill()


def _measure(front: Running, directory: Path, plan: Plan) -> Row:
    """The figures of one measurement. µs are CPU for a round trip; busy is 0 to 1."""
    count = len(front.ports)
    settings = Settings(
        connections=max(1, plan.connections // count),
        seconds=plan.seconds,
        warm_up_s=plan.warm_up_s,
    )
    with ExitStack() as opened, ThreadPoolExecutor(count) as pool:
        loads = [
            opened.enter_context(
                Load(plan.programs / "load", port, settings, directory / f"load{number}.log")
            )
            for number, port in enumerate(front.ports)
        ]
        list(pool.map(Load.await_connected, loads))
        list(pool.map(Load.go, loads))
        with _disk_waits(front.parts[REDIS]) as looks:
            before = Clocks.now(front.parts)
            list(pool.map(Load.await_measured, loads))
            used = Clocks.now(front.parts).since(before)
        results = list(pool.map(Load.right_result, loads))
    took_s = sum(result.seconds for result in results) / len(results)
    us = 1e6 / sum(result.round_trips for result in results)
    threads = [
        (cpu_s / took_s, sum(waits) / len(waits) if waits else 0.0)
        for cpu_s, waits in zip(used.each_s[REDIS], looks, strict=True)
    ] or [(0.0, 0.0)]
    counted: Counter[int] = Counter()
    for result in results:
        counted.update(dict(result.histogram_ns))
    latencies = sorted(counted.items())
    return {
        "round_trips_per_s": sum(result.round_trips / result.seconds for result in results),
        "p50_us": percentile(latencies, 0.5) / 1e3,
        "p99_us": percentile(latencies, 0.99) / 1e3,
        "daemons_us": used.s(SERVERS) * us,
        "redis_us": used.s(REDIS) * us,
        # All shards' wait for the disk; sampled.
        "redis_disk_us": sum(disk for _, disk in threads) * took_s * us,
        "haproxy_us": used.s(HAPROXY) * us,
        "servers_us": sum(map(used.s, (SERVERS, REDIS, HAPROXY))) * us,  # of the three together
        "load_us": sum(result.cpu_s for result in results) * us,
        "daemons_busy": used.s(SERVERS) / took_s / count,
        # Of the busiest shard; both fill its thread.
        "redis_busy": max(cpu for cpu, _ in threads),
        "redis_disk_busy": max(disk for _, disk in threads),
        "redis_thread_busy": max(map(sum, threads)),
        # Of all shards' CPU: an even share is one of so many.
        "busiest_shard": _largest_share([cpu for cpu, _ in threads]),
        "haproxy_busy": used.s(HAPROXY) / took_s / len(os.sched_getaffinity(0)),  # a thread a CPU
        "load_busy": max(result.cpu_s / result.seconds for result in results),
        "machine_busy": used.machine,  # all CPUs together, whoever used them
    }


def _largest_share(parts: Sequence[float]) -> float:
    """Of the sum; 0 if there is none."""
    return max(parts) / sum(parts) if sum(parts) else 0.0


@contextmanager
def _disk_waits(redis: Sequence[int]) -> Iterator[Sequence[list[bool]]]:
    """Look at each Redis's main thread again and again: does it wait for a disk?"""
    files = [Path(f"/proc/{pid}/stat") for pid in redis]
    looks: list[list[bool]] = [[] for _ in files]
    over = threading.Event()

    def watch() -> None:
        while files and not over.wait(LOOK_EVERY_S):
            for file, seen in zip(files, looks, strict=True):
                try:
                    # The program's name, in brackets, may hold spaces and brackets.
                    state = file.read_text().rpartition(")")[2].split()[0]
                except OSError:
                    return  # it has ended: the load's failures say so
                seen.append(state == DISK_WAIT)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield looks
    finally:
        over.set()
        watcher.join()
