"""One measurement: a fresh Redis, a fresh server, the generator, and what the kernel counted.

        Redis ─▶ server ─▶ one line ─▶ memory ─▶ N connect ─▶ memory
                                    ─▶ warm-up ─▶ CPU time ─▶ load ─▶ CPU time

Called by `cli.py` for each row of each round, and by `many.py`.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lab.fleet import processes, redis_server
from lab.measure.bench.errors import BenchError
from lab.measure.bench.generator import Load, Result
from lab.measure.bench.histogram import percentile
from lab.measure.bench.process_stats import CpuTime, cpu_time, rss_bytes, rss_bytes_max

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lab.fleet.redis_server import RedisServer
    from lab.measure.bench.cores import Cores
    from lab.measure.bench.generator import Settings
    from lab.measure.bench.rows import Row

BASELINES = Path(__file__).parent / "baselines"

# The first line to a server that has just said that it is ready.
FIRST_LINE_S_MAX = 10.0
# What is said, and how each reply begins, by the port's name.
FIRST_LINES = {
    "echo": {b"first\n": b"first\n"},
    "session": {b"HELLO\n": b"WELCOME ", b"ECHO 1 first\n": b"ECHO 1 first\n", b"QUIT\n": b"BYE\n"},
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where measurements are made."""

    cores: Cores
    cache: Path
    """For the data of Redis servers: a disk, not memory, or fsync costs nothing."""
    programs: Path
    """The built C programs."""


@dataclass(frozen=True, slots=True)
class Run:
    """One row, once. CPU and latencies in µs, memory in bytes a connection."""

    row: str
    connections: int
    round: int
    round_trips_per_s: float
    server_us: float
    """The server process's CPU per round trip, user and kernel."""
    server_kernel_share: float | None
    server_busy: float
    """Of one core, 0 to 1: below 0.95 it waited, for Redis or for the load."""
    redis_us: float | None
    load_us: float
    p50_us: float
    p99_us: float
    p999_us: float
    max_us: float
    memory_bytes: float
    memory_bytes_max: float
    """As above, at the highest moment of the load."""


@dataclass(frozen=True, slots=True)
class _Served:
    """What runs, and where."""

    server: processes.Process
    redis: RedisServer | None
    port: int

    def cpu_times(self) -> tuple[CpuTime, CpuTime | None]:
        """The server's and Redis's, now."""
        return cpu_time(self.server.pid), cpu_time(self.redis.pid) if self.redis else None


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the kernel counted: CPU of the measured period, resident memory."""

    server: CpuTime
    redis: CpuTime | None
    rss_alone: int
    rss_idle: int
    rss_max: int


def measure(row: Row, number: int, settings: Settings, place: Place) -> tuple[Run, Result]:
    """Measure `row` in round `number`.

    Raises:
        LabError: A server did not start, hung, or gave replies that are not right.
    """
    settings = replace(settings, session=row.port == "session")
    with _serving(row, place) as served:
        pid = served.server.pid
        rss_alone = rss_bytes(pid)
        log = served.server.log.parent / "load.log"
        with Load(place.programs / "load", served.port, settings, log) as load:
            load.await_connected()
            rss_idle = rss_bytes(pid)
            load.go()
            server_before, redis_before = served.cpu_times()
            load.await_measured()
            server_after, redis_after = served.cpu_times()
            result = load.await_result()
            words = load.words()
        if result.failures or not result.round_trips:
            raise BenchError(f"{result.explain()}\n{words}\n{served.server.log_tail()}".strip())
        seen = _Seen(
            server=server_after - server_before,
            redis=redis_after - redis_before if redis_after and redis_before else None,
            rss_alone=rss_alone,
            rss_idle=rss_idle,
            rss_max=rss_bytes_max(pid),
        )
    return _run(row, number, settings, result, seen), result


def _run(row: Row, number: int, settings: Settings, result: Result, seen: _Seen) -> Run:
    count, connections = result.round_trips, settings.connections
    return Run(
        row=row.name,
        connections=connections,
        round=number,
        round_trips_per_s=count / result.seconds,
        server_us=seen.server.total_ns / count / 1e3,
        server_kernel_share=seen.server.kernel_share,
        server_busy=seen.server.total_ns / 1e9 / result.seconds,
        redis_us=seen.redis.total_ns / count / 1e3 if seen.redis else None,
        load_us=result.cpu_s / count * 1e6,
        p50_us=percentile(result.histogram_ns, 0.5) / 1e3,
        p99_us=percentile(result.histogram_ns, 0.99) / 1e3,
        p999_us=percentile(result.histogram_ns, 0.999) / 1e3,
        max_us=result.latency_ns_max / 1e3,
        memory_bytes=(seen.rss_idle - seen.rss_alone) / connections,
        memory_bytes_max=(seen.rss_max - seen.rss_alone) / connections,
    )


@contextmanager
def beside_the_load(place: Place) -> Iterator[None]:
    """This process, and the generators that it starts, on the load's core."""
    before = os.sched_getaffinity(0)
    if place.cores.pinned:
        os.sched_setaffinity(0, {place.cores.load})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def _serving(row: Row, place: Place) -> Iterator[_Served]:
    """The row's server, and its Redis, on their cores; killed at the end: no drain is measured."""
    pin = place.cores.pinned
    with ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=place.cache)))
        words = {
            "python": sys.executable,
            "programs": str(place.programs),
            "baselines": str(BASELINES),
        }
        try:
            redis = None
            if row.appendfsync:
                redis = redis_server.start(
                    data / "redis",
                    appendfsync=row.appendfsync,
                    cpu=place.cores.load if pin else None,
                )
                stack.callback(redis.process.kill)
                words["store"] = redis.url
            server = processes.start(
                row.command(words),
                log=data / "server.log",
                cpu=place.cores.server if pin else None,
            )
        except OSError as error:
            raise BenchError(f"{row.name}: {error}") from None
        stack.callback(server.kill)
        port = int(server.ready[row.port].rpartition(":")[2])
        _first_line(port, FIRST_LINES[row.port])
        yield _Served(server, redis, port)


def _first_line(port: int, lines: Mapping[bytes, bytes]) -> None:
    """One line and its reply: what a server only makes with its first client is made then."""
    with socket.create_connection(("127.0.0.1", port), timeout=FIRST_LINE_S_MAX) as client:
        replies = client.makefile("rb")
        for line, expected in lines.items():
            client.sendall(line)
            reply = replies.readline()
            if not reply.startswith(expected):
                raise BenchError(f"the first line was answered by {reply!r}")
