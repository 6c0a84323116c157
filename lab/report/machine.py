"""What a run was made on: CPU, kernel, versions, disk, and why its figures may mislead.

Figures are compared within one run only; this says what else they depended on.
"""

from __future__ import annotations

import os
import platform
import re
import socket
import statistics
import subprocess
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from lab import cache
from lab.fleet import haproxy_server, redis_server

PACKAGES = ("gevent", "greenlet", "redis", "hiredis", "uvloop", "matplotlib")

CONNTRACK_COUNT = Path("/proc/sys/net/netfilter/nf_conntrack_count")

# Enough that a neighbour's own connections are not taken for them.
PROBE_CONNECTIONS = 32

# A median of a few is enough to tell 20 µs from 2 ms.
FSYNC_PROBES = 50
FSYNC_BYTES = 4_096

TRACKED = (
    "The kernel tracks loopback connections here, as it does for Docker's address"
    " translation: every packet of every system costs more for it."
)


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine and the versions."""

    facts: dict[str, Any]
    """By name, for a file."""
    rows: list[tuple[str, str]]
    """For a report."""
    warnings: list[str]

    @property
    def cpus(self) -> int:
        """That this program, and all that it starts, may use."""
        return int(self.facts["cpus_allowed"])


def describe() -> Machine:
    """Look now, before anything is measured.

    Raises:
        lab.errors.LabError: A server program is missing.
    """
    data = cache.directory("bench")
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*: (.*)$", cpuinfo, re.MULTILINE)
    facts: dict[str, Any] = {
        "cpu": model[1] if model else platform.machine(),
        "cpus": os.cpu_count(),
        "cpus_allowed": len(os.sched_getaffinity(0)),
        "hypervisor": re.search(r"\bhypervisor\b", cpuinfo) is not None,
        "kernel": platform.release(),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in PACKAGES},
        "node": _version("node", "--version"),
        "redis_server": " ".join(_version(str(redis_server.find()), "--version").split()[:3]),
        "haproxy": _version(str(haproxy_server.BINARY.find()), "-v"),
        "dockerd": any(one.info["name"] == "dockerd" for one in psutil.process_iter(["name"])),
        "loopback_tracked": loopback_tracked(),
        "data_filesystem": _filesystem(data),
        "fsync_us": round(fsync_us(data), 1),
    }
    virtual = ", virtual" if facts["hypervisor"] else ""
    packages = ", ".join(f"{name} {facts[name]}" for name in PACKAGES)
    disk = f"{facts['data_filesystem']}; a page written and fdatasync: {facts['fsync_us']:.0f} µs"
    rows = [
        ("CPU", f"{facts['cpu']}; {facts['cpus_allowed']} of {facts['cpus']} CPUs{virtual}"),
        ("Kernel", f"Linux {facts['kernel']}, {platform.machine()}"),
        ("Python", f"{facts['python']}; {packages}"),
        ("Node.js", facts["node"]),
        ("Redis", facts["redis_server"]),
        ("HAProxy", facts["haproxy"]),
        ("Disk", disk),
        ("Load average", f"{facts['load_average']:.2f} before the run"),
        ("Docker", "a Docker engine runs" if facts["dockerd"] else "no Docker engine runs"),
    ]
    return Machine(facts, rows, [TRACKED] if facts["loopback_tracked"] else [])


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
    with tempfile.TemporaryFile(buffering=0, dir=directory) as file:
        for _ in range(FSYNC_PROBES):
            begin = time.perf_counter()
            file.write(bytes(FSYNC_BYTES))
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - begin)
    return statistics.median(took) * 1e6


def _version(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except OSError:
        return "not there"
    return next(iter((done.stdout or done.stderr).splitlines()), "?")


def _filesystem(path: Path) -> str:
    mounts = {mount.mountpoint: mount.fstype for mount in psutil.disk_partitions(all=True)}
    above = (mounts[str(at)] for at in (path, *path.parents) if str(at) in mounts)
    return next(above, "unknown")
