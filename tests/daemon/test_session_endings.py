"""How session connections end: at any moment, once, and so that the last word arrives."""

from __future__ import annotations

import random
import re
import signal
import socket
import threading
from typing import TYPE_CHECKING

import pytest
import redis as redis_py

from lab.wait import until
from tests.daemon import raw
from tests.daemon.test_random_streams import CENSUS, census
from tests.daemon.test_session_port import Client, client, pair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lab.fleet.redis_server import RedisServer
    from tests.conftest import Echod

__all__ = ["client", "pair"]


def test_bye_is_not_overtaken(echod: Callable[..., Echod], client: Callable[[int], Client]) -> None:
    """What is sent behind QUIT is thrown away, and makes no reset of the closing."""
    daemon = echod()
    one = client(daemon.session_port)
    one.hello()
    one.send(b"ECHO 1 a\nQUIT\n" + 20_000 * b"PING\n")
    until(lambda: daemon.closed("quit", "session"), 30, "the connection to be closed")
    got = b""
    while data := one.sock.recv(65_536):
        got += data
    assert got == b"ECHO 1 a\nBYE\n"


def refuses_newcomers(daemon: Echod) -> None:
    """It has told its sessions to leave."""
    until(
        lambda: raw.converse(daemon.session_port, [b"x\n"]).startswith(b"ERR draining "),
        30,
        "newcomers to be refused",
    )


def lines_wait(daemon: Echod, lines: int) -> None:
    """So many lines wait for the store."""
    until(lambda: daemon.metrics()["echod_lines_waiting"] == lines, 30, "the lines to be read")


@pytest.fixture
def frozen(own_redis: RedisServer) -> Iterator[Callable[[], None]]:
    """Freeze the store; called again, let it go on."""
    state = {"frozen": False}

    def turn() -> None:
        state["frozen"] = not state["frozen"]
        own_redis.process.signal(signal.SIGSTOP if state["frozen"] else signal.SIGCONT)

    yield turn
    own_redis.process.signal(signal.SIGCONT)


@pytest.fixture
def patient(echod: Callable[..., Echod], own_redis: RedisServer) -> Echod:
    """A daemon that waits long for the store."""
    return echod(store=own_redis.url, commit_s_max=60)


@pytest.mark.parametrize(
    "sent, said",
    [
        (b"", rb""),
        (b"HEL", rb""),
        (b"HELLO\n", rb"W\n"),
        (b"HELLO\nECHO 1 a\n", rb"W\nECHO 1 a\n"),
        (b"HELLO\nECHO 1 a\nECH", rb"W\nECHO 1 a\n"),
        (b"HELLO\nQUIT\n", rb"W\nBYE\n"),
        (b"HELLO\nQUIT\nECHO 1 a\n", rb"W\nBYE\n"),
        (b"HELLO\nHELLO\nPING\n", rb"W\nERR bad-request [^\n]+\nPONG\n"),
        (b"HELLO\n" + b"x" * 9000, rb"W\nERR line-too-long [^\n]+\n"),
        (b"HELLO\nPING\n" + b"x" * 9000, rb"W\nPONG\nERR line-too-long [^\n]+\n"),
    ],
)
def test_half_closed_while_the_store_stands_still(
    patient: Echod,
    client: Callable[[int], Client],
    frozen: Callable[[], None],
    sent: bytes,
    said: bytes,
) -> None:
    """All that was sent is answered when the store goes on, and the connection ends."""
    frozen()
    one = client(patient.session_port)
    one.send(sent)
    one.sock.shutdown(socket.SHUT_WR)
    accepted = 'echod_connections_accepted_total{port="session"}'
    until(lambda: patient.metrics()[accepted] == 1, 30, "it to be accepted")
    lines_wait(patient, 1 if b"\n" in sent else 0)
    frozen()
    assert re.fullmatch(said.replace(b"W", rb"WELCOME \S+ 1 0 300"), one.end())


def test_half_closed_behind_a_takeover(
    pair: tuple[Echod, Echod], client: Callable[[int], Client]
) -> None:
    """A client that sends nothing more is told as well."""
    one, two = (client(daemon.session_port) for daemon in pair)
    one.hello()
    two.hello(b" " + one.token)
    one.send(b"ECHO 1 a\nPING\nQUIT\nPING\n")
    one.sock.shutdown(socket.SHUT_WR)
    assert re.fullmatch(rb"ERR taken-over [^\n]+\n", one.end())
    assert two.ask(b"PING\n") == b"PONG\n"


def test_a_store_away_while_a_refusal_is_looked_into(
    pair: tuple[Echod, Echod], client: Callable[[int], Client], own_redis: RedisServer
) -> None:
    """Refused, and then the store stops: `unavailable`, and nothing is answered."""
    one, two = (client(daemon.session_port) for daemon in pair)
    one.hello()
    two.hello(b" " + one.token)
    # Redis stands still between the refusal and the question why, or before both.
    with redis_py.Redis.from_url(own_redis.url) as store:
        store.client_pause(60_000, all=True)
    one.send(b"ECHO 1 a\n")
    assert re.fullmatch(rb"ERR (unavailable|taken-over) [^\n]+\n", one.end())
    own_redis.process.kill()


def test_rolled_back_while_hello_waits(
    pair: tuple[Echod, Echod], client: Callable[[int], Client], own_redis: RedisServer
) -> None:
    """A HELLO that meets the loss is told the truth as it is then; nobody is left hanging."""
    one = client(pair[0].session_port)
    one.hello()
    one.ask(b"ECHO 1 a\n")
    with redis_py.Redis.from_url(own_redis.url) as store, store.pipeline() as pipe:
        store.client_pause(1_000, all=True)
        new, resumed = (client(pair[0].session_port) for _ in range(2))
        new.send(b"HELLO\nECHO 1 x\n")
        resumed.send(b"HELLO %b 1\n" % one.token)
        pipe.flushall()
        pipe.execute()
    assert re.fullmatch(rb"ERR rolled-back [^\n]+\n", one.end())
    assert re.fullmatch(rb"ERR (unknown-session|rolled-back) [^\n]+\n", resumed.end())
    first = new.line()
    if first.startswith(b"WELCOME "):
        assert re.match(rb"ECHO 1 x\n|ERR rolled-back [^\n]+\n", new.line())
    else:
        assert first.startswith(b"ERR ")


def test_draining_while_hello_waits(
    echod: Callable[..., Echod],
    own_redis: RedisServer,
    client: Callable[[int], Client],
    frozen: Callable[[], None],
) -> None:
    """Welcomed by a daemon that leaves: WELCOME, then DRAIN, then the lines' answers."""
    daemon = echod(store=own_redis.url, agent_interval_s=0.1, drain_s=2, commit_s_max=60)
    one = client(daemon.session_port)
    frozen()
    one.send(b"HELLO\nECHO 1 a\n")
    lines_wait(daemon, 1)
    daemon.process.signal(signal.SIGTERM)
    refuses_newcomers(daemon)
    frozen()
    assert re.fullmatch(
        rb"WELCOME \S+ 1 0 300\nDRAIN \d+\nECHO 1 a\nERR draining [^\n]+\n", one.end()
    )
    assert daemon.process.wait(30)
    assert daemon.process.status == 0


def test_drain_stands_between_replies(
    pair: tuple[Echod, Echod], client: Callable[[int], Client]
) -> None:
    """A client that is behind is told in its place: behind whole replies that are unsent."""
    one = client(pair[0].session_port)
    one.hello()
    long = b"x" * 8000
    lines = [b"ECHO %d %b\n" % (n, long) for n in range(1, 700)]
    sender = threading.Thread(target=one.send, args=(b"".join(lines),))
    sender.start()
    until(lambda: pair[0].metrics()["echod_unsent_bytes"] > 0, 30, "the client to be behind")
    pair[0].process.signal(signal.SIGTERM)
    refuses_newcomers(pair[0])
    got = one.end().split(b"\n")
    sender.join()
    drains = [at for at, line in enumerate(got) if line.startswith(b"DRAIN ")]
    assert len(drains) == 1
    del got[drains[0]]
    assert drains[0] % 2 == 1, "not between PREV and ECHO"
    assert got.pop() == b""
    assert re.fullmatch(rb"ERR draining [^\n]+", got.pop())
    expected = [b"ECHO 1 " + long]
    for n in range(2, 700):
        expected += [b"PREV %d %b" % (n - 1, long), b"ECHO %d %b" % (n, long)]
    # Those that were not taken before the deadline are not answered, and none by half.
    assert drains[0] < len(got) == len(got) | 1
    assert got == expected[: len(got)]


@pytest.mark.parametrize("reader", ["callback", "greenlet"])
def test_nothing_is_left_of_sessions(
    echod: Callable[..., Echod], own_redis: RedisServer, reader: str
) -> None:
    """Whichever way they went, a daemon keeps no connection, session, write or greenlet."""
    daemon, other = (
        echod((CENSUS,), store=own_redis.url, reader=reader),
        echod(store=own_redis.url),
    )
    rng = random.Random(5)
    for number in range(150):
        with raw.connect(daemon.session_port) as sock:
            sock.sendall(b"HELLO\n" if number % 10 else b"HELLO nobody\n")
            match = raw.read_some(sock).split(b" ")
            stays = rng.random()
            if stays < 0.3 and match[0] == b"WELCOME":
                raw.converse(other.session_port, [b"HELLO %b\n" % match[1]])
            sock.sendall(b"ECHO 1 a\nPING\n" + rng.choice([b"", b"QUIT\n", b"EC", b"x" * 9000]))
            if stays < 0.6:
                sock.shutdown(socket.SHUT_WR)
                raw.read_all(sock)
            elif stays < 0.8:
                raw.reset(sock)
    until(lambda: not census(daemon), 30, "nothing to be left")
    assert daemon.metrics()['echod_connections{port="session"}'] == 0
    for sum_of in ("lines_waiting", "held_bytes", "unsent_bytes"):
        assert daemon.metrics()[f"echod_{sum_of}"] == 0
