"""Tests of this folder stay pure: one that makes a socket or starts a process fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.purity import WATCH

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def impure() -> Iterator[list[str]]:
    """What a test has done that is not pure; a test that leaves anything there fails."""
    WATCH.looks = True
    yield WATCH.seen
    WATCH.looks = False
    done = WATCH.seen.copy()
    WATCH.seen.clear()
    assert not done, "tests/unit is pure; tests/lab, tests/loadtest and tests/daemon need not be"
