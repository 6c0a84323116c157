"""Locust's users with several entrances, one of them dead: nobody fails."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

from lab.fleet import processes
from tests.loadtest.loadtest_servers import Server, right
from tests.loadtest.session_servers import Service

ROOT = Path(__file__).parents[2]
LOCUST = (sys.executable, "-m", "locust", "--locustfile", str(ROOT / "loadtest" / "locustfile.py"))
RUN_S_MAX = 90.0


def test_a_dead_entrance_is_no_failure(tmp_path: Path) -> None:
    """Users of both ports, each given a port that refuses beside the one that serves."""
    summary = tmp_path / "summary.json"
    with (
        Server(right) as plain,
        Server(Service()) as sessions,
        socket.socket() as bound,
    ):
        bound.bind(("127.0.0.1", 0))
        dead = "tcp://{}:{}".format(*bound.getsockname())
        argv = [
            *LOCUST, "SteadyUser", "SessionUser", "--headless", "--only-summary",
            "-u", "8", "-r", "8", "-t", "4", "--lines-per-s", "10", "--reply-s-max", "60",
            "--host", f"{dead},{plain.host}:{plain.port}",
            "--session-host", f"{dead},{sessions.host}:{sessions.port}",
            "--summary", str(summary),
        ]  # fmt: skip
        with processes.start(argv, log=tmp_path / "log", expect_ready=False) as process:
            assert process.wait(RUN_S_MAX)
        log = process.log_tail()
    assert process.status == 0, log
    told = json.loads(summary.read_text())
    assert told["failures"] == [], log
    rows = {name: row["count"] for name, row in told["requests"].items()}
    assert rows["connect"] == rows["open"] == 4
    assert rows["line"] > 4
    assert rows["session line"] > 4
