"""What is put under load: daemons on one Redis, as many as are wanted; and who serves, by part."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.fleet import processes, redis_server

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import ExitStack
    from pathlib import Path

    from lab.fleet.processes import Process
    from lab.fleet.redis_server import Appendfsync

# The parts of what serves. The load generator is none of them.
SERVERS, REDIS, HAPROXY = "servers", "Redis", "HAProxy"

# What each daemon under load is told: any ports, and no words while it is measured.
ECHOD = (
    *("-m", "echod", "--log-level", "warning", "--echo-port", "0", "--session-port", "0"),
    *("--admin-port", "0", "--agent-port", "0"),
    # A client that waits for its turn, or for its memory to be read, is not idle on purpose.
    *("--echo-idle-s-max", "600", "--session-idle-s-max", "600", "--session-ttl-s", "1800"),
    # All of the load has one address: what a daemon can do, not what an address may.
    *("--source-bytes-max", "1000000000"),
)


@dataclass(frozen=True, slots=True)
class Running:
    """Where clients connect, and the ids of the processes that serve them, by part."""

    ports: Sequence[int]
    parts: Mapping[str, Sequence[int]]
    admins: Sequence[str] = ()
    """The daemons' admin addresses."""


class Daemons:
    """Daemons on one Redis, of which there can be more and more; `stack` ends them all.

    Args:
        stack: What ends them, undrained: no drain is measured.
        directory: For Redis's files and the logs.
        appendfsync: Of Redis; None: there is none.
        flags: Of each daemon, beside `ECHOD`.
    """

    def __init__(
        self, stack: ExitStack, directory: Path, appendfsync: Appendfsync | None, *flags: str
    ) -> None:
        self._stack = stack
        self._directory = directory
        self._store = "memory://"
        self._flags = flags
        self._daemons: list[Process] = []
        self.redis: list[int] = []
        """Redis's process id, if there is one."""
        if appendfsync:
            redis = redis_server.start(directory / "redis", appendfsync=appendfsync)
            stack.callback(redis.process.kill)
            self._store = redis.url
            self.redis.append(redis.pid)

    def grow(self, count: int) -> list[Process]:
        """Have at least `count` of them; returns the first `count`, ready.

        Raises:
            lab.errors.LabError: One did not start.
        """
        for number in range(len(self._daemons) + 1, count + 1):
            name = f"echod{number}"
            daemon = processes.start(
                [sys.executable, *ECHOD, "--name", name, "--store", self._store, *self._flags],
                log=self._directory / f"{name}.log",
                expect_ready=False,
            )
            self._stack.callback(daemon.kill)
            self._daemons.append(daemon)
        for daemon in self._daemons:
            if not daemon.ready:
                daemon.await_ready()
        return self._daemons[:count]

    def running(self, count: int, port: str) -> Running:
        """The first `count`, reached directly at the port of that name in the ready line."""
        used = self.grow(count)
        return Running(
            [port_of(daemon.ready[port]) for daemon in used],
            {SERVERS: [daemon.pid for daemon in used], REDIS: self.redis},
            [daemon.ready["admin"] for daemon in used],
        )


def port_of(address: str) -> int:
    """`127.0.0.1:8080` → 8080."""
    return int(address.rpartition(":")[2])
