"""Takes the lines of a batch whose connection broke for committed."""

# ruff: noqa: E402, SLF001 — gevent patches first; a bug is put where the code is
from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import sys
from time import perf_counter

from echod.__main__ import main
from echod.store.base import StoreError
from echod.store.shard import Shard

_turn = Shard._turn


def hopeful(self: Shard) -> None:
    """Whatever became of it: whose line was in it is answered."""
    try:
        _turn(self)
    except StoreError:
        batcher = self._batcher
        lines = [write for write in batcher.flying if write.operation is None]
        batcher.flying = [write for write in batcher.flying if write.operation is not None]
        batcher._settle(lines)
        self._deliver(lines, perf_counter())
        raise


Shard._turn = hopeful  # type: ignore[method-assign]
sys.exit(main())
