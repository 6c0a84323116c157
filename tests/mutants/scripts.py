"""Changing one line of a Lua script, so that the daemon runs it with that bug."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from echod.store.redis.operations import Script


def change(script: Script, right: str, wrong: str) -> None:
    """Put `wrong` in the place of `right`, which must be there once."""
    assert script.text.count(right) == 1
    script.text = script.text.replace(right, wrong)
    digest = hashlib.sha1(script.text.encode(), usedforsecurity=False).hexdigest()
    script._hash = digest  # noqa: SLF001 — as above
