"""Locust's room users on two real daemons: all is delivered, and `/metrics` says so."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lab import web
from lab.fleet import ports, processes
from lab.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lab.fleet.processes import Process
    from lab.fleet.redis_server import RedisServer
    from tests.conftest import Echod

ROOT = Path(__file__).parents[2]
USERS, RUN_S_MAX = 8, 60.0


def test_a_daemon_dies_under_room_users(
    echod: Callable[..., Echod], own_redis: RedisServer, tmp_path: Path
) -> None:
    """Members rejoin at the other daemon; every message is delivered, none of the ledger is red."""
    one, two = (echod(store=own_redis.url, name=f"d{n}") for n in (1, 2))
    hosts = ",".join(f"tcp://{d.host}:{d.session_port}" for d in (one, two))

    def start(numbers: Sequence[int]) -> Process:
        page = ("--web-host", ports.HOST, "--web-port", str(numbers[0]), "--autostart")
        users = ("RoomUser", "-u", str(USERS), "-r", str(USERS), "--session-host", hosts)
        process = processes.start(
            [sys.executable, "-m", "locust", "-f", str(ROOT / "loadtest" / "locustfile.py"),
             *users, *page, "--rooms", "2", "--posts-per-s", "5"],
            log=tmp_path / "locust.log",
            expect_ready=False,
        )  # fmt: skip
        process.await_sign(lambda: process.listens_on(numbers[0]), "Locust's page")
        process.ready = {"url": f"http://{ports.HOST}:{numbers[0]}/metrics"}
        return process

    with ports.start_on([0], start) as locust:

        def sample(name: str) -> float:
            with web.page(locust.ready["url"], timeout=RUN_S_MAX) as page:
                text = page.read().decode()
            found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
            return float(found[1]) if found else 0.0

        def done(name: str) -> float:
            return sample(f'locust_request_seconds_count{{name="{name}",type="room"}}')

        def fate(name: str) -> float:
            return sample(f'locust_room_messages_total{{fate="{name}"}}')

        until(lambda: done("join") == USERS and fate("delivered") > 50, RUN_S_MAX, "the talk")
        # Each user begins at an address of its own choice, perhaps all at the same.
        crowded = max(one, two, key=lambda daemon: daemon.metrics()["echod_room_members"])
        crowded.process.kill()
        until(lambda: done("rejoin") > 0, RUN_S_MAX, "members to be back")
        before = fate("delivered")
        until(lambda: fate("delivered") > before + 50, RUN_S_MAX, "the talk to go on")
        assert done("heard") > 0
        assert {name: fate(name) for name in ("lost", "duplicated", "reordered", "missing")} == {
            "lost": 0, "duplicated": 0, "reordered": 0, "missing": 0,
        }  # fmt: skip
        locust.terminate()
    assert "Traceback" not in locust.log.read_text()
