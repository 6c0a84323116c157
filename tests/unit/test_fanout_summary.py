"""What a post and its copies cost is found again from figures that were made of it."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.measure.fanout.answers import stop, summarise
from lab.measure.fanout.systems import Load

if TYPE_CHECKING:
    from lab.measure.samples import Row

SMALL = Load(500, 2, 200)


def point(
    system: str = "echod-room",
    servers: int = 4,
    load: Load = SMALL,
    repeat: int = 1,
    **figures: float,
) -> Row:
    """A measurement, as it might be but for what is given."""
    row: Row = {
        "system": system,
        "servers": servers,
        "repeat": repeat,
        **asdict(load),
        "p50_ms": 1.0,
        "p99_ms": 3.0,
        "servers_us": 90.0,
        "redis_us": 10.0,
        "copies": 2.0,
        "vain": 0.0,
        "lost": 0,
        "server_busy": 0.2,
        "machine_busy": 0.4,
        **figures,
    }
    total_us = row["servers_us"] + row["redis_us"]
    return {**row, "total_us": total_us, "per_cpu_s": 1e6 / total_us}


def costs(copies: float, post_us: float, redis_copy_us: float, daemon_copy_us: float) -> Row:
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
    found = stop(few, many, 100, everywhere=True)
    assert found is not None
    assert found.redis == pytest.approx(1e6 / (post_us + 100 * redis_copy_us), rel=1e-6)
    assert found.daemon == pytest.approx(1e6 / daemon_copy_us, rel=1e-6)


def test_no_more_copies_no_cost_of_one() -> None:
    """Nothing is divided by nothing."""
    few, many = summarise([point(servers=1, copies=1), point(servers=8, copies=1)])
    assert stop(few, many, 64, everywhere=True) is None


def test_cheaper_with_more_copies_is_noise() -> None:
    """A copy never costs less than nothing; then daemons are no limit."""
    few, many = summarise([costs(1, 500, 1, 1), point(servers=8, copies=8.0)])
    found = stop(few, many, 64, everywhere=True)
    assert found is not None
    assert math.isinf(found.daemon)
    assert found.redis == pytest.approx(1e6 / (10 * SMALL.members))


def test_shared_copies_are_no_limit_of_daemons() -> None:
    """What more daemons share is not in the way."""
    few, many = summarise([costs(1, 80, 10, 50), costs(2, 80, 10, 50)])
    for copies, everywhere, redis, daemon in (
        (2, False, 10_000, math.inf),
        (12, False, 5_000, math.inf),
        (12, True, 5_000, 20_000),
    ):
        found = stop(few, many, copies, everywhere=everywhere)
        assert found is not None
        assert (found.redis, found.daemon) == pytest.approx((redis, daemon))


def test_repeats_are_gathered() -> None:
    """By system, number of servers and load; deliveries for a CPU second are of all parts."""
    one, two = summarise(
        [
            point(repeat=1, servers_us=90.0),
            point(repeat=2, servers_us=40.0),
            point(repeat=1, servers=8),
        ]
    )
    assert (one["servers"], two["servers"]) == (4, 8)
    assert one.of("total_us").by_repeat == {1: 100.0, 2: 50.0}
    assert one.of("per_cpu_s").by_repeat == pytest.approx({1: 10_000.0, 2: 20_000.0})
