"""The containers of `docker compose up` as a stage: the same drills, where Docker can make the fault.

    kill, freeze    docker kill, docker pause       start_again   docker start
    terminate       docker stop, in the background  reload        SIGUSR2 to HAProxy's master
    cut, heal       docker network disconnect, connect: both ways, and what was on the way is lost
    clients         a link of this machine in front of the published ports (`network`)
    Redis's data    a shell in a container of its image, on its volume, while it is down

The fleet must run. Its own load goes on beside the drill's.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from lab import web
from lab.drill.errors import DrillError
from lab.drill.network import Link, Network
from lab.drill.scenario import CannotError
from lab.wait import until

if TYPE_CHECKING:
    from collections.abc import Sequence

# One command of Docker's, on a busy machine.
DOCKER_S_MAX: Final = 60.0
# A daemon's drain, and compose's stop_grace_period of it.
STOP_S: Final = 20
# A container's health is looked at every 3 s, HAProxy's twice a second.
UP_S_MAX: Final = 60.0
PAGE_S_MAX: Final = 2.0

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
# A network's name in docker-compose.yml, by the kind of link.
NETWORKS: Final = {"redis": "store", "daemon": "balance"}


class ComposeStage:
    """See `scenario.Stage`. It starts and stops nothing that a drill does not.

    Args:
        project: The directory of docker-compose.yml.
        links: Which links the drill cuts.

    Raises:
        DrillError: There is no Docker, or the fleet does not run.
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
        published = {
            "session": self._published(SESSION_PORT),
            "plain": self._published(PLAIN_PORT),
        }
        if "clients" not in self._links:
            return published
        self._network = self._network or Network(Path(self._scratch.name))
        found = {}
        for name, address in published.items():
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
        """SIGKILL; Docker does not start it again by itself then."""
        self._docker("kill", self._containers[name])

    def freeze(self, name: str) -> None:
        """The container's freezer."""
        self._docker("pause", self._containers[name])

    def thaw(self, name: str) -> None:
        """As `freeze`."""
        self._docker("unpause", self._containers[name])

    def terminate(self, name: str) -> None:
        """`docker stop`, which waits for the end: in the background."""
        argv = ["docker", "stop", "--time", str(STOP_S), self._containers[name]]
        self._stops.append(subprocess.Popen(argv, stdout=subprocess.DEVNULL))

    def await_end(self, name: str, end_s_max: float) -> None:
        """Wait until it has ended.

        Raises:
            TimeoutError: It has not.
        """
        until(lambda: not self._state(name)["Running"], end_s_max + STOP_S, f"the end of {name}")

    def start_again(self, name: str) -> None:
        """The same container; ready when Docker says that it is healthy."""
        self._docker("start", self._containers[name])
        until(
            lambda: self._state(name).get("Health", {}).get("Status") == "healthy",
            UP_S_MAX, f"{name} to be healthy",
        )  # fmt: skip

    def await_up(self, name: str) -> None:
        """Wait until HAProxy has as many daemons up as there are."""
        until(lambda: self._up() >= len(self.daemons), UP_S_MAX, f"{name} to be in the balance")

    def reload(self) -> None:
        """HAProxy's master starts another worker."""
        self._docker("kill", "--signal", "USR2", self._containers["haproxy"])

    # What can't be made here.

    def fill_files(self, name: str) -> None:
        """Not here."""
        raise CannotError(f"the file limit of a running container ({name}) can't be changed")

    def free_files(self, name: str) -> None:
        """Not here."""
        self.fill_files(name)

    def release(self, link: str, way: str) -> None:
        """Not here."""
        raise CannotError(f"{link}: a container's network has no direction {way} of its own")

    def refuse(self, link: str) -> None:
        """Not here."""
        raise CannotError(f"{link}: containers have no link that can refuse")

    def strand(self, link: str) -> None:
        """Not here."""
        raise CannotError(f"{link}: containers have no link that can strand bytes")

    def half_open(self, link: str, end: str) -> None:
        """Not here."""
        raise CannotError(f"{link}: containers have no link whose {end} end can be reset")

    def deafen(self, link: str, *, lasting: bool) -> None:  # noqa: ARG002 — as the others
        """Not here."""
        raise CannotError(f"{link}: containers have no link whose connections can be told apart")

    def keys(self) -> dict[str, int]:
        """Not here."""
        raise CannotError("Redis is reached by daemons alone")

    def metric(self, name: str, sample: str) -> float:
        """Not here."""
        raise CannotError(f"{name}: {sample} is asked for only in drills that cut links")

    # Redis's data.

    def copy_data(self) -> None:
        """In its volume."""
        self._docker("exec", self._containers["redis"], "sh", "-c", f"cd /data && {SHELL['copy']}")

    def lose_data(self, how: str) -> None:
        """While it is down: in another container of its image, on its volume."""
        command = f"cd /data && {SHELL[how]}"
        self._compose("run", "--rm", "--no-deps", "--entrypoint", "sh", "redis", "-c", command)

    # Links.

    def cut(self, link: str, *ways: str) -> None:
        """Take the daemon off the network; both ways at once."""
        if ways:
            raise CannotError(f"{link}: a container's network is cut both ways")
        kind, name = link.split(":")
        self._docker("network", "disconnect", self._network_of(kind), self._containers[name])

    def heal(self, link: str) -> None:
        """Put it back, under the name by which HAProxy finds it."""
        if link == "clients":
            for one in self._clients:
                one.heal()
            return
        kind, name = link.split(":")
        self._docker(
            "network", "connect", "--alias", "server",
            self._network_of(kind), self._containers[name],
        )  # fmt: skip

    def reset(self, link: str) -> int:
        """Of the clients alone."""
        if link != "clients":
            raise CannotError(f"{link}: only the clients' connections can be reset")
        return sum(one.reset()["connections"] for one in self._clients)

    # Looking.

    def connections(self) -> list[tuple[str, int, int]]:
        """(daemon, clients in its metrics, clients in the kernel of its container)."""
        found = []
        for name in self.daemons:
            if self._state(name)["Running"]:
                with contextlib.suppress(DrillError):  # it has just ended
                    found.append((name, self._in_metrics(name), self._in_kernel(name)))
        return found

    def logs(self) -> dict[str, Path]:
        """Written to files of this stage."""
        files = {}
        for name, container in self._containers.items():
            path = Path(self._scratch.name) / f"{name}.log"
            with path.open("wb") as file:
                subprocess.run(
                    ["docker", "logs", "--since", "10m", container],
                    stdout=file, stderr=subprocess.STDOUT, check=False, timeout=DOCKER_S_MAX,
                )  # fmt: skip
            files[name] = path
        return files

    def close(self) -> None:
        """Let go; the fleet stays."""
        if self._network is not None:
            self._network.close()
        for stop in self._stops:
            stop.wait(2 * STOP_S)
        self._scratch.cleanup()

    def __enter__(self) -> Self:
        until(
            lambda: self._up() >= len(self.daemons), UP_S_MAX, "every daemon to be in the balance"
        )
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
        return sum(
            int(float(line.rpartition(" ")[2]))
            for line in page.splitlines()
            if line.startswith("echod_connections{")
        )

    def _in_kernel(self, name: str) -> int:
        table = self._inside(name, "print(open('/proc/net/tcp').read())")
        ports = {f"{port:04X}" for port in (PLAIN_PORT, SESSION_PORT)}
        rows = [line.split() for line in table.splitlines()[1:]]
        return sum(
            len(row) > 3 and row[3] == ESTABLISHED and row[1].rpartition(":")[2] in ports  # noqa: PLR2004 — its columns
            for row in rows
        )

    def _inside(self, name: str, program: str) -> str:
        return self._docker("exec", self._containers[name], "python", "-ISc", program)

    def _up(self) -> int:
        """Daemons that HAProxy's checks have found well, on the port that has fewer."""
        url = f"http://{self._published(STATS_PORT)}/;csv"
        with contextlib.suppress(OSError):
            page = web.read(url, PAGE_S_MAX).decode()
            rows = [line.split(",") for line in page.splitlines()]
            at = rows[0].index("status")
            up = [row[0] for row in rows[1:] if len(row) > at and row[at] == "UP"
                  and row[1] != "BACKEND"]  # fmt: skip
            return min(up.count("echod"), up.count("sessions"))
        return 0

    def _published(self, port: int) -> str:
        return self._compose("port", "haproxy", str(port)).strip()

    def _address(self, name: str) -> str:
        networks: dict[str, Any] = json.loads(
            self._docker(
                "inspect", "-f", "{{json .NetworkSettings.Networks}}", self._containers[name]
            )
        )
        (address,) = (
            str(one["IPAddress"]) for key, one in networks.items() if key.endswith("_balance")
        )
        return address

    def _network_of(self, kind: str) -> str:
        """Docker's name of one of compose's networks."""
        networks: dict[str, Any] = json.loads(
            self._docker(
                "inspect", "-f", "{{json .NetworkSettings.Networks}}",
                self._containers["redis" if kind == "redis" else "haproxy"],
            )
        )  # fmt: skip
        return next(name for name in networks if name.endswith(f"_{NETWORKS[kind]}"))

    def _state(self, name: str) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(
            self._docker("inspect", "-f", "{{json .State}}", self._containers[name])
        )
        return state

    def _compose(self, *words: str) -> str:
        return self._run(["docker", "compose", *words])

    def _docker(self, *words: str) -> str:
        return self._run(["docker", *words])

    def _run(self, argv: Sequence[str]) -> str:
        try:
            done = subprocess.run(
                argv, cwd=self._project, capture_output=True, text=True, check=False,
                timeout=DOCKER_S_MAX, env=os.environ,
            )  # fmt: skip
        except FileNotFoundError:
            raise DrillError("no docker on PATH: without --compose, drills need none") from None
        except subprocess.TimeoutExpired:
            raise DrillError(f"{' '.join(argv)}: no answer in {DOCKER_S_MAX:g} s") from None
        if done.returncode != 0:
            raise DrillError(f"{' '.join(argv)}: {done.stderr.strip()}")
        said: str = done.stdout
        return said
