"""Pages of rooms that are asked for: a few at once, the others in their turn.

A page is up to a hundred lines of the longest kind, and who comes back asks for one after the
other. A thousand who come back together would have a gigabyte read for them in one batch, with
everybody's lines behind it. First come, first served.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from echod.rooms.store_client import StoreClient
from echod.session import NO_SESSION

if TYPE_CHECKING:
    from collections.abc import Callable

    from echod.store.batch import Write
    from echod.store.committer import Committer
    from echod.store.operations import Read

# Read at once: what they hold up a batch by is some milliseconds (docs/adr/0012).
PAGES_MAX = 16


class Pages:
    """See the module. `waiting` is bounded by who asks: one a room, one a member's recovery."""

    def __init__(self, committer: Committer) -> None:
        self.waiting: deque[tuple[Read, Callable[[Write | None], None]]] = deque()
        self._committer = committer
        self._flying = 0

    def ask(self, read: Read, done: Callable[[Write | None], None]) -> None:
        """Call `done` with the write that has the page; with None if that takes too long."""
        if self._flying >= PAGES_MAX:
            self.waiting.append((read, done))
            return
        self._flying += 1

        def came(write: Write | None) -> None:
            self._flying -= 1
            try:
                done(write)
            finally:
                if self.waiting and self._flying < PAGES_MAX:
                    self.ask(*self.waiting.popleft())

        self._committer.submit(StoreClient(came), NO_SESSION, read)
