"""What each part imports is what its requirements declare, not what another package brings."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from typing import TYPE_CHECKING, Any

import pytest

from lab.fleet.local import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
PEERS = (ROOT / "lab" / "measure" / "peers" / "requirements.in").read_text().splitlines()

# A part's folder → what is installed for it; the containers have no more than this.
DAEMON = PROJECT["dependencies"]
LOAD = [*DAEMON, *EXTRAS["load"]]
LAB = [*LOAD, *EXTRAS["lab"]]
# The dashboards are made by a developer, the article's servers with the load's (Dockerfile).
DEVELOPER = [*LAB, *EXTRAS["dev"]]
PARTS = {
    "server/echod": DAEMON,
    "server/variants": LOAD,
    "loadtest": LOAD,
    "lab": LAB,
    "lab/dashboards": DEVELOPER,
    "lab/measure/peers": [*LAB, *PEERS],
    "tests": DEVELOPER,
}
OURS = {"echod", "lab", "loadtest", "tests", "variants"}
# tests/fuzz asks for it in words (CONTRIBUTING.md).
BY_HAND = {"atheris"}


def imported(path: Path) -> Iterator[str]:
    """Top-level names, wherever in the file they are imported."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def canonical(name: str) -> str:
    """A distribution's name in its one form (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(requirements: list[str]) -> set[str]:
    """The distributions that requirements name."""
    names = (re.match(r"[A-Za-z0-9._-]+", line) for line in requirements)
    return {canonical(name[0]) for name in names if name}


def part_of(path: Path) -> str:
    """The part with the longest name that a file is in."""
    inside = path.relative_to(ROOT).as_posix()
    return max((part for part in PARTS if inside.startswith(f"{part}/")), key=len)


# What the peers' packages are imported as: they are never in this environment.
PEERS_IMPORT = {"channels", "django", "geventwebsocket", "socketio"}


@pytest.mark.parametrize("part", PARTS)
def test_every_import_is_declared(part: str) -> None:
    """A package that another one brings today may be gone with its next version."""
    brings = packages_distributions()
    known = declared(PARTS[part])
    undeclared = set()
    for path in sorted((ROOT / part).glob("**/*.py")):
        if part_of(path) != part:
            continue
        for name in imported(path):
            if name in sys.stdlib_module_names or name in OURS | BY_HAND:
                continue
            if part == "lab/measure/peers" and name in PEERS_IMPORT:
                continue
            if not known & {canonical(each) for each in brings.get(name, [name])}:
                undeclared.add(f"{path.relative_to(ROOT)}: {name}")
    assert not undeclared


@pytest.mark.parametrize(
    "path", ["server/requirements.txt", "loadtest/requirements.txt", "requirements-dev.txt"]
)
def test_every_requirement_is_locked(path: str) -> None:
    """With its hash, and without an address of a registry."""
    wanted = {"server/requirements.txt": DAEMON, "loadtest/requirements.txt": LOAD}
    text = (ROOT / path).read_text()
    locked = set(re.findall(r"^([a-z0-9-]+)==", text, re.MULTILINE))
    assert declared(wanted.get(path, DEVELOPER)) <= locked
    assert "://" not in text
