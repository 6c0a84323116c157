"""Lets the script publish a post that no replica has yet."""

# ruff: noqa: E402 — gevent patches first; a bug is put where the code is
from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import sys
from typing import TYPE_CHECKING

from echod.__main__ import main
from echod.store.redis.operations import RedisOperations

if TYPE_CHECKING:
    from echod.store.base import Lives

_begin = RedisOperations.__init__


def hasty(self: RedisOperations, lives: Lives, *, publishes: bool) -> None:
    """Whether replicas are waited for or not."""
    del publishes
    _begin(self, lives, publishes=True)


RedisOperations.__init__ = hasty  # type: ignore[method-assign]
sys.exit(main())
