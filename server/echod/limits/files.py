"""How many files this process may have open, and those kept for when no other is left.

Each client is a file. A check, the balancer's agent and a scrape need a file each, for a moment. Without one a
daemon that serves its clients well looks dead, and its clients are taken from it
(haproxy.cfg, `on-marked-down`). So a few files are open on nothing, and given up one by
one when the kernel has no other. From then on, and for `SHORT_S` after the last time, the
daemon is short of files: it serves nobody new, says so to the agent, and takes back what
it gave as soon as it can.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import sys
from typing import TYPE_CHECKING, Final

from gevent.monkey import get_original

if TYPE_CHECKING:
    from echod.loop.clock import Clock

log = logging.getLogger(__name__)

# What macOS takes where it says "unlimited" (OPEN_MAX of its sys/syslimits.h).
OPEN_MAX = 10_240
# A check on either port and two agents' questions from each of two HAProxies, a scrape, a
# healthcheck, and clients that are being refused meanwhile.
SPARE_FILES: Final = 16
# A check comes every 250 ms and an agent's question every 500 ms, and each finds out anew.
SHORT_S: Final = 2.0

# At once: gevent's own waits for the loop's next round, because somebody may be watching.
_close = get_original("os", "close")


class Files:
    """The spare ones."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._short_ends_at = 0.0
        self._spare = [os.open(os.devnull, os.O_RDONLY)]
        self.tick()

    @property
    def short(self) -> bool:
        """Whether the kernel had no file lately."""
        return self._clock.now_s < self._short_ends_at

    def give_up_one(self) -> bool:
        """The kernel has no file: let one go, for who asks now; whether there was one."""
        if not self.short:
            log.warning("files-short: nobody new is served")
        self._short_ends_at = self._clock.now_s + SHORT_S
        if len(self._spare) == 1:
            return False  # the last one is what the others are made from
        _close(self._spare.pop())
        return True

    def tick(self) -> None:
        """Take back what was given up."""
        try:
            while len(self._spare) <= SPARE_FILES:
                self._spare.append(os.dup(self._spare[0]))
        except OSError:
            pass  # still none; the next tick tries again

    def close(self) -> None:
        """Give all up."""
        while self._spare:
            _close(self._spare.pop())


def raise_limit(wanted: int) -> int:
    """Raise the limit as far as it goes; returns how many files there may be.

    The hard limit is tried first. A system may say that there is none and yet refuse it (macOS):
    then as many as are `wanted`, then as many as it is known to take.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    for files in (hard, wanted, OPEN_MAX):
        if soft == unlimited or (files != unlimited and files <= soft):
            continue
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
            soft = files
            break
    return sys.maxsize if soft == unlimited else soft
