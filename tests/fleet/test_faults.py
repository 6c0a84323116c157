"""Faults that all daemons share must not empty the balance (ADR 4)."""

from __future__ import annotations

import csv
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from lab import web
from lab.fleet import haproxy_server
from lab.fleet.local import Fleet, Plan
from lab.wait import until
from tests.daemon import raw
from tests.daemon.swarm import Swarm

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FREEZE_S = 5.0
# For what comes in the end, or never.
SEEN_S_MAX = 60.0


@pytest.fixture
def fleet(
    haproxy_program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Fleet]:
    """Four daemons behind HAProxy, without a load of its own."""
    monkeypatch.setenv(haproxy_server.BINARY.variable, str(haproxy_program))
    # The tests' clients all have one address, and come in bursts.
    monkeypatch.setenv("SOURCE_RATE_MAX", "100000")
    with Fleet(Plan(directory=tmp_path)) as made:
        until(lambda: len(up(made)) == 4, SEEN_S_MAX, "four daemons to be up")
        yield made


def servers(fleet: Fleet) -> list[dict[str, str]]:
    """HAProxy's rows for the daemons of the checked backend."""
    url = f"http://{fleet.ready['haproxy']['stats']}/;csv"
    with web.page(url, timeout=10) as page:
        rows = csv.DictReader(page.read().decode().lstrip("# ").splitlines())
        return [
            row
            for row in rows
            if row["pxname"] == "echod" and row["svname"] not in ("BACKEND", "FRONTEND")
        ]


def up(fleet: Fleet) -> list[dict[str, str]]:
    """Those that are up, at their full weight."""
    return [row for row in servers(fleet) if row["status"] == "UP" and row["weight"] == "100"]


def through(fleet: Fleet, size: int) -> Swarm:
    """That many clients, connected through HAProxy."""
    swarm = Swarm(int(fleet.ready["echo"].rsplit(":", 1)[1]), size)
    swarm.connect()
    return swarm


def test_a_burst_of_connects(fleet: Fleet) -> None:
    """Hundreds that connect at once each get a whole PROXY header, and their echo."""
    port = int(fleet.ready["echo"].rsplit(":", 1)[1])
    wrong: list[bytes] = []

    def burst() -> None:
        socks = [raw.connect(port) for _ in range(50)]
        for number, sock in enumerate(socks):
            sock.sendall(b"line %d\n" % number)
        for number, sock in enumerate(socks):
            reply = sock.recv(1000)
            if reply != b"line %d\n" % number:
                wrong.append(reply)
            sock.close()

    for _ in range(10):
        threads = [threading.Thread(target=burst) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


def test_redis_frozen_under_load(fleet: Fleet) -> None:
    """5 s without Redis: nobody is marked down, clients hear so, and service resumes by itself."""
    swarm = through(fleet, 40)
    swarm.run(lambda: swarm.answered() > 1000, SEEN_S_MAX)
    redis = fleet.parts["redis"]
    redis.signal(signal.SIGSTOP)
    frozen_s = time.monotonic()
    try:
        swarm.run(lambda: False, SEEN_S_MAX)
        assert swarm.ends() == {"unavailable": 40}
        until(
            lambda: {row["weight"] for row in servers(fleet)} == {"1"},
            SEEN_S_MAX,
            "every agent to say 1 %",
        )
        meanwhile = through(fleet, 8)
        meanwhile.run(lambda: time.monotonic() - frozen_s > FREEZE_S, SEEN_S_MAX)
        assert set(meanwhile.ends()) <= {"", "unavailable"}
    finally:
        redis.signal(signal.SIGCONT)
    assert {row["chkdown"] for row in servers(fleet)} == {"0"}
    until(lambda: len(up(fleet)) == 4, SEEN_S_MAX, "every daemon to be at full weight again")
    again = through(fleet, 40)
    again.run(lambda: again.answered() > 1000, SEEN_S_MAX)
    assert again.ends() == {"": 40}
    for clients in (swarm, meanwhile, again):
        clients.close()


def test_a_frozen_daemon_is_left_out(fleet: Fleet) -> None:
    """Its port still accepts, so only the check of the echo finds it; the others go on."""
    frozen = fleet.daemons[0]
    frozen.signal(signal.SIGSTOP)
    try:
        # `UP 1/3` is on its way down, and still in the balance.
        until(
            lambda: [row["status"] for row in servers(fleet)].count("DOWN") == 1,
            SEEN_S_MAX,
            "the frozen daemon to be marked down",
        )
        swarm = through(fleet, 20)
        swarm.run(lambda: min(member.answered for member in swarm.members) > 10, SEEN_S_MAX)
        assert swarm.ends() == {"": 20}
        swarm.close()
    finally:
        frozen.signal(signal.SIGCONT)
    until(lambda: len(up(fleet)) == 4, SEEN_S_MAX, "it to be back")
