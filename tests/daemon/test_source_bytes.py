"""What one address may send a second, and what happens to its connections meanwhile."""

from __future__ import annotations

import ipaddress
import signal
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING

import pytest

from lab.wait import until
from tests.daemon import raw

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.fleet.redis_server import RedisServer
    from tests.conftest import Echod

RATE = 200_000
# Of all that the fixture's daemon waits for.
IDLE_S_MAX = 1.5
# At once; see `sources.PURSE_S`. And one receive.
FIRST = RATE + 16_384
LINE = b"x" * 999 + b"\n"
HELD, SOURCES, PAUSES = "echod_sources_held", "echod_sources", "echod_source_pauses_total"
TICKS = "echod_loop_lag_seconds_count"
# Of a busy machine, from when something can be seen to when it must.
SEEN_S_MAX = 30.0


def header(address: str) -> bytes:
    """PROXY v2's, of a client with this address."""
    host = ipaddress.ip_address(address)
    size = len(host.packed)
    block = host.packed + bytes(size) + struct.pack("!HH", 1, 2)
    family = 0x11 if size == 4 else 0x21
    fixed = b"\r\n\r\n\x00\r\nQUIT\n" + bytes((0x21, family)) + struct.pack("!H", len(block))
    return fixed + block


def client(daemon: Echod, address: str) -> socket.socket:
    """A connection of `address`."""
    sock = raw.connect(daemon.port, SEEN_S_MAX)
    sock.sendall(header(address))
    return sock


def answers(sock: socket.socket, lines: int, line: bytes = LINE) -> None:
    """It sends and half-closes; every answer comes, to the last byte."""

    def send() -> None:
        sock.sendall(line * lines)
        sock.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    assert len(raw.read_all(sock)) == (2 * lines - 1) * len(line)
    sender.join()


def a_sweep_goes_by(daemon: Echod) -> None:
    """The daemon has looked at all deadlines, and 12 of its ticks have passed."""
    ticks = daemon.metrics()[TICKS] + 12
    until(lambda: daemon.metrics()[TICKS] >= ticks, SEEN_S_MAX, "twelve ticks")


@pytest.fixture
def reader() -> str:
    """How it waits for its sockets; a test may choose another."""
    return "callback"


@pytest.fixture
def daemon(reader: str, echod: Callable[..., Echod]) -> Echod:
    """Behind a balancer, with a low limit, and no patience for who is idle."""
    return echod(
        proxy_protocol=True,
        source_bytes_max=RATE,
        echo_idle_s_max=IDLE_S_MAX,
        line_s_max=IDLE_S_MAX,
        session_idle_s_max=IDLE_S_MAX,
        reader=reader,
    )


def test_an_address_has_its_rate(daemon: Echod) -> None:
    """It is slowed down and loses nothing; another goes on beside it as if it were alone."""
    begin_s = time.monotonic()
    with client(daemon, "192.0.2.1") as big:
        upload = threading.Thread(target=answers, args=(big, 600))
        upload.start()
        until(lambda: daemon.metrics()[HELD] == 1, SEEN_S_MAX, "it to be held back")
        with client(daemon, "192.0.2.2") as other:
            answers(other, RATE // 2 // len(LINE))  # all that one may send at once
        assert upload.is_alive()
        upload.join()
    # The daemon's clock goes in ticks.
    assert time.monotonic() - begin_s > (600 * len(LINE) - FIRST) / RATE - 0.5
    until(lambda: daemon.metrics()[SOURCES] == 0, SEEN_S_MAX, "both to be forgotten")
    metrics = daemon.metrics()
    assert metrics[HELD] == 0
    assert metrics["echod_source_paused_seconds_total"] > 0
    assert metrics['echod_limit{name="source_bytes_max"}'] == RATE


@pytest.mark.parametrize("reader", ["callback", "greenlet"])
def test_who_waits_is_not_idle(daemon: Echod) -> None:
    """Fifty connections of one address, each unread for longer than it may be idle: all go on."""
    line = b"x" * 8_191 + b"\n"
    socks = [client(daemon, "192.0.2.1") for _ in range(50)]
    for sock in socks:
        sock.sendall(line * 3)
        sock.shutdown(socket.SHUT_WR)
    for sock in socks:
        assert raw.read_all(sock) == line * 5
        sock.close()
    assert daemon.closed("idle-timeout") == daemon.closed("line-timeout") == 0
    metrics = daemon.metrics()
    # A round of all takes longer than one may be idle: the mean of the waits says so.
    assert metrics["echod_source_paused_seconds_total"] / metrics[PAUSES] > IDLE_S_MAX


def test_an_unfinished_line_that_waits_is_not_late(echod: Callable[..., Echod]) -> None:
    """How long a line may take is counted from when its connection is read again."""
    # The queue takes 9 s, more than a line may; and what comes after it much less.
    daemon = echod(
        proxy_protocol=True, source_bytes_max=RATE // 2, line_s_max=6, echo_idle_s_max=60
    )
    socks = [client(daemon, "192.0.2.1") for _ in range(60)]
    with client(daemon, "192.0.2.1") as slow:
        slow.sendall(b"a")
        for sock in socks:
            sock.sendall((b"x" * 8_191 + b"\n") * 2)
        until(lambda: daemon.metrics()[HELD] == 1, SEEN_S_MAX, "it to be held back")
        slow.sendall(b"b")  # it stands behind all others now, for more than it may take
        until(lambda: daemon.metrics()[HELD] == 0, SEEN_S_MAX, "all to be read")
        a_sweep_goes_by(daemon)
        slow.sendall(b"\n")
        assert raw.read_some(slow) == b"ab\n"
    for sock in socks:
        sock.close()


def test_coming_anew_gains_nothing(daemon: Echod) -> None:
    """An address that reconnects with each few lines is read no faster."""
    begin_s = time.monotonic()
    for _ in range(30):
        with client(daemon, "192.0.2.1") as sock:
            answers(sock, 20)
    took_s = time.monotonic() - begin_s
    assert 30 * 20 * len(LINE) <= FIRST + RATE * (took_s + 0.5)


def test_a_prefix_is_one_source(echod: Callable[..., Echod]) -> None:
    """Of IPv6 a customer's /64 counts as one; another /64 is another."""
    daemon = echod(proxy_protocol=True)
    socks = []
    for address, sources in (("2001:db8::1", 1), ("2001:db8::2", 1), ("2001:db8:0:1::1", 2)):
        socks.append(client(daemon, address))
        socks[-1].sendall(LINE)
        assert raw.read(socks[-1], len(LINE)) == LINE
        assert daemon.metrics()[SOURCES] == sources
    for sock in socks:
        sock.close()


def test_checks_do_not_count(echod: Callable[..., Echod]) -> None:
    """A connection of the balancer itself is read as fast as it sends."""
    daemon = echod(proxy_protocol=True, source_bytes_max=RATE)
    with raw.connect(daemon.port) as sock:
        sock.sendall(b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00" + LINE)
        assert raw.read(sock, len(LINE)) == LINE
        for _ in range(1_000):
            sock.sendall(LINE)
            assert raw.read(sock, 2 * len(LINE)) == 2 * LINE
    assert daemon.metrics()[PAUSES] == daemon.metrics()[SOURCES] == 0


def test_without_a_balancer_the_peer_counts(echod: Callable[..., Echod]) -> None:
    """Where nobody sends a PROXY header, the socket's own address is the client's."""
    daemon = echod(source_bytes_max=RATE)
    with raw.connect(daemon.port) as sock:
        answers(sock, RATE // len(LINE) + 50)
    assert daemon.metrics()[PAUSES] > 0


@pytest.mark.parametrize("reader", ["callback", "greenlet"])
def test_who_resets_while_it_waits(daemon: Echod) -> None:
    """Its connections are found gone when it is their turn, and nothing is left of them."""
    socks = [client(daemon, "192.0.2.1") for _ in range(30)]
    for sock in socks:
        sock.sendall(b"x" * 8_191 + b"\n" + b"x" * 8_191 + b"\n")
    until(lambda: daemon.metrics()[HELD] == 1, SEEN_S_MAX, "it to be held back")
    for sock in socks:
        raw.reset(sock)
    until(lambda: daemon.metrics()['echod_connections{port="echo"}'] == 0, SEEN_S_MAX, "all to go")
    until(lambda: daemon.metrics()[SOURCES] == 0, SEEN_S_MAX, "it to be forgotten")
    with client(daemon, "192.0.2.1") as sock:
        answers(sock, 10)


def test_a_drain_while_it_waits(echod: Callable[..., Echod], redis: RedisServer) -> None:
    """A daemon that leaves answers what it has read of those who wait, says so, and goes."""
    daemon = echod(
        store=redis.url, proxy_protocol=True, source_bytes_max=RATE, drain_s=2, agent_interval_s=0.2
    )
    socks = [client(daemon, "192.0.2.1") for _ in range(60)]
    for sock in socks:
        sock.sendall(LINE * 30)
    until(lambda: daemon.metrics()[HELD] == 1, SEEN_S_MAX, "it to be held back")
    daemon.process.signal(signal.SIGTERM)
    for sock in socks:
        said = raw.read_all(sock)
        replies, error, words = said.rpartition(b"ERR ")
        assert error
        assert words.startswith(b"draining ")
        assert replies == (LINE * 60)[: len(replies)]
        assert not replies or (len(replies) // len(LINE)) % 2 == 1
        sock.close()
    assert daemon.process.wait(SEEN_S_MAX)
    assert daemon.process.status == 0


def test_nothing_is_read_after_the_last_word(
    echod: Callable[..., Echod], own_redis: RedisServer
) -> None:
    """Who is about to hear `ERR`, and waits for the store, has no turn any more."""
    daemon = echod(
        store=own_redis.url,
        proxy_protocol=True,
        source_bytes_max=RATE,
        drain_s=1,
        agent_interval_s=0.2,
        commit_s_max=SEEN_S_MAX,
    )
    socks = [client(daemon, "192.0.2.1") for _ in range(60)]
    own_redis.process.signal(signal.SIGSTOP)
    try:
        for sock in socks:
            sock.sendall(LINE * 60)
        until(lambda: daemon.metrics()[HELD] == 1, SEEN_S_MAX, "it to be held back")
        daemon.process.signal(signal.SIGTERM)
        until(lambda: "closing clients=" in daemon.log(), SEEN_S_MAX, "the end of the drain")
        read = daemon.metrics()["echod_lines_received_total"]
        a_sweep_goes_by(daemon)
        assert daemon.metrics()["echod_lines_received_total"] == read
    finally:
        own_redis.process.signal(signal.SIGCONT)
    assert any(raw.read_all(sock).startswith(LINE) for sock in socks)
    for sock in socks:
        sock.close()


def test_who_is_told_to_go_and_sends_on(daemon: Echod) -> None:
    """What is thrown away of it counts, and waits: the daemon is not made to read on and on."""
    begin_s = time.monotonic()
    socks = [client(daemon, "192.0.2.1") for _ in range(20)]
    for sock in socks:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        sock.settimeout(0)
    sent, left = 0, set(socks)
    while left:  # until each has been cut
        assert time.monotonic() - begin_s < SEEN_S_MAX
        for sock in tuple(left):
            try:
                sent += sock.send(b"x" * 65_536)
            except BlockingIOError:
                continue
            except OSError:
                left.discard(sock)
                sock.close()
    took_s = time.monotonic() - begin_s
    assert daemon.closed("line-too-long") == len(socks)
    # What it read, and what the kernel had on the way.
    assert sent < FIRST + RATE * took_s + len(socks) * 128_000
    until(lambda: daemon.metrics()[SOURCES] == 0, SEEN_S_MAX, "it to be forgotten")


def test_sessions_wait_too(daemon: Echod) -> None:
    """On the session port as on the other, and both have one limit."""
    with raw.connect(daemon.session_port, SEEN_S_MAX) as sock, client(daemon, "192.0.2.1") as plain:
        sock.sendall(header("192.0.2.1") + b"HELLO\n")
        assert raw.read_some(sock).startswith(b"WELCOME ")
        answers(plain, RATE // len(LINE) + 50)
        lines = [b"PING %d %s\n" % (n, b"x" * 900) for n in range(300)]
        sender = threading.Thread(target=sock.sendall, args=(b"".join(lines),))
        sender.start()
        assert raw.read(sock, sum(map(len, lines))) == b"".join(lines).replace(b"PING", b"PONG")
        sender.join()
    assert daemon.closed("idle-timeout", "session") == 0
