"""The containers of `docker compose up` as a stage: the same drills, where Docker can make the fault.

    kill …          `DEEDS`
    cut, heal       docker network disconnect, connect: both ways, and what was on the way is lost
    clients         a link of this machine in front of the published ports (`lab.fleet.links`)
    Redis's data    a shell in another container of its image, on its volume

The fleet must run. Its own load goes on beside the drill's.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from lab.drill.stage.base import DATA, UP_S_MAX, Deed, DrillError, Stage
from lab.fleet import metrics
from lab.fleet.docker import docker
from lab.fleet.links import Link
from lab.fleet.local import ROOT
from lab.wait import until

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from lab.fleet.metrics import Samples

# Of the containers' logs, what a drill can have been.
LOG_SINCE: Final = "10m"

# Ports in the containers (docker-compose.yml).
PORTS: Final = {"echo": 1234, "session": 1235, "stats": 8404}
ADMIN_PORT: Final = 8080

# None that ends is started again by Docker itself. HAProxy's master starts another worker.
DEEDS: Final[dict[Deed, tuple[str, ...]]] = {
    "kill": ("kill",),
    "freeze": ("pause",),
    "thaw": ("unpause",),
    "drain": ("kill", "--signal", "TERM"),
    "start": ("start",),
    "reload": ("kill", "--signal", "USR2"),
}
# By the kind of link: a network's name in docker-compose.yml, and a part that is in it.
NETWORKS: Final = {"redis": ("store", "redis"), "daemon": ("balance", "haproxy")}

# Run in a daemon's container. Docker's client hands its proxies to containers, too.
READ_METRICS: Final = f"""
import urllib.request as r
o = r.build_opener(r.ProxyHandler({{}}))
print(o.open('http://127.0.0.1:{ADMIN_PORT}/metrics', timeout=2).read().decode())
"""
COUNT_CLIENTS: Final = f"""
rows = [line.split() for line in open('/proc/net/tcp')][1:]
own = [{PORTS["echo"]}, {PORTS["session"]}]
established = '01'
print(sum(row[3] == established and int(row[1].split(':')[1], 16) in own for row in rows))
"""


class Membership(Link):
    """A container's, of a network: held and healed, and no more."""

    def __init__(self, network: str, container: str) -> None:
        self._both = network, container

    def hold(self, *_: str) -> dict[str, Any]:
        docker("network", "disconnect", *self._both)
        return {}

    def heal(self) -> dict[str, Any]:
        # Under the name by which HAProxy finds it.
        docker("network", "connect", "--alias", "server", *self._both)
        return {}


class ComposeStage(Stage):
    """See `Stage`. It starts and stops nothing that a drill does not; a part is its container's id.

    Raises:
        LabError: When it begins: there is no Docker, or the fleet does not run.
    """

    parts: dict[str, str]

    def start(self) -> None:
        servers = self._compose("ps", "-q", "server").split()
        if not servers:
            raise DrillError("no daemon runs: `docker compose up -d` first")
        self.parts = {f"echod{n}": one for n, one in enumerate(sorted(servers), 1)}
        for name in ("redis", "haproxy"):
            self.parts[name] = self._compose("ps", "-q", name).strip()
        self.haproxy = {
            name: self._compose("port", "haproxy", str(port)).strip()
            for name, port in PORTS.items()
        }
        # The containers' own addresses, which a Linux host reaches.
        networks = [self._network_of(name, "balance")[1] for name in self.daemons]
        self.direct = [f"{network['IPAddress']}:{PORTS['session']}" for network in networks]

    def link(self, name: str) -> Link:
        """The clients' is a link as any other; a container's network is only there, or not."""
        if name == "clients":
            return super().link(name)
        kind, _, part = name.partition(":")
        suffix, member = NETWORKS[kind]
        network, _settings = self._network_of(member, suffix)
        return Membership(network, self.parts[part])

    def do(self, deed: Deed, name: str) -> None:
        docker(*DEEDS[deed], self.parts[name])
        if deed == "start":
            until(
                lambda: self._inspect(name, "State.Health.Status") == "healthy",
                UP_S_MAX, f"{name} to be healthy",
            )  # fmt: skip

    def change_data(self, how: str) -> None:
        command = f"cd /data; {DATA[how]}"
        self._compose("run", "--rm", "--no-deps", "--entrypoint", "sh", "redis", "-ec", command)

    def runs(self, name: str) -> bool:
        return bool(self._inspect(name, "State.Running"))

    def samples(self, name: str) -> Samples:
        return metrics.from_text(self._inside(name, READ_METRICS))

    def in_kernel(self, name: str) -> int:
        return int(self._inside(name, COUNT_CLIENTS))

    def logs(self) -> Iterable[Path]:
        for name, container in self.parts.items():
            log = docker("logs", "--since", LOG_SINCE, container, errors=True)
            (self._directory / f"{name}.log").write_text(log)
        return super().logs()

    def _network_of(self, name: str, suffix: str) -> tuple[str, dict[str, Any]]:
        """(Docker's name, settings) of one of compose's networks that a part is in."""
        networks: dict[str, dict[str, Any]] = self._inspect(name, "NetworkSettings.Networks")
        return next(one for one in networks.items() if one[0].endswith(f"_{suffix}"))

    def _inside(self, name: str, program: str) -> str:
        return docker("exec", self.parts[name], "python", "-ISc", program)

    def _inspect(self, name: str, what: str) -> Any:  # noqa: ANN401 — JSON
        return json.loads(docker("inspect", "-f", f"{{{{json .{what}}}}}", self.parts[name]))

    def _compose(self, *words: str) -> str:
        return docker("compose", *words, directory=ROOT)
