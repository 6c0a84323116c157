"""Posts a message as often as it is sent, whatever its id."""

# ruff: noqa: E402 — gevent patches first; a bug is put where the code is
from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import sys

from echod.__main__ import main
from echod.store.redis import operations as redis_operations
from tests.mutants.scripts import change

change(redis_operations.POST, "if last and id <= tonumber(last) then", "if false then")
sys.exit(main())
