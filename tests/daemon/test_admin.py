"""What operators and the balancer see: every metric documented, and the agent's words."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from lab.wait import until
from tests.daemon import raw
from tests.daemon.test_drain import agent_says

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.fleet.redis_server import RedisServer
    from tests.conftest import Echod

DOCUMENT = Path(__file__).parents[2] / "docs/metrics.md"


def test_every_metric_is_documented(echod: Callable[..., Echod], redis: RedisServer) -> None:
    """docs/metrics.md and `/metrics` name the same ones."""
    daemon = echod(store=redis.url)
    page = daemon.get("/metrics")[1]
    kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", page, re.MULTILINE))
    shown = {name for name in kinds if name.startswith("echod_")}
    documented = set(re.findall(r"`(echod_\w+)", DOCUMENT.read_text()))
    assert documented == shown
    assert kinds["echod_reply_seconds"] == "histogram"
    assert "process_cpu_seconds_total" in page


def test_what_a_dialogue_counts(echod: Callable[..., Echod], redis: RedisServer) -> None:
    """Lines, bytes, replies and batches of three lines of one client."""
    daemon = echod(store=redis.url, line_bytes_max=4321)
    assert raw.converse(daemon.port, [b"a\nb\n", b"c\n"]) == b"a\na\nb\nb\nc\n"
    until(lambda: daemon.closed("client") == 1, 30, "the client to be counted")
    metrics = daemon.metrics()
    assert metrics["echod_lines_received_total"] == metrics["echod_lines_answered_total"] == 3
    assert metrics["echod_received_bytes_total"] == 6
    assert metrics["echod_sent_bytes_total"] == 10
    assert metrics["echod_reply_seconds_count"] == 3
    assert metrics["echod_commit_seconds_count"] == metrics["echod_batch_writes_count"] >= 1
    assert metrics['echod_connections_accepted_total{port="echo"}'] == 1
    assert metrics['echod_limit{name="line_bytes_max"}'] == 4321
    assert metrics["echod_lines_waiting"] == metrics["echod_held_bytes"] == 0


def test_degraded_and_back(echod: Callable[..., Echod], own_redis: RedisServer) -> None:
    """A frozen store is told to the balancer within two seconds, and that it is back."""
    daemon = echod(store=own_redis.url)
    until(lambda: agent_says(daemon) == b"up ready 100%\n", 30, "the store to be there")
    own_redis.process.signal(signal.SIGSTOP)
    try:
        # Two seconds, and three of a machine that runs other tests beside.
        until(lambda: agent_says(daemon) == b"up ready 1%\n", 2 + 3, "the agent to say so")
        status, body = daemon.get("/readyz")
        assert (status, json.loads(body)["degraded"]) == (200, True)
    finally:
        own_redis.process.signal(signal.SIGCONT)
    until(lambda: agent_says(daemon) == b"up ready 100%\n", 30, "the daemon to recover")


def test_pages(echod: Callable[..., Echod]) -> None:
    """There are three, and another path is told which."""
    daemon = echod()
    assert daemon.get("/livez")[0] == 200
    status, body = daemon.get("/")
    assert status == 404
    assert "/metrics" in body


def test_a_frozen_daemon_closes_nobody(echod: Callable[..., Echod], redis: RedisServer) -> None:
    """Its clients' silence was its own: after the thaw they go on (ADR 15)."""
    daemon = echod(store=redis.url, echo_idle_s_max=2)
    with raw.connect(daemon.port) as sock:
        sock.sendall(b"a\n")
        assert raw.read(sock, 2) == b"a\n"
        daemon.process.signal(signal.SIGSTOP)
        try:
            sock.settimeout(3.5)
            sock.sendall(b"b\n")
            try:
                sock.recv(1)
            except TimeoutError:
                pass
            else:
                raise AssertionError("a frozen daemon answered")
        finally:
            daemon.process.signal(signal.SIGCONT)
        sock.settimeout(raw.PATIENCE_S)
        assert raw.read(sock, 4) == b"a\nb\n"
        sock.sendall(b"c\n")
        assert raw.read(sock, 4) == b"b\nc\n"


def test_an_address_in_use(echod: Callable[..., Echod]) -> None:
    """A daemon that can't have its port says which, in a line, and ends."""
    daemon = echod()
    try:
        echod(echo_port=daemon.port)
    except Exception as error:  # noqa: BLE001 — whatever the lab calls it
        text = str(error)
    assert "can't start" in text
    assert str(daemon.port) in text
    assert "Traceback" not in text
