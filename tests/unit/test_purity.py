"""The pure parts import no socket, clock, greenlet or Redis (ARCHITECTURE.md, Code map).

Their tests, in this folder, make no socket and no process (conftest.py).
"""

from __future__ import annotations

import ast
import multiprocessing
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import gevent.socket
import gevent.subprocess
import pytest

import echod
from tests.unit.purity import ImpureError

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(echod.__file__).parent
PURE = [*sorted(ROOT.glob("protocol/*.py")), *sorted(ROOT.glob("values/*.py")),
        ROOT / "limits/sources.py", ROOT / "limits/unsent.py", ROOT / "loop/clock.py",
        ROOT / "client/life.py", ROOT / "client/growth.py",
        ROOT / "store/slots.py", ROOT / "store/keys.py", ROOT / "store/batch.py", ROOT / "store/operations.py", ROOT / "store/routes.py",
        ROOT / "rooms/position.py"]  # fmt: skip
ALLOWED = {
    "__future__", "typing", "dataclasses", "enum", "struct", "ipaddress", "base64", "hashlib", "os", "re",
    "collections", "urllib", "binascii", "functools",
}  # fmt: skip


def imports(path: Path) -> set[str]:
    """Top-level names of the modules that a file imports at run time."""
    found = set()
    tree = ast.parse(path.read_text())
    guarded = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in guarded:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            # `from echod.protocol import rooms` imports a module of the package.
            found |= (
                {f"{module}.{alias.name}" for alias in node.names}
                if module in ("echod", "echod.protocol", "echod.values")
                else {module}
            )
    return found


@pytest.mark.parametrize("path", PURE, ids=lambda path: str(path.relative_to(ROOT)))
def test_pure(path: Path) -> None:
    """Only the standard library's pure parts, and other pure parts."""
    pure = {"echod." + ".".join(p.relative_to(ROOT).with_suffix("").parts) for p in PURE}
    foreign = {
        name for name in imports(path) if name.split(".")[0] not in ALLOWED and name not in pure
    }
    assert not foreign


@pytest.mark.parametrize(
    "act",
    [
        socket.socket,
        socket.socketpair,
        gevent.socket.socketpair,
        lambda: socket.create_connection(("127.0.0.1", 1)),
        lambda: subprocess.run(["true"], check=True),
        lambda: gevent.subprocess.run(["true"], check=True),
        lambda: multiprocessing.get_context("fork").Process(target=int).start(),
    ],
)
def test_the_tests_here_are_pure(act: Callable[[], object], impure: list[str]) -> None:
    """Whoever makes a socket or a process in this folder is told, whichever library it takes."""
    with pytest.raises(ImpureError):
        act()
    assert impure
    impure.clear()
