"""One greenlet for all deadlines, instead of a timer for each read (ADR 15).

It wakes ten times a second: that is the resolution of the daemon's clock and of the
commit deadline. How late it wakes is the loop's lag, which is a metric. Every tenth
time it looks at all connections. Each tick and each sweep is called for itself: a bug in
one stops none behind it.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

import gevent

from echod.loop.clock import TICK_S
from echod.loop.guard import guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from echod.loop.clock import Clock

TICKS_PER_SWEEP = 10


def sweep_forever(
    clock: Clock,
    observe_lag: Callable[[float], None],
    each_tick: Sequence[Callable[[], None]],
    each_sweep: Sequence[Callable[[float], None]],
) -> None:
    """Run until killed; `observe_lag` is told of each tick by how many seconds it was late."""
    ticks = 0
    while True:
        gevent.sleep(TICK_S)
        observe_lag(clock.tick(monotonic()))
        ticks += 1
        for tick in each_tick:
            guarded(tick)
        if ticks % TICKS_PER_SWEEP == 0:
            for sweep in each_sweep:
                guarded(sweep, clock.now_s)
