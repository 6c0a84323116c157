"""Leaving in order (ADR 18): what was answered is on disk, and everybody hears it."""

from __future__ import annotations

import signal
import socket
import time
from typing import TYPE_CHECKING

import hiredis
import pytest

from echod.store.keys import decode_state
from lab.wait import until
from tests.daemon import raw
from tests.daemon.swarm import Swarm
from tests.daemon.test_proxy_protocol import CLIENT, LOCAL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lab.fleet.redis_server import RedisServer
    from tests.conftest import Echod


def committed(directory: Path) -> dict[str, int]:
    """The highest `seq` of each client in Redis's append-only file, by its address."""
    peers: dict[bytes, str] = {}
    highest: dict[str, int] = {}
    for path in sorted(directory.glob("**/*.incr.aof")):
        reader = hiredis.Reader()
        reader.feed(path.read_bytes())
        while (command := reader.gets()) is not False:
            match command:
                case [b"HSET", key, *fields] if key.startswith(b"r:"):
                    record = dict(zip(fields[::2], fields[1::2], strict=True))
                    peers[key[3:-1]] = record[b"peer"].decode()
                case [b"SET", key, value, *_] if key.startswith(b"s:"):
                    peer = peers[key.split(b":")[1][1:-1]]
                    highest[peer] = max(highest.get(peer, 0), decode_state(value).seq)
    return highest


def test_sigterm_with_a_thousand_busy_clients(
    echod: Callable[..., Echod], own_redis: RedisServer, tmp_path: Path
) -> None:
    """No answered line is lost, every client hears `draining`, and it ends with 0 in time."""
    daemon = echod(store=own_redis.url, drain_s=2)
    swarm = Swarm(daemon.port, 1000)
    swarm.connect()
    swarm.run(lambda: swarm.answered() > 5000, 60)
    begin = time.monotonic()
    daemon.process.signal(signal.SIGTERM)
    swarm.run(lambda: False, 30)
    assert swarm.ends() == {"draining": 1000}
    assert daemon.process.wait(30)
    assert daemon.process.status == 0
    # drain_s, then what is due, the deletions, and the clients' own time to close: 3 s, and ten
    # for a machine that runs other tests beside.
    assert time.monotonic() - begin < 2 + 3 + 10
    on_disk = committed(tmp_path / "redis")
    for member in swarm.members:
        assert on_disk[member.address] >= member.answered
    swarm.close()


def test_health_checks_until_the_end(echod: Callable[..., Echod], redis: RedisServer) -> None:
    """A daemon that drains is echoing: a balancer that finds it down would cut its clients."""
    daemon = echod(store=redis.url, proxy_protocol=True, agent_interval_s=0.2, drain_s=3)
    with raw.connect(daemon.port) as sock:
        sock.sendall(CLIENT + b"a\n")
        assert raw.read(sock, 2) == b"a\n"
        daemon.process.signal(signal.SIGTERM)
        until(
            lambda: raw.converse(daemon.port, [CLIENT + b"b\n"]).startswith(b"ERR draining "),
            30,
            "newcomers to be refused",
        )
        while not raw.read_now(sock):
            assert raw.converse(daemon.port, [LOCAL + b"check\n"]) == b"check\n"
    assert daemon.process.wait(30)
    assert daemon.process.status == 0


def agent_says(daemon: Echod) -> bytes:
    """What HAProxy's agent-check would read."""
    host, port = daemon.process.ready["agent"].rsplit(":", 1)
    with socket.create_connection((host, int(port)), 5) as sock:
        return raw.read_all(sock)


def test_the_order(echod: Callable[..., Echod], redis: RedisServer) -> None:
    """First the agent says `drain`; newcomers are served for two intervals, then refused."""
    # Two intervals are long enough to find newcomers served in them.
    daemon = echod(store=redis.url, agent_interval_s=1.5, drain_s=6)
    until(lambda: agent_says(daemon) == b"up ready 100%\n", 30, "the store to be there")
    assert daemon.get("/readyz")[0] == 200
    with raw.connect(daemon.port) as sock:
        sock.sendall(b"a\n")
        assert raw.read(sock, 2) == b"a\n"
        daemon.process.signal(signal.SIGTERM)
        until(lambda: agent_says(daemon) == b"drain\n", 30, "the agent to say drain")
        assert daemon.get("/readyz")[0] == 503
        assert daemon.get("/livez")[0] == 200
        assert daemon.metrics()["echod_draining"] == 1
        assert raw.converse(daemon.port, [b"late\n"]) == b"late\n"

        until(
            lambda: raw.converse(daemon.port, [b"later\n"]).startswith(b"ERR draining "),
            30,
            "newcomers to be refused",
        )
        sock.sendall(b"b\n")
        assert raw.read(sock, 4) == b"a\nb\n"
    assert daemon.process.wait(30)
    assert daemon.process.status == 0


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_twice_is_in_a_hurry(echod: Callable[..., Echod], redis: RedisServer, signum: int) -> None:
    """A second signal ends the waiting, in order all the same."""
    daemon = echod(store=redis.url)
    with raw.connect(daemon.port) as sock:
        sock.sendall(b"a\n")
        assert raw.read(sock, 2) == b"a\n"
        daemon.process.signal(signum)
        until(lambda: "draining" in daemon.log(), 30, "the first signal")
        daemon.process.signal(signum)
        assert raw.read_all(sock).startswith(b"ERR draining ")
    assert daemon.process.wait(30)
    assert daemon.process.status == 0


def test_a_tail_is_the_last_thing_said(echod: Callable[..., Echod], own_redis: RedisServer) -> None:
    """A half-closed client's last reply has no LF: no `ERR draining` is put behind it."""
    daemon = echod(store=own_redis.url, commit_s_max=60)
    with raw.connect(daemon.port) as sock:
        sock.sendall(b"a\n")
        assert raw.read(sock, 2) == b"a\n"
        own_redis.process.signal(signal.SIGSTOP)
        sock.sendall(b"tail")
        sock.shutdown(socket.SHUT_WR)
        until(lambda: daemon.metrics()["echod_lines_waiting"] == 1, 30, "the tail to be read")
        daemon.process.signal(signal.SIGTERM)
        until(lambda: "draining" in daemon.log(), 30, "the first signal")
        daemon.process.signal(signal.SIGTERM)
        until(lambda: "closing clients=1" in daemon.log(), 30, "the rest to be closed")
        own_redis.process.signal(signal.SIGCONT)
        assert raw.read_all(sock) == b"a\ntail"
    assert daemon.process.wait(30)


def test_without_a_store_it_leaves_all_the_same(
    echod: Callable[..., Echod], own_redis: RedisServer
) -> None:
    """The store is away: what can't be committed is not waited for beyond its deadline."""
    daemon = echod(store=own_redis.url, drain_s=1, commit_s_max=1)
    with raw.connect(daemon.port) as sock:
        sock.sendall(b"a\n")
        assert raw.read(sock, 2) == b"a\n"
        own_redis.process.kill()
        daemon.process.signal(signal.SIGTERM)
        assert raw.read_all(sock).startswith(b"ERR draining ")
    assert daemon.process.wait(30)
    assert daemon.process.status == 0
