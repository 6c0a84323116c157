"""Rates, means and percentiles from two readings. Pure.

A counter that went back began anew with its process: all that it counts is new then.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lab.fleet.metrics import Buckets, Reading


def grown(before: float | None, now: float | None) -> float | None:
    """By how much a counter grew; None if it is not there now."""
    if now is None:
        return None
    return now if before is None or now < before else now - before


def rate(before: Reading, now: Reading, name: str, **labels: str) -> float | None:
    """A counter's growth a second."""
    by = grown(before.samples.get(name, **labels), now.samples.get(name, **labels))
    return None if by is None else by / (now.at_s - before.at_s)


def new_values(before: Reading, now: Reading, name: str) -> Buckets:
    """A histogram of the values between the readings, cumulative as its sources."""
    earlier = dict(before.samples.buckets(name))
    later = now.samples.buckets(name)
    if any(count < earlier.get(bound, 0.0) for bound, count in later):
        return later
    return tuple((bound, count - earlier.get(bound, 0.0)) for bound, count in later)


def merged(histograms: Iterable[Buckets]) -> Buckets:
    """Histograms with the same bounds as one."""
    sums: dict[float, float] = {}
    for buckets in histograms:
        for bound, count in buckets:
            sums[bound] = sums.get(bound, 0.0) + count
    return tuple(sorted(sums.items()))


def percentile(buckets: Buckets, fraction: float) -> float | None:
    """The value that `fraction` of all do not exceed, as Prometheus estimates it.

    Within a bucket values are taken as spread evenly, and those beyond the last finite bound
    as that bound. None if there are no values.

    Args:
        buckets: Cumulative.
        fraction: Above 0, up to 1; 0.99 for p99.
    """
    total = buckets[-1][1] if buckets else 0.0
    if not total:
        return None
    rank = fraction * total
    lower, passed = 0.0, 0.0
    for bound, count in buckets:
        if count >= rank:
            if math.isinf(bound):
                return lower
            # At the end of a bucket the sum may be rounded to just above it.
            return min(bound, lower + (bound - lower) * (rank - passed) / (count - passed))
        lower, passed = bound, count
    return lower


def mean(before: Reading, now: Reading, name: str) -> float | None:
    """The mean of a histogram's values between the readings; None if there were none."""
    count = grown(before.samples.get(f"{name}_count"), now.samples.get(f"{name}_count"))
    total = grown(before.samples.get(f"{name}_sum"), now.samples.get(f"{name}_sum"))
    return total / count if count and total is not None else None
