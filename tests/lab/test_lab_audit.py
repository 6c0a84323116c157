"""`lab.audit`: a known hole fails, a service that could not be asked is told of."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from lab import audit

if TYPE_CHECKING:
    from pathlib import Path

WELL = {"name": "good", "version": "1.0", "vulns": []}
HOLE = {
    "name": "bad",
    "version": "2.0",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"], "aliases": [], "description": "…"}],
}
UNKNOWN = {"name": "odd", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(
    "packages, failed, said",
    [
        ([WELL], False, "1 of 1 packages looked up, 0 known holes"),
        ([WELL, HOLE], True, "bad 2.0: PYSEC-1, mended in 2.1"),
        ([WELL, UNKNOWN], False, "NOT AUDITED, the service does not know 1: odd"),
        ([HOLE, UNKNOWN], True, "1 of 2 packages looked up, 1 known holes"),
    ],
)
def test_verdict(packages: list[dict[str, Any]], failed: bool, said: str) -> None:  # noqa: FBT001 — an expectation
    """Only a known hole fails; what was not looked up is named."""
    outcome = audit.verdict({"dependencies": packages})
    assert outcome.failed == failed
    assert said in outcome.text


@pytest.mark.parametrize("stdout", ["", "no JSON"])
def test_no_answer_is_told_of(monkeypatch: pytest.MonkeyPatch, stdout: str) -> None:
    """A pip-audit that could not ask fails nothing, and its last word is repeated."""

    def run(words: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(words, 1, stdout, "first\nno route to host\n")

    monkeypatch.setattr(subprocess, "run", run)
    assert audit.audit([]) == audit.Verdict(failed=False, text="NOT AUDITED: no route to host")


def test_a_bill_names_every_package(tmp_path: Path) -> None:
    """The real tool on the daemon's lock: each name, version and hash."""
    into = tmp_path / "sbom" / "server.json"
    audit.bill(audit.LOCKS["server"], into)
    parts = {part["name"]: part for part in json.loads(into.read_text())["components"]}
    locked = audit.LOCKS["server"].read_text()
    assert {"gevent", "hiredis", "redis", "prometheus-client"} <= set(parts)
    for name, part in parts.items():
        assert f"{name}=={part['version']}" in locked
        assert part["externalReferences"][0]["hashes"]
