"""Sends what waits for a slot that has moved in the wrong order: the newest first."""

# ruff: noqa: E402 — gevent patches first; a bug is put where the code is
from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import sys
from typing import TYPE_CHECKING

from echod.__main__ import main
from echod.store.batch import Batcher

if TYPE_CHECKING:
    from collections.abc import Sequence

    from echod.store.batch import Write

_adopt = Batcher.adopt


def backwards(self: Batcher, writes: Sequence[Write]) -> None:
    """What was in doubt goes last."""
    _adopt(self, writes[::-1])


Batcher.adopt = backwards  # type: ignore[method-assign]
sys.exit(main())
