"""PROXY v2 in front of a real daemon: required, bounded, from balancers only (ADR 4)."""

from __future__ import annotations

import signal
import socket
import struct
from typing import TYPE_CHECKING, cast

import pytest
import redis as redis_py

from lab.wait import until
from tests.daemon import raw

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.fleet.redis_server import RedisServer
    from tests.conftest import Echod

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
ADDRESSES = socket.inet_aton("192.0.2.9") + socket.inet_aton("192.0.2.1") + b"\x30\x39\x04\xd2"
UNIQUE_ID = b"\x05\x00\x04A1:7"
CLIENT = SIGNATURE + b"\x21\x11" + struct.pack("!H", 19) + ADDRESSES + UNIQUE_ID
LOCAL = SIGNATURE + b"\x20\x00\x00\x00"


def test_the_client_behind_the_balancer(echod: Callable[..., Echod], redis: RedisServer) -> None:
    """Its address and the balancer's id are in the store; its bytes are echoed."""
    daemon = echod(store=redis.url, proxy_protocol=True)
    for chunks in ([CLIENT + b"a\n"], [CLIENT[:5], CLIENT[5:], b"a", b"\n"]):
        with (
            raw.connect(daemon.port) as sock,
            redis_py.Redis.from_url(redis.url) as client,
        ):
            for chunk in chunks:
                sock.sendall(chunk)
            assert raw.read(sock, 2) == b"a\n"
            records = [
                cast("dict[bytes, bytes]", client.hgetall(key)) for key in client.keys("r:*")
            ]
        # Those of others may be of any kind, and may have gone meanwhile.
        mine = [record for record in records if record.get(b"daemon") == daemon.name.encode()]
        assert [(record[b"peer"], record[b"id"]) for record in mine] == [
            (b"192.0.2.9:12345", b"A1:7")
        ]
        until(lambda: daemon.metrics()['echod_connections{port="echo"}'] == 0, 30, "it to leave")


@pytest.mark.parametrize("sent", [b"hello\n", b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n", SIGNATURE * 2])
def test_no_header_no_service(echod: Callable[..., Echod], sent: bytes) -> None:
    """A peer that does not begin with a header is told so, and is no client."""
    daemon = echod(proxy_protocol=True)
    assert raw.converse(daemon.port, [sent]).startswith(b"ERR bad-request ")
    metrics = daemon.metrics()
    assert metrics['echod_handshakes_failed_total{reason="invalid"}'] == 1
    assert metrics['echod_connections_accepted_total{port="echo"}'] == 0


def test_a_header_in_time(echod: Callable[..., Echod]) -> None:
    """A peer that never ends its header is told so when its time is over."""
    daemon = echod(proxy_protocol=True, proxy_s_max=0.5)
    with raw.connect(daemon.port) as sock:
        sock.sendall(CLIENT[:9])
        assert raw.read_all(sock).startswith(b"ERR bad-request ")
    assert daemon.metrics()['echod_handshakes_failed_total{reason="timeout"}'] == 1


def test_only_from_balancers(echod: Callable[..., Echod]) -> None:
    """A header from elsewhere is not believed."""
    daemon = echod(proxy_protocol=True, proxy_networks="192.0.2.0/24")
    assert raw.converse(daemon.port, [CLIENT + b"a\n"]).startswith(b"ERR bad-request ")
    assert daemon.metrics()['echod_handshakes_failed_total{reason="refused"}'] == 1


def test_health_checks(echod: Callable[..., Echod], own_redis: RedisServer) -> None:
    """They are echoed though the daemon is full and the store frozen, and counted apart."""
    daemon = echod(store=own_redis.url, proxy_protocol=True, connections_max=1)
    with raw.connect(daemon.port) as sock:
        sock.sendall(CLIENT + b"a\n")
        assert raw.read(sock, 2) == b"a\n"
        assert raw.converse(daemon.port, [CLIENT + b"b\n"]).startswith(b"ERR busy ")
        own_redis.process.signal(signal.SIGSTOP)
        try:
            assert raw.converse(daemon.port, [LOCAL + b"check\n"]) == b"check\n"
        finally:
            own_redis.process.signal(signal.SIGCONT)
        metrics = daemon.metrics()
        assert metrics["echod_health_checks_total"] == 1
        assert metrics['echod_connections_accepted_total{port="echo"}'] == 2
        assert metrics['echod_connections{port="echo"}'] == 1


@pytest.mark.parametrize(
    "sent, reply",
    [(b"a\nb", b"a\na\nb"), (b"a\n" + b"long" * 50, b"a\n"), (b"a\nb\nc\n", b"a\na\nb\nb\nc\n")],
    ids=["half-closed", "too-long", "many"],
)
def test_what_a_check_may_say(echod: Callable[..., Echod], sent: bytes, reply: bytes) -> None:
    """The plain port's lines, the last one without its LF too; one that is too long ends it."""
    daemon = echod(proxy_protocol=True, line_bytes_max=128)
    with raw.connect(daemon.port) as sock:
        sock.sendall(LOCAL + b"a\n")
        assert raw.read(sock, 2) == b"a\n"
        sock.sendall(sent[2:])
        sock.shutdown(socket.SHUT_WR)
        assert raw.read_all(sock) == reply[2:]


def test_a_fleeing_balancer(echod: Callable[..., Echod]) -> None:
    """A port scan, or a balancer that goes in the middle of its header, leaves nothing."""
    daemon = echod(proxy_protocol=True)
    for sent in (b"", CLIENT[:20]):
        with raw.connect(daemon.port) as sock:
            sock.sendall(sent)
    until(
        lambda: daemon.metrics().get('echod_handshakes_failed_total{reason="closed"}') == 2,
        30,
        "both to be noticed",
    )
