"""Every limit: its error, its metric, bounded memory, and nobody else harmed."""

from __future__ import annotations

import contextlib
import signal
import socket
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from echod.config import RECEIVE_BYTES
from lab.wait import until
from tests.daemon import raw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lab.fleet.redis_server import RedisServer
    from tests.conftest import Echod

CONNECTIONS = 'echod_connections{port="echo"}'
LINE = b"x" * 8000 + b"\n"


def rss_bytes(daemon: Echod) -> int:
    """Resident memory."""
    size: int = psutil.Process(daemon.process.pid).memory_info().rss
    return size


@contextlib.contextmanager
def honest(daemon: Echod) -> Iterator[Callable[[], float]]:
    """A client beside the others; calling it echoes a line and returns the seconds it took."""
    with raw.connect(daemon.port) as sock:
        previous = b""

        def echo() -> float:
            nonlocal previous
            begin = time.perf_counter()
            line = b"honest %f\n" % begin
            sock.sendall(line)
            assert raw.read(sock, len(previous + line)) == previous + line
            previous = line
            return time.perf_counter() - begin

        yield echo


def test_busy_is_answered(echod: Callable[..., Echod], redis: RedisServer) -> None:
    """Above the cap a client hears so at once; the others go on, and a place can be had again."""
    daemon = echod(store=redis.url, connections_max=3)
    with honest(daemon) as echo, raw.connect(daemon.port) as second, raw.connect(daemon.port):
        echo()
        until(lambda: daemon.metrics()[CONNECTIONS] == 3, 30, "three clients")
        for sent in (b"", b"a line\n"):
            with raw.connect(daemon.port) as fourth:
                fourth.sendall(sent)
                assert raw.read_all(fourth).startswith(b"ERR busy ")
        assert daemon.closed("busy") == 2
        echo()
        second.close()
        until(lambda: daemon.metrics()[CONNECTIONS] == 2, 30, "a free place")
        assert raw.converse(daemon.port, [b"again\n"]) == b"again\n"


def test_silent_clients_are_closed(echod: Callable[..., Echod], redis: RedisServer) -> None:
    """200 that connect and say nothing hear `idle-timeout`; one that speaks is not harmed."""
    daemon = echod(store=redis.url, echo_idle_s_max=2.5)
    silent = [raw.connect(daemon.port) for _ in range(200)]
    with honest(daemon) as echo:
        until(lambda: echo() < 1 and daemon.closed("idle-timeout") == 200, 30, "200 to be closed")
    assert all(raw.read_all(sock).startswith(b"ERR idle-timeout ") for sock in silent)
    for sock in silent:
        sock.close()


def test_a_line_that_is_dripped(echod: Callable[..., Echod], redis: RedisServer) -> None:
    """A client that always sends a byte in time, and never a line, is closed all the same."""
    daemon = echod(store=redis.url, line_s_max=1, echo_idle_s_max=5)
    with raw.connect(daemon.port) as sock, honest(daemon) as echo:
        sock.sendall(b"whole\n")
        assert raw.read(sock, 6) == b"whole\n"
        sock.settimeout(0.1)

        def drip() -> bytes:
            echo()
            with contextlib.suppress(OSError):
                sock.sendall(b".")
            try:
                return sock.recv(1000)
            except TimeoutError:
                return b""

        assert until(drip, 30, "the deadline").startswith(b"ERR idle-timeout a line not ended")
    assert daemon.closed("line-timeout") == 1


def test_a_line_without_end(echod: Callable[..., Echod], redis: RedisServer) -> None:
    """An endless line is cut at the limit, after what was due, and costs no memory."""
    daemon = echod(store=redis.url)
    with honest(daemon) as echo:
        echo()
        before = rss_bytes(daemon)
        for _ in range(20):
            reply = raw.converse(daemon.port, [b"first\n", *[b"y" * 65_536] * 16])
            assert reply.startswith(b"first\nERR line-too-long ")
        assert echo() < 5
    assert daemon.closed("line-too-long") == 20
    assert rss_bytes(daemon) - before < 4 << 20


@pytest.mark.parametrize("durability", ["commit", "none"])
def test_a_client_that_never_reads(
    echod: Callable[..., Echod], redis: RedisServer, durability: str
) -> None:
    """It is not read any more, then closed as a slow consumer; its memory is bounded."""
    daemon = echod(store=redis.url, durability=durability, send_s_max=1.5, echo_idle_s_max=1)
    sinks = []
    with honest(daemon) as echo:
        echo()
        before = rss_bytes(daemon)
        for _ in range(5):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", daemon.port))
            sock.settimeout(0)
            sinks.append(sock)
        highest = 0

        def pour() -> bool:
            nonlocal highest
            echo()
            for sock in sinks:
                with contextlib.suppress(OSError):
                    sock.send(LINE * 10)
            highest = max(highest, rss_bytes(daemon))
            return daemon.closed("slow-consumer") == 5

        until(pour, 30, "the slow consumers to be closed")
        # Each may hold the outbox, and a pipeline's worth of lines on the way to it.
        assert highest - before < 5 * (3 << 20)
        echo()
    for sock in sinks:
        sock.close()


def test_inflight_lines_are_bounded(echod: Callable[..., Echod], own_redis: RedisServer) -> None:
    """While the store does not answer, a pipeliner is read up to its limit and no further."""
    daemon = echod(store=own_redis.url, inflight_lines_max=50, commit_s_max=60)
    own_redis.process.signal(signal.SIGSTOP)
    try:
        with raw.connect(daemon.port) as sock:
            sock.sendall(b"a\n" * 10_000)
            until(lambda: daemon.metrics()["echod_lines_waiting"] == 50, 30, "50 lines to wait")
            assert daemon.metrics()["echod_lines_received_total"] == 50
            own_redis.process.signal(signal.SIGCONT)
            assert raw.read(sock, 39_998) == b"a\n" * 19_999
    finally:
        own_redis.process.signal(signal.SIGCONT)


def test_all_clients_together_are_bounded(
    echod: Callable[..., Echod], own_redis: RedisServer
) -> None:
    """Above `pending_bytes_max` nobody is read; when the store answers, all are served."""
    daemon = echod(store=own_redis.url, pending_bytes_max=200_000, commit_s_max=60)
    own_redis.process.signal(signal.SIGSTOP)
    try:
        socks = [raw.connect(daemon.port) for _ in range(40)]
        for sock in socks:
            sock.sendall(LINE * 3)
        until(lambda: daemon.metrics()["echod_held_bytes"] >= 200_000, 30, "the bound")
        # One receive of one client, and the line before each of its lines, may be on top.
        assert daemon.metrics()["echod_held_bytes"] < 200_000 + 3 * RECEIVE_BYTES
        own_redis.process.signal(signal.SIGCONT)
        for sock in socks:
            assert raw.read(sock, 5 * len(LINE)) == LINE * 5
            sock.close()
    finally:
        own_redis.process.signal(signal.SIGCONT)
    until(lambda: daemon.metrics()["echod_held_bytes"] == 0, 30, "nothing to be held")


def test_held_back_clients_may_go(echod: Callable[..., Echod], own_redis: RedisServer) -> None:
    """Clients that were not read for the others' sake, and reset meanwhile, disturb nobody."""
    daemon = echod(store=own_redis.url, pending_bytes_max=100_000, commit_s_max=60)
    own_redis.process.signal(signal.SIGSTOP)
    try:
        socks = [raw.connect(daemon.port) for _ in range(20)]
        for sock in socks:
            sock.sendall(LINE * 2)
        until(lambda: daemon.metrics()["echod_held_bytes"] >= 100_000, 30, "the bound")
        for sock in socks:
            raw.reset(sock)
    finally:
        own_redis.process.signal(signal.SIGCONT)
    assert raw.converse(daemon.port, [b"a\n"]) == b"a\n"
    until(lambda: daemon.metrics()[CONNECTIONS] == 0, 30, "all to have left")


def test_what_gone_clients_left_is_let_go(
    echod: Callable[..., Echod], own_redis: RedisServer
) -> None:
    """While the store is away, lines of clients that have gone hold no memory."""
    daemon = echod(store=own_redis.url)
    own_redis.process.kill()
    until(lambda: daemon.metrics()["echod_degraded"] == 1, 30, "it to be noticed")
    for _ in range(50):
        sock = raw.connect(daemon.port)
        sock.sendall(LINE * 2)
        raw.reset(sock)
    until(lambda: daemon.metrics()["echod_held_bytes"] == 0, 30, "nothing to be held")


def test_the_commit_deadline_begins_with_the_line(
    echod: Callable[..., Echod], own_redis: RedisServer
) -> None:
    """A client that connected long before its line has the whole deadline for the line."""
    commit_s_max = 2.5
    daemon = echod(store=own_redis.url, commit_s_max=commit_s_max)
    own_redis.process.signal(signal.SIGSTOP)
    try:
        with raw.connect(daemon.port) as first:
            first.sendall(b"on its way\n")
            until(lambda: daemon.metrics()["echod_lines_waiting"] == 1, 30, "it to be so")
            sock = raw.connect(daemon.port)
            assert raw.read_all(first).startswith(b"ERR unavailable ")
            begin = time.monotonic()
            sock.sendall(b"a\n")
            assert raw.read_all(sock).startswith(b"ERR unavailable ")
            # The daemon's clock goes in ticks, so by this one it may be early; a busy machine is
            # late.
            assert commit_s_max - 0.5 < time.monotonic() - begin < commit_s_max + 5
            sock.close()
    finally:
        own_redis.process.signal(signal.SIGCONT)


def test_idle_time_begins_with_the_reply(
    echod: Callable[..., Echod], own_redis: RedisServer
) -> None:
    """A client that waited for its reply longer than it may be idle is not idle."""
    daemon = echod(store=own_redis.url, commit_s_max=60, echo_idle_s_max=1.5)
    with raw.connect(daemon.port) as sock:
        sock.sendall(b"a\n")
        assert raw.read(sock, 2) == b"a\n"
        own_redis.process.signal(signal.SIGSTOP)
        try:
            sock.sendall(b"b\n")
            stopped = time.monotonic()
            until(lambda: time.monotonic() - stopped > 2.5, 30, "longer than it may be idle")
        finally:
            begin = time.monotonic()  # before the reply
            own_redis.process.signal(signal.SIGCONT)
        assert raw.read(sock, 4) == b"a\nb\n"
        assert raw.read_all(sock).startswith(b"ERR idle-timeout ")
        assert time.monotonic() - begin > 1.0


def test_an_endless_line_is_cut(echod: Callable[..., Echod]) -> None:
    """Who does not stop after `line-too-long` is reset, however long others may linger."""
    daemon = echod(linger_s_max=60)
    cut = pytest.raises((ConnectionResetError, BrokenPipeError))
    with raw.connect(daemon.port) as sock, cut:
        sock.sendall(b"x" * (64 << 20))
    with honest(daemon) as echo:
        echo()
