"""What the kernel counts (Linux): CPU time and memory of processes, and of the whole machine.

CPU time is the process's POSIX CPU clock, in nanoseconds: it counts threads that have ended
too, which a sum over `/proc/PID/task` forgets. `utime` and `stime` have 10 ms steps, and
where CONFIG_TICK_CPU_ACCOUNTING is set they are samples. Those two only say how it divides
into user and kernel.
"""

from __future__ import annotations

import ctypes
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from lab.measure.errors import MeasureError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PROC = Path("/proc")

_KIB = 1024
_LIBC = ctypes.CDLL(None)


@dataclass(frozen=True, slots=True)
class CpuTime:
    """Since the process began; the difference of two is what a period cost."""

    total_ns: int
    user_ticks: int
    kernel_ticks: int

    def __sub__(self, earlier: CpuTime) -> CpuTime:
        return CpuTime(
            self.total_ns - earlier.total_ns,
            self.user_ticks - earlier.user_ticks,
            self.kernel_ticks - earlier.kernel_ticks,
        )

    @property
    def kernel_share(self) -> float | None:
        """The kernel's part of it, 0 to 1; None where it was too short to be sampled."""
        ticks = self.user_ticks + self.kernel_ticks
        return self.kernel_ticks / ticks if ticks else None


def cpu_ns(pid: int) -> int:
    """User and kernel time of all its threads since it began.

    Raises:
        MeasureError: It is gone, or the system has no such clock.
    """
    clock = ctypes.c_int()
    failed: int = _LIBC.clock_getcpuclockid(pid, ctypes.byref(clock))
    if failed:
        raise MeasureError(f"CPU time of process {pid}: {os.strerror(failed)}")
    return time.clock_gettime_ns(clock.value)


def cpu_time(pid: int) -> CpuTime:
    """As `cpu_ns`, and how it divides.

    Raises:
        MeasureError: The kernel does not count it, or the process is gone.
    """
    total_ns = cpu_ns(pid)
    try:
        # The program's name, in brackets, may hold spaces and brackets.
        after_name = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError as error:
        raise MeasureError(f"CPU time of process {pid}: {error}") from None
    return CpuTime(total_ns, user_ticks=int(after_name[11]), kernel_ticks=int(after_name[12]))


@dataclass(frozen=True, slots=True)
class Cpus:
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
class Clocks:
    """CPU seconds since they began: of each process, by part, and of the machine's CPUs."""

    parts: Mapping[str, Sequence[float]]
    machine: Cpus

    @classmethod
    def now(cls, parts: Mapping[str, Sequence[int]]) -> Clocks:
        """Those of the parts' processes, by their ids.

        Raises:
            MeasureError: One is gone.
        """
        seconds = {part: [cpu_ns(pid) / 1e9 for pid in pids] for part, pids in parts.items()}
        return cls(seconds, cpus())

    def since(self, before: Clocks) -> Used:
        """What was used between the two."""
        total_s = self.machine.total - before.machine.total
        used_s = self.machine.used - before.machine.used
        each_s = {
            part: [now - then for now, then in zip(seconds, before.parts[part], strict=True)]
            for part, seconds in self.parts.items()
        }
        return Used(each_s, used_s / total_s if total_s else 0.0)


@dataclass(frozen=True, slots=True)
class Used:
    """CPU seconds of a period by part, for each process; and the machine's share, 0 to 1."""

    each_s: Mapping[str, Sequence[float]]
    machine: float

    def s(self, part: str) -> float:
        """Of all processes of a part; 0 for one that is not there."""
        return sum(self.each_s.get(part, ()))


def rss_bytes(pid: int) -> int:
    """Resident memory now, counted page by page (`VmRSS` may be some pages old).

    Raises:
        MeasureError: The process is gone.
    """
    return _kibibytes(pid, "smaps_rollup", "Rss:")


def rss_bytes_max(pid: int) -> int:
    """The most resident memory it ever had.

    Raises:
        MeasureError: The process is gone.
    """
    return _kibibytes(pid, "status", "VmHWM:")


def _kibibytes(pid: int, file: str, name: str) -> int:
    try:
        text = (PROC / str(pid) / file).read_text()
    except OSError as error:
        raise MeasureError(f"memory of process {pid}: {error}") from None
    for line in text.splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * _KIB
    raise MeasureError(f"memory of process {pid}: no {name} in {PROC / str(pid) / file}")
