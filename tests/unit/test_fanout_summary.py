"""What a post and its copies cost is found again from figures that were made of it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.measure.fanout.measure import Busy, Point
from lab.measure.fanout.plan import Load
from lab.measure.fanout.summary import PostCost, post_cost, stop, summarise
from lab.measure.samples import Repeats

SMALL = Load(500, 2, 200)
IDLE = Busy(server=0.2, redis=0.1, load=0.1, machine=0.4)


def point(
    system: str = "echod-room",
    servers: int = 4,
    load: Load = SMALL,
    repeat: int = 1,
    **figures: float,
) -> Point:
    """A measurement, as it might be but for what is given."""
    given = {
        "deliveries_per_s": 400.0, "p50_ms": 1.0, "p99_ms": 3.0, "servers_us": 90.0,
        "redis_us": 10.0, "load_us": 5.0, "copies": 2.0, "vain": 0.0, "late_ms": 0.1, **figures,
    }  # fmt: skip
    return Point(system, servers, load, repeat, **given, lost=0, reordered=0, busy=IDLE)


def costs(copies: float, post_us: float, redis_copy_us: float, daemon_copy_us: float) -> Point:
    """By a law: so much for a post, so much for each copy of it."""
    return point(
        servers=int(copies),
        copies=copies,
        redis_us=(post_us + redis_copy_us * copies) / SMALL.members,
        servers_us=(2 * post_us + daemon_copy_us * copies) / SMALL.members,
    )


COST = st.floats(1, 1_000)


@given(COST, COST, COST, st.integers(2, 64))
def test_the_law_is_found_again(
    post_us: float, redis_copy_us: float, daemon_copy_us: float, copies: int
) -> None:
    """From one daemon and from many, for any costs."""
    few, many = summarise(
        [
            costs(1, post_us, redis_copy_us, daemon_copy_us),
            costs(copies, post_us, redis_copy_us, daemon_copy_us),
        ]
    )
    found = post_cost(few, many)
    assert found is not None
    assert found.redis_copy.median == pytest.approx(redis_copy_us, rel=1e-6, abs=1e-6)
    assert found.daemon_copy.median == pytest.approx(daemon_copy_us, rel=1e-6, abs=1e-6)
    predicted = stop(found, 100, everywhere=True)
    assert predicted.redis == pytest.approx(1e6 / (post_us + 100 * redis_copy_us), rel=1e-6)
    assert predicted.daemon == pytest.approx(1e6 / daemon_copy_us, rel=1e-6)
    assert predicted.first == min(predicted.redis, predicted.daemon)


def test_no_more_copies_no_cost_of_one() -> None:
    """Nothing is divided by nothing."""
    few, many = summarise([point(servers=1, copies=1), point(servers=8, copies=1)])
    assert post_cost(few, many) is None


def test_cheaper_with_more_copies_is_noise() -> None:
    """A copy never costs less than nothing; then daemons are no limit."""
    few, many = summarise([costs(1, 500, 1, 1), point(servers=8, copies=8.0)])
    found = post_cost(few, many)
    assert found is not None
    assert found.redis_copy.median == found.daemon_copy.median == 0
    assert math.isinf(stop(found, 64, everywhere=True).daemon)


def test_shared_copies_are_no_limit_of_daemons() -> None:
    """What more daemons share is not in the way."""
    cost = PostCost(Repeats({1: 100.0}), Repeats({1: 10.0}), Repeats({1: 50.0}), copies=2)
    assert stop(cost, 2, everywhere=False).first == pytest.approx(10_000)
    assert stop(cost, 12, everywhere=False).first == pytest.approx(5_000)
    assert stop(cost, 12, everywhere=True).daemon == pytest.approx(20_000)


def test_repeats_are_gathered() -> None:
    """By system, number of servers and load; deliveries for a CPU second are of all parts."""
    one, two = summarise(
        [
            point(repeat=1, servers_us=90.0),
            point(repeat=2, servers_us=40.0),
            point(repeat=1, servers=8),
        ]
    )
    assert (one.servers, two.servers) == (4, 8)
    assert one.total_us.by_repeat == {1: 100.0, 2: 50.0}
    assert one.per_cpu_s.by_repeat == pytest.approx({1: 10_000.0, 2: 20_000.0})
    assert not one.saturated
