"""Several entrances over real sockets: one refuses, swallows, vanishes, and comes back."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from lab.wait import until
from loadtest import client as plain
from loadtest import entrances as choice
from loadtest import sockets
from loadtest.client import PlainClient
from loadtest.entrances import Address, Entrances
from loadtest.errors import ConnectFailed, EarlyClose, ServerError
from loadtest.session_client import SessionClient
from loadtest.session_retry import Patience, Resumed
from tests.loadtest.black_hole import needs_filters
from tests.loadtest.loadtest_servers import Server, busy, right
from tests.loadtest.session_servers import Fault, Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    Dead = Callable[[], AbstractContextManager[Address]]

# With so much patience for an answer, only TCP can have found what is found.
PATIENT_S = 600.0
PATIENCE = Patience(
    reply_s_max=PATIENT_S, give_up_s=PATIENT_S, ping_every_s=PATIENT_S, backoff_s_first=0.01
)
WAIT_S = 60.0
# Longer than the kernel waits for acknowledgements where a test says 0.2 s.
SHUT_S = 2.0


class FirstFirst(random.Random):
    """Dice that choose the first of those that may be chosen."""

    def choice(self, seq: Any) -> Any:  # noqa: ANN401 — typeshed's own type is not to be had
        """The first."""
        return seq[0]


@pytest.fixture(autouse=True)
def first_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plain client's dice too; and who has failed is left alone for as long as a test takes."""
    monkeypatch.setattr(plain, "_RANDOM", FirstFirst())
    monkeypatch.setattr(choice, "AWAY_S_FIRST", PATIENT_S)
    monkeypatch.setattr(choice, "AWAY_S_MAX", PATIENT_S)


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> list[Address]:
    """Every attempt to connect, in order."""
    made: list[Address] = []
    connect = sockets.connect

    def noted(address: Address, connect_s_max: float) -> socket.socket:
        made.append(address)
        return connect(address, connect_s_max)

    monkeypatch.setattr(sockets, "connect", noted)
    return made


@contextlib.contextmanager
def refusing() -> Iterator[Address]:
    """A port that is bound, and does not listen."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()


@contextlib.contextmanager
def full() -> Iterator[Address]:
    """A listener whose backlog is full: its kernel drops every SYN."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as listener,
        socket.create_connection(listener.getsockname()),
    ):
        yield listener.getsockname()


@contextlib.contextmanager
def gone() -> Iterator[Address]:
    """A listener at which nothing arrives."""
    with Server(right) as server:
        server.vanish()
        yield server.address


DEAD = [refusing, full, pytest.param(gone, marks=needs_filters)]


def session(*entrances: Address, patience: Patience = PATIENCE) -> SessionClient:
    """A client that begins at the first."""
    return SessionClient(*entrances, patience=patience, random=FirstFirst())


def resumed(one: SessionClient) -> Resumed:
    """What the client says of its next resume."""
    found: list[Resumed] = []

    def look() -> bool:
        found.extend(happened for happened in one.receive(1.0) if isinstance(happened, Resumed))
        return bool(found)

    until(look, WAIT_S, "a resume")
    return found[0]


@pytest.mark.parametrize("dead", DEAD)
def test_plain_clients_wait_for_a_dead_one_of_three_once(dead: Dead, tries: list[Address]) -> None:
    """Twenty who share what they learn: one attempt at the dead one, and all are served."""
    with Server(right) as one, Server(right) as two, dead() as address:
        entrances = Entrances(address, one.address, two.address)
        for _ in range(20):
            with PlainClient(entrances=entrances) as client:
                client.ask(b"hello\n")
                assert client.address == one.address
    assert tries == [address, *[one.address] * 20]


@pytest.mark.parametrize("dead", DEAD)
def test_a_session_client_waits_for_a_dead_one_of_three_once(
    dead: Dead, tries: list[Address]
) -> None:
    """Through cuts that make it go elsewhere each time."""
    service = Service([Fault(1) for _ in range(10)])
    with (
        Server(service) as one,
        Server(service) as two,
        dead() as address,
        session(address, one.address, two.address) as client,
    ):
        for n in range(10):
            client.echo(b"%d" % n)
    assert tries[0] == address
    assert set(tries[1:]) == {one.address, two.address}
    assert len(service.sessions) == 1


def test_all_dead_is_the_last_ones_failure(tries: list[Address]) -> None:
    """Each is tried once; the error says what was there."""
    with refusing() as one, refusing() as two, pytest.raises(ConnectFailed) as caught:
        PlainClient(entrances=Entrances(one, two))
    assert tries == [one, two]
    assert repr(caught.value) == "ConnectFailed('ECONNREFUSED')"
    assert caught.value.detail == f"{two[0]}:{two[1]}"


def test_no_connect_takes_longer_than_it_may(tries: list[Address]) -> None:
    """`connect_s_max` is for all entrances together: here it is over after the first."""
    with full() as one, full() as two, pytest.raises(ConnectFailed, match="timeout"):
        PlainClient(entrances=Entrances(one, two), connect_s_max=0.2)
    assert tries == [one]


def test_an_entrance_that_has_nobody_behind_it_is_left_for_another() -> None:
    """It accepts and refuses, as a HAProxy without daemons, or full ones: `elsewhere` (§4)."""
    with Server(busy) as one, Server(right) as two:
        entrances = Entrances(one.address, two.address)
        with PlainClient(entrances=entrances) as client, pytest.raises(ServerError, match="busy"):
            client.ask(b"hello\n")
        with PlainClient(entrances=entrances) as client:
            client.ask(b"hello\n")
            assert client.address == two.address


@needs_filters
@pytest.mark.parametrize("in_flight", [False, True])
def test_a_session_leaves_an_entrance_that_has_vanished(*, in_flight: bool) -> None:
    """Half-open, idle or with a line under way; no answer is waited for as long as it may take."""
    service = Service()
    with (
        Server(service) as one,
        Server(service) as two,
        session(one.address, two.address) as client,
    ):
        client.echo(b"a")
        one.vanish()
        if in_flight:
            client.send(b"b")
        assert resumed(client).cause == "EarlyClose('ETIMEDOUT')"
        assert client.entrance == two.address
        client.echo(b"c")
    (stored,) = service.sessions.values()
    assert stored.texts == [b"a", *([b"b"] if in_flight else []), b"c"]


@needs_filters
def test_a_plain_client_notices_that_its_entrance_has_vanished() -> None:
    """It can't go on, but it says so at once, and the next one goes elsewhere."""
    with Server(right) as one, Server(right) as two:
        entrances = Entrances(one.address, two.address)
        with PlainClient(entrances=entrances, reply_s_max=PATIENT_S) as client:
            client.ask(b"a\n")
            one.vanish()
            with pytest.raises(EarlyClose, match="ETIMEDOUT"):
                client.ask(b"b\n")
        with PlainClient(entrances=entrances) as client:
            assert client.address == two.address


@needs_filters
def test_an_entrance_that_is_back_gets_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was left alone is tried again, and then chosen as the others are."""
    monkeypatch.setattr(choice, "AWAY_S_FIRST", 0.05)
    monkeypatch.setattr(choice, "AWAY_S_MAX", 0.1)
    monkeypatch.setattr(plain, "_RANDOM", random.Random(1))
    with Server(right) as one, Server(right) as two:
        entrances = Entrances(one.address, two.address)

        def at() -> Address:
            with PlainClient(entrances=entrances) as client:
                client.ask(b"hello\n")
                return client.address

        one.vanish()
        assert {at() for _ in range(5)} == {two.address}
        one.come_back()
        until(lambda: at() == one.address, WAIT_S, "the first entrance to be tried again")
        assert {at() for _ in range(50)} == {one.address, two.address}


class Slow(socket.socket):
    """A server's connection that is not read for a while when its first line has been."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(fileno=connection.detach())
        self._reads = 0

    def recv(self, size: int, flags: int = 0) -> bytes:
        """As any, but the second time."""
        self._reads += 1
        if self._reads == 2:
            threading.Event().wait(SHUT_S)
        return super().recv(size, flags)


@pytest.mark.parametrize("lines", [1, 60])
def test_a_server_that_does_not_read_is_not_taken_for_dead(
    monkeypatch: pytest.MonkeyPatch, lines: int
) -> None:
    """Its window is shut for longer than acknowledgements may take; its kernel acknowledges that."""
    monkeypatch.setattr(sockets, "UNACKED_S_MAX", 0.2)
    service, texts = Service(), [b"%d" % n * 1_000 for n in range(1, lines + 1)]

    with Server(lambda connection: service(Slow(connection))) as server:
        server.narrow(4_096)
        with session(server.address, patience=replace(PATIENCE, give_up_s=0)) as client:
            client.connect()
            client.echo(*texts)
            assert client.entrance == server.address
            assert len(service.hellos) == 1


def test_names_stand_for_all_their_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each address of a name is an entrance; numbers are not looked up, and unknown names stay."""

    def answers(name: str, port: int, *_: object) -> list[tuple[object, ...]]:
        if name != "fleet":
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [(0, 0, 0, "", (host, port)) for host in ("10.0.0.1", "10.0.0.2")]

    monkeypatch.setattr(socket, "getaddrinfo", answers)
    found = sockets.resolve([("fleet", 1), ("10.0.0.2", 1), ("::1", 1), ("nowhere", 1)])
    assert found == [("10.0.0.1", 1), ("10.0.0.2", 1), ("::1", 1), ("nowhere", 1)]
