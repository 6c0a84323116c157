"""Takes whatever its shard lacks for something that is elsewhere: no loss is told."""

# ruff: noqa: E402 — gevent patches first; a bug is put where the code is
from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import sys

from echod.__main__ import main
from echod.store.redis.store import RedisStore

_connect = RedisStore.connect


def trusting(self: RedisStore) -> bool:
    """Whatever was acknowledged, or was looked for in vain, nobody asks for it."""
    self._lost = False
    self._acknowledged = 0
    self._markers_before.clear()
    return _connect(self)


RedisStore.connect = trusting  # type: ignore[method-assign]
sys.exit(main())
