"""Running a checker over the project's files; shared by the configuration tests."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parents[2]

# Every checker reads a few small files.
CHECK_S_MAX = 60.0


def check(argv: Sequence[str], env: Mapping[str, str] | None = None) -> str:
    """Run a checker in the project's root; it must be content. Returns its stdout."""
    done = subprocess.run(
        argv, cwd=ROOT, env=env, timeout=CHECK_S_MAX, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(argv)}\n{done.stdout}{done.stderr}"
    return done.stdout
