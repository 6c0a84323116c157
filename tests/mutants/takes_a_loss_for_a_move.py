"""Takes whatever its shard lacks for something that is elsewhere: no loss is told."""

# ruff: noqa: E402 — gevent patches first; a bug is put where the code is
from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import sys
from typing import TYPE_CHECKING

from echod.__main__ import main
from echod.store.redis.store import RedisStore

if TYPE_CHECKING:
    from collections.abc import Collection

_connect = RedisStore.connect


def trusting(self: RedisStore) -> Collection[int]:
    """Whatever was acknowledged, or was looked for in vain, nobody asks for it."""
    self._lost = False
    self._lost_slots.clear()
    self._markers.clear()
    self._markers_before.clear()
    return _connect(self)


RedisStore.connect = trusting  # type: ignore[method-assign]
sys.exit(main())
