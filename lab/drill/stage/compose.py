"""The containers of `docker compose up` as a stage: the same drills, where Docker can make the fault.

    kill, freeze    docker kill, docker pause       start_again   docker start
    terminate       docker stop, in the background  reload        SIGUSR2 to HAProxy's master
    cut, heal       docker network disconnect, connect: both ways, and what was on the way is lost
    clients         a link of this machine in front of the published ports (`lab.fleet.network`)
    Redis's data    a shell in a container of its image, on its volume, while it is down

The fleet must run. Its own load goes on beside the drill's.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from lab.drill.errors import DrillError
from lab.drill.stage.base import CannotError, Stage
from lab.fleet import haproxy_server, metrics
from lab.fleet.docker import DockerError, docker
from lab.fleet.network import BOTH, Link, Network, together
from lab.wait import until

if TYPE_CHECKING:
    from collections.abc import Sequence

# A daemon's drain, and compose's stop_grace_period of it.
STOP_S: Final = 20
# A container's health is looked at every 3 s, HAProxy's twice a second.
UP_S_MAX: Final = 60.0
# Of the containers' logs, what a drill can have been.
LOG_SINCE: Final = "10m"

# Ports in the containers (docker-compose.yml).
PLAIN_PORT, SESSION_PORT, ADMIN_PORT, STATS_PORT = 1234, 1235, 8080, 8404
ESTABLISHED: Final = "01"  # /proc/net/tcp

# What is done to Redis's data, in its volume's directory.
SHELL: Final = {
    "copy": "rm -rf copy && mkdir copy && cp -r appendonlydir copy/",
    "restore": "rm -rf appendonlydir && mv copy/appendonlydir . ",
    "empty": "rm -rf appendonlydir",
    "truncate": "f=$(ls -t appendonlydir/*.incr.aof | head -n 1);"
    " truncate -s $(($(stat -c %s $f) / 2)) $f",
}
# By the kind of link: a network's name in docker-compose.yml, and a part that is in it.
NETWORKS: Final = {"redis": ("store", "redis"), "daemon": ("balance", "haproxy")}


class ComposeStage(Stage):
    """See `Stage`. It starts and stops nothing that a drill does not.

    Args:
        project: The directory of docker-compose.yml.
        links: Which links the drill cuts.

    Raises:
        LabError: There is no Docker, or the fleet does not run.
    """

    def __init__(self, project: Path, links: frozenset[str] = frozenset()) -> None:
        self._project = project
        self._links = links
        self._scratch = tempfile.TemporaryDirectory(prefix="echofleet-drill-")
        self._network: Network | None = None
        self._clients: list[Link] = []
        self._stops: list[subprocess.Popen[bytes]] = []
        servers = self._compose("ps", "-q", "server").split()
        if not servers:
            raise DrillError("no daemon runs: `docker compose up -d` first")
        self._containers = {f"echod{n}": one for n, one in enumerate(sorted(servers), 1)}
        for name in ("redis", "haproxy"):
            self._containers[name] = self._compose("ps", "-q", name).strip()

    @property
    def daemons(self) -> list[str]:
        """Their names here; Docker's are in `docker compose ps`."""
        return [name for name in self._containers if name.startswith("echod")]

    @property
    def addresses(self) -> dict[str, str]:
        """The published ports, through a link if the clients' is cut."""
        found = {"session": self._published(SESSION_PORT), "plain": self._published(PLAIN_PORT)}
        if "clients" in self._links:
            self._network = self._network or Network(Path(self._scratch.name))
            for name, address in found.items():
                link = self._network.add(f"clients:{name}", address)
                self._clients.append(link)
                found[name] = link.address
        return found

    @property
    def direct(self) -> list[str]:
        """The containers' own addresses, which a Linux host reaches."""
        return [f"{self._address(name)}:{SESSION_PORT}" for name in self.daemons]

    # Processes.

    def kill(self, name: str) -> None:
        """Docker does not start it again by itself then."""
        docker("kill", self._containers[name])

    def freeze(self, name: str) -> None:
        """The container's freezer."""
        docker("pause", self._containers[name])

    def thaw(self, name: str) -> None:
        docker("unpause", self._containers[name])

    def terminate(self, name: str) -> None:
        """`docker stop`, which waits for the end: in the background."""
        argv = ["docker", "stop", "--time", str(STOP_S), self._containers[name]]
        self._stops.append(subprocess.Popen(argv, stdout=subprocess.DEVNULL))

    def await_end(self, name: str, end_s_max: float) -> None:
        until(
            lambda: not self._inspect(name, "State")["Running"],
            end_s_max + STOP_S, f"the end of {name}",
        )  # fmt: skip

    def start_again(self, name: str) -> None:
        """The same container; ready when Docker says that it is healthy."""
        docker("start", self._containers[name])
        until(
            lambda: self._inspect(name, "State").get("Health", {}).get("Status") == "healthy",
            UP_S_MAX, f"{name} to be healthy",
        )  # fmt: skip

    def await_up(self, name: str) -> None:
        """Wait until HAProxy has as many daemons up as there are: it has other names for them."""
        until(lambda: self._up() >= len(self.daemons), UP_S_MAX, f"{name} to be in the balance")

    def reload(self) -> None:
        """HAProxy's master starts another worker."""
        docker("kill", "--signal", "USR2", self._containers["haproxy"])

    # Redis's data.

    def copy_data(self) -> None:
        """In its volume."""
        docker("exec", self._containers["redis"], "sh", "-c", f"cd /data && {SHELL['copy']}")

    def lose_data(self, how: str) -> None:
        """In another container of its image, on its volume."""
        command = f"cd /data && {SHELL[how]}"
        self._compose("run", "--rm", "--no-deps", "--entrypoint", "sh", "redis", "-c", command)

    def link(self, name: str) -> Link:
        """Its clients' is a link as any other; a container's network is only there, or not."""
        if name == "clients":
            return together(self._clients)
        return Link(partial(self._attach, *name.split(":")))

    def _attach(
        self, kind: str, name: str, do: str, ways: Sequence[str] = (), **_: object
    ) -> dict[str, Any]:
        network, container = self._network_of(kind), self._containers[name]
        if do == "heal":
            # Under the name by which HAProxy finds it.
            docker("network", "connect", "--alias", "server", network, container)
        elif do == "hold" and set(ways) == set(BOTH):
            docker("network", "disconnect", network, container)
        else:
            raise CannotError(f"{kind}:{name}: a container's network is cut both ways, or not")
        return {}

    # Looking.

    def connections(self) -> list[tuple[str, int, int]]:
        """Both are asked for inside the daemon's container."""
        found = []
        for name in self.daemons:
            if self._inspect(name, "State")["Running"]:
                with contextlib.suppress(DockerError):  # it has just ended
                    found.append((name, self._in_metrics(name), self._in_kernel(name)))
        return found

    def logs(self) -> dict[str, Path]:
        """Written to files of this stage."""
        files = {}
        for name, container in self._containers.items():
            files[name] = Path(self._scratch.name) / f"{name}.log"
            files[name].write_text(docker("logs", "--since", LOG_SINCE, container, errors=True))
        return files

    def close(self) -> None:
        """Let go; the fleet stays."""
        if self._network is not None:
            self._network.close()
        for stop in self._stops:
            stop.wait(2 * STOP_S)
        self._scratch.cleanup()

    def __enter__(self) -> Self:
        self.await_up("every daemon")
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _in_metrics(self, name: str) -> int:
        page = self._inside(
            name,
            # Docker's client hands its proxies to containers, too.
            "import urllib.request as r;"
            "o = r.build_opener(r.ProxyHandler({}));"
            f"print(o.open('http://127.0.0.1:{ADMIN_PORT}/metrics', timeout=2).read().decode())",
        )
        return int(metrics.from_text(page).get("echod_connections") or 0)

    def _in_kernel(self, name: str) -> int:
        table = self._inside(name, "print(open('/proc/net/tcp').read())")
        ports = {f"{port:04X}" for port in (PLAIN_PORT, SESSION_PORT)}
        rows = [line.split() for line in table.splitlines()[1:]]
        return sum(
            len(row) > 3 and row[3] == ESTABLISHED and row[1].rpartition(":")[2] in ports  # noqa: PLR2004 — its columns
            for row in rows
        )

    def _inside(self, name: str, program: str) -> str:
        return docker("exec", self._containers[name], "python", "-ISc", program)

    def _up(self) -> int:
        """Daemons that HAProxy's checks have found well, on the port that has fewer."""
        found = haproxy_server.up(self._published(STATS_PORT))
        by_backend = Counter(backend for backend, server in found if server != "BACKEND")
        return min(by_backend["echod"], by_backend["sessions"])

    def _published(self, port: int) -> str:
        return self._compose("port", "haproxy", str(port)).strip()

    def _address(self, name: str) -> str:
        networks = self._inspect(name, "NetworkSettings.Networks")
        (address,) = (
            str(one["IPAddress"]) for key, one in networks.items() if key.endswith("_balance")
        )
        return address

    def _network_of(self, kind: str) -> str:
        """Docker's name of one of compose's networks."""
        suffix, part = NETWORKS[kind]
        networks = self._inspect(part, "NetworkSettings.Networks")
        return next(name for name in networks if name.endswith(f"_{suffix}"))

    def _inspect(self, name: str, what: str) -> dict[str, Any]:
        said = docker("inspect", "-f", f"{{{{json .{what}}}}}", self._containers[name])
        found: dict[str, Any] = json.loads(said)
        return found

    def _compose(self, *words: str) -> str:
        return docker("compose", *words, directory=self._project)
