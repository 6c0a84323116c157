"""Which cores a benchmark uses, and whether the machine can open so many connections."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lab.measure.errors import MeasureError

if TYPE_CHECKING:
    from collections.abc import Collection

CPUS = Path("/sys/devices/system/cpu")
PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")

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


def choose_cores(allowed: Collection[int], siblings: Collection[int]) -> Cores:
    """The first core for the load and another, of another physical core if there is one.

    Args:
        allowed: The logical CPUs that this process may use.
        siblings: The logical CPUs of the first one's physical core.
    """
    load, *others = sorted(allowed)
    if not others:
        return Cores(load, load)
    apart = [cpu for cpu in others if cpu not in siblings]
    return Cores((apart or others)[0], load, siblings=not apart)


def parse_cpu_list(text: str) -> frozenset[int]:
    """`0,4-6` as the kernel writes it → {0, 4, 5, 6}."""
    cpus: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        cpus.update(range(int(first), int(last or first) + 1))
    return frozenset(cpus)


def choose() -> Cores:
    """This machine's choice."""
    allowed = os.sched_getaffinity(0)
    file = CPUS / f"cpu{min(allowed)}/topology/thread_siblings_list"
    return choose_cores(allowed, parse_cpu_list(file.read_text()) if file.exists() else ())


def require(connections: int) -> None:
    """Refuse a number of connections that this machine can't open; raise the soft limit.

    Raises:
        MeasureError: naming the limit, what it is and what is needed.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + SPARE
    if hard < needed:
        raise MeasureError(
            f"{connections} connections need {needed} open files a process; the hard limit"
            f" (ulimit -Hn) is {hard}: raise it, or give --connections less"
        )
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    first, last = map(int, PORT_RANGE.read_text().split())
    ports = last - first + 1
    if ports < needed:
        raise MeasureError(
            f"{connections} connections to one address need as many source ports and some to"
            f" spare; net.ipv4.ip_local_port_range has {ports}"
        )
