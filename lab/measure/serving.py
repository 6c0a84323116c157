"""What is put under load: servers on one store, as many as are wanted; and who serves, by part."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, TypeVar

from lab.fleet import metrics, processes, redis_cluster, redis_server
from lab.measure.errors import MeasureError
from lab.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from contextlib import ExitStack
    from pathlib import Path

    from lab.fleet.processes import Process
    from lab.fleet.redis_server import Appendfsync

# The parts of what serves. The load generator is none of them.
SERVERS, REDIS, HAPROXY = "servers", "Redis", "HAProxy"

# Of all of them at once: Twisted and Django take a second each to load, four on two CPUs more.
READY_S_MAX = 30.0

# Until homes are spread: one daemon of a home moves in a heartbeat, which is half a second.
HOMES_S_MAX = 30.0

One = TypeVar("One")

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
class Stored:
    """The store of servers under load."""

    appendfsync: Appendfsync
    """Of each of its Redis servers."""
    shards: int = 1
    """One is one Redis; more are a cluster."""
    replicas: int = 0
    """Of each shard of a cluster."""


@dataclass(frozen=True, slots=True)
class Running:
    """Where clients connect, and the ids of the processes that serve them, by part."""

    ports: Sequence[int]
    parts: Mapping[str, Sequence[int]]
    admins: Sequence[str] = ()
    """The daemons' admin addresses."""


class Servers:
    """Processes of one program on one store, of which there can be more and more."""

    def __init__(
        self,
        stack: ExitStack,
        directory: Path,
        stored: Stored | None,
        name: str,
        start: Callable[[str, Path, str], Process],
    ) -> None:
        """Start their store, and none of them yet.

        Args:
            stack: What kills them all: no drain is measured.
            directory: For Redis's files and the logs.
            stored: Their store; None: there is none.
            name: Of each of them, with its number behind it.
            start: (a name, its log, the URL of the store) → a process, not ready yet.
        """
        self._stack = stack
        self._directory = directory
        self._store = "memory://"
        self._redis: list[int] = []
        self._name = name
        self._start = start
        self._servers: list[Process] = []
        if stored and stored.shards == 1:
            redis = redis_server.start(directory / "redis", appendfsync=stored.appendfsync)
            stack.callback(redis.process.kill)
            self._store = redis.url
            self._redis.append(redis.pid)
        elif stored:
            cluster = redis_cluster.start(
                directory / "redis",
                shards=stored.shards,
                replicas=stored.replicas,
                appendfsync=stored.appendfsync,
            )
            stack.callback(cluster.stop)
            self._store = cluster.url
            self._redis += [node.pid for node in cluster.nodes]

    def grow(self, count: int) -> list[Process]:
        """Have at least `count` of them; returns the first `count`, ready.

        Raises:
            lab.errors.LabError: One did not start.
        """
        for number in range(len(self._servers) + 1, count + 1):
            name = f"{self._name}{number}"
            server = self._start(name, self._directory / f"{name}.log", self._store)
            self._stack.callback(server.kill)
            self._servers.append(server)
        for server in self._servers:
            if not server.ready:
                server.await_ready(READY_S_MAX)
        return self._servers[:count]

    def running(self, count: int, port: str) -> Running:
        """The first `count`, reached directly at the port of that name in the ready line."""
        used = self.grow(count)
        return Running(
            [port_of(str(server.ready[port])) for server in used],
            {SERVERS: [server.pid for server in used], REDIS: self._redis},
            [server.ready["admin"] for server in used if "admin" in server.ready],
        )


class Daemons(Servers):
    """Daemons, each with `flags` beside `ECHOD`."""

    def __init__(
        self, stack: ExitStack, directory: Path, stored: Stored | None, *flags: str
    ) -> None:
        def start(name: str, log: Path, store: str) -> Process:
            words = [sys.executable, *ECHOD, "--name", name, "--store", store, *flags]
            return processes.start(words, log=log, expect_ready=False)

        super().__init__(stack, directory, stored, "echod", start)
        self._shards = stored.shards if stored else 1

    def take_turns(self) -> None:
        """Put those that there are in an order in which the first few have different homes too.

        Waits until homes are spread over the shards (docs/adr/0021). With one shard nothing is
        to be done.

        Raises:
            MeasureError: They were not in time.
        """
        if self._shards > 1:
            try:
                until(self._are_spread, HOMES_S_MAX, "homes to be spread over the shards")
            except TimeoutError as error:
                raise MeasureError(str(error)) from None
            self._servers = in_turns(self._servers, self.homes(len(self._servers)))

    def homes(self, count: int) -> list[str]:
        """The shard where the sessions of each of the first `count` are born.

        Raises:
            MeasureError: A daemon does not tell.
        """
        found: list[str] = []
        for server in self.grow(count):
            try:
                homes = metrics.read(server.ready["admin"]).by_label("echod_home_info", "shard")
            except (OSError, ValueError) as error:
                raise MeasureError(f"the home of {server.ready['admin']}: {error}") from None
            found += homes
        return found

    def _are_spread(self) -> bool:
        return (
            max(shares := by_shard(self.homes(len(self._servers)), self._shards)) <= min(shares) + 1
        )


def by_shard(homes: Collection[str], shards: int) -> list[int]:
    """How many daemons have their home on each shard; the most first."""
    counts = sorted(Counter(homes).values(), reverse=True)
    return counts + [0] * (shards - len(counts))


def in_turns(ones: Sequence[One], homes: Sequence[str]) -> list[One]:
    """Of each home one, then of each the second, and so on; within a home as they were."""
    before: Counter[str] = Counter()
    turns = []
    for one, home in zip(ones, homes, strict=True):
        turns.append((before[home], one))
        before[home] += 1
    return [one for _, one in sorted(turns, key=itemgetter(0))]


def port_of(address: str) -> int:
    """`127.0.0.1:8080` → 8080."""
    return int(address.rpartition(":")[2])
