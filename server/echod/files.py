"""How many files this process may have open: each client is one."""

from __future__ import annotations

import contextlib
import resource
import sys

# What macOS takes where it says "unlimited" (OPEN_MAX of its sys/syslimits.h).
OPEN_MAX = 10_240


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
