"""The session client against real daemons and a real Redis: what it survives, and what it says."""

from __future__ import annotations

import contextlib
import random
import signal
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import pytest
import redis as redis_py

from lab.fleet import redis_server
from loadtest.errors import RolledBack, ServerError, SessionLost
from loadtest.history import HistoryFile, read
from loadtest.session_client import Acknowledged, SessionClient
from loadtest.session_connection import SessionConnection
from loadtest.session_events import (
    Answered,
    ErrorLine,
    From,
    Joined,
    Members,
    Msg,
    Parted,
    Told,
    Welcome,
)
from loadtest.session_requests import Echo, Hello, Join, Part, Say, Tell, Who
from loadtest.session_retry import Patience, Resumed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lab.fleet.redis_server import RedisServer
    from tests.conftest import Echod

Kind = TypeVar("Kind")

# A loaded machine answers late, and a fault here lasts under a second.
PATIENCE = Patience(reply_s_max=30, give_up_s=90, backoff_s_first=0.02, backoff_s_max=0.2)


@pytest.fixture
def pair(echod: Callable[..., Echod], own_redis: RedisServer) -> tuple[Echod, Echod]:
    """Two daemons of one fleet."""
    one, two = (echod(store=own_redis.url, agent_interval_s=0.1, drain_s=2) for _ in range(2))
    return one, two


def client(*daemons: Echod, patience: Patience = PATIENCE, **more: object) -> SessionClient:
    """A client of these daemons."""
    addresses = [("127.0.0.1", daemon.session_port) for daemon in daemons]
    return SessionClient(*addresses, patience=patience, **more)  # type: ignore[arg-type]  # by name


def on(one: SessionClient, pair: tuple[Echod, Echod]) -> tuple[Echod, Echod]:
    """The daemon that a client is connected to, and the other."""
    one.connect()
    return pair if pair[0].metrics()['echod_connections{port="session"}'] else pair[::-1]


def talk(one: SessionClient, count: int, fault: Callable[[], object]) -> list[object]:
    """Lines ten at a time, so many in all, with a fault in the middle; what happened."""
    happened: list[object] = []
    for begin in range(0, count, 10):
        one.send(*(b"%d" % n for n in range(begin, begin + 10)))
        if begin == count // 2:
            fault()
        while one.memory.waiting:
            happened += one.receive(10)
        happened += one.receive(0)
    return happened


def acknowledged(happened: list[object]) -> list[tuple[int, bytes]]:
    """Number and text of the lines, in the order in which they were acknowledged."""
    lines = [event.line for event in happened if isinstance(event, Acknowledged)]
    return [(line.n, line.text) for line in lines]


def test_a_session_from_beginning_to_end(echod: Callable[..., Echod]) -> None:
    """Lines of any bytes, pings, a close and a resume, the end."""
    one = client(echod())
    texts = [b"", b" ", b"a  b ", bytes(set(range(256)) - {10}), b"ERR busy", b"x" * 8_000]
    lines = one.echo(*texts, *(b"%d" % n for n in range(1_000)))
    assert [line.n for line in lines] == list(range(1, 1_007))
    assert one.ping() > 0
    assert one.ping(b"with a text ") > 0
    one.close()
    one.echo(b"after")
    assert one.memory.acked == 1_007
    one.quit()
    with pytest.raises(SessionLost, match="unknown-session"):
        one.echo(b"beyond")


def test_a_line_that_is_too_long_is_the_callers(echod: Callable[..., Echod]) -> None:
    """It would be too long again: the client sends none above the default, and says what it hears."""
    with client(echod(line_bytes_max=4_096)) as one:
        with pytest.raises(ServerError, match="line-too-long"):
            one.echo(b"x" * 5_000)
        with pytest.raises(ValueError, match="at most 8192"):
            one.send(b"x" * 9_000)


def test_resumed_without_a_line(echod: Callable[..., Echod]) -> None:
    """`<acked>` is 0 then."""
    with client(echod()) as one:
        one.connect()
        one.close()
        one.echo(b"a")


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "drained"])
def test_a_daemon_goes(pair: tuple[Echod, Echod], fault: signal.Signals, tmp_path: Path) -> None:
    """Every line is acknowledged once and in order, on the other daemon from there on."""
    with HistoryFile(tmp_path / "h") as history, client(*pair, recorder=history) as one:
        first, second = on(one, pair)
        happened = talk(one, 400, lambda: first.process.signal(fault))
        if fault == signal.SIGTERM:  # it may have talked to the end before it left
            happened += wait_for_resume(one, happened)
        assert acknowledged(happened) == [(n + 1, b"%d" % n) for n in range(400)]
        (resumed,) = [event for event in happened if isinstance(event, Resumed)]
        assert second.metrics()['echod_connections{port="session"}'] == 1
        assert one.memory.acked == 400
    welcomes = [event for event in read(tmp_path / "h") if event["e"] == "welcome"]
    assert [event["epoch"] for event in welcomes] == [1, 2]
    if fault == signal.SIGTERM:
        assert resumed.cause == "Drain()"
        assert first.process.wait(30)
        assert first.process.status == 0


def wait_for_resume(one: SessionClient, happened: list[object]) -> list[object]:
    """What happens until there is a Resumed."""
    more: list[object] = []
    while not any(isinstance(event, Resumed) for event in [*happened, *more]):
        more += one.receive(10)
    return more


def test_a_frozen_daemon_is_left(pair: tuple[Echod, Echod]) -> None:
    """After `reply_s_max`; and thawed it answers nothing that was sent after the takeover."""
    quick = replace(PATIENCE, reply_s_max=3)
    with client(*pair, patience=quick) as one:
        first, _ = on(one, pair)
        stale = SessionConnection(("127.0.0.1", first.session_port))
        stale.send(Hello())
        (welcome,) = stale.receive(stale.sent_s + 10)
        assert isinstance(welcome, Welcome)
        happened = talk(one, 100, lambda: first.process.signal(signal.SIGSTOP))
        assert acknowledged(happened) == [(n + 1, b"%d" % n) for n in range(100)]
        (resumed,) = [event for event in happened if isinstance(event, Resumed)]
        assert resumed.cause == "ReplyTimeout('silence')"
        with client(*pair, patience=quick, token=welcome.token) as other:
            other.echo(b"taken over")
            stale.send(Echo(1, b"too late"))
            first.process.signal(signal.SIGCONT)
            said = stale.receive(stale.sent_s + 10)
            assert [type(event) for event in said] == [ErrorLine]
            assert not any(isinstance(event, Answered) for event in said)
            assert [event.code for event in said if isinstance(event, ErrorLine)] == ["taken-over"]
            assert [line.n for line in other.echo(b"goes on")] == [2]
        stale.close()


@pytest.fixture
def restart(own_redis: RedisServer, tmp_path: Path) -> Iterator[Callable[[], None]]:
    """Kill Redis and start it again on its port with its data, as one fault."""
    with contextlib.ExitStack() as stack:

        def again() -> None:
            own_redis.process.kill()
            stack.enter_context(redis_server.start(tmp_path / "redis", port=own_redis.port))

        yield again


def test_redis_is_killed_and_comes_back(
    pair: tuple[Echod, Echod], restart: Callable[[], None]
) -> None:
    """Whatever the daemons say meanwhile, every line is committed once."""
    with client(*pair) as one:
        happened = talk(one, 200, restart)
    assert acknowledged(happened) == [(n + 1, b"%d" % n) for n in range(200)]


def test_a_store_that_lost_everything_is_told(
    pair: tuple[Echod, Echod], own_redis: RedisServer
) -> None:
    """The session is gone, or known to be rolled back: never a lower number without a word."""
    with client(*pair) as one:
        one.echo(b"a", b"b")
        with redis_py.Redis.from_url(own_redis.url) as store:
            store.flushall()
        with pytest.raises((SessionLost, RolledBack)):
            one.echo(b"c")


def test_many_clients_while_daemons_come_and_go(
    echod: Callable[..., Echod], own_redis: RedisServer, tmp_path: Path
) -> None:
    """Three daemons, one killed and one drained under twenty clients: nobody sees an error."""
    daemons = [echod(store=own_redis.url, agent_interval_s=0.1, drain_s=2) for _ in range(3)]
    faults = {60: lambda: daemons[0].process.signal(signal.SIGKILL),
              120: lambda: daemons[1].process.signal(signal.SIGTERM)}  # fmt: skip
    failures: list[BaseException] = []
    progress = threading.Semaphore(0)

    def run(number: int) -> None:
        try:
            # The first of them begins at the first daemon, goes on at the second, and so is
            # at each when its fault comes; drained, it may have said all before it has to go.
            chance = random.Random(number + 1)
            with client(*daemons, recorder=history, name=str(number), random=chance) as one:
                for n in range(200):
                    one.echo(b"%d of %d" % (n, number))
                    if number == 0:
                        progress.release()
                assert one.memory.acked == 200
                one.quit()
        except BaseException as error:  # noqa: BLE001 — the main thread says it
            failures.append(error)

    with HistoryFile(tmp_path / "h") as history:
        threads = [threading.Thread(target=run, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for n in range(1, 200):
            assert progress.acquire(timeout=60)
            faults.get(n, lambda: None)()
        for thread in threads:
            thread.join(60)
    assert failures == []
    answered = [event for event in read(tmp_path / "h") if event["e"] in ("answered", "welcome")]
    epochs = [event["epoch"] for event in answered if event["e"] == "welcome" and event["c"] == "0"]
    assert epochs[:2] == [1, 2]
    latest: dict[str, int] = {}
    for event in answered:
        n = event["n"] if event["e"] == "answered" else event["seq"]
        assert n >= latest.get(event["c"], 0)
        latest[event["c"]] = n
    assert set(latest.values()) == {200}


def test_rooms_are_asked_for_like_anything_else(pair: tuple[Echod, Echod]) -> None:
    """Two members on two daemons: every verb of §3, judged line by line."""
    with client(pair[0]) as one, client(pair[1]) as two:
        one.ask(Join(b"lobby"))
        joined = next_of(one, Joined)
        assert (joined.room, joined.how) == (b"lobby", "fresh")
        two.ask(Join(b"lobby"))
        next_of(two, Joined)
        one.ask(Say(b"lobby", 1, b"hello there"))
        name = one.memory.name.encode()
        for member in (one, two):
            assert next_of(member, Msg) == Msg(b"lobby", joined.offset + 1, name, b"hello there")
        two.ask(Part(b"lobby"))
        assert next_of(two, Parted) == Parted(b"lobby")
        two.ask(Tell(name, b"psst"))
        assert next_of(two, Told) == Told(name, "delivered")
        assert next_of(one, From) == From(two.memory.name.encode(), b"psst")
        one.ask(Who(b"lobby"))
        assert next_of(one, Members).room == b"lobby"
        # Back after a cut, at the position that it had.
        one.abandon()
        one.ask(Join(b"lobby", joined.life, joined.offset))
        assert next_of(one, Joined).how == "recovered"
        assert next_of(one, Msg).text == b"hello there"


def next_of(one: SessionClient, kind: type[Kind]) -> Kind:
    """The next happening of a kind; those before it are let go, those after it kept."""
    heard = HEARD.setdefault(one.name, [])
    for _ in range(20):
        heard += one.receive(0 if heard else 10)
        while heard:
            happening = heard.pop(0)
            if isinstance(happening, kind):
                return happening
    raise AssertionError(f"no {kind.__name__}")


HEARD: dict[str, list[object]] = {}
