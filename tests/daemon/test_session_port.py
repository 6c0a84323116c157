"""The session port over real sockets, PROTOCOL §2: sessions outlive connections and daemons."""

from __future__ import annotations

import re
import signal
import socket
from typing import TYPE_CHECKING

import pytest
import redis as redis_py

from lab.wait import until
from tests.daemon import raw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lab.fleet.redis_server import RedisServer
    from tests.conftest import Echod

WELCOME = re.compile(rb"WELCOME ([a-z2-7]{10}\.[a-z2-7]{26}) (\d+) (\d+) (\d+)\n")


class Client:
    """A connection that sends bytes and expects bytes."""

    def __init__(self, port: int) -> None:
        self.sock = raw.connect(port)
        self.token = b""
        self._received = b""

    def send(self, data: bytes) -> None:
        """Send, and wait for nothing."""
        self.sock.sendall(data)

    def line(self) -> bytes:
        """The next line, or what came before the end."""
        while b"\n" not in self._received and (data := self.sock.recv(65_536)):
            self._received += data
        line, end, self._received = self._received.partition(b"\n")
        return line + end

    def ask(self, data: bytes, lines: int = 1) -> bytes:
        """Send, and return so many lines."""
        self.send(data)
        return b"".join(self.line() for _ in range(lines))

    def hello(self, rest: bytes = b"") -> tuple[int, int]:
        """`HELLO`; epoch and seq of the `WELCOME`."""
        answer = self.ask(b"HELLO" + rest + b"\n")
        match = WELCOME.fullmatch(answer)
        assert match, answer
        self.token = match[1]
        return int(match[2]), int(match[3])

    def end(self) -> bytes:
        """Everything up to the end of the connection."""
        received, self._received = self._received, b""
        return received + raw.read_all(self.sock)


@pytest.fixture
def client() -> Iterator[Callable[[int], Client]]:
    """Connect to a session port."""
    made: list[Client] = []

    def connect(port: int) -> Client:
        made.append(Client(port))
        return made[-1]

    yield connect
    for each in made:
        each.sock.close()


@pytest.fixture
def pair(echod: Callable[..., Echod], own_redis: RedisServer) -> tuple[Echod, Echod]:
    """Two daemons of one fleet."""
    one, two = (echod(store=own_redis.url, agent_interval_s=0.1, drain_s=3) for _ in range(2))
    return one, two


def test_a_session_from_beginning_to_end(
    echod: Callable[..., Echod], client: Callable[[int], Client]
) -> None:
    """Every verb, on a daemon alone."""
    one = client(echod().session_port)
    assert one.hello() == (1, 0)
    assert one.ask(b"ECHO 1 a b\r\n") == b"ECHO 1 a b\n"
    assert one.ask(b"ECHO 2 \n", 2) == b"PREV 1 a b\nECHO 2 \n"
    assert one.ask(b"ECHO 2 \n", 2) == b"PREV 1 a b\nECHO 2 \n"
    assert one.ask(b"PING\n") == b"PONG\n"
    assert one.ask(b"PING  x \n") == b"PONG  x \n"
    assert one.ask(b"QUIT\n") == b"BYE\n"
    assert one.end() == b""


def test_pipelined_behind_hello(
    echod: Callable[..., Echod], client: Callable[[int], Client]
) -> None:
    """Lines that come with HELLO, whole or in part, are answered after WELCOME, in order."""
    one = client(echod().session_port)
    lines = b"".join(b"ECHO %d %d\n" % (n, n) for n in range(1, 2001))
    one.send(b"HELLO\n" + lines)
    one.sock.shutdown(socket.SHUT_WR)
    answer = one.end()
    welcome, _, rest = answer.partition(b"\n")
    assert WELCOME.fullmatch(welcome + b"\n")
    expected = b"ECHO 1 1\n" + b"".join(
        b"PREV %d %d\nECHO %d %d\n" % (n - 1, n - 1, n, n) for n in range(2, 2001)
    )
    assert rest == expected


@pytest.mark.parametrize(
    "line, answer",
    [
        (b"ECHO 3 c", b"ERR out-of-order 2"),
        (b"ECHO 0 c", b"ERR bad-request "),
        (b"ECHO 01 c", b"ERR bad-request "),
        (b"ECHO -1 c", b"ERR bad-request "),
        (b"ECHO 2", b"ERR bad-request "),
        (b"ECHO  2 c", b"ERR bad-request "),
        (b"ECHO 9999999999999999 c", b"ERR bad-request "),
        (b"ECHO 1 other", b"ERR conflict "),
        (b"echo 2 c", b"ERR bad-request "),
        (b"HELLO", b"ERR bad-request "),
        (b"QUIT now", b"ERR bad-request "),
        (b"PINGS", b"ERR bad-request "),
        (b"", b"ERR bad-request "),
    ],
)
def test_errors_that_go_on(
    echod: Callable[..., Echod], client: Callable[[int], Client], line: bytes, answer: bytes
) -> None:
    """A line that can't be taken is told so, in its place, and harms nothing."""
    one = client(echod().session_port)
    one.hello()
    got = one.ask(b"ECHO 1 a\n" + line + b"\nECHO 2 b\n", 4)
    assert re.fullmatch(rb"ECHO 1 a\n%b[^\n]*\nPREV 1 a\nECHO 2 b\n" % re.escape(answer), got), got


@pytest.mark.parametrize(
    "line, code",
    [
        (b"ECHO 1 a\n", b"bad-request"),
        (b"HELLO a b c\n", b"bad-request"),
        (b"HELLO aaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaa x\n", b"bad-request"),
        (b"HELLO aaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaa\n", b"unknown-session"),
        (b"HELLO nonsense\n", b"unknown-session"),
        (b"H" * 9000, b"line-too-long"),
    ],
)
def test_openings_that_fail(
    echod: Callable[..., Echod], client: Callable[[int], Client], line: bytes, code: bytes
) -> None:
    """Whoever does not begin right is told so and closed; nothing is created."""
    daemon = echod()
    one = client(daemon.session_port)
    one.send(line)
    assert re.fullmatch(rb"ERR %b [^\n]+\n" % code, one.end())
    assert daemon.closed(code.decode(), "session") == 1
    assert daemon.metrics()["echod_sessions_opened_total"] == 0


def test_unknown_sessions_all_look_alike(
    pair: tuple[Echod, Echod], client: Callable[[int], Client]
) -> None:
    """Unknown, wrong secret, ended, no token at all: not a byte differs (§2.1)."""
    one = client(pair[0].session_port)
    one.hello()
    name = one.token.split(b".")[0]
    wrong = name + b"." + b"a" * 26
    gone = client(pair[0].session_port)
    gone.hello()
    gone.ask(b"QUIT\n")
    answers = set()
    for token in (wrong, gone.token, b"b" * 10 + b"." + b"c" * 26, b"x"):
        other = client(pair[1].session_port)
        other.send(b"HELLO " + token + b"\n")
        answers.add(other.end())
    assert len(answers) == 1
    assert one.ask(b"PING\n") == b"PONG\n"


def test_resume_on_another_daemon(
    pair: tuple[Echod, Echod], client: Callable[[int], Client]
) -> None:
    """The state goes along; whoever held it before is told at its next line, whatever it is."""
    holders = []
    one = client(pair[0].session_port)
    one.hello()
    assert one.ask(b"ECHO 1 a\nECHO 2 b\n", 3).endswith(b"ECHO 2 b\n")
    token = one.token
    holders.append(one)
    for epoch in range(2, 6):
        two = client(pair[epoch % 2].session_port)
        assert two.hello(b" %b 2" % token) == (epoch, 2)
        assert two.line() == b"PREV 2 b\n"
        assert two.ask(b"ECHO 2 b\n", 2) == b"PREV 1 a\nECHO 2 b\n"
        holders.append(two)
    for holder, line in zip(
        holders[:-1], (b"PING", b"ECHO 3 x", b"nonsense", b"y" * 9000), strict=True
    ):
        holder.send(line + b"\n")
        assert re.fullmatch(rb"ERR taken-over [^\n]+\n", holder.end())
    assert holders[-1].ask(b"ECHO 3 c\n", 2) == b"PREV 2 b\nECHO 3 c\n"


def test_a_daemon_is_killed(pair: tuple[Echod, Echod], client: Callable[[int], Client]) -> None:
    """What it answered is there at the next one."""
    one = client(pair[0].session_port)
    one.hello()
    for n in range(1, 101):
        one.ask(b"ECHO %d line %d\n" % (n, n), 1 + (n > 1))
    pair[0].process.kill()
    two = client(pair[1].session_port)
    assert two.hello(b" %b 100" % one.token) == (2, 100)
    assert two.line() == b"PREV 100 line 100\n"


@pytest.mark.parametrize("ending", [False, True])
def test_a_frozen_daemon_answers_nothing_after_a_takeover(
    pair: tuple[Echod, Echod], client: Callable[[int], Client], *, ending: bool
) -> None:
    """It comes back, finds lines that were sent meanwhile, and owns nothing (§2.3).

    Also when the session was ended elsewhere meanwhile.
    """
    one = client(pair[0].session_port)
    one.hello()
    one.ask(b"ECHO 1 a\n")
    pair[0].process.signal(signal.SIGSTOP)
    try:
        two = client(pair[1].session_port)
        assert two.hello(b" %b 1" % one.token) == (2, 1)
        two.line()
        one.send(b"ECHO 2 stale\nPING\nECHO 1 a\n")
        assert two.ask(b"ECHO 2 fresh\n", 2) == b"PREV 1 a\nECHO 2 fresh\n"
        if ending:
            assert two.ask(b"QUIT\n") == b"BYE\n"
    finally:
        pair[0].process.signal(signal.SIGCONT)
    assert re.fullmatch(rb"ERR taken-over [^\n]+\n", one.end())


def test_a_session_that_is_gone_before_its_time_is_lost(
    pair: tuple[Echod, Echod], client: Callable[[int], Client], own_redis: RedisServer
) -> None:
    """Its connection is told (ADR 26); nothing is restored from the daemon's memory (ADR 2)."""
    one = client(pair[0].session_port)
    one.hello()
    one.ask(b"ECHO 1 a\n")
    with redis_py.Redis.from_url(own_redis.url) as store:
        store.delete(*store.keys("s:*"))
    one.send(b"PING\n")
    assert re.fullmatch(rb"ERR rolled-back [^\n]+\n", one.end())


def test_rolled_back(
    pair: tuple[Echod, Echod], client: Callable[[int], Client], own_redis: RedisServer
) -> None:
    """A store that lost everything: every session's client hears so, at every daemon (ADR 17)."""
    sessions = [client(daemon.session_port) for daemon in pair for _ in range(3)]
    for one in sessions:
        one.hello()
        one.ask(b"ECHO 1 a\n")
    plain = raw.connect(pair[0].port)
    plain.sendall(b"x\n")
    assert raw.read(plain, 2) == b"x\n"
    with redis_py.Redis.from_url(own_redis.url) as store:
        store.flushall()
    for one in sessions:
        assert re.fullmatch(rb"ERR rolled-back [^\n]+\n", one.end())
    plain.sendall(b"y\n")
    assert raw.read(plain, 4) == b"x\ny\n"
    plain.close()
    two = client(pair[0].session_port)
    assert two.hello() == (1, 0)


def test_less_than_acknowledged(pair: tuple[Echod, Echod], client: Callable[[int], Client]) -> None:
    """Whoever was answered more than the store holds is told the number, and may accept it."""
    one = client(pair[0].session_port)
    one.hello()
    one.ask(b"ECHO 1 a\n")
    two = client(pair[1].session_port)
    two.send(b"HELLO %b 5\n" % one.token)
    assert two.end() == b"ERR rolled-back 1\n"
    assert one.ask(b"PING\n") == b"PONG\n"
    three = client(pair[1].session_port)
    assert three.hello(b" " + one.token) == (2, 1)


def test_leaving_asks_and_waits(pair: tuple[Echod, Echod], client: Callable[[int], Client]) -> None:
    """SIGTERM: DRAIN, lines are still answered; who stays hears `draining` at the deadline."""
    one, stays = (client(pair[0].session_port) for _ in range(2))
    for each in (one, stays):
        each.hello()
        each.ask(b"ECHO 1 a\n")
    pair[0].process.signal(signal.SIGTERM)
    for each in (one, stays):
        match = re.fullmatch(rb"DRAIN (\d+)\n", each.line())
        assert match
        assert 0 < int(match[1]) < 3000
    assert one.ask(b"ECHO 2 b\n", 2) == b"PREV 1 a\nECHO 2 b\n"
    one.sock.close()
    two = client(pair[1].session_port)
    assert two.hello(b" %b 2" % one.token) == (2, 2)
    assert re.fullmatch(rb"ERR draining [^\n]+\n", stays.end())
    assert pair[0].process.wait(30)
    assert pair[0].process.status == 0


def test_a_store_away(
    pair: tuple[Echod, Echod], client: Callable[[int], Client], own_redis: RedisServer
) -> None:
    """Lines and HELLOs hear `unavailable`; afterwards WELCOME tells what became of the line."""
    one = client(pair[0].session_port)
    one.hello()
    one.ask(b"ECHO 1 a\n")
    own_redis.process.signal(signal.SIGSTOP)
    try:
        one.send(b"ECHO 2 b\n")
        other = client(pair[0].session_port)
        other.send(b"HELLO\n")
        for each in (one, other):
            assert re.fullmatch(rb"ERR unavailable [^\n]+\n", each.end())
    finally:
        own_redis.process.signal(signal.SIGCONT)
    two = client(pair[1].session_port)
    _, seq = two.hello(b" %b 1" % one.token)
    assert seq in (1, 2)
    assert two.line() == (b"PREV 2 b\n" if seq == 2 else b"PREV 1 a\n")


def test_both_ports_share_the_cap(
    echod: Callable[..., Echod], client: Callable[[int], Client]
) -> None:
    """`connections_max` counts them together; one more is `busy` on either."""
    daemon = echod(connections_max=3)
    one = client(daemon.session_port)
    one.hello()
    plain = [raw.connect(daemon.port) for _ in range(2)]
    for sock in plain:
        sock.sendall(b"x\n")
        assert raw.read(sock, 2) == b"x\n"
    assert client(daemon.session_port).end().startswith(b"ERR busy ")
    for sock in plain:
        sock.close()
    until(lambda: daemon.metrics()['echod_connections{port="echo"}'] == 0, 30, "they have left")
    client(daemon.session_port).hello()


def test_silence_is_ended(echod: Callable[..., Echod], client: Callable[[int], Client]) -> None:
    """The session port has an idle time of its own; the session can be resumed."""
    daemon = echod(session_idle_s_max=2, session_ttl_s=30)
    one = client(daemon.session_port)
    one.hello()
    one.ask(b"ECHO 1 a\n")
    assert re.fullmatch(rb"ERR idle-timeout [^\n]+\n", one.end())
    assert client(daemon.session_port).hello(b" %b 1" % one.token) == (2, 1)


def test_no_secret_is_shown(
    echod: Callable[..., Echod], own_redis: RedisServer, client: Callable[[int], Client]
) -> None:
    """Not in the log at its most talkative, not in the metrics, not in the store."""
    daemon = echod(store=own_redis.url, log_level="debug")
    one = client(daemon.session_port)
    one.hello()
    one.ask(b"ECHO 1 a\nnonsense\n", 2)
    two = client(daemon.session_port)
    two.hello(b" " + one.token)
    one.send(b"PING\n")
    one.end()
    secret = one.token.split(b".")[1]
    assert secret.decode() not in daemon.log()
    assert secret.decode() not in daemon.get("/metrics")[1]
    with redis_py.Redis.from_url(own_redis.url) as store:
        for key in store.scan_iter():
            value = store.get(key) if key[:1] in b"sgd" else store.hgetall(key)
            assert secret not in key + repr(value).encode()
