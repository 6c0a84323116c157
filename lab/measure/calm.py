"""What other programs used of the CPUs during a measurement; measuring again if it was much.

Each measurement is watched from outside: what the CPUs did, less what this program and all that
it started used. Called by `session.py`.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import psutil

from lab.measure.clocks import cpus
from lab.report.page import paragraphs
from lab.report.words import percent

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.measure.clocks import Cpus

Made = TypeVar("Made")

# Of all CPUs together. A machine at rest shows up to 5 % here: its own housekeeping, and the
# clock ticks in which the kernel counts. A busy neighbour on two CPUs shows 50 %.
OTHERS_MAX = 0.15

# For all that is measured again in one run: each experiment stays under five minutes.
EXTRA_S = 30.0

# Of all measurements: fewer that stayed disturbed don't reach an interval (samples.py).
DISTURBED_MAX = 0.1

# A neighbour that stays is not waited for.
TRIES_MAX = 3


def method() -> list[str]:
    """The end of each report's method: what is done about other programs."""
    file = Path(__file__).with_name("calm.jinja")
    others = percent(OTHERS_MAX)
    return paragraphs(file, others=others, again=TRIES_MAX - 1, extra_s=EXTRA_S)


def own_cpu_s() -> float:
    """Of this program and all below it, those that have ended too."""
    here = psutil.Process()
    total = 0.0
    for process in (here, *here.children(recursive=True)):
        try:
            total += sum(process.cpu_times()[:4])  # its own, and of the children it waited for
        except psutil.NoSuchProcess:
            continue  # it ends just now: counted by the next, or missed
    return total


def others(before: Cpus, after: Cpus, own_s: float) -> float:
    """The share of all CPUs that neither `own_s` nor interrupts explain, 0 to 1."""
    total = after.total - before.total
    if total <= 0:
        return 0.0
    used = after.used - before.used - (after.interrupts - before.interrupts)
    return min(1.0, max(0.0, used - own_s) / total)


class Calm:
    """Measures again what others disturbed, as long as there is time for it.

    Args:
        repeats: Of the whole run: time that one does not need is left to those after it.
        extra_s: For all of them together.
    """

    def __init__(self, repeats: int, extra_s: float = EXTRA_S) -> None:
        self.again = 0
        self.shares: list[float] = []
        self._extra_s = extra_s
        self._repeats = repeats
        self._spent_s = 0.0

    def measure(
        self,
        repeat: int,
        make: Callable[[], Made],
        final: Callable[[Made], bool] = lambda _: False,
    ) -> tuple[Made, float]:
        """The calmest of up to `TRIES_MAX` tries, and what others used of the CPUs in it.

        Whatever `make` raises ends it: a failure is never measured away. So is what is
        `final`, however busy the machine was.
        """
        tries: list[tuple[Made, float]] = []
        while True:
            began_s, before, own_before_s = time.perf_counter(), cpus(), own_cpu_s()
            made = make()
            after, own_after_s = cpus(), own_cpu_s()
            share = others(before, after, own_after_s - own_before_s)
            if final(made):
                tries = [(made, share)]
                break
            tries.append((made, share))
            took_s = time.perf_counter() - began_s
            if (
                share <= OTHERS_MAX
                or len(tries) == TRIES_MAX
                or self._spent_s + took_s > self._extra_s * repeat / self._repeats
            ):
                break
            self._spent_s += took_s
            self.again += 1
        calmest = min(tries, key=lambda one: one[1])
        self.shares.append(calmest[1])
        return calmest

    def row(self) -> tuple[str, str]:
        """For the report's table of the machine."""
        text = "nothing was measured"
        if self.shares:
            text = (
                f"used {percent(statistics.median(self.shares))} of the CPUs during a measurement (median;"
                f" at most {percent(max(self.shares))}); above {percent(OTHERS_MAX)} it was made again while"
                f" there was time, {self.again} times"
            )
        return "Other programs", text

    def warnings(self) -> list[str]:
        """One, if too much of what is reported was disturbed."""
        disturbed = sum(share > OTHERS_MAX for share in self.shares)
        if disturbed <= DISTURBED_MAX * len(self.shares):
            return []
        text = (
            f"Other programs used more than {percent(OTHERS_MAX)} of the CPUs during {disturbed} of"
            f" {len(self.shares)} measurements ({self.again} were made again, the calmest counts):"
            " figures are worse for it, and more answers may be left open."
        )
        return [text]
