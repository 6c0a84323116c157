"""A server with another clock, and with ways of its own to others: no rights are needed (Linux).

    build ──▶ preload.so ──LD_PRELOAD──▶ Redis:  its time of day is ahead or behind
                                                 connect(port) ──▶ another port: a link (`links`)

A time namespace has no time of day, and a network namespace needs root. So a small library
(`c/preload.c`) stands between the server and libc. What a cluster's nodes say of each other stays
true: only what one of them connects to is another port.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Mapping

LIBRARY = "preload.so"
SOURCE = Path(__file__).parent / "c" / "preload.c"
FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC")

# A tenth of a second on an idle machine.
COMPILE_S_MAX = 60.0


class PreloadError(LabError):
    """The library can't be built; the text says why."""


def why_not() -> str:
    """Why there is no such library here; empty if it can be built."""
    if shutil.which(_compiler()[0]) is None:
        return (
            f"no C compiler: `{_compiler()[0]}` is not on PATH"
            " (Debian: apt-get install gcc libc6-dev)"
        )
    return ""


def build(library: Path) -> None:
    """Compile the library to this path; its folder is made if it is not there.

    Raises:
        PreloadError: There is no compiler, or it refused; the text has what it said.
    """
    if why := why_not():
        raise PreloadError(why)
    library.parent.mkdir(parents=True, exist_ok=True)
    command = [*_compiler(), *FLAGS, "-o", str(library), str(SOURCE), "-ldl"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=COMPILE_S_MAX
    )
    if done.returncode:
        raise PreloadError(f"{shlex.join(command)} failed:\n{done.stderr.strip()}")


def write_detours(path: Path, ways: Mapping[int, int]) -> None:
    """Which port (value) a server gets that connects to one (key); of a running one, from now on."""
    path.write_text("".join(f"{target} {way}\n" for target, way in ways.items()))


def variables(library: Path, *, ahead_s: int = 0, detours: Path | None = None) -> dict[str, str]:
    """What a server's environment has beside what it had.

    Args:
        library: As `build` made it.
        ahead_s: How far its clock is ahead; behind if below 0.
        detours: As `write_detours` writes it.
    """
    told = {"LD_PRELOAD": str(library), "CLOCK_AHEAD_S": str(ahead_s)}
    return told | ({"DETOURS": str(detours)} if detours else {})


def _compiler() -> list[str]:
    return shlex.split(os.environ.get("CC", "")) or ["cc"]
