"""Pages of rooms that are asked for: a few at once, the others in their turn.

A page is up to a hundred lines of the longest kind, and who comes back asks for one after the
other. A thousand who come back together would have a gigabyte read for them in one batch, with
everybody's lines behind it. First come, first served; a daemon's rooms have a queue of their
own, so that they don't stand behind those who come back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from echod.store.batch import Write
    from echod.store.committer import Committer
    from echod.store.operations import Read

# Read at once for the rooms here: mostly empty pages, of all rooms after a reconnect.
ROOM_PAGES_MAX = 16
# And for those who come back: full ones, by which all lines of a batch are held up, some 0.7 ms
# each (docs/adr/0012).
RECOVERY_PAGES_MAX = 4


class Pages:
    """See the module.

    Attributes:
        waiting: who asks, in turn, and for what; one at most of each room, or of each member's
            recovery, which is taken out when it ends.
    """

    def __init__(self, committer: Committer, flying_max: int) -> None:
        self.waiting: dict[object, tuple[Read, Callable[[Write | None], None]]] = {}
        self._committer = committer
        self._flying = 0
        self._flying_max = flying_max

    def submit(self, who: object, read: Read, done: Callable[[Write | None], None]) -> None:
        """Call `done` with the write that has the page; with None if that takes too long."""
        if self._flying >= self._flying_max:
            self.waiting[who] = (read, done)
            return
        self._flying += 1

        def came(write: Write | None) -> None:
            self._flying -= 1
            try:
                done(write)
            finally:
                if self.waiting and self._flying < self._flying_max:
                    who = next(iter(self.waiting))
                    self.submit(who, *self.waiting.pop(who))

        self._committer.call(read, came)

    def give_up(self, who: object) -> None:
        """It does not want it any more."""
        self.waiting.pop(who, None)
