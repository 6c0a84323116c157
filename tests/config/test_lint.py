"""Files that are not Python: YAML and Dockerfiles pass their linters."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.config.checks import ROOT, check

BIN = Path(sys.executable).parent


def test_yaml() -> None:
    """Every YAML file passes yamllint, warnings included."""
    check([sys.executable, "-m", "yamllint", "--strict", "."])


def test_dockerfiles() -> None:
    """Every Dockerfile passes hadolint."""
    files = [str(path) for path in sorted(ROOT.glob("[a-z]*/**/Dockerfile"))]
    assert len(files) == 3
    check([str(BIN / "hadolint"), "--config", ".hadolint.yaml", *files])
