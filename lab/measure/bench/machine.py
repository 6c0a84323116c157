"""What machine a benchmark ran on, and which of its cores it used.

Figures are compared within one run only; this says what else they depended on.
"""

from __future__ import annotations

import os
import platform
import resource
import socket
import statistics
import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from lab.fleet import redis_server
from lab.measure.bench import compiler
from lab.measure.bench.errors import BenchError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PACKAGES = ("gevent", "greenlet", "redis", "hiredis", "uvloop")

CPUS = Path("/sys/devices/system/cpu")
CONNTRACK_COUNT = Path("/proc/sys/net/netfilter/nf_conntrack_count")
PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")

# Enough that a neighbour's own connections are not taken for them.
PROBE_CONNECTIONS = 32

# A median of a few is enough to tell 20 µs from 2 ms.
FSYNC_PROBES = 50
FSYNC_BYTES = 4_096

# Descriptors and ports beside the connections': logs, Redis, the listener, other programs.
SPARE = 200


@dataclass(frozen=True, slots=True)
class Cores:
    """Where things run; the same core twice means that nothing is pinned."""

    server: int
    load: int
    """The generator's, Redis's and this program's."""
    siblings: bool = False
    """Both are threads of one physical core: each slows the other."""

    @property
    def pinned(self) -> bool:
        """Whether there are two."""
        return self.server != self.load


UNPINNED = Cores(0, 0)


def choose_cores(allowed: Sequence[int], siblings: Mapping[int, frozenset[int]]) -> Cores:
    """The first core for the load and another, of another physical core if there is one.

    Args:
        allowed: The logical CPUs that this process may use.
        siblings: For each, the logical CPUs of its physical core, itself included.
    """
    load, *others = sorted(allowed)
    if not others:
        return Cores(load, load)
    apart = [cpu for cpu in others if cpu not in siblings.get(load, frozenset())]
    return Cores((apart or others)[0], load, siblings=not apart)


def parse_cpu_list(text: str) -> frozenset[int]:
    """`0,4-6` as the kernel writes it → {0, 4, 5, 6}."""
    cpus: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        cpus.update(range(int(first), int(last or first) + 1))
    return frozenset(cpus)


def cores() -> Cores:
    """This machine's choice."""
    allowed = sorted(os.sched_getaffinity(0))
    siblings = {}
    for cpu in allowed:
        file = CPUS / f"cpu{cpu}/topology/thread_siblings_list"
        siblings[cpu] = parse_cpu_list(file.read_text()) if file.exists() else frozenset({cpu})
    return choose_cores(allowed, siblings)


def require(connections: int) -> None:
    """Refuse a number of connections that this machine can't open; raise the soft limit.

    Raises:
        BenchError: naming the limit, what it is and what is needed.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + SPARE
    if hard < needed:
        raise BenchError(
            f"{connections} connections need {needed} open files a process; the hard limit"
            f" (ulimit -Hn) is {hard}: raise it, or give --connections less"
        )
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    first, last = map(int, PORT_RANGE.read_text().split())
    ports = last - first + 1
    if ports < needed:
        raise BenchError(
            f"{connections} connections to one address need as many source ports and some to"
            f" spare; net.ipv4.ip_local_port_range has {ports}"
        )


def describe(chosen: Cores, data: Path) -> dict[str, Any]:
    """Everything that the report says about it; `data` is where Redis's files will lie."""
    return {
        "cpu": _cpu_model(),
        "cpus": os.cpu_count(),
        "cpus_allowed": len(os.sched_getaffinity(0)),
        "hypervisor": _flag("hypervisor"),
        "server_cpu": chosen.server,
        "load_cpu": chosen.load,
        "pinned": chosen.pinned,
        "siblings": chosen.siblings,
        "kernel": platform.release(),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in PACKAGES},
        "redis_server": _redis_version(),
        "compiler": _compiler(),
        "dockerd": _runs("dockerd"),
        "loopback_tracked": loopback_tracked(),
        "data_filesystem": _filesystem(data),
        "fsync_us": round(fsync_us(data), 1),
    }


def _compiler() -> str:
    try:
        return compiler.version()
    except BenchError:
        return "none"


def loopback_tracked() -> bool:
    """Whether the kernel tracks loopback connections here, as it does for Docker's NAT.

    Seen by opening some: the rules themselves only root may read, and they come in
    several forms. True costs every packet of every row.
    """
    if not CONNTRACK_COUNT.exists():
        return False
    before = int(CONNTRACK_COUNT.read_text())
    with ExitStack() as opened:
        listener = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64))
        for _ in range(PROBE_CONNECTIONS):
            opened.enter_context(socket.create_connection(listener.getsockname()))
        return int(CONNTRACK_COUNT.read_text()) - before > PROBE_CONNECTIONS // 2


def fsync_us(directory: Path) -> float:
    """Median time of appending a page and `fdatasync`, in µs: what `always` waits for."""
    took = []
    path = directory / "fsync-probe"
    try:
        with path.open("wb", buffering=0) as file:
            for _ in range(FSYNC_PROBES):
                begin = time.perf_counter()
                file.write(bytes(FSYNC_BYTES))
                os.fdatasync(file.fileno())
                took.append(time.perf_counter() - begin)
    finally:
        path.unlink(missing_ok=True)
    return statistics.median(took) * 1e6


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _flag(name: str) -> bool:
    return f" {name} " in Path("/proc/cpuinfo").read_text().replace("\n", " ")


def _redis_version() -> str:
    command = [str(redis_server.find()), "--version"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout
    return " ".join(said.split()[:3])


def _runs(name: str) -> bool:
    return any(process.info["name"] == name for process in psutil.process_iter(["name"]))


def _filesystem(path: Path) -> str:
    mounts = [
        (mount.mountpoint, mount.fstype)
        for mount in psutil.disk_partitions(all=True)
        if path.is_relative_to(mount.mountpoint)
    ]
    return max(mounts, key=lambda mount: len(mount[0]), default=("", "unknown"))[1]
