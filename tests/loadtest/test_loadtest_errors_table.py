"""PROTOCOL §4: for each error, the clients do what its last column says.

Both ports over real sockets. A room's errors that don't close are the room member's business:
tests/unit/test_loadtest_room_posts.py.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from loadtest import plain
from loadtest.client import PlainClient
from loadtest.errors import ClientError, RolledBack, ServerError, SessionLost, WrongReply
from loadtest.session_client import SURVIVED, SessionClient
from loadtest.session_events import CODES
from loadtest.session_requests import LINE_BYTES_MAX
from loadtest.session_retry import Patience
from tests.loadtest.loadtest_servers import Server
from tests.loadtest.session_servers import Fault, Service

if TYPE_CHECKING:
    import socket

PATIENCE = Patience(reply_s_max=60, give_up_s=60, backoff_s_first=0.01, backoff_s_max=0.05)

# What the session client does where the server says this on a connection that is open, in the
# place of an ECHO; where it is not: in the place of WELCOME, to a resume.
OTHER = "another connection, and the line is answered"
ECHO: dict[str, object] = {
    "bad-request": WrongReply,  # it sends right requests only; so the server is wrong
    "line-too-long": ServerError,  # the caller's mistake
    "unknown-session": SessionLost,
    "taken-over": OTHER,  # by its own late HELLO: it has one connection at a time
    "rolled-back": RolledBack,
    "out-of-order": WrongReply,  # its numbers are right
    "conflict": WrongReply,
    "not-in-room": WrongReply,  # not about a room
    "too-many-rooms": WrongReply,
    "room-unavailable": WrongReply,
    "idle-timeout": OTHER,
    "slow-consumer": OTHER,
    "busy": WrongReply,  # not to one who is in
    "unavailable": OTHER,
    "draining": OTHER,
    "internal": OTHER,
}
HELLO = ECHO | {
    "bad-request": ServerError,  # §4: it closes where it is the first line: a header is required
    "busy": OTHER,
}


def documented() -> dict[str, str]:
    """The codes of the protocol's table, and whether each closes."""
    text = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
    _, _, table = text.partition("\n## §4 Errors\n")
    rows = re.findall(r"^\| (`[^|]*) \| ([^|]*) \|", table.partition("\n## ")[0], re.MULTILINE)
    return {
        code: closes.strip() for codes, closes in rows for code in re.findall(r"`([a-z-]+)`", codes)
    }


def test_every_code_is_known() -> None:
    """With whether it closes; and this file has a row for it."""
    assert {code: closes == "yes" for code, closes in documented().items()} == CODES
    assert set(ECHO) == set(HELLO) == set(CODES)
    assert {code for code, does in ECHO.items() if does == OTHER} <= SURVIVED
    assert {code for code in plain.CODES if code != "bad-request"} <= {
        code for code in CODES if CODES[code]
    }


def outcome(client: SessionClient) -> object:
    """Of a line: its answer, or what the caller gets."""
    try:
        client.echo(b"a")
    except ClientError as error:
        return type(error)
    return OTHER


@pytest.mark.parametrize("code", CODES)
def test_in_the_place_of_an_echo(code: str) -> None:
    """On an open connection."""
    with (
        Server(Says(b"ERR %b no\n" % code.encode(), after=1)) as server,
        SessionClient(server.address, patience=PATIENCE) as client,
    ):
        client.connect()
        assert outcome(client) == ECHO[code]


@pytest.mark.parametrize("code", CODES)
def test_in_the_place_of_welcome(code: str) -> None:
    """To a resume, whose session is there."""
    number = b"0 " if code == "rolled-back" else b""
    with (
        Server(service := Service()) as server,
        SessionClient(server.address, patience=PATIENCE) as client,
    ):
        client.echo(b"first")
        service.faults.append(Fault(0, says=b"ERR %b %bno\n" % (code.encode(), number)))
        client.abandon()
        assert outcome(client) == HELLO[code]


def test_a_line_that_is_too_long_is_not_sent() -> None:
    """`send shorter lines`: it would end every connection that it is sent on."""
    longest = b"x" * (LINE_BYTES_MAX - len(b"ECHO 1 \n"))
    with (
        Server(Service()) as server,
        SessionClient(server.address, patience=PATIENCE) as client,
    ):
        client.echo(longest)
        for call in (client.echo, client.ping):
            with pytest.raises(ValueError, match="a line is at most 8192 bytes"):
                call(longest + b"xxx")
        client.echo(b"b")
        assert client.memory.acked == 2


@pytest.mark.parametrize("code", CODES)
def test_on_the_plain_port(code: str) -> None:
    """It closes: the caller gets the code. What only the session port says is a wrong reply."""
    says = Says(b"ERR %b no\n" % code.encode(), after=0)
    with Server(says) as server, PlainClient(*server.address, reply_s_max=60) as client:
        with pytest.raises(ServerError if code in plain.CODES else WrongReply) as caught:
            client.ask(b"a\n")
        if code in plain.CODES:
            assert caught.value.kind == code


class Says(Service):
    """A right service whose first connection says a line in the place of an answer.

    Args:
        line: what it says, and closes.
        after: so many right answers come before it.
    """

    def __init__(self, line: bytes, after: int) -> None:
        super().__init__()
        self._line = line
        self._after = after

    def __call__(self, connection: socket.socket) -> None:
        """As `Service`."""
        line, self._line = self._line, b""
        if not line:
            super().__call__(connection)
            return
        if self._after:
            hello = connection.recv(65_536)
            self._open(connection, hello[:-1], say=True)
        connection.recv(65_536)
        connection.sendall(line)
