"""Lets newer lines of a slot that has moved go before those that were on their way."""

# ruff: noqa: E402 — gevent patches first; a bug is put where the code is
from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import sys
from typing import TYPE_CHECKING

import gevent

from echod.__main__ import main
from echod.store.batch import Batcher

if TYPE_CHECKING:
    from collections.abc import Sequence

    from echod.store.batch import Write

# Some lines of a session.
LATE_S = 0.3

_adopt = Batcher.adopt


def later(self: Batcher, writes: Sequence[Write]) -> None:
    """What was in doubt follows: by then the session's next lines have gone."""
    gevent.spawn_later(LATE_S, _adopt, self, writes)


Batcher.adopt = later  # type: ignore[method-assign]
sys.exit(main())
