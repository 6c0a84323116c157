"""One measurement: a fresh Redis, a fresh server, the generator, and what the kernel counted.

        Redis ─▶ server ─▶ one line ─▶ memory ─▶ N connect ─▶ memory
                                    ─▶ warm-up ─▶ CPU time ─▶ load ─▶ CPU time

Called by `cli.py` for each row of each round, by `many.py`, and by `scaling/c10k.py`.
"""

from __future__ import annotations

import os
import socket
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lab.fleet import processes
from lab.measure.clocks import rss_bytes, rss_bytes_max
from lab.measure.errors import MeasureError
from lab.measure.generator import Load, percentile
from lab.measure.serving import REDIS, SERVERS, Servers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.fleet.processes import Process
    from lab.measure.bench import rows
    from lab.measure.cores import Cores
    from lab.measure.generator import Settings
    from lab.measure.samples import Row
    from lab.measure.serving import Running

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


def measure(row: rows.Server, number: int, settings: Settings, place: Place) -> Row:
    """Measure `row` in round `number`; as `measure_running`.

    Raises:
        LabError: A server did not start, hung, or gave replies that are not right.
    """
    settings = replace(settings, session=row.port == "session")
    with _serving(row, place) as running:
        return measure_running(running, row.name, number, settings, place)


def measure_running(
    running: Running, name: str, number: int, settings: Settings, place: Place
) -> Row:
    """Measure what runs already, at its first port, once.

    Returns its figures by name: CPU and latencies in µs, CPU for a round trip, memory of the
    servers in bytes a connection.

    Raises:
        MeasureError: It gave replies that are not right, or hung.
    """
    servers, connections = running.parts[SERVERS], settings.connections
    rss_alone = sum(map(rss_bytes, servers))
    with tempfile.TemporaryDirectory() as made:
        log = Path(made) / "load.log"
        with Load(place.programs / "load", running.ports[0], settings, log) as load:
            load.await_connected()
            rss_idle = sum(map(rss_bytes, servers))
            result, used = load.play(running.parts)
    us = 1e6 / result.round_trips
    p50_us, p99_us, p999_us = (
        percentile(result.histogram_ns, part) / 1e3 for part in (0.5, 0.99, 0.999)
    )
    return {
        "row": name,
        "connections": connections,
        "round": number,
        "round_trips": result.round_trips,
        "round_trips_per_s": result.round_trips / result.seconds,
        "server_us": used.s(SERVERS) * us,
        "server_kernel_share": used.kernel_shares[SERVERS],
        # Of one core: below 0.95 it waited, for Redis or for the load.
        "server_busy": used.s(SERVERS) / result.seconds,
        "redis_us": used.s(REDIS) * us if running.parts[REDIS] else None,
        "load_us": result.cpu_s * us,
        "p50_us": p50_us,
        "p99_us": p99_us,
        "p999_us": p999_us,
        "max_us": result.latency_ns_max / 1e3,
        "memory_bytes": (rss_idle - rss_alone) / connections,
        # At the highest moment of the load.
        "memory_bytes_max": (sum(map(rss_bytes_max, servers)) - rss_alone) / connections,
    }


@contextmanager
def beside_the_load(place: Place) -> Iterator[None]:
    """This process, and what it starts without a core of its own, on the load's core."""
    before = os.sched_getaffinity(0)
    if place.cores.pinned:
        os.sched_setaffinity(0, {place.cores.load})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def _serving(row: rows.Server, place: Place) -> Iterator[Running]:
    """The row's server on its core, and its Redis on the load's."""
    cpu = place.cores.server if place.cores.pinned else None

    def start(_: str, log: Path, store: str) -> Process:
        command = row.command({"programs": str(place.programs), "store": store})
        return processes.start(command, log=log, cpu=cpu, expect_ready=False)

    with ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=place.cache)))
        servers = Servers(stack, data, row.stored, "server", start)
        running = servers.running(1, row.port)
        _first_line(running.ports[0], row.port)
        try:
            yield running
        except MeasureError as error:
            (server,) = servers.grow(1)
            raise MeasureError(f"{error}\n{server.log_tail()}".strip()) from None


def _first_line(port: int, name: str) -> None:
    """One line and its reply: what a server only makes with its first client is made then."""
    with socket.create_connection(("127.0.0.1", port), timeout=FIRST_LINE_S_MAX) as client:
        replies = client.makefile("rb")
        for line, expected in FIRST_LINES[name].items():
            client.sendall(line)
            reply = replies.readline()
            if not reply.startswith(expected):
                raise MeasureError(f"the first line was answered by {reply!r}")
