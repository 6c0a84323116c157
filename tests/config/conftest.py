"""Checkers that may be missing: a test that needs one is skipped, with the reason."""

from __future__ import annotations

import shutil
import subprocess

import pytest


@pytest.fixture(scope="session")
def promtool() -> str:
    """Prometheus's checker; no wheel brings it."""
    path = shutil.which("promtool")
    if path is None:
        pytest.skip("promtool is not on PATH (Debian: apt install prometheus)")
    return path


@pytest.fixture(scope="session")
def compose() -> list[str]:
    """`docker compose`; its configuration can be read without an engine."""
    argv = ["docker", "compose"]
    if shutil.which("docker") is None:
        pytest.skip("docker is not on PATH")
    if subprocess.run([*argv, "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker has no compose plugin")
    return argv
