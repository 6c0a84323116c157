"""The pure parts import no socket, clock, greenlet or Redis (ARCHITECTURE.md, Code map)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import echod

ROOT = Path(echod.__file__).parent
PURE = [*sorted(ROOT.glob("protocol/*.py")), *sorted(ROOT.glob("values/*.py")),
        ROOT / "limits/sources.py", ROOT / "limits/unsent.py", ROOT / "loop/clock.py",
        ROOT / "client/life.py", ROOT / "client/growth.py",
        ROOT / "store/keys.py", ROOT / "store/batch.py", ROOT / "store/operations.py", ROOT / "store/routes.py",
        ROOT / "rooms/position.py"]  # fmt: skip
ALLOWED = {
    "__future__", "typing", "dataclasses", "enum", "struct", "ipaddress", "base64", "hashlib", "os", "re",
    "collections", "urllib",
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
