"""A fleet of local processes, as a stage on which every fault can be made.

    clients ──(link)──▶ HAProxy ──(link)──▶ daemons ──(link)──▶ Redis

A link is only there in the drills that cut it: elsewhere the parts are connected directly.
"""

from __future__ import annotations

import signal
from collections import Counter
from typing import TYPE_CHECKING, Final, Self

import psutil
import redis

from lab.drill.errors import DrillError
from lab.drill.stage import faults
from lab.drill.stage.base import Stage
from lab.fleet import control, haproxy_server, metrics, ports
from lab.fleet.local import Fleet, Plan
from lab.fleet.network import Network, together
from lab.wait import until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from lab.fleet.haproxy_server import Daemon
    from lab.fleet.network import Link
    from lab.fleet.processes import Process

LINKED_PORTS: Final = ("echo", "session", "agent")
CLIENT_PORTS: Final = ("echo", "session")

FROZEN_S_MAX: Final = 2.0
# HAProxy's checks have found every daemon well: two of them in 0.5 s each, a busy machine.
UP_S_MAX: Final = 15.0


class Links:
    """Links by their names; each may be of several ports.

    Args:
        network: the process that they are in; None where no drill cuts any.
        wanted: the kinds that are cut; elsewhere the parts are connected directly.
    """

    def __init__(self, network: Network | None, wanted: frozenset[str]) -> None:
        self._network = network
        self._wanted = wanted
        self._links: dict[tuple[str, str], Link] = {}

    def way(self, name: str, target: str) -> str:
        """Where to connect to reach `target` (host:port): always the same."""
        if self._network is None or name.partition(":")[0] not in self._wanted:
            return target
        if (name, target) not in self._links:
            self._links[name, target] = self._network.add(f"{name}:{len(self._links)}", target)
        return self._links[name, target].address

    def __getitem__(self, name: str) -> Link:
        found = [link for (named, _), link in self._links.items() if named == name]
        if not found:
            raise DrillError(f"{name}: there is no such link in this drill")
        return together(found)


class LinkedFleet(Fleet):
    """A fleet whose parts reach each other through links."""

    def __init__(self, plan: Plan, links: Links) -> None:
        super().__init__(plan)
        self._links = links

    def store_url_of(self, daemon: str, redis_url: str) -> str:
        """Through a link of its own."""
        head, at, target = redis_url.removesuffix("/0").rpartition("@")
        return f"{head}{at}{self._links.way(f'redis:{daemon}', target)}/0"

    def seen_by_haproxy(self, daemon: Daemon) -> Daemon:
        """Each of its ports through a link."""
        name = f"daemon:{daemon.name}"
        return daemon._replace(
            **{port: self._links.way(name, getattr(daemon, port)) for port in LINKED_PORTS}
        )


class LocalStage(Stage):
    """See `Stage`. Leaving its `with` block ends everything.

    Args:
        directory: Data, configurations and logs.
        links: Which links the drill cuts.
        daemons: How many.
        program: What Python runs as a daemon.
        settings: Of the daemons, others than echod's own.
    """

    def __init__(
        self,
        directory: Path,
        links: frozenset[str] = frozenset(),
        *,
        daemons: int = 4,
        program: Sequence[str] = ("-m", "echod"),
        settings: Mapping[str, float] = {},
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._network = Network(directory) if links else None
        self._links = Links(self._network, links)
        plan = Plan(
            directory / "fleet", daemons=daemons, daemon_program=program, daemon_settings=settings
        )
        self.fleet = LinkedFleet(plan, self._links)
        self._data = faults.RedisData(plan.directory / "redis")
        self._former: list[Process] = []

    @property
    def daemons(self) -> list[str]:
        return [daemon.ready["name"] for daemon in self.fleet.daemons]

    @property
    def addresses(self) -> dict[str, str]:
        haproxy = self.fleet.parts["haproxy"].ready
        return {
            name: self._links.way("clients", haproxy[port])
            for name, port in (("session", "session"), ("plain", "echo"))
        }

    @property
    def direct(self) -> list[str]:
        return [daemon.ready["session"] for daemon in self.fleet.daemons]

    def start(self) -> None:
        """Bring it up; HAProxy has found every daemon well then."""
        self.fleet.start()
        for name in self.daemons:
            self.await_up(name)

    # Processes.

    def kill(self, name: str) -> None:
        self.fleet.parts[name].kill()

    def freeze(self, name: str) -> None:
        process = self.fleet.parts[name]
        process.signal(signal.SIGSTOP)
        until(lambda: control.life(process) == "frozen", FROZEN_S_MAX, f"{name} to stand still")

    def thaw(self, name: str) -> None:
        self.fleet.parts[name].signal(signal.SIGCONT)

    def terminate(self, name: str) -> None:
        self.fleet.parts[name].signal(signal.SIGTERM)

    def await_end(self, name: str, end_s_max: float) -> None:
        until(lambda: not self.fleet.parts[name].alive, end_s_max, f"the end of {name}")

    def start_again(self, name: str) -> None:
        self.fleet.start_again(name)

    def await_up(self, name: str) -> None:
        stats = self.fleet.parts["haproxy"].ready["stats"]
        wanted = {("echod", name), ("sessions", name)}
        until(lambda: wanted <= haproxy_server.up(stats), UP_S_MAX, f"{name} to be in the balance")

    def reload(self) -> None:
        old = self.fleet.parts["haproxy"]
        self.fleet.start_haproxy(replaces=old.pid)
        self._former.append(old)

    # Files.

    def fill_files(self, name: str) -> None:
        faults.fill_files(self.fleet.parts[name].pid)

    def free_files(self, name: str) -> None:
        faults.free_files(self.fleet.parts[name].pid)

    def copy_data(self) -> None:
        self._data.copy()

    def lose_data(self, how: str) -> None:
        getattr(self._data, how)()

    def link(self, name: str) -> Link:
        return self._links[name]

    # Looking.

    def metric(self, name: str, sample: str) -> float:
        return metrics.read(self.fleet.parts[name].ready["admin"]).get(sample) or 0.0

    def keys(self) -> dict[str, int]:
        """Redis's alone: no other store is here."""
        if self.fleet.redis is None:
            raise DrillError("no Redis runs")
        with redis.Redis.from_url(self.fleet.redis.admin_url) as client:
            return Counter(key.partition(b":")[0].decode() for key in client.scan_iter(count=1000))

    def connections(self) -> list[tuple[str, int, int]]:
        return [
            (name, int(self.metric(name, "echod_connections")), _in_kernel(process))
            for name, process in self.fleet.parts.items()
            if name.startswith("echod") and process.alive
        ]

    def logs(self) -> dict[str, Path]:
        return {name: process.log for name, process in self.fleet.parts.items()}

    def close(self) -> None:
        """End everything, at once: what matters has been seen."""
        for process in self._former:
            process.kill()
        self.fleet.kill()
        if self._network is not None:
            self._network.close()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _in_kernel(daemon: Process) -> int:
    """Connections on its clients' ports that stand in the kernel."""
    own = {ports.split(daemon.ready[port])[1] for port in CLIENT_PORTS}
    return sum(
        one.status == psutil.CONN_ESTABLISHED and one.laddr.port in own
        for one in psutil.Process(daemon.pid).net_connections("tcp")
    )
