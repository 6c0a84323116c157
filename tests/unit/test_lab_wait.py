"""`lab.wait`: waiting ends with the condition or with the deadline."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lab import wait
from lab.wait import until


def test_returns_what_came_true() -> None:
    """The first true value ends the wait and is returned."""
    looks = iter([0, "", "here"])

    assert until(lambda: next(looks), 5.0, "the third look") == "here"


def test_says_what_it_waited_for() -> None:
    """After the deadline a TimeoutError names the thing and the time."""
    with pytest.raises(TimeoutError, match=r"waited 0\.02 s in vain for a blue moon"):
        until(lambda: False, 0.02, "a blue moon")


def test_looks_once_more_after_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stood still past the deadline does not fail a condition come true."""
    now_s = iter([0.0, 0.5, 99.0])  # begin, first look, and the look after standing still
    clock = SimpleNamespace(monotonic=lambda: next(now_s), sleep=lambda _: None)
    monkeypatch.setattr(wait, "time", clock)
    looks = iter([False, True])

    assert until(lambda: next(looks), 1.0, "the second look") is True
