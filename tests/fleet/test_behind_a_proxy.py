"""With `http_proxy` set, as in company networks: what is on this machine is asked directly."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.fleet.fleet_process import controlled

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.fleet.fleet_process import FleetUp

# Nobody listens on port 1: whoever asks the proxy gets an error.
DEAD = "http://127.0.0.1:1"
RUN_S_MAX = 240


@pytest.fixture(autouse=True)
def _behind_a_proxy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """For this process and those it starts."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(name, DEAD)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)


def fleet_command(*words: str) -> subprocess.CompletedProcess[str]:
    """A command of `fleet`, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "lab.cli", *words],
        capture_output=True, text=True, timeout=RUN_S_MAX, check=False,
    )  # fmt: skip


def test_top_sees_every_part(fleet_up: Callable[..., FleetUp]) -> None:
    """Daemons, HAProxy and Redis are up, and have figures."""
    fleet = controlled(fleet_up("--daemons=2", "--no-load"))
    done = fleet_command("top", "--dir", fleet.ready["directory"], "--once", "--json")
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert [daemon["state"] for daemon in seen["daemons"]] == ["up", "up"]
    assert seen["haproxy"]["state"] == seen["redis"]["state"] == "up"
    assert seen["haproxy"]["echo_servers"] == 2


def test_a_drill_can_be_played(tmp_path: Path) -> None:
    """It looks at HAProxy's page, at the daemons' and at Grafana's."""
    done = fleet_command("drill", "kill-daemon", "--results", str(tmp_path))
    assert "Traceback" not in done.stderr
    assert done.returncode == 0, done.stdout + done.stderr
