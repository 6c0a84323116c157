"""What the kernel knows of a process: its CPU time and its memory (Linux).

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

from lab.measure.bench.errors import BenchError

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
        BenchError: It is gone, or the system has no such clock.
    """
    clock = ctypes.c_int()
    failed: int = _LIBC.clock_getcpuclockid(pid, ctypes.byref(clock))
    if failed:
        raise BenchError(f"CPU time of process {pid}: {os.strerror(failed)}")
    return time.clock_gettime_ns(clock.value)


def cpu_time(pid: int) -> CpuTime:
    """As `cpu_ns`, and how it divides.

    Raises:
        BenchError: The kernel does not count it, or the process is gone.
    """
    total_ns = cpu_ns(pid)
    try:
        # The program's name, in brackets, may hold spaces and brackets.
        after_name = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError as error:
        raise BenchError(f"CPU time of process {pid}: {error}") from None
    return CpuTime(total_ns, user_ticks=int(after_name[11]), kernel_ticks=int(after_name[12]))


def rss_bytes(pid: int) -> int:
    """Resident memory now, counted page by page (`VmRSS` may be some pages old).

    Raises:
        BenchError: The process is gone.
    """
    return _kibibytes(pid, "smaps_rollup", "Rss:")


def rss_bytes_max(pid: int) -> int:
    """The most resident memory it ever had.

    Raises:
        BenchError: The process is gone.
    """
    return _kibibytes(pid, "status", "VmHWM:")


def _kibibytes(pid: int, file: str, name: str) -> int:
    try:
        text = (PROC / str(pid) / file).read_text()
    except OSError as error:
        raise BenchError(f"memory of process {pid}: {error}") from None
    for line in text.splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * _KIB
    raise BenchError(f"memory of process {pid}: no {name} in {PROC / str(pid) / file}")
