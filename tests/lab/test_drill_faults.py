"""Faults on processes and on Redis's files, made on real ones."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from lab.drill.run import bugs
from lab.drill.stage.base import DATA
from lab.drill.stage.local import LocalStage, limit_files
from lab.fleet import processes, redis_server
from tests.daemon import raw

if TYPE_CHECKING:
    from pathlib import Path


def ask(port: int, *words: str) -> bytes:
    """One command, and the first line of its answer."""
    line = f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
    with raw.connect(port) as sock:
        sock.sendall(line.encode())
        return sock.recv(65_536)


def filled(directory: Path) -> redis_server.RedisServer:
    """A Redis with a thousand writes on disk, killed."""
    redis = redis_server.start(directory)
    with raw.connect(redis.port) as sock:
        for number in range(1000):
            sock.sendall(f"SET key{number} value\r\n".encode())
        raw.read(sock, 5 * 1000)
    return redis


def change(directory: Path, how: str) -> None:
    """As a stage does it, in the directory of a Redis."""
    subprocess.run(["sh", "-ec", DATA[how]], cwd=directory, check=True)


@pytest.mark.parametrize("how, least, most", [("truncate", 300, 700), ("empty", 0, 0)])
def test_lost_data(tmp_path: Path, how: str, least: int, most: int) -> None:
    """A truncated file still loads, with what is before the cut; an empty one has nothing."""
    redis = filled(tmp_path / "redis")
    redis.process.kill()

    change(tmp_path / "redis", how)

    with redis_server.start(tmp_path / "redis", port=redis.port) as again:
        assert least <= int(ask(again.port, "DBSIZE")[1:]) <= most


def test_an_older_copy(tmp_path: Path) -> None:
    """Taken while it runs, put in its place later."""
    redis = filled(tmp_path / "redis")
    change(tmp_path / "redis", "copy")
    ask(redis.port, "SET", "later", "lost")
    redis.process.kill()

    change(tmp_path / "redis", "restore")

    with redis_server.start(tmp_path / "redis", port=redis.port) as again:
        assert ask(again.port, "DBSIZE") == b":1000\r\n"


@pytest.mark.parametrize("how", ["copy", "restore", "truncate"])
def test_no_data_to_change(tmp_path: Path, how: str) -> None:
    """It is noticed: a drill that lost nothing would prove nothing."""
    with pytest.raises(subprocess.CalledProcessError):
        change(tmp_path, how)


def test_no_file_left(tmp_path: Path) -> None:
    """A process that may open no more files accepts nobody, until it may again."""
    program = (
        "import socket, json\n"
        "s = socket.create_server(('127.0.0.1', 0))\n"
        "print(json.dumps({'event': 'ready', 'port': s.getsockname()[1]}), flush=True)\n"
        "while True:\n"
        "    try: s.accept()[0].sendall(b'served')\n"
        "    except OSError: pass\n"
    )
    log = tmp_path / "log"
    with processes.start([sys.executable, "-c", program], log=log) as process:
        port = process.ready["port"]
        limit_files(process.pid, full=True)
        with raw.connect(port) as first:  # the kernel had a file for it when accept began to wait
            assert raw.read(first, 6) == b"served"
        with raw.connect(port) as waiting:
            waiting.settimeout(0.2)
            with pytest.raises(TimeoutError):
                waiting.recv(10)

            limit_files(process.pid, full=False)

            waiting.settimeout(raw.PATIENCE_S)
            assert raw.read(waiting, 6) == b"served"
        assert psutil.Process(process.pid).is_running()
        process.kill()


def test_the_balance_is_even(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One daemon's agent asks for next to nothing at first: nobody comes before it asks for all."""
    stage = LocalStage(tmp_path)
    stage.parts = {"echod1": None, "echod2": None}  # type: ignore[dict-item]
    stage.haproxy = {"stats": "of no one"}
    pages: list[dict[tuple[str, str], int]] = []

    def up(_: str) -> dict[tuple[str, str], int]:
        return pages.pop(0)

    def page(weight: int, daemons: int = 2) -> dict[tuple[str, str], int]:
        weights = [weight, 100][:daemons]
        return {
            (port, f"echod{n}"): of_one
            for port in ("echod", "sessions")
            for n, of_one in enumerate(weights, 1)
        }

    monkeypatch.setattr("lab.fleet.haproxy_server.up", up)
    pages[:] = [{}, page(1, daemons=1), page(1), page(100)]
    stage.await_balance()
    assert pages == [page(100)]

    pages[:] = [page(1, daemons=1), page(1), page(100)]
    stage.await_balance(even=True)
    assert pages == []


def test_bugs_in_a_log() -> None:
    """Tracebacks are counted, whatever they end with."""
    trace = 'Traceback (most recent call last):\n  File "x", line 1, in y\n    z()\n{}\n'
    files = trace.format("OSError: [Errno 24] Too many open files")

    assert bugs("all is well\n") == 0
    assert bugs("a line\n" + files + "a line\n" + trace.format("ValueError: 5") + "more\n") == 2
