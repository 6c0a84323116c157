"""What has a bug stops nothing behind it, and does not fill the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gevent

from echod.loop import guard, sweeper
from echod.loop.clock import Clock
from echod.metrics import Histogram

if TYPE_CHECKING:
    import pytest


def test_a_bug_is_logged_at_once_and_then_now_and_then(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One traceback in ten seconds, and it says how many there were; of each function."""
    now_s = 1_000.0
    monkeypatch.setattr(guard, "monotonic", lambda: now_s)
    monkeypatch.setattr(guard, "_told", {})

    def bad(text: str) -> None:
        raise ValueError(text)

    def other() -> None:
        raise TypeError

    for _ in range(100):
        guard.guarded(bad, "broken")
        now_s += 0.05
    guard.guarded(other)
    assert len(caplog.records) == 2
    assert "bad" in caplog.messages[0]
    assert "ValueError: broken" in caplog.text
    now_s += guard.QUIET_S
    guard.guarded(bad, "broken")
    assert "(and 99 times since" in caplog.messages[2]


def test_each_tick_and_each_sweep_is_called_whatever_others_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The sweeper's own: one that raises every time stops none behind it."""
    monkeypatch.setattr(sweeper, "TICK_S", 0.001)
    seen: list[str] = []

    def bad(*_: float) -> None:
        seen.append("bad")
        raise ValueError

    done = gevent.event.Event()

    def good(*_: float) -> None:
        seen.append("good")
        if len(seen) > 20 * sweeper.TICKS_PER_SWEEP:
            done.set()

    swept: list[float] = []
    lag = Histogram((1.0,))
    running = gevent.spawn(
        sweeper.sweep_forever, Clock(0.0), lag.observe, (bad, good), (bad, swept.append)
    )
    assert done.wait(10)
    running.kill()
    assert seen[:4] == ["bad", "good"] * 2
    assert len(swept) >= 2
