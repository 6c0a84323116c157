"""The containers of `docker compose up` as a stage: the same drills, where Docker can make the fault.

    kill, freeze    docker kill, docker pause       start_again   docker start
    terminate       SIGTERM by docker kill          reload        SIGUSR2 to HAProxy's master
    cut, heal       docker network disconnect, connect: both ways, and what was on the way is lost
    clients         a link of this machine in front of the published ports (`lab.fleet.network`)
    Redis's data    a shell in another container of its image, on its volume

The fleet must run. Its own load goes on beside the drill's.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from lab.drill.stage.base import DATA, UP_S_MAX, Deed, DrillError, Stage
from lab.fleet import metrics
from lab.fleet.docker import docker
from lab.fleet.local import ROOT
from lab.fleet.network import BOTH, Link
from lab.wait import until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lab.fleet.metrics import Samples

# Of the containers' logs, what a drill can have been.
LOG_SINCE: Final = "10m"

# Ports in the containers (docker-compose.yml).
PORTS: Final = {"echo": 1234, "session": 1235, "stats": 8404}
ADMIN_PORT: Final = 8080
ESTABLISHED: Final = "01"  # /proc/net/tcp

# None of them is started again by Docker itself.
DEEDS: Final[dict[Deed, tuple[str, ...]]] = {
    "kill": ("kill",),
    "freeze": ("pause",),
    "thaw": ("unpause",),
    "terminate": ("kill", "--signal", "TERM"),
}
# By the kind of link: a network's name in docker-compose.yml, and a part that is in it.
NETWORKS: Final = {"redis": ("store", "redis"), "daemon": ("balance", "haproxy")}

# Run in a daemon's container. Docker's client hands its proxies to containers, too.
READ_METRICS: Final = f"""
import urllib.request as r
o = r.build_opener(r.ProxyHandler({{}}))
print(o.open('http://127.0.0.1:{ADMIN_PORT}/metrics', timeout=2).read().decode())
"""
READ_SOCKETS: Final = "print(open('/proc/net/tcp').read())"


class ComposeStage(Stage):
    """See `Stage`. It starts and stops nothing that a drill does not; a part is its container's id.

    Raises:
        LabError: On entering: there is no Docker, or the fleet does not run.
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
        return Link(partial(self._attach, *name.split(":")))

    def do(self, deed: Deed, name: str) -> None:
        docker(*DEEDS[deed], self.parts[name])

    def start_again(self, name: str) -> None:
        """The same container; ready when Docker says that it is healthy."""
        docker("start", self.parts[name])
        until(
            lambda: self._inspect(name, "State").get("Health", {}).get("Status") == "healthy",
            UP_S_MAX, f"{name} to be healthy",
        )  # fmt: skip

    def reload(self) -> None:
        docker("kill", "--signal", "USR2", self.parts["haproxy"])

    def change_data(self, how: str) -> None:
        command = f"cd /data; {DATA[how]}"
        self._compose("run", "--rm", "--no-deps", "--entrypoint", "sh", "redis", "-ec", command)

    def runs(self, name: str) -> bool:
        return bool(self._inspect(name, "State")["Running"])

    def samples(self, name: str) -> Samples:
        return metrics.from_text(self._inside(name, READ_METRICS))

    def in_kernel(self, name: str) -> int:
        own = {f"{PORTS[port]:04X}" for port in ("echo", "session")}
        rows = [line.split() for line in self._inside(name, READ_SOCKETS).splitlines()[1:] if line]
        return sum(
            state == ESTABLISHED and local.rpartition(":")[2] in own
            for _, local, _, state, *_ in rows
        )

    def logs(self) -> dict[str, Path]:
        """As files."""
        files = {name: self._directory / f"{name}.log" for name in self.parts}
        for name, file in files.items():
            file.write_text(docker("logs", "--since", LOG_SINCE, self.parts[name], errors=True))
        return files

    def _attach(
        self, kind: str, name: str, do: str, ways: Sequence[str] = (), **_: object
    ) -> dict[str, Any]:
        suffix, member = NETWORKS[kind]
        network, _settings = self._network_of(member, suffix)
        if do == "heal":
            # Under the name by which HAProxy finds it.
            docker("network", "connect", "--alias", "server", network, self.parts[name])
        elif do == "hold" and set(ways) == set(BOTH):
            docker("network", "disconnect", network, self.parts[name])
        else:
            raise DrillError(f"{kind}:{name}: a container's network is cut both ways, or not")
        return {}

    def _network_of(self, name: str, suffix: str) -> tuple[str, dict[str, Any]]:
        """(Docker's name, settings) of one of compose's networks that a part is in."""
        networks = self._inspect(name, "NetworkSettings.Networks")
        return next(one for one in networks.items() if one[0].endswith(f"_{suffix}"))

    def _inside(self, name: str, program: str) -> str:
        return docker("exec", self.parts[name], "python", "-ISc", program)

    def _inspect(self, name: str, what: str) -> dict[str, Any]:
        said = docker("inspect", "-f", f"{{{{json .{what}}}}}", self.parts[name])
        found: dict[str, Any] = json.loads(said)
        return found

    def _compose(self, *words: str) -> str:
        return docker("compose", *words, directory=ROOT)
