"""docs/limits.md: every limit is there with its default, and every sum is what its formula says."""

from __future__ import annotations

import importlib
import re
from dataclasses import fields
from pathlib import Path

import pytest

from echod.config import RECEIVE_BYTES, Config
from echod.rooms.catching_up import PAGE_MESSAGES
from echod.rooms.delivery import GATHERED_BYTES_MAX
from echod.rooms.kept import KEPT_BYTES_MAX
from echod.rooms.pages import RECOVERY_PAGES_MAX, ROOM_PAGES_MAX
from echod.store.shard import FREES_MAX
from loadtest.session_retry import Patience

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "limits.md").read_text()
CONSTANTS = {
    "RECEIVE_BYTES": RECEIVE_BYTES,
    "PAGE_MESSAGES": PAGE_MESSAGES,
    "ROOM_PAGES_MAX": ROOM_PAGES_MAX,
    "RECOVERY_PAGES_MAX": RECOVERY_PAGES_MAX,
    "KEPT_BYTES_MAX": KEPT_BYTES_MAX,
    "GATHERED_BYTES_MAX": GATHERED_BYTES_MAX,
    "FREES_MAX": FREES_MAX,
    "SEGMENT_BYTES": 65_536,
}
MILLION = 1_000_000


def table(heading: str) -> list[list[str]]:
    """The rows of the table under a heading, without its head."""
    _, _, rest = PAGE.partition(f"\n## {heading}\n")
    rows = re.findall(r"^\|(.*)\|$", rest.partition("\n## ")[0], re.MULTILINE)
    return [[cell.strip() for cell in row.split("|")] for row in rows[2:]]


def test_every_limit_is_there() -> None:
    """Those with limit=True in config.py, no others, each with its default."""
    rows = {row[0].strip("`"): row for row in table("Each limit")}
    assert {name: float(row[1]) for name, row in rows.items()} == Config().limits()


def test_where_and_by_what() -> None:
    """The files that enforce a limit, and those that try it, are there; so are the metrics."""
    documented = (ROOT / "docs" / "metrics.md").read_text()
    tests = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    for _, _, _, _, metrics, code, tried in table("Each limit"):
        for metric in re.findall(r"`(\w+)`", metrics):
            assert f"`{metric}" in documented
        for path in re.findall(r"`([\w./]+)`", code):
            assert (ROOT / "server" / "echod" / path).exists(), path
        named = set(re.findall(r"`([\w.]+)`", tried))
        assert named
        assert named <= tests, named - tests


def test_the_clients_limits_are_there() -> None:
    """Each with the value that the code has, and with tests that are there."""
    tests = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    for name, value, _, _, where, tried in table("The clients'"):
        module = importlib.import_module(f"loadtest.{where.strip('`').removesuffix('.py')}")
        limits = vars(module) | {one.name: one.default for one in fields(Patience)}
        assert limits[name.strip("`")] == float(value), name
        assert set(re.findall(r"`([\w.]+)`", tried)) <= tests, name


def test_constants_are_there() -> None:
    """Those that the page names for what nobody needs to change."""
    (named,) = re.findall(r"^Limits that nobody needs to change(.*)$", PAGE, re.MULTILINE)
    code = "\n".join(path.read_text() for path in (ROOT / "server" / "echod").rglob("*.py"))
    made = set(re.findall(r"^([A-Z_]+_MAX|[A-Z_]+)(?:: Final)? = ", code, re.MULTILINE))
    words = set(re.findall(r"`([A-Z_]+)`", named))
    assert words
    assert words <= made, words - made


@pytest.mark.parametrize("heading", ["the daemon's memory", "the kernel"])
@pytest.mark.parametrize("column, clients", [(2, 10_000), (3, 2_000)])
def test_sums(heading: str, column: int, clients: int) -> None:
    """Each row's formula gives its figure, and the last row is the sum of the others."""
    rows = table(f"What they come to: {heading}")
    names = Config().limits() | CONSTANTS | {"connections_max": clients}
    total = 0.0
    for row in rows[:-1]:
        value = eval(row[1].strip("`"), {"__builtins__": {}}, names)  # noqa: S307 — our own page
        total += value
        assert int(row[column]) == round(value / MILLION), row
    assert int(rows[-1][column].strip("*")) == round(total / MILLION)
