"""Faults that are made on processes and on Redis's files; those of the network are in `network`.

Each is exact: it is there when the call returns. Nothing here needs root.
"""

from __future__ import annotations

import itertools
import resource
import shutil
from pathlib import Path

from lab.errors import LabError

# A truncated file loses its last writes: many batches' worth, and by far not all.
TRUNCATED_SHARE = 0.5


class DataError(LabError):
    """Redis's append-only file is not where it should be."""


def fill_files(pid: int) -> None:
    """Leave a process no file to open: prlimit to the lowest number that is free.

    A limit is on a file's number, not on how many there are, and the kernel gives the lowest.
    Only the soft limit is lowered, so that `free_files` needs no rights.
    """
    used = {int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()}
    lowest = next(number for number in itertools.count() if number not in used)
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest, hard))


def free_files(pid: int) -> None:
    """Give it all that it may have again."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))


class RedisData:
    """The directory of a Redis; change it only while none runs on it, but for `copy`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._copy = directory.with_name(directory.name + "-copy")

    def copy(self) -> None:
        """Keep a copy of it as it is now: what a backup taken while it runs would have."""
        shutil.rmtree(self._copy, ignore_errors=True)
        shutil.copytree(self._directory, self._copy)

    def restore(self) -> None:
        """Put the copy in its place.

        Raises:
            DataError: There is none.
        """
        if not self._copy.exists():
            raise DataError(f"{self._copy}: no copy was taken")
        self.empty()
        shutil.copytree(self._copy, self._directory, dirs_exist_ok=True)

    def empty(self) -> None:
        """Remove all that it holds but its log."""
        for path in self._directory.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.suffix != ".log":
                path.unlink()

    def truncate(self) -> int:
        """Cut the end off its append-only file; returns how many bytes are lost.

        Raises:
            DataError: There is no such file.
        """
        file = self._newest()
        size = file.stat().st_size
        lost = int(size * TRUNCATED_SHARE)
        with file.open("r+b") as opened:
            opened.truncate(size - lost)
        return lost

    def _newest(self) -> Path:
        # Since Redis 7 in a directory, the increments numbered.
        found = sorted(
            self._directory.glob("appendonlydir/*.incr.aof"),
            key=lambda path: int(path.name.split(".")[-3]),
        ) or sorted(self._directory.glob("appendonly.aof"))
        if not found:
            raise DataError(f"{self._directory}: no append-only file")
        return found[-1]
