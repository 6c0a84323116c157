"""A client of the committer that is no connection: it asks one thing, and is told once."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from echod.store.batch import Write

log = logging.getLogger(__name__)


class StoreClient:
    """Calls `done` with the write that was acknowledged, or with None if that took too long.

    Set `gone` to hear nothing more.
    """

    __slots__ = ("_done", "gathering", "gone")

    def __init__(self, done: Callable[[Write | None], None]) -> None:
        self.gathering: Write | None = None
        self.gone = False
        self._done = done

    def acknowledged(self, write: Write, now_s: float) -> None:
        """See `store.batch.Client`."""
        del now_s
        self.gone = True
        self._done(write)

    def unavailable(self) -> None:
        """See `store.batch.Client`."""
        if not self.gone:
            self.gone = True
            self._done(None)

    def broken(self) -> None:
        """See `store.batch.Client`."""
        log.exception("store-client-failed")  # noqa: LOG004 — called in an `except`
        self.gone = True
