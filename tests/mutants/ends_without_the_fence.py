"""Ends a session at the word of an earlier owner."""

# ruff: noqa: E402 — gevent patches first; a bug is put where the code is
from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import sys

from echod.__main__ import main
from echod.store import redis
from tests.mutants.scripts import change

change(redis.END_SCRIPT, "  return 0\n", "  -- whoever asks\n")
sys.exit(main())
