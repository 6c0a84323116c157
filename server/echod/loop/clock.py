"""The daemon's own time, for deadlines: it stands still while the process does.

The sweeper advances it once a tick, and never by more than two ticks, however long the
last one took. So a process that was frozen, or a machine that slept, does not close
clients for a silence that was its own: their input may be waiting (ADR 15). And
whoever needs the time only to the tick reads an attribute instead of asking the kernel.
"""

from __future__ import annotations

TICK_S = 0.1


class Clock:
    """Seconds since its start, in steps of `TICK_S` or a little more."""

    __slots__ = ("_real_s", "now_s")

    def __init__(self, real_s: float) -> None:
        """Start at zero; `real_s` is any monotonic clock's reading."""
        self._real_s = real_s
        self.now_s = 0.0

    def tick(self, real_s: float) -> float:
        """Advance to `real_s`, by two ticks at most; returns by how much the tick was late."""
        elapsed_s, self._real_s = real_s - self._real_s, real_s
        self.now_s += min(elapsed_s, 2 * TICK_S)
        return max(0.0, elapsed_s - TICK_S)
