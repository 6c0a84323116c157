"""A fleet of local processes, as a stage on which every fault can be made.

    clients ──(link)──▶ HAProxy ──(link)──▶ daemons ──(link)──▶ Redis

A link is only there in the drills that cut it: elsewhere the parts are connected directly.
"""

from __future__ import annotations

import contextlib
import signal
from collections import Counter
from typing import TYPE_CHECKING, Final, Self

import psutil
import redis

from lab import web
from lab.drill import faults
from lab.drill.errors import DrillError
from lab.drill.local_fleet import DrillFleet
from lab.drill.network import Network
from lab.fleet.local import Plan
from lab.wait import until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from lab.fleet.processes import Process

# A page of a daemon that is well; one that is not is waited for no longer.
PAGE_S_MAX: Final = 2.0
CLIENT_PORTS: Final = ("echo", "session")

# HAProxy's checks have found every daemon well: two of them in 0.5 s each, a busy machine.
UP_S_MAX: Final = 15.0


class LocalStage:
    """See `scenario.Stage`. Leaving its `with` block ends everything.

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
        plan = Plan(
            directory / "fleet", daemons=daemons, daemon_program=program, daemon_settings=settings
        )
        self.fleet = DrillFleet(plan, self._network, links)
        self._data = faults.RedisData(plan.directory / "redis")
        self._former: list[Process] = []

    @property
    def daemons(self) -> list[str]:
        """Their names."""
        return [daemon.ready["name"] for daemon in self.fleet.daemons]

    @property
    def addresses(self) -> dict[str, str]:
        """Where clients connect, `session` and `plain`."""
        return {
            "session": self.fleet.clients_address("session"),
            "plain": self.fleet.clients_address("echo"),
        }

    @property
    def direct(self) -> list[str]:
        """The daemons' own session ports."""
        return [daemon.ready["session"] for daemon in self.fleet.daemons]

    def start(self) -> None:
        """Bring it up; HAProxy has found every daemon well then."""
        self.fleet.start()
        until(
            lambda: self._up() == len(self.daemons), UP_S_MAX, "every daemon to be in the balance"
        )

    # Processes.

    def kill(self, name: str) -> None:
        """SIGKILL; it has ended then."""
        self.fleet.parts[name].kill()

    def freeze(self, name: str) -> None:
        """SIGSTOP; it stands still then."""
        process = self.fleet.parts[name]
        process.signal(signal.SIGSTOP)
        until(
            lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED,
            PAGE_S_MAX, f"{name} to stand still",
        )  # fmt: skip

    def thaw(self, name: str) -> None:
        """SIGCONT."""
        self.fleet.parts[name].signal(signal.SIGCONT)

    def terminate(self, name: str) -> None:
        """SIGTERM."""
        self.fleet.parts[name].signal(signal.SIGTERM)

    def await_end(self, name: str, end_s_max: float) -> None:
        """Wait until it has ended.

        Raises:
            TimeoutError: It has not.
        """
        until(lambda: not self.fleet.parts[name].alive, end_s_max, f"the end of {name}")

    def start_again(self, name: str) -> None:
        """On the same ports and data."""
        self.fleet.start_again(name)

    def await_up(self, name: str) -> None:
        """Wait until HAProxy has found it well."""
        until(lambda: self._is_up(name), UP_S_MAX, f"{name} to be in the balance")

    def reload(self) -> None:
        """A new HAProxy beside the old one, which finishes what it has."""
        old = self.fleet.parts["haproxy"]
        self.fleet.start_haproxy_again(replaces=old.pid)
        self._former.append(old)

    # Files.

    def fill_files(self, name: str) -> None:
        """Prlimit to what it has open."""
        faults.fill_files(self.fleet.parts[name].pid)

    def free_files(self, name: str) -> None:
        """Prlimit to the hard limit."""
        faults.free_files(self.fleet.parts[name].pid)

    # Redis's data.

    def copy_data(self) -> None:
        """While it runs, as a backup would."""
        self._data.copy()

    def lose_data(self, how: str) -> None:
        """`truncate`, `empty` or `restore`."""
        getattr(self._data, how)()

    # Links.

    def cut(self, link: str, *ways: str) -> None:
        """Both ways by default."""
        for one in self.fleet.links[link]:
            one.hold(*ways)

    def heal(self, link: str) -> None:
        """What was on the way comes late."""
        for one in self.fleet.links[link]:
            one.heal()

    def release(self, link: str, way: str) -> None:
        """One direction goes on."""
        for one in self.fleet.links[link]:
            one.release(way)

    def refuse(self, link: str) -> None:
        """New connects are refused."""
        for one in self.fleet.links[link]:
            one.refuse()

    def reset(self, link: str) -> int:
        """How many connections it had."""
        return sum(one.reset()["connections"] for one in self.fleet.links[link])

    def strand(self, link: str) -> None:
        """Near ends are reset, new connections pass."""
        for one in self.fleet.links[link]:
            one.strand()

    def half_open(self, link: str, end: str) -> None:
        """One end is reset."""
        for one in self.fleet.links[link]:
            one.half_open(end)

    def deafen(self, link: str, *, lasting: bool) -> None:
        """Its subscription's connection stands still.

        Raises:
            DrillError: There was none.
        """
        if not sum(one.deafen(lasting=lasting)["deaf"] for one in self.fleet.links[link]):
            raise DrillError(f"{link}: no connection has subscribed")

    # Looking.

    def metric(self, name: str, sample: str) -> float:
        """As the daemon's page has it now."""
        lines = page_of(f"http://{self.fleet.parts[name].ready['admin']}/metrics").splitlines()
        return next(float(line[len(sample) :]) for line in lines if line.startswith(sample + " "))

    def keys(self) -> dict[str, int]:
        """Redis's alone: no other store is here.

        Raises:
            DrillError: There is no Redis.
        """
        if self.fleet.redis is None:
            raise DrillError("no Redis runs")
        with redis.Redis.from_url(self.fleet.redis.admin_url) as client:
            return Counter(key.partition(b":")[0].decode() for key in client.scan_iter(count=1000))

    def connections(self) -> list[tuple[str, int, int]]:
        """(daemon, clients in its metrics, clients in the kernel), of those that run."""
        return [
            (name, self._in_metrics(process), _in_kernel(process))
            for name, process in self.fleet.parts.items()
            if name.startswith("echod") and process.alive
        ]

    def logs(self) -> dict[str, Path]:
        """Each part's log."""
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

    def _in_metrics(self, daemon: Process) -> int:
        page = page_of(f"http://{daemon.ready['admin']}/metrics")
        return sum(
            int(float(line.rpartition(" ")[2]))
            for line in page.splitlines()
            if line.startswith("echod_connections{")
        )

    def _up(self) -> int:
        return sum(self._is_up(name) for name in self.daemons)

    def _is_up(self, name: str) -> bool:
        with contextlib.suppress(OSError):
            page = page_of(f"http://{self.fleet.parts['haproxy'].ready['stats']}/;csv")
            rows = [row.split(",") for row in page.splitlines()]
            at = rows[0].index("status")
            states = {row[0]: row[at] for row in rows[1:] if len(row) > at and row[1] == name}
            return all(states.get(backend) == "UP" for backend in ("echod", "sessions"))
        return False


def page_of(url: str) -> str:
    """What is there, over HTTP."""
    return web.read(url, PAGE_S_MAX).decode()


def _in_kernel(daemon: Process) -> int:
    """Connections on its clients' ports that stand in the kernel."""
    ports = {int(daemon.ready[port].rpartition(":")[2]) for port in CLIENT_PORTS}
    return sum(
        one.status == psutil.CONN_ESTABLISHED and one.laddr.port in ports
        for one in psutil.Process(daemon.pid).net_connections("tcp")
    )
