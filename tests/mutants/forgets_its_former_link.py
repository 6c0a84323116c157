"""Does not know that it had a link to another node before: what that one still holds may run."""

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


def afresh(self: RedisStore) -> Collection[int]:
    """As if it were the first link: nothing to kill, no key that late bytes don't know."""
    self._formers.clear()
    self._run_id = b""
    return _connect(self)


RedisStore.connect = afresh  # type: ignore[method-assign]
sys.exit(main())
