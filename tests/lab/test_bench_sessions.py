"""The load generator on the session port: it finds no fault with a right server, and every other.

The server here is a short one of PROTOCOL §2.1 and §2.2, so that each reply can be spoilt.
"""

from __future__ import annotations

import socketserver
import threading
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from lab.measure import compiler
from lab.measure.errors import MeasureError
from lab.measure.generator import Load, Result, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WELCOME = b"WELCOME abcdefghij.klmnopqrstuvwxyz234567klmn 1 0 300\n"

# Each connection comes to its fourth line, however late the server of the test is.
SHORT = Settings(connections=5, seconds=0.4, warm_up_s=0.02, answer_s_max=1.0, session=True)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the built programs."""
    try:
        compiler.compiler()
    except MeasureError as error:
        pytest.skip(str(error))
    return compiler.build(tmp_path_factory.mktemp("cache"))


class Session(socketserver.StreamRequestHandler):
    """One connection: greets as its server says, then echoes, the server's `line`th its way."""

    def handle(self) -> None:
        """Until the client goes."""
        server = self.server
        assert isinstance(server, SessionServer)
        assert self.rfile.readline() == server.hello
        for piece in server.welcome:
            self.wfile.write(piece)
        previous = b""
        for number, line in enumerate(self.rfile, 1):
            verb, given, text = line.split(b" ", 2)
            assert (verb, int(given)) == (b"ECHO", number)
            before = b"PREV %d %b" % (number - 1, previous) if number > 1 else b""
            reply = before + line
            if number == server.line:
                reply = server.spoil(reply)
            self.wfile.write(reply)
            previous = text


class SessionServer(socketserver.ThreadingTCPServer):
    """A thread per connection."""

    daemon_threads = True
    request_queue_size = 100

    def __init__(self, spoil: Callable[[bytes], bytes], welcome: tuple[bytes, ...]) -> None:
        super().__init__(("127.0.0.1", 0), Session)
        self.spoil = spoil
        self.welcome = welcome
        self.line = 4
        self.hello = b"HELLO\n"

    def handle_error(self, *_: object) -> None:
        """A client that goes in the middle is no error of the test."""


@contextmanager
def serving(
    spoil: Callable[[bytes], bytes] = bytes,
    welcome: tuple[bytes, ...] = (WELCOME,),
    token: str = "",
) -> Iterator[int]:
    """Serve; the port. With a `token` its session is to be resumed."""
    with SessionServer(spoil, welcome) as server:
        server.hello = f"HELLO {token}".strip().encode() + b"\n"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def measure(programs: Path, port: int, settings: Settings, log: Path) -> Result:
    """Run the generator through."""
    with Load(programs / "load", port, settings, log) as load:
        load.await_connected()
        load.go()
        load.await_measured()
        return load.await_result()


@pytest.mark.parametrize("line_bytes", [32, 64, 8_160])
def test_a_right_server_is_found_right(programs: Path, tmp_path: Path, line_bytes: int) -> None:
    """Texts of every length, and every reply is counted."""
    settings = Settings(
        connections=3, seconds=0.1, warm_up_s=0.02, line_bytes=line_bytes, session=True
    )
    with serving() as port:
        result = measure(programs, port, settings, tmp_path / "load.log")

    assert result.failures == 0
    assert result.round_trips > settings.connections


def test_a_welcome_may_come_in_pieces(programs: Path, tmp_path: Path) -> None:
    """The kernel cuts where it likes."""
    pieces = tuple(WELCOME[at : at + 1] for at in range(len(WELCOME)))
    with serving(welcome=pieces) as port:
        assert measure(programs, port, SHORT, tmp_path / "load.log").failures == 0


@pytest.mark.parametrize(
    "spoil,counted_as",
    [
        (lambda reply: reply[:-2] + bytes([reply[-2] ^ 1]) + b"\n", "wrong"),
        (lambda reply: reply + b"x", "wrong"),
        (lambda reply: reply.partition(b"\n")[2], "wrong"),  # without PREV
        (lambda reply: reply.replace(b"PREV 3", b"PREV 2"), "wrong"),
        (lambda reply: reply.replace(b"ECHO 4", b"ECHO 5"), "wrong"),
        (lambda _: b"ERR taken-over the session was resumed elsewhere\n", "error_lines"),
        (lambda reply: reply[:40], "unanswered"),
    ],
)
def test_a_wrong_reply_is_found(
    programs: Path, tmp_path: Path, spoil: Callable[[bytes], bytes], counted_as: str
) -> None:
    """Each way is counted, once for each connection, under its own name."""
    with serving(spoil) as port:
        result = measure(programs, port, SHORT, tmp_path / "load.log")

    assert getattr(result, counted_as) == SHORT.connections
    assert result.failures == SHORT.connections


@pytest.mark.parametrize(
    "welcome",
    [
        b"ERR unavailable the store is away\n",
        WELCOME.replace(b" 1 0 ", b" 2 0 "),
        WELCOME.replace(b" 1 0 ", b" 1 7 "),
        WELCOME.replace(b" 1 0 ", b" 1  0 "),
        WELCOME.replace(b" 1 0 ", b"\t1 0 "),
        WELCOME.replace(b"abcdefghij", b"abcdefghi"),
        WELCOME.replace(b".", b""),
        WELCOME.replace(b"\n", b"\r\n"),
        WELCOME + b"surplus",
        b"WELCOME " + b"x" * 200 + b"\n",
    ],
)
def test_a_wrong_welcome_is_an_error(programs: Path, tmp_path: Path, welcome: bytes) -> None:
    """Without a session there is nothing to measure."""
    with (
        serving(welcome=(welcome,)) as port,
        Load(programs / "load", port, SHORT, tmp_path / "load.log") as load,
        pytest.raises(MeasureError, match="HELLO or the first line was not answered"),
    ):
        load.await_connected()


KNOWN = "abcdefghij.klmnopqrstuvwxyz234567klmn"
RESUMED = WELCOME.replace(b" 1 0 ", b" 2 0 ")


def resumed(program: Path, port: int, log: Path, *tokens: str) -> Load:
    """The generator on sessions of these tokens."""
    settings = replace(SHORT, connections=len(tokens) or 1)
    return Load(program, port, settings, log, tokens)


def test_sessions_are_resumed(programs: Path, tmp_path: Path) -> None:
    """Each connection by its own token; its first line is the session's first."""
    with (
        serving(welcome=(RESUMED,), token=KNOWN) as port,
        resumed(programs / "load", port, tmp_path / "load.log", KNOWN, KNOWN) as load,
    ):
        load.await_connected()
        load.go()
        load.await_measured()
        assert load.right_result().round_trips > 2


@pytest.mark.parametrize(
    "welcome",
    [
        WELCOME,
        RESUMED.replace(b" 2 0 ", b" 3 0 "),
        RESUMED.replace(b" 2 0 ", b" 2 1 "),
        RESUMED.replace(b"abc", b"abd"),
        RESUMED.replace(b"lmn ", b"lm "),
        b"ERR unknown-session\n",
    ],
)
def test_a_wrong_welcome_back_is_an_error(programs: Path, tmp_path: Path, welcome: bytes) -> None:
    """It must be to this session, and to its second owner."""
    with (
        serving(welcome=(welcome,), token=KNOWN) as port,
        resumed(programs / "load", port, tmp_path / "load.log", KNOWN) as load,
        pytest.raises(MeasureError, match="HELLO or the first line was not answered"),
    ):
        load.await_connected()


def test_a_token_that_is_too_long(programs: Path, tmp_path: Path) -> None:
    """It is no token, and not read as two."""
    with (
        resumed(programs / "load", 1, tmp_path / "load.log", "x" * 112) as load,
        pytest.raises(MeasureError, match="no token for connection 0"),
    ):
        load.await_connected()


def test_a_text_leaves_room_for_its_verb(programs: Path, tmp_path: Path) -> None:
    """A line of the session port is longer than its text; the generator says what fits."""
    settings = Settings(connections=1, seconds=1, line_bytes=8_192, session=True)
    with (
        Load(programs / "load", 1, settings, tmp_path / "load.log") as load,
        pytest.raises(MeasureError, match="--line-bytes 8192: must be 32 to 8160"),
    ):
        load.await_connected()
