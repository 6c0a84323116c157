"""Gauges, rates, means and percentiles of what parts said at two moments. Pure.

A figure that can't be known yet is None: the first look has no rates, and a part that is away
has no figures. A counter that went back began anew with its process: all that it counts is new.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from lab.fleet.metrics import Reading

if TYPE_CHECKING:
    from lab.fleet.metrics import Buckets

Pair = tuple[Reading | None, Reading]
"""What a part said: before, if that is known, and now."""

Value = Callable[[Sequence[Pair]], float | None]
"""A figure of a part, of which there is one pair or none, or of several together."""


def gauge(name: str, **labels: str) -> Value:
    """What is so now, summed over the parts."""
    return lambda pairs: total(now.samples.get(name, **labels) for _, now in pairs)


def rate(name: str, **labels: str) -> Value:
    """A counter's growth a second."""

    def one(before: Reading, now: Reading) -> float | None:
        by = grown(before, now, name, **labels)
        return None if by is None else by / (now.at_s - before.at_s)

    return lambda pairs: total(one(before, now) for before, now in pairs if before)


def mean(name: str) -> Value:
    """The mean of a histogram's values between the readings; None if there were none."""

    def value(pairs: Sequence[Pair]) -> float | None:
        count, sum_ = rate(f"{name}_count")(pairs), rate(f"{name}_sum")(pairs)
        return sum_ / count if count and sum_ is not None else None

    return value


def quantile(name: str, fraction: float) -> Value:
    """A percentile of a histogram's values between the readings, of all parts' values together."""
    return lambda pairs: percentile(
        merged(new_values(before, now, name) for before, now in pairs if before), fraction
    )


def added(*values: Value) -> Value:
    """The sum of several."""
    return lambda pairs: total(value(pairs) for value in values)


def total(values: Iterable[float | None]) -> float | None:
    """The sum of those that are known; None if none is."""
    known = [value for value in values if value is not None]
    return math.fsum(known) if known else None


def grown(before: Reading, now: Reading, name: str, **labels: str) -> float | None:
    """By how much a counter grew; None if it is not there now."""
    earlier, later = (reading.samples.get(name, **labels) for reading in (before, now))
    if later is None or earlier is None or later < earlier:
        return later
    return later - earlier


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

    `buckets` are cumulative, `fraction` is 0.99 for p99. Within a bucket values are taken as
    spread evenly, and those beyond the last finite bound as that bound. None without values.
    """
    rank = fraction * buckets[-1][1] if buckets else 0.0
    lower, passed = 0.0, 0.0
    for bound, count in buckets if rank else ():
        if count >= rank:
            if math.isinf(bound):
                return lower
            # At the end of a bucket the sum may be rounded to just above it.
            return min(bound, lower + (bound - lower) * (rank - passed) / (count - passed))
        lower, passed = bound, count
    return None
