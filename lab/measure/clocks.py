"""What the kernel counts (Linux): CPU time and memory of processes, and of the whole machine.

CPU time is the process's POSIX CPU clock, which counts threads that have ended too. `utime` and
`stime` are samples in steps of 10 ms: they only say how it divides into user and kernel.
"""

from __future__ import annotations

import ctypes
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil

from lab.measure.errors import MeasureError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_KIB = 1024
_LIBC = ctypes.CDLL(None)


class CpuTime(NamedTuple):
    """Seconds since a process began, of all its threads; `user` and `kernel` are sampled."""

    total: float
    user: float
    kernel: float


def cpu_time(pid: int) -> CpuTime:
    """What the process has used until now.

    Raises:
        MeasureError: It is gone, or the system has no such clock.
    """
    clock = ctypes.c_int()
    failed: int = _LIBC.clock_getcpuclockid(pid, ctypes.byref(clock))
    if failed:
        raise MeasureError(f"CPU time of process {pid}: {os.strerror(failed)}")
    try:
        sampled = psutil.Process(pid).cpu_times()
        return CpuTime(time.clock_gettime(clock.value), sampled.user, sampled.system)
    except (psutil.Error, OSError) as error:
        raise MeasureError(f"CPU time of process {pid}: {error}") from None


class Cpus(NamedTuple):
    """Seconds since they began, of the CPUs that this program may use."""

    used: float
    """By anybody, interrupts included."""
    interrupts: float
    """Those that the kernel counts apart from the process that they interrupted."""
    total: float


def cpus() -> Cpus:
    """What the kernel counts now, in steps of 10 ms."""
    allowed = os.sched_getaffinity(0)
    used = interrupts = total = 0.0
    for cpu, times in enumerate(psutil.cpu_times(percpu=True)):
        if cpu in allowed:
            all_s = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
            total += all_s
            used += all_s - times.idle - getattr(times, "iowait", 0.0)
            interrupts += getattr(times, "irq", 0.0) + getattr(times, "softirq", 0.0)
    return Cpus(used, interrupts, total)


@dataclass(frozen=True, slots=True)
class Used:
    """CPU seconds of a period by part, for each process; and the machine's share, 0 to 1."""

    each_s: Mapping[str, Sequence[float]]
    kernel_shares: Mapping[str, float | None]
    """The kernel's part of it, 0 to 1; None where it was too short to be sampled."""
    machine: float

    def s(self, part: str) -> float:
        """Of all processes of a part; 0 for one that is not there."""
        return sum(self.each_s.get(part, ()))


@dataclass(frozen=True, slots=True)
class Clocks:
    """CPU time since they began: of each process, by part, and of the machine's CPUs."""

    parts: Mapping[str, Sequence[CpuTime]]
    machine: Cpus

    @classmethod
    def now(cls, parts: Mapping[str, Sequence[int]]) -> Clocks:
        """Those of the parts' processes, by their ids.

        Raises:
            MeasureError: One is gone.
        """
        return cls({part: [cpu_time(pid) for pid in pids] for part, pids in parts.items()}, cpus())

    def since(self, before: Clocks) -> Used:
        """What was used between the two."""
        each_s, kernel_shares = {}, {}
        for part, times in self.parts.items():
            pairs = list(zip(times, before.parts[part], strict=True))
            each_s[part] = [now.total - then.total for now, then in pairs]
            user_s = sum(now.user - then.user for now, then in pairs)
            kernel_s = sum(now.kernel - then.kernel for now, then in pairs)
            both_s = user_s + kernel_s
            kernel_shares[part] = kernel_s / both_s if both_s else None
        total_s = self.machine.total - before.machine.total
        used_s = self.machine.used - before.machine.used
        return Used(each_s, kernel_shares, used_s / total_s if total_s else 0.0)


def rss_bytes(pid: int) -> int:
    """Resident memory now, counted page by page (`VmRSS` may be some pages old).

    Raises:
        MeasureError: The process is gone.
    """
    return _kibibytes(Path(f"/proc/{pid}/smaps_rollup"), "Rss:")


def rss_bytes_max(pid: int) -> int:
    """The most resident memory it ever had.

    Raises:
        MeasureError: The process is gone.
    """
    return _kibibytes(Path(f"/proc/{pid}/status"), "VmHWM:")


def _kibibytes(file: Path, name: str) -> int:
    try:
        lines = file.read_text().splitlines()
    except OSError as error:
        raise MeasureError(f"memory: {error}") from None
    found = [int(line.split()[1]) for line in lines if line.startswith(name)]
    if not found:
        raise MeasureError(f"memory: no {name} in {file}")
    return found[0] * _KIB
