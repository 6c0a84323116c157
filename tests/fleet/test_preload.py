"""A Redis with another clock, and with another way to its master: what drills on clocks and cuts rest on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import redis as redis_py

from lab.fleet import ports, preload, redis_server
from lab.fleet.links import Network
from lab.wait import until

if TYPE_CHECKING:
    from pathlib import Path

AHEAD_S = 300
WAIT_S_MAX = 20.0

pytestmark = pytest.mark.skipif(bool(preload.why_not()), reason=preload.why_not())


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Compiled for this test."""
    path = tmp_path / preload.LIBRARY
    preload.build(path)
    return path


def asked(server: redis_server.RedisServer, *words: object) -> Any:  # noqa: ANN401 — its answer
    """One command's answer."""
    with redis_py.Redis.from_url(server.admin_url, decode_responses=True) as client:
        return client.execute_command(*words)


@pytest.mark.parametrize("ahead_s", [AHEAD_S, -AHEAD_S, 0])
def test_its_time_of_day_is_another(library: Path, tmp_path: Path, ahead_s: int) -> None:
    """By so much, and keys expire by it."""
    env = preload.variables(library, ahead_s=ahead_s)
    with redis_server.start(tmp_path / "redis", env=env) as server:
        seconds, _ = asked(server, "TIME")
        asked(server, "SET", "key", "value", "PXAT", int((time.time() + AHEAD_S - 5) * 1000))
        kept = asked(server, "GET", "key")

    assert seconds == pytest.approx(time.time() + ahead_s, abs=WAIT_S_MAX)
    assert kept == (None if ahead_s > 0 else "value")


def test_it_connects_to_another_port(library: Path, tmp_path: Path) -> None:
    """A replica reaches its master by a link, which can be cut; its master's port is what it says."""
    detours = tmp_path / "detours"
    env = preload.variables(library, detours=detours)
    with (
        Network() as network,
        redis_server.start(tmp_path / "master") as master,
        redis_server.start(tmp_path / "replica", env=env) as replica,
    ):
        address = f"{ports.HOST}:{master.port}"
        link = network.add("node", address)
        preload.write_detours(detours, {master.port: ports.split(link.addresses[address])[1]})
        asked(replica, "REPLICAOF", ports.HOST, master.port)
        asked(master, "SET", "first", "1")
        until(lambda: asked(replica, "GET", "first"), WAIT_S_MAX, "the replica to have it")

        def acknowledged() -> bool:
            told = asked(master, "INFO", "replication")
            return bool(told.get("slave0", {}).get("offset") == told["master_repl_offset"])

        # Until then the master keeps what it has for it.
        until(acknowledged, WAIT_S_MAX, "the master to have heard so")
        link.hold()
        asked(master, "SET", "second", "2")

        assert asked(replica, "INFO", "replication")["master_port"] == master.port
        until(lambda: link.count()["held"]["in"], WAIT_S_MAX, "what is on its way")
        assert asked(replica, "GET", "second") is None
        link.heal()
        until(lambda: asked(replica, "GET", "second"), WAIT_S_MAX, "what came late")
