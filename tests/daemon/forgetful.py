"""`echod` without the rule about old connections (ADR 3), to see that its test can fail."""

# ruff: noqa: E402 — gevent patches first
from gevent import monkey

monkey.patch_all()

import sys

from echod.__main__ import main
from echod.store.redis.store import RedisStore

RedisStore._silence_former = lambda *_: None  # type: ignore[method-assign]  # noqa: SLF001
sys.exit(main())
