"""Reads what of a room was not published to it, and sends none of it."""

# ruff: noqa: E402 — gevent patches first; a bug is put where the code is
from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import sys
from typing import TYPE_CHECKING

from echod.__main__ import main
from echod.rooms.position import Position

if TYPE_CHECKING:
    from echod.metrics import Counts
    from echod.store.operations import Page

_read = Position.read


def silent(self: Position, page: Page, counts: Counts) -> tuple[bytes, bool]:
    """It goes on behind the page."""
    known = page.epoch == self.epoch
    told, whole = _read(self, page, counts)
    return b"" if known else told, whole


Position.read = silent  # type: ignore[method-assign]
sys.exit(main())
