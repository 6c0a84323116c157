"""What code and docs refer to is there: decisions, sections, files, tests, commands, targets.

Each kind of reference is a pattern with a rule that says whether it leads somewhere. A text
that names what was renamed or deleted fails here.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab.cli import build_parser
from lab.drill import drills

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
ENDINGS = {".py", ".md", ".lua", ".yml", ".cfg", ".sh", ".acl", ".c", ".h", ".mjs", ".toml", ""}
# Of files that tests make.
FOREIGN = {"rules.yml", "wrong.py", "site/wheel_of_it/__init__.py"}
# A file that a reader knows by its name's end: `store/batch.py`, `start.sh`.
FILE = re.compile(r"(?<![\w/.-])((?:[\w-]+/)*[\w-]+\.(?:py|md|lua|yml|cfg|sh|acl|mjs))(?![\w-])")


def listed() -> list[str]:
    """The repository's files."""
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [name for name in names.stdout.split("\0") if (ROOT / name).is_file()]


FILES = listed()
# Those that a person reads.
SOURCES = {
    Path(name): (ROOT / name).read_text()
    for name in FILES
    if Path(name).suffix in ENDINGS and ROOT / name != Path(__file__)
}
ADRS = {int(path.name[:4]) for path in (ROOT / "docs/adr").glob("[0-9]*.md")}
PROTOCOL = (ROOT / "docs/protocol.md").read_text()


def found(pattern: str) -> Iterator[tuple[Path, str]]:
    """Where the pattern's first group stands, and what it is."""
    for path, text in SOURCES.items():
        for match in re.finditer(pattern, text):
            yield path, match[1]


def adr(number: str) -> bool:
    """A decision that is written down."""
    return int(number) in ADRS


def section(number: str) -> bool:
    """A section of docs/protocol.md: a heading, or an item of the list in one."""
    if re.search(rf"^#+ §{re.escape(number)} ", PROTOCOL, re.MULTILINE):
        return True
    first, _, item = number.partition(".")
    body = re.search(rf"^## §{first} .*?(?=^## |\Z)", PROTOCOL, re.MULTILINE | re.DOTALL)
    return bool(item and body and re.search(rf"^{item}\. ", body[0], re.MULTILINE))


def file(name: str) -> bool:
    """A file of the repository, whole or by the end of its path."""
    return name in FOREIGN or any(path == name or path.endswith("/" + name) for path in FILES)


def a_test(name: str) -> bool:
    """A test, or a file of tests, by its whole name; with `…_` by its beginning."""
    return any(
        Path(path).stem.startswith(name) if name.endswith("_") else Path(path).stem == name
        for path in FILES
    ) or any(re.search(rf"^def {name}\(", text, re.MULTILINE) for text in SOURCES.values())


def target(name: str) -> bool:
    """A target of the Makefile."""
    return bool(re.search(rf"^{name}:", SOURCES[Path("Makefile")], re.MULTILINE))


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The commands of a parser, by name."""
    for action in parser._actions:  # noqa: SLF001 — argparse has no other way to ask
        if isinstance(action.choices, dict):
            return action.choices
    return {}


def command(words: str) -> bool:
    """A command of `fleet`, with its experiment or drill."""
    first, _, second = words.partition(" ")
    commands = subcommands(build_parser())
    if first not in commands:
        return False
    known = {
        "drill": {*(drill.name for drill in drills.ALL), "all", "list"},
        "experiment": set(subcommands(commands["experiment"])),
    }
    return not second or first not in known or second in known[first]


KINDS: dict[str, tuple[str, Callable[[str], bool]]] = {
    "adr": (r"\bADRs? (\d+)", adr),
    "adr file": (r"docs/adr/(\d{4})", adr),
    "section": (r"§(\d+(?:\.\d+)?)", section),
    "file": (FILE.pattern, file),
    "test": (r"`(test_[a-z0-9_]+)`", a_test),
    "target": (r"`make ([a-z]+)`", target),
    "command": (r"`(?:\.venv/bin/)?fleet ([a-z]+(?: [a-z](?:[a-z-]*[a-z])?)?)(?![\w-])", command),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_reference_leads_somewhere(kind: str) -> None:
    """Of one kind; the message lists those that don't, with where they stand."""
    pattern, leads = KINDS[kind]
    astray = [f"{path}: {what}" for path, what in found(pattern) if not leads(what)]
    assert any(True for _ in found(pattern)), "nothing was looked at"
    assert not astray


@pytest.mark.parametrize(
    "kind, what",
    [("adr", "9999"), ("adr file", "9999"), ("section", "2.9"), ("section", "9"), ("file", "gone.py"),
     ("test", "test_gone"), ("target", "gone"), ("command", "gone"), ("command", "drill gone")],
)  # fmt: skip
def test_one_that_leads_nowhere_is_seen(kind: str, what: str) -> None:
    """No rule takes everything."""
    assert not KINDS[kind][1](what)


def test_no_decision_is_cited_by_another_document() -> None:
    """Decisions are docs/adr; there is no other document of them."""
    mentions = [path for path, _ in found(r"\b(DESIGN D\d|DESIGN, |\(D\d+\)|DESIGN\n)")]
    assert mentions == []
