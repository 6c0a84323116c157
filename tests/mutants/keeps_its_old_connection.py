"""Leaves its old connection to Redis alive when it makes a new one."""

# ruff: noqa: E402, SLF001 — gevent patches first; a bug is put where the code is
from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import sys

from echod.__main__ import main
from echod.store.redis.store import RedisStore

RedisStore._silence_former = lambda *_: None  # type: ignore[method-assign]
sys.exit(main())
