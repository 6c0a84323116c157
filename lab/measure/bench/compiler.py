"""Builds the C programs of `c/` where they are needed, once for each version of them.

They go to the user's cache, not into the source tree, in a directory named after
sources, compiler and flags. Called by `cli.py` and the tests.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from lab.measure.bench.errors import BenchError

SOURCES = Path(__file__).parent / "c"
PROGRAMS = ("echo_epoll", "load", "fanout")
FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror")

# Two seconds on an idle machine for all.
COMPILE_S_MAX = 60.0


def compiler() -> list[str]:
    """The C compiler's command: $CC or `cc`.

    Raises:
        BenchError: There is none.
    """
    command = shlex.split(os.environ.get("CC", "")) or ["cc"]
    if shutil.which(command[0]) is None:
        raise BenchError(
            f"no C compiler: `{command[0]}` is not on PATH. Install gcc or clang"
            " (Debian: apt-get install gcc libc6-dev), or name one in CC"
        )
    return command


def version() -> str:
    """The compiler's first words about itself.

    Raises:
        BenchError: There is none.
    """
    return _run([*compiler(), "--version"]).splitlines()[0]


def build(cache: Path) -> Path:
    """The directory that holds the built programs, each under its source's name.

    Raises:
        BenchError: No compiler, or it refused; the text has what it said.
    """
    digest = hashlib.sha256(f"{version()} {FLAGS}".encode())
    for source in sorted(SOURCES.iterdir()):
        digest.update(source.read_bytes())
    directory = cache / digest.hexdigest()[:16]
    if directory.is_dir():
        return directory
    with tempfile.TemporaryDirectory(dir=cache) as making:
        built = Path(making) / "built"
        built.mkdir()
        for name in PROGRAMS:
            _run([*compiler(), *FLAGS, "-o", str(built / name), str(SOURCES / f"{name}.c")])
        try:
            built.rename(directory)
        except OSError:
            # Another bench was faster; what it built is the same.
            if not directory.is_dir():
                raise
    return directory


def _run(command: list[str]) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=COMPILE_S_MAX
    )
    if done.returncode:
        raise BenchError(f"{shlex.join(command)} failed:\n{done.stderr.strip()}")
    return done.stdout
