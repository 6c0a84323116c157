"""A fleet of local processes, as a stage on which every fault can be made.

    clients ──(link)──▶ HAProxy ──(link)──▶ echod1 … ──(link)──▶ Redis
       ├──────────────────▶ idle   ─────────────────────────────▶ Redis     a soak's: in no balance
       └──────────────────▶ memory                        a soak's: alone, with its own store

A link is only there in the drills that cut it. Nothing here needs root.
"""

from __future__ import annotations

import itertools
import resource
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil
import redis

from echod.config import flag_of
from lab.drill.lives import shorten
from lab.drill.stage.base import DATA, Deed, Stage
from lab.fleet import control, metrics, ports, processes
from lab.fleet.local import Fleet, Plan
from lab.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lab.fleet.haproxy_server import Daemon
    from lab.fleet.metrics import Samples
    from lab.fleet.processes import Process

FROZEN_S_MAX: Final = 2.0
# Beside a soak's fleet.
MEMORY, IDLE = "memory", "idle"


class LinkedFleet(Fleet):
    """A fleet whose parts reach each other by `way` (`Stage.way`)."""

    def __init__(self, plan: Plan, way: Callable[[str, str], str]) -> None:
        super().__init__(plan)
        self._way = way

    def store_url_of(self, daemon: str, redis_url: str) -> str:
        """Through a link of its own."""
        head, at, target = redis_url.removesuffix("/0").rpartition("@")
        return f"{head}{at}{self._way(f'redis:{daemon}', target)}/0"

    def seen_by_haproxy(self, daemon: Daemon) -> Daemon:
        """Each of its ports through a link."""
        name = f"daemon:{daemon.name}"
        linked = {
            port: self._way(name, getattr(daemon, port)) for port in ("echo", "session", "agent")
        }
        return daemon._replace(**linked)


class LocalStage(Stage):
    """See `Stage`.

    Args:
        directory: Data, configurations and logs.
        links: Which links the drill cuts.
        factor: The daemons' lives are shortened by it, and a soak's two daemons are there; 0:
            neither.
        program: What Python runs as a daemon.
    """

    parts: dict[str, Process]

    def __init__(
        self,
        directory: Path,
        links: frozenset[str] = frozenset(),
        *,
        factor: float = 0.0,
        program: Sequence[str] = ("-m", "echod"),
    ) -> None:
        super().__init__(directory, links)
        self._soak = bool(factor)
        settings = shorten(factor).settings if factor else {}
        plan = Plan(directory / "fleet", daemon_program=program, daemon_settings=settings)
        self.fleet = LinkedFleet(plan, self.way)
        self.parts = self.fleet.parts

    def start(self) -> None:
        self.fleet.start()
        self.haproxy = self.parts["haproxy"].ready
        self.direct = [self.parts[name].ready["session"] for name in self.daemons]
        if self._soak:
            store = self.parts["redis"].ready
            password = ["--store-password-file", store["password_file"]]
            self._start_beside(MEMORY, "--store", "memory://")
            self._start_beside(IDLE, "--store", store["url"], *password)

    def __exit__(self, *_: object) -> None:
        self.fleet.kill()
        super().__exit__()

    @property
    def addresses(self) -> dict[str, str]:
        if not self._soak:
            return super().addresses
        memory, idle = self.parts[MEMORY].ready, self.parts[IDLE].ready
        beside = {"memory": memory["session"], "memory-plain": memory["echo"]}
        return super().addresses | beside | {"idle": idle["session"]}

    def do(self, deed: Deed, name: str) -> None:
        process = self.parts[name]
        match deed:
            case "kill":
                process.kill()
            case "start":
                self.fleet.start_again(name)
            case "reload":
                self.parts[f"former {name}"] = process
                self.fleet.start_haproxy(replaces=process.pid)
            case "fill" | "free":
                limit_files(process.pid, full=deed == "fill")
            case _:
                process.signal(control.SIGNALS[deed][0])
        if deed == "freeze":
            until(lambda: control.life(process) == "frozen", FROZEN_S_MAX, f"{name} to stand still")

    def change_data(self, how: str) -> None:
        directory = self.fleet.plan.directory / "redis"
        subprocess.run(["sh", "-ec", DATA[how]], cwd=directory, check=True)

    def runs(self, name: str) -> bool:
        return self.parts[name].alive

    def samples(self, name: str) -> Samples:
        return metrics.read(self.parts[name].ready["admin"])

    def in_kernel(self, name: str) -> int:
        daemon = self.parts[name]
        own = {ports.split(daemon.ready[port])[1] for port in ("echo", "session")}
        return sum(
            one.status == psutil.CONN_ESTABLISHED and one.laddr.port in own
            for one in psutil.Process(daemon.pid).net_connections("tcp")
        )

    def keys(self) -> dict[str, int]:
        (node,) = self.fleet.store.nodes
        with redis.Redis.from_url(node.admin_url) as client:
            found = Counter(key.partition(b":")[0].decode() for key in client.scan_iter(count=1000))
        kept = self.samples(MEMORY).by_label("echod_memory_keys", "kind")
        return dict(found) | {f"{MEMORY}:{kind}": int(count) for kind, count in kept.items()}

    def _start_beside(self, name: str, *flags: str) -> None:
        """A daemon that no balancer knows."""
        plan = self.fleet.plan
        settings = {flag_of(setting): value for setting, value in plan.daemon_settings.items()}
        free = {f"--{port}-port": 0 for port in ("echo", "session", "admin", "agent")}
        words = [str(word) for pair in (settings | free).items() for word in pair]
        self.parts[name] = processes.start(
            [sys.executable, *plan.daemon_program, "--name", name, *flags, *words],
            log=plan.directory / f"{name}.log",
        )


def limit_files(pid: int, *, full: bool) -> None:
    """Leave a process no file to open; not `full`: all that it may have again.

    A limit is on a file's number, not on how many there are, and the kernel gives the lowest.
    Only the soft limit is lowered, so that raising it again needs no rights.
    """
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    soft = hard
    if full:
        used = {int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()}
        soft = next(number for number in itertools.count() if number not in used)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
