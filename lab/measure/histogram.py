"""Percentiles of what the load generator counted (c/histogram.h). Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def percentile(buckets: Sequence[tuple[int, int]], fraction: float) -> int:
    """The least bucket bound that `fraction` of all values do not exceed.

    Args:
        buckets: (largest value of the bucket, how many values), by rising value.
        fraction: Above 0, up to 1; 0.999 for p99.9.

    Raises:
        ValueError: There are no values, or the fraction is none.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"{fraction}: a fraction is above 0 and up to 1")
    total = sum(count for _, count in buckets)
    if not total:
        raise ValueError("no values to take a percentile of")
    # Exact for p99.9 of 1,000 values, where 0.999 * 1000 is a little above 999.
    rank = math.ceil(round(fraction * total, 6))
    passed = 0
    for bound, count in buckets:
        passed += count
        if passed >= rank:
            return bound
    raise AssertionError("the ranks add up to the total")
