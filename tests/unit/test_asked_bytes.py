"""What a line that asks the store for something takes is no more than what it counts for."""

from __future__ import annotations

import gc
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from echod.protocol.rooms import Say, Who
from tests.unit.hub_lab import Lab

if TYPE_CHECKING:
    from collections.abc import Callable

    from echod.protocol.rooms import RoomRequest

LINES = 2_000


@pytest.mark.parametrize(
    "line", [lambda number: Say(b"r", number, b"x"), lambda _: Who(b"r")], ids=["SAY", "WHO"]
)
def test_a_line_counts_for_what_it_takes(line: Callable[[int], RoomRequest]) -> None:
    """Of those that a client may send before the first is answered; JOIN and TELL wait."""
    lab = Lab()
    member = lab.client(0)
    member.join()
    lab.settle()
    counted = lab.committer.home.sums.held_bytes
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(1, LINES + 1):
            member.member.handle(line(number))
        gc.collect()
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken <= lab.committer.home.sums.held_bytes - counted
