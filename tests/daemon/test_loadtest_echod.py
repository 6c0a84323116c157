"""The load against the real daemon: right as it is, and failures with the daemon's own names."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lab.fleet import processes
from loadtest.client import EarlyClose, PlainClient, ServerError

if TYPE_CHECKING:
    from lab.fleet.processes import Process

LOCUSTFILE = Path(__file__).parents[2] / "loadtest" / "locustfile.py"
ECHOD = (
    sys.executable,
    "-m",
    "echod",
    "--echo-port=0",
    "--session-port=0",
    "--admin-port=0",
    "--agent-port=0",
)
RUN_S_MAX = 90.0


def start_echod(directory: Path, *arguments: str) -> Process:
    """A daemon with its store in memory."""
    return processes.start([*ECHOD, *arguments], log=directory / "echod.log")


def connect(daemon: Process) -> PlainClient:
    """A client of its echo port."""
    host, port = daemon.ready["echo"].split(":")
    return PlainClient(host, int(port))


def run_locust(directory: Path, daemon: Process, *arguments: str) -> tuple[int, dict[str, Any]]:
    """The article's run against a daemon; Locust's exit status and its summary."""
    summary = directory / "summary.json"
    with processes.start(
        [
            *(sys.executable, "-m", "locust", "--locustfile", str(LOCUSTFILE), "--headless"),
            *("--host", f"tcp://{daemon.ready['echo']}", "--summary", str(summary), *arguments),
        ],
        log=directory / "locust.log",
        env={"LOADTEST_SHAPE": "article"},
        expect_ready=False,
    ) as locust:
        assert locust.wait(RUN_S_MAX), locust.log_tail()
        return locust.terminate(), json.loads(summary.read_text(encoding="utf-8"))


def test_a_hundred_of_the_articles_clients_get_only_right_replies(tmp_path: Path) -> None:
    """100 clients at once, five loops each: every reply right, every stream ended."""
    with start_echod(tmp_path) as daemon:
        status, summary = run_locust(tmp_path, daemon, "--loops=5", "--pause-s=0.02")
    counts = {name: entry["count"] for name, entry in summary["requests"].items()}
    assert (status, summary["failures"], summary["exceptions"]) == (0, [], 0)
    assert counts == {"connect": 500, "line": 5_000, "loop": 500}


def test_a_daemons_errors_are_failures_by_their_code(tmp_path: Path) -> None:
    """Clients that pause for longer than the idle limit are told so, and Locust says it."""
    with start_echod(tmp_path, "--echo-idle-s-max=0.2") as daemon:
        status, summary = run_locust(tmp_path, daemon, "--clients=2", "--loops=1", "--pause-s=2")
    assert status == 1
    assert summary["failures"] == [
        {"name": "line", "error": "ServerError('idle-timeout')", "count": 2}
    ]


def test_a_drained_daemon_says_so_to_the_client_that_stays(tmp_path: Path) -> None:
    """What is left at the drain's end hears `draining`, and every line before it was answered."""
    quick = ("--drain-s=0.1", "--agent-interval-s=0.05")
    with start_echod(tmp_path, *quick) as daemon, connect(daemon) as client:
        client.ask(b"before\n")
        assert daemon.terminate() == 0
        with pytest.raises(ServerError, match="draining"):
            client.ask(b"after\n")


def test_a_killed_daemon_is_an_early_close(tmp_path: Path) -> None:
    """Killed, it says nothing: that is told from what it says itself."""
    with start_echod(tmp_path) as daemon, connect(daemon) as client:
        client.ask(b"before\n")
        daemon.kill()
        with pytest.raises(EarlyClose):
            client.ask(b"after\n")


def test_a_long_line_is_refused_with_its_reason(tmp_path: Path) -> None:
    """`line-too-long` arrives although the daemon closes with bytes of it unread."""
    with start_echod(tmp_path) as daemon, connect(daemon) as client:
        client.ask(b"before\n")
        with pytest.raises(ServerError, match="line-too-long"):
            client.ask(b"x" * 1_000_000 + b"\n")
