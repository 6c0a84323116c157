"""What settings come to: extremes are served, and what this machine can't serve is named.

The texts themselves are tests/unit/test_config_values.py's.
"""

from __future__ import annotations

import dataclasses
import os
import socket
import struct
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import redis as redis_py

from echod.config import Config, flag_of
from echod.values import checks
from lab.fleet import redis_server
from tests.daemon import raw

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lab.fleet.redis_server import RedisServer
    from tests.conftest import Echod

NUMBERS = {
    spec.name: checks.bounds(spec.name, spec.metadata)
    for spec in dataclasses.fields(Config)
    if type(spec.default) in (int, float) and not spec.name.endswith("_port")
}
# What must be less than the most for another setting's sake; there it stands beside it.
LESS = {
    "session_idle_s_max": 1e6,
    "agent_interval_s": 0.1,
    "line_bytes_max": 100_000,
    "commit_s_max": 1e6,
    "room_linger_s": 1e6,
    "store_replicas": 0,  # this Redis has none
}
# Sizes and counts at their least serve one client after the other; a time at its least is over
# before anything can be done in it.
LEAST = {
    name: least for name, (least, _) in NUMBERS.items() if not name.endswith(("_s", "_s_max"))
} | {
    "outbox_bytes_max": 4 * (16_384 + 128),
    "unsent_bytes_max": 4 * (16_384 + 128),
    "pending_bytes_max": 256,
    "source_bytes_max": 128,
    "connections_max": 2,
    "store_fill_max": 0.1,  # of which this Redis alone takes some hundredths
}
MOST = {name: most for name, (_, most) in NUMBERS.items()} | LESS

FREE = [f"--{port}-port=0" for port in ("echo", "session", "admin", "agent")]


def given(values: dict[str, float]) -> dict[str, Any]:
    """As flags take them: whole numbers without a point."""
    return {name: int(value) if value == int(value) else value for name, value in values.items()}


def plain(port: int, host: str = "127.0.0.1") -> bytes:
    """A dialogue of two lines on the plain port."""
    with socket.create_connection((host, port), timeout=10) as sock:
        sock.sendall(b"a\nb\n")
        return raw.read(sock, 6)


def session(port: int, host: str = "127.0.0.1") -> list[bytes]:
    """Every verb's answer, by its first word; MSG comes unasked."""
    asked = (b"HELLO", b"ECHO 1 x", b"JOIN r", b"SAY r 1 y", b"WHO r", b"TELL aaaaaaaaaa z",
             b"PART r", b"PING", b"QUIT")  # fmt: skip
    words = []
    with socket.create_connection((host, port), timeout=10) as sock, sock.makefile("rb") as lines:
        for line in asked:
            sock.sendall(line + b"\n")
            words.append(next(word for line in lines if (word := line.split()[0]) != b"MSG"))
    return words


ANSWERS = [b"WELCOME", b"ECHO", b"JOINED", b"SAID", b"WHO", b"TOLD", b"PARTED", b"PONG", b"BYE"]


@pytest.mark.parametrize("values", [LEAST, MOST], ids=["least", "most"])
@pytest.mark.parametrize("kind", ["memory", "redis"])
def test_extremes_are_served(
    values: dict[str, float], kind: str, echod: Callable[..., Echod], own_redis: RedisServer
) -> None:
    """Every number at its end, all at once: Redis, the kernel and the loop take them."""
    store = own_redis.url if kind == "redis" else "memory://"
    daemon = echod(store=store, **given(values))
    assert plain(daemon.port) == b"a\na\nb\n"
    assert session(daemon.session_port) == ANSWERS
    limits = {name: value for name, value in daemon.metrics().items() if "echod_limit" in name}
    for name, value in values.items():
        if name != "connections_max":  # it is lowered to what there are files for
            assert limits.get(f'echod_limit{{name="{name}"}}', value) == pytest.approx(value)
    assert not any(name.startswith("echod_store_errors") for name in daemon.metrics())


@pytest.mark.parametrize("host", ["::", "::1", "::ffff:127.0.0.1"])
def test_ipv6(host: str, echod: Callable[..., Echod], redis: RedisServer) -> None:
    """It listens there, says where in one form, and takes an IPv4 balancer at its word."""
    daemon = echod(host=host, store=redis.url, proxy_protocol=True)
    ready = daemon.process.ready
    shown = "127.0.0.1" if "." in host else f"[{host}]"
    for port in ("echo", "session", "admin", "agent"):
        assert ready[port].rpartition(":")[0] == shown
    header = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11" + struct.pack("!H", 12)
    header += socket.inet_aton("192.0.2.9") * 2 + b"\x30\x39\x04\xd2"
    local = b"\r\n\r\n\x00\r\nQUIT\n\x20\x21\x00\x03abc"
    for peer in {"::": ("127.0.0.1", "::1")}.get(host, (host,)):
        for sent in (header, local):
            with socket.create_connection((peer, daemon.port), timeout=10) as sock:
                sock.sendall(sent + b"a\n")
                assert raw.read(sock, 2) == b"a\n"
    assert not any(name.startswith("echod_handshakes_failed") for name in daemon.metrics())


def test_an_ipv4_balancer_that_is_none_of_ours(echod: Callable[..., Echod]) -> None:
    """Its address is judged, and said, as the IPv4 one that it is."""
    daemon = echod(host="::", proxy_protocol=True, proxy_networks="::/0,192.0.2.0/24")
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=10) as sock:
        assert raw.read_all(sock) == b"ERR bad-request 127.0.0.1 is no balancer of ours\n"


def test_a_name_goes_everywhere(echod: Callable[..., Echod], redis: RedisServer) -> None:
    """The oddest ones: a line for a session there is delivered."""
    names = ("-._" + 61 * "x", "0.0")
    one, other = (echod(store=redis.url, name=name) for name in names)
    with (
        socket.create_connection(("127.0.0.1", one.session_port), timeout=10) as here,
        socket.create_connection(("127.0.0.1", other.session_port), timeout=10) as there,
        here.makefile("rb") as heard,
        there.makefile("rb") as said,
    ):
        here.sendall(b"HELLO\nECHO 1 x\n")
        name = heard.readline().split()[1].partition(b".")[0]
        assert heard.readline() == b"ECHO 1 x\n"
        there.sendall(b"HELLO\nTELL %b good morning\n" % name)
        said.readline()
        assert said.readline() == b"TOLD %b delivered\n" % name
        assert heard.readline().endswith(b" good morning\n")


def test_a_unix_socket(echod: Callable[..., Echod], tmp_path: Path) -> None:
    """With a password, and a database that is not the first."""
    path, word = tmp_path / "redis socket", "p@ss"
    with redis_server.start(tmp_path / "redis", more={"unixsocket": str(path)}) as server:
        url = f"unix://default:p%40ss@{str(path).replace(' ', '%20')}?db=3"
        with redis_py.Redis.from_url(server.url) as client:
            client.config_set("requirepass", word)
        daemon = echod(store=url)
        assert session(daemon.session_port) == ANSWERS
        assert not any(name.startswith("echod_store_errors") for name in daemon.metrics())
        with redis_py.Redis.from_url(server.url, password=word) as client:
            assert set(client.info("keyspace")) == {"db3"}


def started(*flags: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """A daemon that does not start."""
    return subprocess.run(
        [sys.executable, "-m", "echod", *FREE, *flags],
        env={**os.environ, **environ}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_addresses_that_cannot_be_had() -> None:
    """A taken port is named, and so is a host that is not here."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        for port in ("echo", "session", "admin", "agent"):
            done = started(f"--{port}-port={number}")
            assert done.returncode == 1
            assert f"--{port}-port={number} on 127.0.0.1: Address already in use" in done.stderr
            assert "Traceback" not in done.stderr
    ours = {each.address for addresses in psutil.net_if_addrs().values() for each in addresses}
    for host in ("192.0.2.1", "2001:db8::1"):
        assert host not in ours
        done = started(f"--host={host}")
        assert done.returncode == 1
        assert f"--host={host}: " in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "made,why",
    [
        ("", "must hold 1 to 4096 bytes"),
        (" \n", "must hold 1 to 4096 bytes"),
        ("x" * 4097, "must hold 1 to 4096 bytes"),
        ("folder", "must be a file"),
        ("pipe", "must be a file"),
        ("nothing", "No such file"),
    ],
)
def test_a_password_file_that_is_none(made: str, why: str, tmp_path: Path) -> None:
    """It is named before anyone is served, and nothing of it is said."""
    path = tmp_path / "password"
    if made == "folder":
        path.mkdir()
    elif made == "pipe":
        os.mkfifo(path)
    elif made != "nothing":
        path.write_text(made)
    done = started("--store=redis://u@127.0.0.1:1", f"--store-password-file={path}")
    assert done.returncode == 1
    assert f"--store-password-file: {path}: {why}" in done.stderr.replace("[Errno 2] ", "")
    assert "Traceback" not in done.stderr
    assert "xxxx" not in done.stderr


def test_certificates_that_are_none(tmp_path: Path) -> None:
    """Named before anyone is served: no store is needed to know it."""
    (tmp_path / "none.pem").write_text("none\n")
    for name in ("missing.pem", "none.pem"):
        for option in ("ssl_ca_certs", "ssl_certfile"):
            done = started(f"--store=rediss://127.0.0.1:1?{option}={tmp_path / name}")
            assert done.returncode == 1
            assert f"{flag_of('store')}: its certificates can't be used" in done.stderr
            assert "Traceback" not in done.stderr
