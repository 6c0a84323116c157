"""Rates and percentiles of two readings, by property."""

from __future__ import annotations

import math
from bisect import bisect_left

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from lab.fleet.metrics import Buckets, Reading, Samples
from lab.top.figures import mean, merged, new_values, percentile, rate

BOUNDS = (0.001, 0.01, 0.1, 1.0, math.inf)

values = st.lists(st.floats(min_value=0, max_value=1), max_size=60)
fractions = st.floats(min_value=0.001, max_value=1)


def reading(at_s: float, **samples: float) -> Reading:
    """A page with these samples, none with a label."""
    return Reading(at_s, Samples({name: (({}, value),) for name, value in samples.items()}))


def histogram(at_s: float, observed: list[float]) -> Reading:
    """A page with one histogram, `h`."""
    rows = tuple(
        ({"le": str(bound)}, float(sum(value <= bound for value in observed))) for bound in BOUNDS
    )
    own = {
        "h_bucket": rows,
        "h_count": (({}, float(len(observed))),),
        "h_sum": (({}, math.fsum(observed)),),
    }
    return Reading(at_s, Samples(own))


def buckets_of(observed: list[float]) -> Buckets:
    """Cumulative."""
    return histogram(0, observed).samples.buckets("h")


@example([0.0, 1.0, 1.0, 1.0, 1.0, 0.0078125], 1 / 3)
@given(values, fractions)
def test_a_percentile_is_in_the_bucket_of_the_exact_one(
    observed: list[float], fraction: float
) -> None:
    """An estimate is wrong by its bucket's width at the most."""
    assume(observed)
    exact = sorted(observed)[math.ceil(fraction * len(observed)) - 1]
    at = bisect_left(BOUNDS, exact)
    lower = BOUNDS[at - 1] if at else 0.0

    estimate = percentile(buckets_of(observed), fraction)

    assert estimate is not None
    assert lower <= estimate <= BOUNDS[at]


@given(values)
def test_percentiles_rise(observed: list[float]) -> None:
    """p50 is never above p99."""
    assume(observed)
    p50, p99 = (percentile(buckets_of(observed), part) for part in (0.5, 0.99))

    assert p50 is not None
    assert p99 is not None
    assert p50 <= p99


def test_percentiles_of_known_values() -> None:
    """Within a bucket as evenly spread, beyond the last bound that bound, of nothing nothing."""
    assert percentile(((1.0, 10.0), (2.0, 20.0), (math.inf, 20.0)), 0.75) == pytest.approx(1.5)
    assert percentile(((1.0, 1.0), (math.inf, 10.0)), 0.99) == 1.0
    assert percentile(((1.0, 0.0), (math.inf, 0.0)), 0.5) is None
    assert percentile((), 0.5) is None


@given(values, values)
def test_only_new_values_count(before: list[float], later: list[float]) -> None:
    """What was there at the first reading is in no percentile and no mean of the second."""
    earlier, now = histogram(0, before), histogram(1, before + later)

    assert new_values(earlier, now, "h") == buckets_of(later)
    found = mean("h")([(earlier, now)])
    if later:
        assert found == pytest.approx(math.fsum(later) / len(later), abs=1e-9)
    else:
        assert found is None


@given(values, values)
def test_a_restart_begins_anew(before: list[float], later: list[float]) -> None:
    """A process that began again counts from 0: all it has is new."""
    assume(len(later) < len(before))
    assume(any(b > a for b, a in zip(counts(before), counts(later), strict=True)))

    assert new_values(histogram(0, before), histogram(1, later), "h") == buckets_of(later)


def counts(observed: list[float]) -> list[float]:
    """Of the buckets."""
    return [count for _, count in buckets_of(observed)]


@given(values, values)
def test_histograms_add_up(one: list[float], other: list[float]) -> None:
    """Two daemons' values are as one daemon's that had both."""
    assert merged([buckets_of(one), buckets_of(other)]) == buckets_of(one + other)
    assert merged([(), buckets_of(one)]) == buckets_of(one)


def test_rates_are_by_the_readings_own_time() -> None:
    """30 more in 2 s are 15 a second; a counter that went back grew by what it has."""
    assert rate("c")([(reading(10, c=70), reading(12, c=100))]) == 15
    assert rate("c")([(reading(10, c=70), reading(12, c=8))]) == 4
    assert rate("c")([(reading(10), reading(12, c=8))]) == 4
    assert rate("c")([(reading(10, c=70), reading(12))]) is None
    assert rate("c")([(reading(10, c=5), reading(12, c=5))]) == 0
    assert rate("c")([(None, reading(12, c=5))]) is None
