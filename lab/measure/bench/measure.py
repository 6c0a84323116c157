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
from lab.measure.clocks import CpuTime, cpu_time, rss_bytes, rss_bytes_max
from lab.measure.errors import MeasureError
from lab.measure.generator import Load, Result
from lab.measure.histogram import percentile
from lab.measure.serving import port_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lab.fleet.redis_server import RedisServer
    from lab.measure.bench.rows import Row
    from lab.measure.cores import Cores
    from lab.measure.generator import Settings

BASELINES = Path(__file__).parent / "baselines"

# Of all replies: half, 99 and 999 of 1,000.
PARTS = (0.5, 0.99, 0.999)

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
            try:
                result, before, after = load.play(served.cpu_times)
            except MeasureError as error:
                raise MeasureError(f"{error}\n{served.server.log_tail()}".strip()) from None
        rss_max = rss_bytes_max(pid)
    server, redis = (
        now - then if now and then else None for now, then in zip(after, before, strict=True)
    )
    if server is None:
        raise AssertionError("a server has a CPU clock")
    count, connections = result.round_trips, settings.connections
    p50_us, p99_us, p999_us = (percentile(result.histogram_ns, part) / 1e3 for part in PARTS)
    run = Run(
        row=row.name,
        connections=connections,
        round=number,
        round_trips_per_s=count / result.seconds,
        server_us=server.total_ns / count / 1e3,
        server_kernel_share=server.kernel_share,
        server_busy=server.total_ns / 1e9 / result.seconds,
        redis_us=redis.total_ns / count / 1e3 if redis else None,
        load_us=result.cpu_s / count * 1e6,
        p50_us=p50_us,
        p99_us=p99_us,
        p999_us=p999_us,
        max_us=result.latency_ns_max / 1e3,
        memory_bytes=(rss_idle - rss_alone) / connections,
        memory_bytes_max=(rss_max - rss_alone) / connections,
    )
    return run, result


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
            raise MeasureError(f"{row.name}: {error}") from None
        stack.callback(server.kill)
        port = port_of(server.ready[row.port])
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
                raise MeasureError(f"the first line was answered by {reply!r}")
