"""What `fleet experiment scaling` puts under load: daemons, with or without Redis and HAProxy.

`lab.fleet.local.Fleet` is the fleet as shipped. Here the daemons stay while the number of them in
use changes, and each of Redis and HAProxy may be absent.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.fleet import haproxy_server, processes, redis_server
from lab.fleet.haproxy_server import Daemon
from lab.fleet.local import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lab.fleet.processes import Process
    from lab.fleet.redis_server import Appendfsync


@dataclass(frozen=True, slots=True)
class Shape:
    """Which parts there are."""

    stored: bool
    """With Redis and durability `commit`; else without and `none`."""
    proxied: bool
    """Behind HAProxy; else clients go to the daemons directly."""

    @property
    def name(self) -> str:
        """In tables, plots and files."""
        store = "Redis" if self.stored else "no store"
        return f"{store}, {'HAProxy' if self.proxied else 'direct'}"


# Those that are compared with each other are neighbours, so that they are measured near in time.
SHAPES = (
    Shape(stored=False, proxied=False),
    Shape(stored=True, proxied=False),
    Shape(stored=True, proxied=True),
    Shape(stored=False, proxied=True),
)


@dataclass(frozen=True, slots=True)
class Front:
    """What is under load: where clients connect, and the processes that serve them."""

    ports: list[int]
    daemons: list[int]
    redis: int | None
    haproxy: int | None


@dataclass(frozen=True, slots=True)
class Stack:
    """Running daemons, and their Redis."""

    directory: Path
    shape: Shape
    daemons: list[Process]
    redis: int | None

    @contextmanager
    def front(self, count: int) -> Iterator[Front]:
        """The first `count` daemons, behind a HAProxy if the shape has one."""
        used = self.daemons[:count]
        pids = [daemon.pid for daemon in used]
        if not self.shape.proxied:
            ports = [_port(daemon.ready["echo"]) for daemon in used]
            yield Front(ports, pids, self.redis, None)
            return
        haproxy = haproxy_server.start(
            self.directory,
            ROOT / "haproxy" / "haproxy.cfg",
            [Daemon.of(daemon.ready) for daemon in used],
        )
        try:
            yield Front([_port(haproxy.ready["echo"])] * count, pids, self.redis, haproxy.pid)
        finally:
            haproxy.kill()


@contextmanager
def running(shape: Shape, count: int, appendfsync: Appendfsync, directory: Path) -> Iterator[Stack]:
    """Start `count` daemons in `directory`; all is killed at the end.

    Raises:
        lab.errors.LabError: A part did not start.
    """
    with ExitStack() as stack:
        redis = None
        store = "memory://"
        if shape.stored:
            redis = redis_server.start(directory / "redis", appendfsync=appendfsync)
            stack.callback(redis.process.kill)
            store = redis.url
        flags = ["--store", store, "--durability", "commit" if shape.stored else "none"]
        flags += [
            "--echo-port",
            "0",
            "--session-port",
            "0",
            "--admin-port",
            "0",
            "--agent-port",
            "0",
        ]
        # A client that waits for its turn is not idle on purpose.
        flags += ["--echo-idle-s-max", "600", "--log-level", "warning"]
        # All of the load has one address: what daemons can do, not what an address may.
        flags += ["--source-bytes-max", "1000000000"]
        flags += ["--proxy-protocol"] if shape.proxied else []
        daemons = []
        for number in range(1, count + 1):
            name = f"echod{number}"
            daemon = processes.start(
                [sys.executable, "-m", "echod", "--name", name, *flags],
                log=directory / f"{name}.log",
                expect_ready=False,
            )
            stack.callback(daemon.kill)
            daemons.append(daemon)
        for daemon in daemons:
            daemon.await_ready()
        yield Stack(directory, shape, daemons, redis.pid if redis else None)


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])
