"""Where a fleet is looked at, and acted on: what `local` and `compose` have in common."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lab.top.parts import Look

T = TypeVar("T")

# One page: a part that takes longer is silent for this look. Shorter than a look's interval,
# so that a frozen part slows nobody down.
ANSWER_S_MAX = 0.8

# Parts asked at once; more wait their turn.
ASKED_AT_ONCE_MAX = 16


class Source(Protocol):
    """A fleet that can be looked at."""

    def look(self) -> Look:
        """Everything as it is now; never waits for longer than a few seconds.

        Raises:
            lab.errors.LabError: The fleet is gone, or what tells of it.
        """

    def act(self, action: str, daemon: str) -> str:
        """Do one of `lab.fleet.control.ACTIONS` to a daemon; what was done, in words.

        Raises:
            lab.errors.LabError: It can't be done.
        """


def at_once(asks: Iterable[Callable[[], T]]) -> list[T]:
    """What each returns, in their order; they run in threads."""
    with ThreadPoolExecutor(ASKED_AT_ONCE_MAX) as pool:
        return [future.result() for future in [pool.submit(ask) for ask in asks]]
