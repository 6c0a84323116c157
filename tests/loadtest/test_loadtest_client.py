"""The client of the plain port over real sockets, against servers that keep to it or don't."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest

from lab.wait import until
from loadtest.client import (
    ConnectFailed,
    EarlyClose,
    PlainClient,
    PlainError,
    ReplyTimeout,
    ServerError,
    WrongReply,
)
from tests.loadtest import loadtest_servers as servers
from tests.loadtest.loadtest_servers import Server

if TYPE_CHECKING:
    from tests.loadtest.loadtest_servers import Behaviour

# The client's deadline where a test waits for it to pass: far above a loopback's round
# trip on a busy machine, so that only a server that says nothing reaches it.
SILENCE_S = 1.0


def connect(server: Server, reply_s_max: float = 30.0) -> PlainClient:
    """A client of that server."""
    return PlainClient(server.host, server.port, reply_s_max=reply_s_max)


@pytest.mark.parametrize("behaviour", [servers.right, servers.byte_by_byte])
def test_right_replies_are_read_whole_however_they_are_cut(behaviour: Behaviour) -> None:
    """One line at a time: each reply is awaited to its last byte, and its length returned."""
    with Server(behaviour) as server, connect(server) as client:
        assert client.ask(b"a\n") == 2
        assert client.ask(b"bc\n") == 5
        assert client.ask(b"\n") == 4
        assert client.finish() == 0


def test_many_lines_in_one_piece() -> None:
    """Pipelined lines are all answered, and a tail after them without its LF."""
    lines = [b"%d\n" % n for n in range(500)]
    with Server(servers.right) as server, connect(server) as client:
        assert client.ask(*lines) == 2 * len(b"".join(lines)) - len(lines[-1])
        assert client.finish(b"tail") == len(lines[-1]) + len(b"tail")


@pytest.mark.parametrize(
    "behaviour, error, kind",
    [
        (servers.current_line_only, WrongReply, "not the bytes owed"),
        (servers.closes_within_a_reply, EarlyClose, "end of stream"),
        (servers.resets, EarlyClose, "ECONNRESET"),
        (servers.silent, ReplyTimeout, "silence"),
        (servers.half_a_reply, ReplyTimeout, "part of a reply"),
        (servers.busy, ServerError, "busy"),
    ],
)
def test_each_defect_has_its_own_error(
    behaviour: Behaviour, error: type[PlainError], kind: str
) -> None:
    """A server wrong in one way raises that error, of that kind, and no other."""
    reply_s_max = SILENCE_S if error is ReplyTimeout else 30.0
    with Server(behaviour) as server, connect(server, reply_s_max) as client:
        with pytest.raises(error) as caught:
            client.ask(b"a\n") and client.ask(b"b\n")
        assert caught.value.kind == kind


def test_an_errors_repr_holds_nothing_particular() -> None:
    """Locust groups failures by `repr`: no bytes in it; those are in the text."""
    with Server(servers.current_line_only) as server, connect(server) as client:
        client.ask(b"a\n")
        with pytest.raises(WrongReply) as caught:
            client.ask(b"b\n")
    assert repr(caught.value) == "WrongReply('not the bytes owed')"
    assert "reply 2, byte 0" in str(caught.value)


def test_a_reply_too_many_is_found_at_the_end() -> None:
    """`finish` reads to the end of the stream, and every byte there is one too many."""
    with Server(servers.one_reply_too_many) as server, connect(server) as client:
        client.ask(b"a\n")
        with pytest.raises(WrongReply):
            client.finish()


def test_a_server_that_does_not_close_after_a_half_close() -> None:
    """PROTOCOL §1.4 has the server close; one that doesn't is told from one that is silent."""

    def stays(connection: socket.socket) -> None:
        servers.right(connection)
        finished.wait()

    finished = threading.Event()
    with Server(stays) as server, connect(server, SILENCE_S) as client:
        client.ask(b"a\n")
        with pytest.raises(ReplyTimeout, match="no end of stream"):
            client.finish()
        finished.set()


def test_what_the_server_said_before_it_closed_is_heard() -> None:
    """A client that speaks into a closed connection still reads why it was closed."""
    with Server(servers.busy) as server, connect(server) as client:
        until(lambda: server.accepted and not server.connected, 30, "the server to close")
        with pytest.raises(ServerError) as caught:
            client.ask(b"a\n")
        assert repr(caught.value) == "ServerError('busy')"
        assert str(caught.value) == "busy: 10000 clients are connected"


def test_an_err_behind_a_whole_reply_is_the_next_lines() -> None:
    """A line that was answered was answered, whatever follows in the same segment."""

    def answers_and_leaves(connection: socket.socket) -> None:
        connection.sendall(next(servers.replies_to(connection)) + b"ERR draining bye\n")

    with Server(answers_and_leaves) as server, connect(server) as client:
        assert client.ask(b"a\n")
        with pytest.raises(ServerError, match="draining"):
            client.ask(b"b\n")


def test_a_dribbling_server_meets_the_deadline_of_the_whole_reply() -> None:
    """Bytes that keep coming do not move the deadline."""

    def dribbles(connection: socket.socket) -> None:
        for byte in next(servers.replies_to(connection)):
            connection.sendall(bytes([byte]))
            never.wait(SILENCE_S / 4)

    never = threading.Event()
    with (
        Server(dribbles) as server,
        connect(server, SILENCE_S) as client,
        pytest.raises(ReplyTimeout, match="part of a reply"),
    ):
        client.ask(b"x" * 1_000 + b"\n")


def test_a_refused_connection_has_the_errnos_name() -> None:
    """A port that is bound but does not listen refuses: that, and not an address, is the kind."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectFailed) as caught:
            PlainClient(*bound.getsockname())
    assert repr(caught.value) == "ConnectFailed('ECONNREFUSED')"


def test_a_connection_that_is_not_accepted_times_out() -> None:
    """A full backlog leaves the client waiting: it gives up, and says so."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        with socket.create_connection(address), pytest.raises(ConnectFailed) as caught:
            PlainClient(*address, connect_s_max=SILENCE_S)
    assert repr(caught.value) == "ConnectFailed('timeout')"


def test_an_unknown_host_is_a_failed_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that does not resolve is a kind of its own, whatever words the resolver has."""

    def unknown(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ConnectFailed) as caught:
        PlainClient("nowhere.invalid", 1)
    assert caught.value.kind == "unknown host"
