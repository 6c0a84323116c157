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

from echod.clock import TICK_S, Clock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from echod.listener import Listener
    from echod.metrics import Metrics
    from echod.port import Port
    from echod.store.committer import Committer

log = logging.getLogger(__name__)

TICKS_PER_SWEEP = 10


def sweep_forever(
    clock: Clock,
    committer: Committer,
    ports: Sequence[Port],
    listeners: Sequence[Listener],
    metrics: Metrics,
) -> None:
    """Run until killed; a bug in a sweep is logged, and the next one comes."""
    ticks = 0
    while True:
        gevent.sleep(TICK_S)
        metrics.loop_lag_seconds.observe(clock.tick(monotonic()))
        ticks += 1
        try:
            committer.tick()
            for listener in listeners:
                listener.tick()
            if ticks % TICKS_PER_SWEEP == 0:
                for port in ports:
                    port.sweep(clock.now_s)
        except Exception:
            log.exception("sweep failed")
