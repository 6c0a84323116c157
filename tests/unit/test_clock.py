"""The daemon's clock does not run while the daemon does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.loop.clock import TICK_S, Clock


@given(st.lists(st.floats(0, 100), max_size=30))
def test_never_faster_than_time_and_never_by_a_leap(steps_s: list[float]) -> None:
    """A late tick moves the clock by two ticks at most."""
    real_s, clock = 1000.0, Clock(1000.0)
    for step_s in steps_s:
        before_s = clock.now_s
        real_s += step_s
        clock.tick(real_s)
        assert 0 <= clock.now_s - before_s <= min(step_s, 2 * TICK_S) + 1e-9


def test_lateness() -> None:
    """What `tick` returns is the loop's lag."""
    clock = Clock(0.0)
    assert clock.tick(TICK_S) == pytest.approx(0.0)
    assert clock.tick(TICK_S + 60.0) == pytest.approx(60.0 - TICK_S)
    assert clock.now_s == pytest.approx(3 * TICK_S)
