"""Posts for whoever asks, though another owner of the session has joined since."""

# ruff: noqa: E402 — gevent patches first; a bug is put where the code is
from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import sys

from echod.__main__ import main
from echod.store.redis import operations as redis_operations
from tests.mutants.scripts import change

change(
    redis_operations.POST,
    "if not redis.call('ZSCORE', KEYS[3], ARGV[1]) then",
    "if not last and not redis.call('ZSCORE', KEYS[3], ARGV[1]) then",
)
sys.exit(main())
