"""The peers' packages: exactly the locked ones, in the user's cache, at first use.

    package.json, package-lock.json ──npm ci──▶ peers/node-DIGEST/node_modules
    requirements.txt ──pip --require-hashes──▶ peers/python-DIGEST (a virtual environment)

A directory is named after what is installed in it, so that a changed lock makes another. It
counts only with its stamp, which is written last. Called by `servers.py`.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HERE = Path(__file__).parent
NODE_FILES = ("package.json", "package-lock.json", ".npmrc", "socketio_server.mjs")
REQUIREMENTS = HERE / "requirements.txt"

# What redis's newest client for Node.js asks for.
NODE_VERSION_MIN = 20

# Some 40 packages each: seconds where the network is fast.
INSTALL_S_MAX = 300.0

# Of an installer's words, in an error's text.
TAIL_LINES = 5

STAMP = ".complete"


class PeerError(LabError):
    """A peer can't be had on this machine; the text says why."""


def node_directory(cache: Path) -> Path:
    """The directory of `socketio_server.mjs` with its `node_modules`.

    Raises:
        PeerError: No fitting Node.js or npm on PATH, or the packages can't be had.
    """
    _require_node()
    sources = [HERE / name for name in NODE_FILES]

    def fill(directory: Path) -> None:
        for source in sources:
            shutil.copy(source, directory)
        # Nothing of theirs needs to run code when it is installed.
        _run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], directory)

    return _installed(cache, "node", b"".join(source.read_bytes() for source in sources), fill)


def python_program(cache: Path) -> Path:
    """The interpreter of the virtual environment that has the Python peers.

    Raises:
        PeerError: It can't be made, or the packages can't be had.
    """

    def fill(directory: Path) -> None:
        _run([sys.executable, "-m", "venv", "--clear", str(directory)], cache)
        pip = [str(directory / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
        _run([*pip, "install", "--quiet", "--require-hashes", "-r", str(REQUIREMENTS)], cache)

    what = REQUIREMENTS.read_bytes() + sys.version.encode()
    return _installed(cache, "python", what, fill) / "bin" / "python"


def _installed(cache: Path, kind: str, what: bytes, fill: Callable[[Path], None]) -> Path:
    """`kind`-DIGEST in `cache`, filled unless it is complete; by one program at a time."""
    directory = cache / f"{kind}-{hashlib.sha256(what).hexdigest()[:16]}"
    with (cache / f"{kind}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (directory / STAMP).exists():
            directory.mkdir(exist_ok=True)
            fill(directory)
            (directory / STAMP).touch()
    return directory


def _require_node() -> None:
    for program in ("node", "npm"):
        if not shutil.which(program):
            raise PeerError(f"there is no `{program}` on PATH")
    version = _run(["node", "--version"], HERE).strip()
    if int(version.lstrip("v").split(".")[0]) < NODE_VERSION_MIN:
        raise PeerError(f"`node` is {version}; {NODE_VERSION_MIN} or newer is needed")


def _run(command: Sequence[str], directory: Path) -> str:
    try:
        done = subprocess.run(
            command, cwd=directory, capture_output=True, text=True, check=False,
            timeout=INSTALL_S_MAX,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise PeerError(f"`{' '.join(command[:3])}` took over {INSTALL_S_MAX:g} s") from None
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines()[-TAIL_LINES:]
        raise PeerError(f"`{' '.join(command[:3])} …` failed: {' '.join(words)}")
    return done.stdout
