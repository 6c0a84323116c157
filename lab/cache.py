"""Where the lab keeps what it builds, installs and measures on: the user's cache."""

from __future__ import annotations

import os
from pathlib import Path


def directory(name: str) -> Path:
    """`echofleet/NAME` in the user's cache (`XDG_CACHE_HOME` moves it); made if need be."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    made = Path(base) / "echofleet" / name
    made.mkdir(parents=True, exist_ok=True)
    return made
