"""What all clients together can make a daemon hold: docs/limits.md, the sums beside the limits."""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import time
from typing import TYPE_CHECKING

import pytest

from echod.config import RECEIVE_BYTES
from lab.wait import until
from tests.daemon import raw
from tests.daemon.kernel import kernel_bytes
from tests.daemon.test_limits import honest, rss_bytes
from tests.daemon.test_rooms import Person
from tests.daemon.test_session_limits import AGAIN, ANSWER, long_session
from tests.daemon.test_session_port import Client, client

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.fleet.redis_server import RedisServer
    from tests.conftest import Echod

__all__ = ["client"]

UNSENT, SHED = "echod_unsent_bytes", "echod_clients_shed_total"
LINE = b"x" * 8000 + b"\n"
SMALL = 4096


def deaf(port: int) -> socket.socket:
    """A client whose own kernel takes next to nothing."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
    sock.connect(("127.0.0.1", port))
    return sock


def test_who_has_most_goes_first(
    echod: Callable[..., Echod], client: Callable[[int], Client]
) -> None:
    """Twenty that take nothing fill the sum; a client with less waiting is not closed for it."""
    limit = 6 << 20
    daemon = echod(unsent_bytes_max=limit)
    some = long_session(client(daemon.session_port))
    some.send(60 * AGAIN)
    until(lambda: daemon.metrics()[UNSENT] > 0, 30, "the client to be behind")
    others = [long_session(client(daemon.session_port)) for _ in range(20)]
    for each in others:
        each.send(900 * AGAIN)
    until(lambda: daemon.metrics()[SHED] > 0, 30, "the sum to be exceeded")
    until(lambda: daemon.metrics()["echod_lines_waiting"] == 0, 30, "all to be answered")
    metrics = daemon.metrics()
    assert metrics[UNSENT] <= limit
    assert metrics[SHED] == daemon.closed("slow-consumer", "session") < 20
    expected = 60 * ANSWER
    assert raw.read(some.sock, len(expected)) == expected
    # Whoever was closed left nothing in the kernel either; 200 kB are a client's at most.
    served = metrics['echod_connections{port="session"}']
    assert kernel_bytes(daemon.session_port) < served * 200_000


def test_lines_that_are_not_ended(echod: Callable[..., Echod]) -> None:
    """They wait for clients too: many clients with one each can't hold more than all may."""
    daemon = echod(unsent_bytes_max=1 << 20)
    with honest(daemon) as echo:
        socks = [raw.connect(daemon.port) for _ in range(300)]
        for sock in socks:
            sock.sendall(LINE[:-1])
        until(lambda: daemon.metrics()[SHED] > 0, 30, "some to be closed")
        until(lambda: daemon.metrics()[UNSENT] > 0 and echo() < 1, 30, "the honest to be served")
        assert daemon.metrics()[UNSENT] <= 1 << 20
        for sock in socks:
            sock.close()
        until(lambda: daemon.metrics()[UNSENT] == 0, 30, "nothing to be left")
        echo()


def test_what_the_kernel_holds_is_bounded(echod: Callable[..., Echod]) -> None:
    """Of each client, both ways: twice what it was told, and a segment more."""
    daemon = echod(kernel_send_bytes=65_536, kernel_receive_bytes=32_768)
    socks = [deaf(daemon.port) for _ in range(5)]
    sent, in_vain = dict.fromkeys(socks, 0), 0

    def pour() -> bool:
        nonlocal in_vain
        in_vain += 1
        for sock in socks:
            with contextlib.suppress(BlockingIOError):
                sent[sock] += sock.send(LINE, socket.MSG_DONTWAIT)
                in_vain = 0
        return in_vain > 20  # the daemon had time to take more

    until(pour, 30, "nothing to be taken any more")
    assert kernel_bytes(daemon.port) < 5 * (2 * 65_536 + 2 * 32_768 + 65_536)
    for sock in socks:
        sock.close()


def test_a_closed_client_leaves_nothing_in_the_kernel(echod: Callable[..., Echod]) -> None:
    """One that half-closes and takes nothing: what it was sent is kept for `send_s_max`, no longer."""
    daemon = echod(send_s_max=3)
    with deaf(daemon.port) as sock:
        sock.sendall(6 * LINE)  # its replies fit the daemon's send buffer
        sock.shutdown(socket.SHUT_WR)
        until(lambda: daemon.closed("client") == 1, 30, "the daemon to be done with it")
        assert kernel_bytes(daemon.port) > 0
        until(lambda: kernel_bytes(daemon.port) == 0, 30, "the daemon to give it up")


def test_a_client_that_takes_a_little_at_a_time(echod: Callable[..., Echod]) -> None:
    """It half-closes, and takes 16 kB a second for many times `send_s_max`: all of it.

    The kernel holds more than its buffer by a segment, and takes nothing before so much has
    been acknowledged: longer than `send_s_max`. What the client takes shows all the same, while
    the daemon has more to send, and when it has sent all and would close.
    """
    daemon = echod(send_s_max=2, kernel_send_bytes=16_384, line_bytes_max=65_536)
    line = b"x" * 59_999 + b"\n"
    owed = 3 * len(line)
    with deaf(daemon.port) as sock:
        sock.sendall(2 * line)
        sock.shutdown(socket.SHUT_WR)
        until(lambda: daemon.metrics()[UNSENT] > 0, 30, "its outbox")
        begin_s = time.monotonic()
        while data := raw.read_some(sock, SMALL):
            owed -= len(data)
            select.select([], [], [], 0.25)  # its pace
        assert time.monotonic() - begin_s > 5 * 2
    assert owed == 0
    assert daemon.closed("client") == 1


def test_what_is_asked_of_the_store_counts(
    echod: Callable[..., Echod], own_redis: RedisServer
) -> None:
    """Posts that wait while it is away: above the bound nobody is read, and memory stays."""
    limit = 1 << 20
    daemon = echod(store=own_redis.url, pending_bytes_max=limit, commit_s_max=60)
    people = [Person(daemon.session_port) for _ in range(20)]
    for person in people:
        person.join(b"lobby")
    before = rss_bytes(daemon)
    own_redis.process.signal(signal.SIGSTOP)
    try:
        for person in people:
            with contextlib.suppress(BlockingIOError):
                for n in range(1, 200):
                    post = b"SAY lobby %d %b" % (n, LINE)
                    person.sock.send(post, socket.MSG_DONTWAIT)
        until(lambda: daemon.metrics()["echod_held_bytes"] >= limit, 30, "the bound")
        assert daemon.metrics()["echod_held_bytes"] < limit + RECEIVE_BYTES
        assert rss_bytes(daemon) - before < 8 << 20
    finally:
        own_redis.process.signal(signal.SIGCONT)
    until(lambda: daemon.metrics()["echod_held_bytes"] == 0, 30, "all to be carried out")


def test_ever_new_rooms(echod: Callable[..., Echod], redis: RedisServer) -> None:
    """Who joins and parts in a loop leaves few behind, and others can join new ones meanwhile."""
    daemon = echod(store=redis.url, rooms_max=40, room_linger_s=45)
    ann, bob = (Person(daemon.session_port) for _ in range(2))

    def loop(n: int) -> int:
        ann.send(b"JOIN loop-%d\n" % n)
        if ann.line().startswith(b"JOINED "):
            assert ann.ask(b"PART loop-%d\n" % n) == b"PARTED loop-%d\n" % n
        return int(daemon.metrics()["echod_rooms"])

    assert max(loop(n) for n in range(150)) <= 40
    bob.join(b"another")
    until(lambda: daemon.metrics()["echod_rooms"] <= 20, 30, "half to be let go")


@pytest.mark.parametrize(
    "limits, gauge",
    [({"rooms_max": 5}, "echod_rooms"), ({"memberships_max": 5}, "echod_room_members")],
)
def test_rooms_of_all(
    echod: Callable[..., Echod], redis: RedisServer, limits: dict[str, int], gauge: str
) -> None:
    """Beyond either bound a JOIN is refused, and counted; a place that is given back is had."""
    daemon = echod(store=redis.url, **limits)
    ann, bob = (Person(daemon.session_port) for _ in range(2))
    for n in range(5):
        ann.join(b"room-%d" % n)
    assert bob.ask(b"JOIN one-more\n").startswith(b"ERR too-many-rooms 5 ")
    metrics = daemon.metrics()
    assert metrics[gauge] == 5
    assert metrics["echod_joins_refused_total"] == 1
    assert ann.ask(b"PART room-0\n") == b"PARTED room-0\n"
    until(lambda: bob.ask(b"JOIN one-more\n").startswith(b"JOINED "), 30, "a place")
    ann.sock.close()
    bob.sock.close()
    until(lambda: daemon.metrics()["echod_room_members"] == 0, 30, "nobody to be left")
