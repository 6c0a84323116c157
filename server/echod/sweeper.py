"""One greenlet for all deadlines, instead of a timer for each read (DESIGN D6).

It wakes ten times a second: that is the resolution of the daemon's clock and of the
commit deadline. How late it wakes is the loop's lag, which is a metric. Every tenth
time it looks at all connections.
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING

import gevent

from echod.clock import TICK_S

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from echod.clock import Clock
    from echod.metrics import Histogram

log = logging.getLogger(__name__)

TICKS_PER_SWEEP = 10


def sweep_forever(
    clock: Clock,
    lag_seconds: Histogram,
    each_tick: Sequence[Callable[[], None]],
    each_sweep: Sequence[Callable[[float], None]],
) -> None:
    """Run until killed; a bug in a sweep is logged, and the next one comes."""
    ticks = 0
    while True:
        gevent.sleep(TICK_S)
        lag_seconds.observe(clock.tick(monotonic()))
        ticks += 1
        try:
            for tick in each_tick:
                tick()
            if ticks % TICKS_PER_SWEEP == 0:
                for sweep in each_sweep:
                    sweep(clock.now_s)
        except Exception:
            log.exception("sweep failed")
