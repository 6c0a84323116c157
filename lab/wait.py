"""Waiting for a condition, with a deadline: the lab's and the tests' only way to wait.

A fixed sleep is either too long or too short; a condition is neither. Who calls it:
everything in `lab`, and every test that watches another process.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

# Between two looks: short beside what is waited for (processes, sockets: 10 ms and
# more), long enough that a hundred looks a second cost a waiting process nothing.
LOOK_EVERY_S = 0.01


def until(predicate: Callable[[], T], deadline_s: float, what: str) -> T:
    """Call `predicate` until it returns something true, and return that.

    It is called at least once, and a last time after the deadline, so that a machine
    that stood still meanwhile does not fail a condition that has come true.

    Args:
        predicate: Looks, and must not block for long.
        deadline_s: How long to go on, in seconds.
        what: What is waited for, as it completes "waited in vain for …".

    Raises:
        TimeoutError: When the deadline passes first; its text holds `what`.
    """
    deadline = time.monotonic() + deadline_s
    while True:
        late = time.monotonic() >= deadline
        result = predicate()
        if result:
            return result
        if late:
            raise TimeoutError(f"waited {deadline_s:g} s in vain for {what}")
        time.sleep(LOOK_EVERY_S)
