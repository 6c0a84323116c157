"""The client of the session port over real sockets: it survives what a client must survive."""

from __future__ import annotations

import itertools
import random
import socket
import threading
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from loadtest.errors import (
    ClientError,
    ConnectFailed,
    Overtaken,
    ReplyTimeout,
    RolledBack,
    ServerError,
    SessionLost,
    WrongReply,
)
from loadtest.history import HistoryFile, read
from loadtest.session_client import Acknowledged, SessionClient
from loadtest.session_events import Bye, Drain, ErrorLine, Pong, Welcome
from loadtest.session_requests import Echo, Ping, Quit, Who
from loadtest.session_retry import Patience, Resumed
from tests.loadtest.loadtest_servers import Server
from tests.loadtest.session_servers import Fault, Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# Attempts follow at once; nothing is given up before a slow machine has answered.
QUICK = Patience(reply_s_max=30, give_up_s=60, backoff_s_first=0.001, backoff_s_max=0.01)
# For servers that say nothing.
SOON = replace(QUICK, reply_s_max=1.0)


@pytest.fixture
def service() -> Service:
    """A service without faults, until a test plans some."""
    return Service()


@pytest.fixture
def server(service: Service) -> Iterator[Server]:
    """One server of it."""
    with Server(service) as server:
        yield server


def client(*servers: Server, patience: Patience = QUICK, **more: object) -> SessionClient:
    """A client of these servers."""
    addresses = [(server.host, server.port) for server in servers]
    return SessionClient(*addresses, patience=patience, **more)  # type: ignore[arg-type]  # by name


def only(service: Service) -> list[bytes]:
    """The lines of the one session that has any."""
    (texts,) = [session.texts for session in service.sessions.values() if session.texts]
    return texts


def test_lines_are_acknowledged_in_order(service: Service, server: Server) -> None:
    """Many in flight, one call; numbers and texts are the service's."""
    with client(server) as one:
        lines = one.echo(b"a", b"", b"c d")
        assert [(line.n, line.text) for line in lines] == [(1, b"a"), (2, b""), (3, b"c d")]
        assert all(line.took_s is not None and line.sends == 1 for line in lines)
        one.echo(b"e")
    assert only(service) == [b"a", b"", b"c d", b"e"]


def test_more_lines_than_may_be_in_flight(service: Service, server: Server) -> None:
    """The window holds the rest back, by lines and by bytes, and all are answered."""
    texts = [b"%d" % i * 100 for i in range(1_000)]
    narrow = replace(QUICK, lines_in_flight_max=7, bytes_in_flight_max=1_000)
    for patience in (QUICK, narrow):
        with client(server, patience=patience) as one:
            one.echo(*texts)
    assert [session.texts for session in service.sessions.values()] == [texts, texts]


@pytest.mark.parametrize(
    "fault",
    [
        Fault(3, answered=1),
        Fault(3, answered=3),
        Fault(3, answered=0, reset=True),
        Fault(3, answered=2, says=b"ERR unavailable the store is away\n"),
        Fault(3, says=b"ERR draining good night\n"),
        Fault(3, says=b"ERR internal a bug\n"),
        Fault(3, says=b"ERR idle-timeout zzz\n"),
        Fault(3, says=b"ERR slow-consumer read\n"),
        Fault(3, says=b"ERR taken-over by yourself\n"),
        Fault(0, says=b"ERR busy later\n"),
        Fault(0, says=b"ERR draining later\n"),
        Fault(0, opens=True),
        Fault(0, reset=True),
    ],
    ids=str,
)
def test_a_fault_is_survived_and_nothing_is_sent_twice(
    service: Service, server: Server, fault: Fault
) -> None:
    """Ten lines through a fault at the first connection, and at its resume."""
    texts = [b"%d" % i for i in range(10)]
    service.faults.extend([fault, fault])
    with client(server) as one:
        one.echo(*texts)
        assert one.memory.acked == 10
    assert only(service) == texts


@pytest.mark.parametrize("fault", [Fault(2, answered=1, silent=True), Fault(0, silent=True)])
def test_silence_is_a_fault(service: Service, server: Server, fault: Fault) -> None:
    """A frozen server is left after `reply_s_max`."""
    service.faults.append(fault)
    with client(server, patience=SOON) as one:
        one.send(b"a", b"b")
        happened = until_acknowledged(one, 2)
    assert only(service) == [b"a", b"b"]
    if fault.lines:
        (resumed,) = [event for event in happened if isinstance(event, Resumed)]
        assert (resumed.cause, resumed.attempts) == ("ReplyTimeout('silence')", 1)


def until_acknowledged(one: SessionClient, count: int) -> list[object]:
    """What happens until so many lines are acknowledged."""
    happened: list[object] = []
    while sum(isinstance(event, Acknowledged) for event in happened) < count:
        happened += one.receive(30)
    return happened


@pytest.mark.parametrize("seed", range(8))
def test_any_number_of_faults(tmp_path: Path, seed: int) -> None:
    """Random faults on random servers: every line is committed once, and acknowledged once."""
    chance = random.Random(seed)
    says = [b"", b"ERR unavailable x\n", b"ERR draining x\n", b"ERR taken-over x\n"]
    faults = []
    for _ in range(40):
        lines = chance.choice([0, 1, 1, 2, 5, 9])
        answered = chance.randint(0, lines)
        end = chance.choice(says)
        reset, opens = chance.random() < 0.3, chance.random() < 0.5
        faults.append(Fault(lines, answered, says=end, reset=reset, opens=opens))
    service = Service(faults)
    texts = [b"%d of %d" % (i, seed) for i in range(200)]
    with (
        Server(service) as first,
        Server(service) as second,
        HistoryFile(tmp_path / "h") as history,
        client(first, second, patience=SOON, random=random.Random(seed), recorder=history) as one,
    ):
        happened = []
        for begin in range(0, 200, 20):
            one.send(*texts[begin : begin + 20])
            happened += until_acknowledged(one, 20)
    acknowledged = [event.line for event in happened if isinstance(event, Acknowledged)]
    assert [line.text for line in acknowledged] == only(service) == texts
    assert [line.n for line in acknowledged] == list(range(1, 201))
    check_history(tmp_path / "h", texts)


def check_history(path: Path, texts: list[bytes]) -> None:
    """What was recorded tells the same."""
    connection, sent, acked = 0, Counter[int](), 0
    for event in read(path):
        connection += event["e"] == "connect"
        assert event["k"] == connection
        if event["e"] == "sent":
            assert (event["text"] or "").encode() == texts[event["n"] - 1]
            sent[event["n"]] += 1
        elif event["e"] == "answered":
            assert event["n"] == acked + 1
            assert sent[event["n"]]
            acked = event["n"]
        elif event["e"] == "welcome":
            assert event["seq"] >= acked
            acked = event["seq"]
    assert (acked, max(sent)) == (200, 200)
    assert max(sent.values()) > 1


def test_the_history_tells_everything_but_the_secret(service: Service, server: Server, tmp_path: Path) -> None:  # fmt: skip
    """One fault, every kind of event, in order."""
    service.faults.append(Fault(2, answered=1, says=b"ERR unavailable x\n"))
    with HistoryFile(tmp_path / "h") as history, client(server, recorder=history, name="me") as one:
        one.echo(b"a", b"\xff")
        one.ping(b"p")
        one.quit()
    (token,) = service.sessions
    assert token.partition(b".")[2].decode() not in (tmp_path / "h").read_text()
    assert token.partition(b".")[2].decode() not in f"{one!r} {one.memory!r}"
    events = list(read(tmp_path / "h"))
    assert {event["c"] for event in events} == {"me"}
    kinds = [(event["k"], event["e"]) for event in events]
    assert kinds == [
        *((1, kind) for kind in ("connect", "connected", "hello", "welcome", "sent", "sent")),
        *((1, kind) for kind in ("answered", "error", "closed")),
        *((2, kind) for kind in ("connect", "connected", "hello", "welcome", "ping", "pong")),
        *((2, kind) for kind in ("quit", "bye", "closed")),
    ]
    hello, welcome = (event for event in events if event["k"] == 2 and "name" in event)
    assert (hello["acked"], hello["name"]) == (1, token[:10].decode())
    assert (welcome["epoch"], welcome["seq"], welcome["text"]) == (2, 2, "\xff")


def test_a_lost_answer_to_the_opening_begins_another_session(
    service: Service, server: Server
) -> None:
    """Without a token there is nothing to resume."""
    service.faults.append(Fault(0, opens=True))
    with client(server) as one:
        one.echo(b"a")
    assert service.hellos == [b"HELLO\n", b"HELLO\n"]
    assert len(service.sessions) == 2


def test_closing_keeps_the_session_and_quitting_ends_it(service: Service, server: Server) -> None:
    """`close` can be followed by anything, `quit` by nothing."""
    one = client(server)
    one.echo(b"a")
    one.close()
    assert not one.connected
    one.echo(b"b")
    one.quit()
    assert only(service) == [b"a", b"b"]
    with pytest.raises(SessionLost, match="unknown-session"):
        one.echo(b"c")
    with client(server, token=one.memory.token) as other, pytest.raises(SessionLost):
        other.connect()


def test_a_token_from_elsewhere_is_resumed(service: Service, server: Server) -> None:
    """Lines go on from what the service has."""
    with client(server) as first:
        first.echo(b"a", b"b")
        token = first.memory.token
    with client(server, token=token) as second:
        assert [line.n for line in second.echo(b"c")] == [3]
    assert only(service) == [b"a", b"b", b"c"]


def test_quit_whose_answer_is_lost_has_ended_the_session(service: Service, server: Server) -> None:
    """A session that is unknown after QUIT is the answer to QUIT."""
    service.faults.append(Fault(10, loses_bye=True))
    with client(server) as one:
        one.echo(b"a")
        one.quit()
    assert [hello[:17] for hello in service.hellos] == [
        b"HELLO\n",
        b"HELLO " + one.memory.token[:11],
    ]


def test_an_unknown_session_before_quit_went_out_is_a_loss(
    service: Service, server: Server
) -> None:
    """Only a QUIT that was sent can have ended it."""
    with client(server) as one:
        one.echo(b"a")
        service.sessions.clear()
        one.abandon()
        one.ask(Quit())
        with pytest.raises(SessionLost):
            one.receive(30)


def test_requests_that_a_fault_left_unanswered_are_asked_again(
    service: Service, server: Server
) -> None:
    """Answers come out of `receive`, errors that don't close among them."""
    with client(server) as one:
        one.ask(Ping(b"x"))
        one.ask(Who(b"lobby"))
        assert [event for event in collect(one, 3) if not isinstance(event, Welcome)] == [
            Pong(b"x"),
            ErrorLine("not-in-room", "join it first", None, Who(b"lobby")),
        ]
        service.faults.append(Fault(1, answered=0))
        one.abandon()
        one.send(b"a")
        one.ask(Ping(b"y"))
        happened = collect(one, 6)  # Resumed and Welcome twice, the line, the answer
        assert Pong(b"y") in happened
        one.ask(Quit())
        assert Bye() in collect(one, 1)
    assert only(service) == [b"a"]


def collect(one: SessionClient, count: int) -> list[object]:
    """At least so many happenings."""
    happened: list[object] = []
    while len(happened) < count:
        happened += one.receive(30)
    return happened


def test_a_loss_is_told_and_can_be_accepted(service: Service, server: Server) -> None:
    """RolledBack has the number; what waits goes on after what is left."""
    with client(server) as one:
        one.echo(b"a", b"b", b"c")
        (session,) = service.sessions.values()
        del session.texts[1:]
        one.abandon()
        one.send(b"d")
        with pytest.raises(RolledBack) as caught:
            one.echo()
        assert (caught.value.seq, repr(caught.value)) == (1, "RolledBack('rolled-back')")
        with pytest.raises(RolledBack):
            one.echo()  # it stays so until it is accepted
        one.accept_loss()
        one.echo(b"e")
        assert session.texts == [b"a", b"d", b"e"]


def test_an_unknown_session_is_the_callers_business(service: Service, server: Server) -> None:
    """Nothing can be resumed."""
    with client(server) as one:
        one.echo(b"a")
        service.sessions.clear()
        one.abandon()
        with pytest.raises(SessionLost):
            one.echo(b"b")


def lies(change: Callable[[list[bytes]], object]) -> Callable[[Service], None]:
    """Change a session's lines behind its back."""

    def lie(service: Service) -> None:
        (session,) = service.sessions.values()
        change(session.texts)

    return lie


@pytest.mark.parametrize(
    "change, shared",
    [
        (lambda texts: texts.append(b"never sent"), False),
        (lambda texts: texts.__setitem__(1, b"another"), False),
        (lambda texts: texts.append(b"never sent"), True),
    ],
    ids=["too many", "another text", "another owner"],
)
def test_a_welcome_that_can_not_be_true(
    service: Service,
    server: Server,
    change: Callable[[list[bytes]], object],
    shared: bool,  # noqa: FBT001 — drawn
) -> None:
    """A fault of the service, or, where that is so meant, another owner's work."""
    with client(server, shared=shared) as one:
        one.echo(b"a", b"b")
        lies(change)(service)
        one.abandon()
        with pytest.raises(Overtaken if shared else WrongReply):
            one.echo(b"c")
        if shared:
            assert [line.n for line in one.echo(b"d")] == [4]


def test_a_wrong_reply_is_raised_after_what_was_right(server: Server, service: Service) -> None:
    """Right answers count; the wrong line is shown."""
    service.faults.append(Fault(1, says=b"PREV 1 x\nECHO 2 b\n"))
    with client(server) as one:
        one.send(b"a", b"b")
        assert until_acknowledged(one, 1)
        with pytest.raises(WrongReply, match="owed PREV 1 b'a', got b'PREV 1 x'") as caught:
            one.echo()
    assert repr(caught.value) == "WrongReply('not a line that may stand there')"


def test_a_callers_mistake_is_not_repeated(service: Service, server: Server) -> None:
    """`line-too-long` would come again and again."""
    service.faults.append(Fault(1, answered=0, says=b"ERR line-too-long 4096 is the limit\n"))
    with client(server) as one, pytest.raises(ServerError, match="line-too-long"):
        one.echo(b"x" * 5_000)


@pytest.mark.parametrize(
    "text", [b"a\nb", b"a\r"], ids=["two lines", "a CR that would be the terminator's"]
)
def test_what_is_not_a_text_is_refused(server: Server, text: bytes) -> None:
    """And nothing with it is sent."""
    with client(server) as one:
        with pytest.raises(ValueError, match="not a text"):
            one.send(b"good", text)
        assert not one.memory.waiting
        with pytest.raises(ValueError, match="send"):
            one.ask(Echo(1, b"a"))


class Clock:
    """A time that passes only while it is slept."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        """The time."""
        return self.now_s

    def sleep(self, seconds: float) -> None:
        """Pass."""
        self.slept.append(seconds)
        self.now_s += seconds


def test_backoff_grows_with_full_jitter_and_ends_with_the_latest_error() -> None:
    """No server: waits are drawn from a doubling interval, until `give_up_s`."""
    clock = Clock()
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and does not listen
        one = SessionClient(
            bound.getsockname(),
            patience=Patience(give_up_s=60, backoff_s_first=0.5, backoff_s_max=8),
            random=random.Random(1),
            clock=clock,
            sleep=clock.sleep,
        )
        for _ in range(2):  # a caller who asks again waits as long again
            began_s = clock.now_s
            with pytest.raises(ConnectFailed, match="ECONNREFUSED"):
                one.echo(b"a")
            assert 60 <= clock.now_s - began_s < 80
    expected = random.Random(1)
    limits = itertools.chain([0.5, 1, 2, 4], itertools.repeat(8.0))
    # A wait longer than a step is slept in parts.
    waits, total = [expected.uniform(0, next(limits)) for _ in range(8)], 0.0
    assert sum(clock.slept) >= sum(waits)
    for wait in waits:
        while clock.slept and total < wait - 1e-9:
            total += clock.slept.pop(0)
        assert total == pytest.approx(wait)
        total = 0.0


def test_after_a_failure_the_next_address_is_tried(service: Service, server: Server) -> None:
    """One of two addresses is dead: both orders end at the other."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        for seed in range(6):
            dead, alive = bound.getsockname(), (server.host, server.port)
            with SessionClient(dead, alive, patience=QUICK, random=random.Random(seed)) as one:
                one.echo(b"a")
    assert len(service.sessions) == 6


def test_a_drain_is_obeyed_without_a_loss(service: Service, server: Server) -> None:
    """In flight is finished, and the client goes at a moment within the time it was given."""
    service.drains.extend([400])
    with client(server) as one:
        lines = one.send(b"a", b"b")
        happened = until_acknowledged(one, 2)
        assert Drain(400) in happened
        while not any(isinstance(event, Resumed) for event in happened):
            happened += one.receive(30)
        assert lines[1].sends == 1
        one.echo(b"c")
    (resumed,) = [event for event in happened if isinstance(event, Resumed)]
    assert (resumed.cause, resumed.attempts) == ("Drain()", 1)
    assert only(service) == [b"a", b"b", b"c"]
    assert server.accepted == 2


def test_one_that_slept_through_a_drain_loses_nothing(service: Service, server: Server) -> None:
    """DRAIN, `ERR draining` and the end are found at the next line."""
    service.faults.append(Fault(1, says=b"DRAIN 1\nERR draining good night\n"))
    with client(server) as one:
        one.echo(b"a")
        one.echo(b"b")
    assert only(service) == [b"a", b"b"]


def test_a_waiting_client_keeps_its_session(service: Service, server: Server) -> None:
    """`receive` pings in time, and says nothing of it."""
    with client(server, patience=replace(QUICK, ping_every_s=0.05)) as one:
        one.connect()
        while service.pings < 3:
            assert one.receive(0.05) == []


def test_giving_up_keeps_the_lines(service: Service, server: Server) -> None:
    """The error is the latest, and the next call goes on."""
    short = replace(SOON, reply_s_max=0.05, give_up_s=0.1)
    service.faults.extend([Fault(0, silent=True)] * 4)
    with client(server, patience=short) as one:
        one.send(b"a")
        errors: list[ClientError] = []
        while one.memory.waiting:
            try:
                one.receive(30)
            except ClientError as error:
                errors.append(error)
    assert {repr(error) for error in errors} == {"ReplyTimeout('silence')"}
    assert isinstance(errors[0], ReplyTimeout)
    assert only(service) == [b"a"]


def test_one_that_leaves_says_quit_in_any_state(service: Service, server: Server) -> None:
    """With replies still to come, without a connection, and twice."""
    one = client(server)
    one.leave()
    assert server.accepted == 0
    one.connect()
    one.send(*(b"%d" % n for n in range(150)))
    one.leave()
    one.leave()
    (session,) = service.sessions.values()
    assert (session.ended, len(session.texts)) == (True, 150)


def test_a_severed_connection_is_a_fault_like_any(service: Service, server: Server) -> None:
    """Whoever severs it need not be its owner."""
    with client(server) as one:
        one.echo(b"a")
        thread = threading.Thread(target=one.sever)
        thread.start()
        thread.join()
        one.send(b"b")
        happened = until_acknowledged(one, 1)
    assert [event.cause for event in happened if isinstance(event, Resumed)] == [
        "EarlyClose('end of stream')"
    ]
    assert only(service) == [b"a", b"b"]
