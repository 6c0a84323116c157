"""The article's workload, and what is read from how it went. Pure.

A client connects, sends its lines with a pause between, checks each reply, disconnects;
so many at once make a loop. `clients.py` plays it, `measure.py` measures it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# The article's pause between two lines.
PAUSE_S = 1.0

# Beside what the pauses make: connecting, replies, a machine that stood still.
PATIENCE_S = 20.0


@dataclass(frozen=True, slots=True)
class Workload:
    """What every system is given."""

    clients: int
    lines: int
    pause_s: float
    """Between two lines of one client; the article's second, scaled."""
    loops: int = 1

    @property
    def visit_s(self) -> float:
        """What one client's pauses add up to: a visit can't be shorter."""
        return (self.lines - 1) * self.pause_s

    @property
    def patience_s(self) -> float:
        """For a reply: a serial server answers the last client after all the others."""
        return PATIENCE_S + 3 * self.clients * self.visit_s


@dataclass(slots=True)
class Visit:
    """One client's connection, in seconds from the loop's beginning; 0: it did not come so far."""

    loop: int
    client: int
    connected_s: float = 0.0
    first_reply_s: float = 0.0
    ended_s: float = 0.0
    replies_s: list[float] = field(default_factory=list)
    """From each line to its whole reply."""
    fault: str = ""
    """Why it ended early; empty if every byte was right."""


def served(visits: Sequence[Visit]) -> list[tuple[float, int]]:
    """How many connections were served at once: (from when, how many), by rising time.

    Connected is not served: the kernel connects a client that nobody has accepted. One is
    served from its first reply to its end.
    """
    changes = Counter({0.0: 0})
    for visit in visits:
        if not visit.fault:
            changes[visit.first_reply_s] += 1
            changes[visit.ended_s] -= 1
    times = sorted(changes)
    return list(zip(times, accumulate(changes[at_s] for at_s in times), strict=True))


def unevenness(visits: Sequence[Visit]) -> float:
    """How far the departures of one loop are from even steps, as a part of the whole loop.

    0 when the k-th of n clients left at k/n of the loop: the loop's time then is
    proportional to the number of clients, and may be extrapolated.
    """
    ends = sorted(visit.ended_s for visit in visits)
    if not ends:
        raise ValueError("no visits")
    return max(
        abs(end - ends[-1] * number / len(ends)) / ends[-1] for number, end in enumerate(ends, 1)
    )
