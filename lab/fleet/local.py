"""The whole fleet as local processes: Redis, daemons, HAProxy, Locust, Prometheus.

    Plan ──▶ Fleet.start ──▶ Fleet.ready (addresses, pids) ──▶ Fleet.deaths … ──▶ Fleet.stop

The start order and the stop order are each one list. A part that dies is told of and not
started again: the lab kills parts on purpose. `up` makes the `fleet up` command of it;
drills and tests use it as it is.
"""

from __future__ import annotations

import fcntl
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import lab
from echod import config as echod_config
from lab.errors import LabError
from lab.fleet import (
    haproxy_server,
    ports,
    processes,
    prometheus_server,
    redis_cluster,
    secret_files,
    store,
)
from lab.fleet.haproxy_server import Daemon

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lab.fleet.processes import Process
    from lab.fleet.redis_node import Node
    from lab.fleet.redis_server import Appendfsync
    from lab.fleet.store import Store

ROOT = Path(lab.__file__).resolve().parents[1]

# Locust's defaults. The article's loop is a hundred clients at once. For as long as the fleet is
# up: the end of the article's run (LOADTEST_SHAPE=article) would leave nothing to look at.
LOAD = {"LOCUST_USERS": "100", "LOCUST_SPAWN_RATE": "100"}

# A daemon ends within its drain; beyond it, what is queued is answered.
DRAIN_SLACK_S = 5.0

# With one, nothing is acknowledged from a master's death until it is back (docs/adr/0027).
SHARD_REPLICAS: Final = 2

# Locust, HAProxy and Prometheus hold nothing that is worth a longer wait.
STOP_S_MAX = 5.0


class DirectoryError(LabError):
    """The directory for the fleet's data and logs can't be used."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to bring up."""

    directory: Path
    """Redis's data, the configurations, and a log for each process."""
    daemons: int = 4
    durability: str | None = None
    """PROTOCOL §5; None leaves it to the daemon."""
    appendfsync: Appendfsync = "always"
    shards: int = 1
    """Of the store: one is one Redis, three or more are a cluster of Redis."""
    shard_replicas: int = SHARD_REPLICAS
    """Of each shard of a cluster."""
    daemon_program: Sequence[str] = ("-m", "echod")
    """What Python runs as a daemon: the drills' tests have some with a bug."""
    daemon_settings: Mapping[str, float] = field(default_factory=dict)
    """Others than echod's own, by their names."""
    load: bool = False
    """Whether Locust sends the article's clients through it."""
    prometheus: bool = False
    """Whether a Prometheus, which must be on PATH, watches it."""
    secrets: Path | None = None
    """Passwords and certificates (`secret_files`); None for new passwords and no TLS."""
    ports: Mapping[str, int] = field(default_factory=dict)
    """HAProxy's, by the names in its `.ready`, `locust` and `prometheus`; others are free ones."""


class Fleet:
    """A plan, and what runs of it. Leaving its `with` block stops everything."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.parts: dict[str, Process] = {}
        """Every process by name, in the order of starting; dead ones stay."""
        self.secrets = plan.secrets or plan.directory / "secrets"
        self.store: Store[Any] = _store(plan, self.secrets)
        """Its nodes are parts too, by their names."""
        self.dead: set[str] = set()
        """Those that `deaths` has told of."""
        self._lock: int | None = None
        # Read now: a wrong ECHOD_ variable must not be found when it is time to stop.
        self._daemon_stop_s = echod_config.parse([]).drain_s + DRAIN_SLACK_S

    def start(self) -> None:
        """Bring everything up, in this order: whoever is needed comes first.

        Raises:
            LabError: A part did not come up. Those before it run: call `stop`.
        """
        self._lock_directory()
        self._start_store()
        for number in range(1, self.plan.daemons + 1):
            name = f"echod{number}"
            self.parts[name] = self._start_daemon(name)
        for daemon in self.daemons:
            daemon.await_ready()
        self.start_haproxy()
        if self.plan.load:
            self._start_locust()
        if self.plan.prometheus:
            self._start_prometheus()

    def stop(self) -> None:
        """End everything, in this order: whoever is needed goes last."""
        for kind, grace_s in (
            ("locust", STOP_S_MAX),
            ("haproxy", STOP_S_MAX),
            ("echod", self._daemon_stop_s),
            ("redis", processes.GRACE_S),
            ("prometheus", STOP_S_MAX),
        ):
            processes.terminate_all(self._of_kind(kind), grace_s)
        self._unlock_directory()

    def kill(self) -> None:
        """End everything at once, by SIGKILL."""
        for process in self.parts.values():
            process.kill()
        self._unlock_directory()

    def deaths(self) -> Iterator[tuple[str, Process]]:
        """The parts, by name, that have died since the last call."""
        for name, process in self.parts.items():
            if name not in self.dead and not process.alive:
                self.dead.add(name)
                yield name, process

    def start_again(self, name: str) -> None:
        """A part that has ended, on its ports and data, where others look for it; it is ready then.

        Raises:
            LabError: It did not start.
        """
        node = self.node(name)
        if node:
            self.store.start_again(node)
            self.parts[name] = node.process
        elif name == "haproxy":
            self.start_haproxy()
        else:
            daemon = self._start_daemon(name)
            daemon.await_ready()
            self.parts[name] = daemon
        self.dead.discard(name)

    def add_shard(self, replicas: int) -> int:
        """Start a new shard's nodes; they are in no cluster yet (`lab.fleet.shards`).

        Returns:
            The shard's number.

        Raises:
            LabError: One Redis has no shards, or a node did not start: none runs then.
        """
        nodes = self.store.new_shard(replicas)
        self.parts |= {node.name: node.process for node in nodes}
        return int(nodes[0].shard)

    def end_shard(self, shard: int) -> None:
        """End a shard's nodes, which the cluster has forgotten, and delete their empty folders.

        Raises:
            LabError: There is none, or one of its nodes still has slots or keys.
        """
        for name in self.store.end_shard(shard):
            del self.parts[name]
            self.dead.discard(name)

    def start_haproxy(self, replaces: int | None = None) -> None:
        """On the ports of the one before, if any; `replaces`: its pid, for a reload."""
        former = self.parts["haproxy"].ready if "haproxy" in self.parts else {}
        again = {name: ports.split(address)[1] for name, address in former.items() if address}
        self.parts["haproxy"] = haproxy_server.start(
            self.plan.directory,
            ROOT / "haproxy" / "haproxy.cfg",
            [self.seen_by_haproxy(Daemon.of(daemon.ready)) for daemon in self.daemons],
            certificates=self.plan.secrets,
            wanted={**self.plan.ports, **again},
            replaces=replaces,
        )

    def store_url_of(self, daemon: str, redis_url: str) -> str:  # noqa: ARG002 — see below
        """How `daemon` reaches Redis: the drills put a link in between that they can cut."""
        return redis_url

    def seen_by_haproxy(self, daemon: Daemon) -> Daemon:
        """Where HAProxy finds a daemon: as `store_url_of`."""
        return daemon

    @property
    def daemons(self) -> list[Process]:
        """The daemons, in the order of their numbers."""
        return self._of_kind("echod")

    def node(self, name: str) -> Node | None:
        """Return the store's node of this name, if there is one."""
        return next((node for node in self.store.nodes if node.name == name), None)

    @property
    def ready(self) -> dict[str, Any]:
        """Where everything is: the ready line of `fleet up`. What is not there is null."""
        return {
            "event": "ready",
            "pid": os.getpid(),
            "directory": str(self.plan.directory),
            "echo": self.parts["haproxy"].ready["echo"],
            "session": self.parts["haproxy"].ready["session"],
            "daemons": [
                {key: value for key, value in daemon.ready.items() if key != "event"}
                for daemon in self.daemons
            ],
            "redis": self.store.ready(),
            **{
                name: {"pid": self.parts[name].pid, **self.parts[name].ready}
                if name in self.parts
                else None
                for name in ("haproxy", "locust", "prometheus")
            },
        }

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _of_kind(self, kind: str) -> list[Process]:
        return [process for name, process in self.parts.items() if name.startswith(kind)]

    def _start_store(self) -> None:
        """Start it, with the data of an earlier one in this directory."""
        self._check_data()
        secret_files.make_passwords(self.secrets)
        try:
            self.store.start_all()
        finally:
            nodes = [node for node in self.store.nodes if node.server]
            self.parts |= {node.name: node.process for node in nodes}

    def _check_data(self) -> None:
        """See that no data of an earlier store would be left out: an answered line may be in them.

        A cluster may get more replicas.
        """
        directory, shards = self.plan.directory, self.plan.shards
        had = store.shards_in(directory)
        replicas = max(had.values(), default=0)
        if had and (len(had) != shards or replicas > self.plan.shard_replicas):
            raise DirectoryError(
                f"{directory}: it has the data of --shards {len(had)}"
                f"{f' --shard-replicas {replicas}' if len(had) > 1 else ''}; choose another folder"
                " for another number"
            )

    def _start_daemon(self, name: str) -> Process:
        """Start one, on the ports of the one before, if any; it is not ready yet."""
        former = self.parts[name].ready if name in self.parts else {}
        flags = ["--name", name, "--host", ports.HOST, "--proxy-protocol"]
        flags += ["--store", self.store_url_of(name, self.store.url)]
        flags += ["--store-password-file", self.store.password_file]
        if self.plan.shards > 1 and not self.plan.shard_replicas:
            flags += ["--store-replicas", "0"]  # the daemons' default is one
        for port in ("echo", "session", "admin", "agent"):
            number = ports.split(former[port])[1] if former else ports.reserve()
            flags += [f"--{port}-port", str(number)]
        if self.plan.durability:
            flags += ["--durability", self.plan.durability]
        for setting, value in self.plan.daemon_settings.items():
            flags += [echod_config.flag_of(setting), str(value)]
        return processes.start(
            [sys.executable, *self.plan.daemon_program, *flags],
            log=self.plan.directory / f"{name}.log",
            expect_ready=False,
        )

    def _start_locust(self) -> None:
        """One process: its few hundred sockets are far below what a core does."""
        haproxy = self.parts["haproxy"].ready
        defaults = {**LOAD, "LOADTEST_SESSION_HOST": f"tcp://{haproxy['session']}"}
        env = {name: os.environ.get(name, default) for name, default in defaults.items()}

        def command(addresses: dict[str, str]) -> ports.Command:
            host, port = addresses["web"].split(":")
            argv = [
                *(sys.executable, "-m", "locust", "--autostart"),
                *("--locustfile", str(ROOT / "loadtest" / "locustfile.py")),
                *("--host", f"tcp://{haproxy['echo']}"),
                *("--web-host", host, "--web-port", port),
            ]
            return argv, env

        wanted = {"web": self.plan.ports.get("locust", 0)}
        log = self.plan.directory / "locust.log"
        self.parts["locust"] = ports.start_listening("Locust", wanted, command, log)

    def _start_prometheus(self) -> None:
        targets = {
            "echod": [daemon.ready["admin"] for daemon in self.daemons],
            "haproxy": [self.parts["haproxy"].ready["stats"]],
            "locust": [locust.ready["web"] for locust in self._of_kind("locust")],
        }
        port = self.plan.ports.get("prometheus", 0)
        self.parts["prometheus"] = prometheus_server.start(self.plan.directory, targets, port)

    def _lock_directory(self) -> None:
        """Two fleets on one append-only file would destroy it."""
        directory = self.plan.directory
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(directory / "lock", os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DirectoryError(f"{directory}: another fleet is using it") from None
        except OSError as error:
            raise DirectoryError(f"{directory}: {error.strerror}") from None

    def _unlock_directory(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _store(plan: Plan, secrets: Path) -> Store[Any]:
    """The plan's store, of which nothing runs yet."""
    if plan.shards == 1:
        return store.one(plan.directory, appendfsync=plan.appendfsync, secrets=secrets)
    return redis_cluster.of(
        plan.directory,
        shards=plan.shards,
        replicas=plan.shard_replicas,
        appendfsync=plan.appendfsync,
        secrets=secrets,
    )
