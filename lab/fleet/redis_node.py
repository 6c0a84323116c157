"""A Redis (or Valkey) as a local process that is broken and mended: a node of the store.

    Node          a Redis that is alone, or what is the same of a cluster's
    ClusterNode   what it says of the others, its identity and its data

Who calls it: `lab.fleet.store`, which has one, and `lab.fleet.redis_cluster`, which has many.
"""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import redis as redis_py
from redis.backoff import NoBackoff
from redis.retry import Retry

from lab.fleet import ports, processes, redis_server
from lab.fleet.ports import HOST

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from lab.fleet.redis_server import RedisServer

# What a node has beside the single Redis's settings, and why: the containers' nodes too.
SETTINGS = dict(
    line.split()
    for line in (redis_server.FOLDER / "cluster.conf").read_text().splitlines()
    if line and not line.startswith("#")
)

# The file with a node's identity, and what it knows of the others.
IDENTITY = "nodes.conf"
# The folder with its append-only file.
DATA = "appendonlydir"
# In that folder, while Redis (Valkey has no such time) writes a file of what it has copied from
# its master: what it acknowledges meanwhile is in no file that it would load.
UNFINISHED = "temp-appendonly.aof.incr"

# One command on loopback; a slow disk delays it by an fsync.
ASK_S_MAX = 3.0


class Seen(NamedTuple):
    """A node as one of the nodes sees it: a line of CLUSTER NODES."""

    id: str
    address: str
    flags: frozenset[str]
    """`myself`, `master`, `slave`, `fail?`, `fail`, `handshake`, `noaddr`."""
    epoch: int
    linked: bool
    answers: bool
    """Whether it has answered the last ping."""
    slots: tuple[range, ...]
    """That it serves; none of those that are on their way."""

    @classmethod
    def read(cls, line: str) -> Seen:
        """Read a line: `id address flags master ping pong epoch link slot…`."""
        words = line.split()
        spans = [word.split("-") for word in words[8:] if not word.startswith("[")]
        return cls(
            words[0],
            words[1].split("@")[0],
            frozenset(words[2].split(",")),
            int(words[6]),
            words[7] == "connected",
            words[4] == "0",
            tuple(range(int(span[0]), int(span[-1]) + 1) for span in spans),
        )


@dataclass(eq=False)
class Node:
    """A Redis that may be running or not; made by `store.one` or `redis_cluster.of`."""

    directory: Path
    shard: int
    """Whose keys it has. It stays in its shard, whoever is the master there."""
    options: Mapping[str, Any]
    """As `redis_server.start` takes them."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Redis's own, as `more` there."""
    port: int = 0
    server: RedisServer | None = field(default=None, repr=False)
    _client: Any = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """Its folder's name: `redis`, in a cluster `redis-<shard>-<number in the shard>`."""
        return self.directory.name

    @property
    def address(self) -> str:
        """`host:port`, for clients."""
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def process(self) -> processes.Process:
        """Its last process.

        Raises:
            lab.fleet.processes.StartError: It was never started.
        """
        return self._started.process

    @property
    def admin_url(self) -> str:
        """For who may do everything there; with the password."""
        return self._started.admin_url

    @property
    def url(self) -> str:
        """For the daemons; `password_file` has their password."""
        return self._started.url

    @property
    def password_file(self) -> str:
        """The file with the daemons' password; empty if they need none."""
        return self._started.password_file

    @property
    def frozen(self) -> bool:
        """Whether a signal has stopped it."""
        return self.server is not None and self.process.frozen

    @property
    def reachable(self) -> bool:
        """Whether it can answer: it runs, and is not frozen."""
        return self.server is not None and self.process.alive and not self.frozen

    def start(self, *, elsewhere: bool = False) -> None:
        """Start it, where it was before or on a free port; it answers then.

        Raises:
            lab.fleet.processes.StartError: It did not start.
        """
        self.server = self._launch(elsewhere=elsewhere)
        self.port = self.server.port
        self._client = redis_py.Redis.from_url(
            self.server.admin_url,
            decode_responses=True,
            protocol=2,
            socket_timeout=ASK_S_MAX,
            socket_connect_timeout=ASK_S_MAX,
            retry=Retry(NoBackoff(), 0),
        )

    def ask(self, *words: object) -> Any:  # noqa: ANN401 — whatever Redis answers
        """Send one command, with every right.

        Raises:
            redis.RedisError: It refused, or did not answer.
        """
        return self._client.execute_command(*words)

    @property
    def login(self) -> tuple[str, str] | None:
        """The name and password of who may do everything there; None without users."""
        told = self._client.get_connection_kwargs()
        return (told["username"], told["password"]) if told.get("username") else None

    def _launch(self, *, elsewhere: bool) -> RedisServer:
        port = 0 if elsewhere else self.port
        return redis_server.start(self.directory, port=port, more=self.settings, **self.options)

    @property
    def _started(self) -> RedisServer:
        if self.server is None:
            raise processes.StartError(f"{self.name} was never started")
        return self.server


@dataclass(eq=False)
class ClusterNode(Node):
    """A node of a cluster."""

    id: str = ""
    """As the cluster names it; a new one when it came back without its data."""
    bus_port: int = 0
    """For the other nodes."""

    @property
    def has_data(self) -> bool:
        """Whether its folder has all that it has acknowledged."""
        folder = self.directory / DATA
        return folder.is_dir() and any(folder.iterdir()) and not (folder / UNFINISHED).exists()

    def start(self, *, elsewhere: bool = False) -> None:
        """Start it, where it was before or on free ports; it answers then.

        Raises:
            lab.fleet.processes.StartError: It did not start.
        """
        super().start(elsewhere=elsewhere)
        self.id = self.ask("CLUSTER", "MYID")

    def give_up_identity(self) -> set[str]:
        """Make it another node, an empty one, when it starts.

        Returns:
            The id that it had, if it had one.
        """
        path = self.directory / IDENTITY
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        # It would claim the slots of the keys in it.
        shutil.rmtree(self.directory / DATA, ignore_errors=True)
        return {line.split()[0] for line in lines if "myself" in line}

    def view(self) -> list[Seen]:
        """Return every node as it sees them; nothing if it does not answer."""
        if self.reachable:
            with contextlib.suppress(redis_py.RedisError):
                return [Seen.read(line) for line in self.ask("CLUSTER", "NODES").splitlines()]
        return []

    def _launch(self, *, elsewhere: bool) -> RedisServer:
        def attempt(numbers: Sequence[int]) -> RedisServer:
            port, bus = numbers
            settings = {**self.settings, "cluster-port": str(bus)}
            # It ends if it can't have its bus port, before it answers anyone.
            server = redis_server.start(
                self.directory, port=port, shard=str(self.shard), more=settings, **self.options
            )
            self.bus_port = bus
            return server

        wanted = (0, 0) if elsewhere else (self.port, self.bus_port)
        return ports.start_on(wanted, attempt)
