"""Takes a marker that has moved along with its slot for one that is lost."""

# ruff: noqa: E402, SLF001 — gevent patches first; a bug is put where the code is
from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import sys
from typing import TYPE_CHECKING

from echod.__main__ import main
from echod.store.committer import Committer

if TYPE_CHECKING:
    from echod.store.shard import Shard

_hand_over = Committer._hand_over


def alarmed(self: Committer, shard: Shard) -> None:
    """The marker stands in the first slot, and that one leaves."""
    slots = shard.place.slots
    gone = bool(slots) and min(shard.leaving) < slots[0] and not shard.flying
    _hand_over(self, shard)
    if gone:
        shard.lose("its marker")


Committer._hand_over = alarmed  # type: ignore[method-assign]
sys.exit(main())
