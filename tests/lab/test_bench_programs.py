"""The bench's C programs: the floor echoes rightly, and the generator finds who does not."""

from __future__ import annotations

import random
import shlex
import socket
import socketserver
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from lab.fleet import ports, processes
from lab.measure import compiler
from lab.measure.clocks import cpu_time, rss_bytes, rss_bytes_max
from lab.measure.errors import MeasureError
from lab.measure.generator import Load, Result, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DEADLINE_S = 20.0

# Each connection comes to its fourth line, however late the server of the test is.
SHORT = Settings(connections=5, seconds=0.4, warm_up_s=0.02, answer_s_max=1.0)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the built programs."""
    try:
        compiler.compiler()
    except MeasureError as error:
        pytest.skip(str(error))
    return compiler.build(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def floor(programs: Path, tmp_path: Path) -> Iterator[processes.Process]:
    """The C server."""
    command = [str(programs / "echo_epoll"), "--port", "0"]
    process = processes.start(command, log=tmp_path / "floor.log")
    yield process
    process.kill()


def port_of(process: processes.Process) -> int:
    """Where it listens."""
    return int(process.ready["echo"].rpartition(":")[2])


def expected(sent: bytes) -> bytes:
    """PROTOCOL §1: every line after the one before it, and so an unterminated tail."""
    *complete, tail = sent.split(b"\n")
    lines = [line + b"\n" for line in complete] + ([tail] if tail else [])
    return b"".join(a + b for a, b in zip([b"", *lines], lines, strict=False))


def exchange(port: int, pieces: list[bytes]) -> bytes:
    """Send each piece by itself, half-close, and return all that comes back."""
    received = []
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def read() -> None:
            while data := client.recv(65_536):
                received.append(data)

        reader = threading.Thread(target=read)
        reader.start()
        for piece in pieces:
            client.sendall(piece)
        client.shutdown(socket.SHUT_WR)
        reader.join(DEADLINE_S)
        assert not reader.is_alive()
    return b"".join(received)


class Faulty(socketserver.StreamRequestHandler):
    """Echoes rightly up to its server's `line`th line of a connection, then fails its way."""

    def handle(self) -> None:
        """One connection."""
        server = self.server
        assert isinstance(server, FaultyServer)
        previous = b""
        for number, line in enumerate(self.rfile, 1):
            reply = previous + line
            if number == server.line:
                server.fail(self, reply)
                return
            self.wfile.write(reply)
            previous = line


class FaultyServer(socketserver.ThreadingTCPServer):
    """A thread per connection; each fails at its `line`th line."""

    daemon_threads = True
    request_queue_size = 100

    def __init__(self, fail: Callable[[Faulty, bytes], object], line: int) -> None:
        super().__init__(("127.0.0.1", 0), Faulty)
        self.fail = fail
        self.line = line


@contextmanager
def faulty(fail: Callable[[Faulty, bytes], object], line: int) -> Iterator[int]:
    """Serve; the port."""
    with FaultyServer(fail, line) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def flip(handler: Faulty, reply: bytes) -> None:
    """One bit of the last byte before the LF is wrong."""
    handler.wfile.write(reply[:-2] + bytes([reply[-2] ^ 1]) + b"\n")


def surplus(handler: Faulty, reply: bytes) -> None:
    """Right, and one byte more."""
    handler.wfile.write(reply + b"x")


def only_this_line(handler: Faulty, reply: bytes) -> None:
    """The previous line is forgotten, as a classic wrong echo does."""
    handler.wfile.write(reply[len(reply) // 2 :])


def refuse(handler: Faulty, _reply: bytes) -> None:
    """PROTOCOL §4's way to close."""
    handler.wfile.write(b"ERR draining this daemon is leaving\n")


def close_within(handler: Faulty, reply: bytes) -> None:
    """Half of the reply, then the end."""
    handler.wfile.write(reply[:40])


def be_silent(handler: Faulty, _reply: bytes) -> None:
    """Nothing, until the client has gone."""
    handler.rfile.read()


def measure(programs: Path, port: int, settings: Settings, log: Path) -> tuple[Result, str]:
    """Run the generator through; its result and its words."""
    with Load(programs / "load", port, settings, log) as load:
        load.await_connected()
        load.go()
        load.await_measured()
        result = load.await_result()
        return result, load.words()


@pytest.mark.parametrize("line_bytes", [32, 64, 8_192])
@pytest.mark.parametrize("connections", [1, 50])
def test_the_floor_is_right(
    programs: Path, floor: processes.Process, tmp_path: Path, connections: int, line_bytes: int
) -> None:
    """The generator finds no fault with it, and counts every reply in its histogram."""
    settings = Settings(connections=connections, seconds=0.1, warm_up_s=0.02, line_bytes=line_bytes)
    result, words = measure(programs, port_of(floor), settings, tmp_path / "load.log")

    assert (result.failures, words) == (0, "")
    assert result.round_trips > connections
    counted = sum(count for _, count in result.histogram_ns)
    assert result.round_trips <= counted <= result.round_trips + connections
    bounds = [bound for bound, _ in result.histogram_ns]
    assert bounds == sorted(bounds)
    assert bounds[-1] * 0.99 <= result.latency_ns_max <= bounds[-1]


@pytest.mark.parametrize(
    "fail,counted_as",
    [
        (flip, "wrong"),
        (surplus, "wrong"),
        (only_this_line, "wrong"),
        (refuse, "error_lines"),
        (close_within, "closed"),
        (be_silent, "unanswered"),
    ],
)
def test_a_faulty_server_is_found(
    programs: Path, tmp_path: Path, fail: Callable[[Faulty, bytes], object], counted_as: str
) -> None:
    """Each way to fail is counted, once for each connection, under its own name."""
    with faulty(fail, line=4) as port:
        result, words = measure(programs, port, SHORT, tmp_path / "load.log")

    assert getattr(result, counted_as) == SHORT.connections
    assert result.failures == SHORT.connections
    assert ("got " in words) is (counted_as in ("wrong", "error_lines"))


def test_a_server_that_fails_at_once_is_an_error(programs: Path, tmp_path: Path) -> None:
    """Without its first line answered there is nothing to measure."""
    with (
        faulty(refuse, line=1) as port,
        Load(programs / "load", port, SHORT, tmp_path / "load.log") as load,
        pytest.raises(MeasureError, match="the first line was not answered"),
    ):
        load.await_connected()


def test_nobody_listening_is_an_error(programs: Path, tmp_path: Path) -> None:
    """It says what the kernel said."""
    with (
        Load(programs / "load", ports.reserve(), SHORT, tmp_path / "load.log") as load,
        pytest.raises(MeasureError, match="Connection refused"),
    ):
        load.await_connected()


def test_a_pace_is_kept(programs: Path, floor: processes.Process, tmp_path: Path) -> None:
    """20 connections, a line every 0.1 s each, for 2 s: 400 lines, give or take the edges."""
    settings = Settings(connections=20, seconds=2.0, warm_up_s=0.1, interval_s=0.1)
    result, _ = measure(programs, port_of(floor), settings, tmp_path / "load.log")

    assert result.failures == 0
    assert 320 <= sum(count for _, count in result.histogram_ns) <= 480


def test_a_late_reply_is_charged_for_the_lines_it_kept_back(programs: Path, tmp_path: Path) -> None:
    """A pause of ten intervals makes ten late replies, not one."""

    def stall(handler: Faulty, reply: bytes) -> None:
        threading.Event().wait(0.3)
        handler.wfile.write(reply)
        previous = reply[len(reply) // 2 :]
        for line in handler.rfile:
            handler.wfile.write(previous + line)
            previous = line

    settings = Settings(connections=1, seconds=0.6, warm_up_s=0.0, interval_s=0.03)
    with faulty(stall, line=4) as port:
        result, _ = measure(programs, port, settings, tmp_path / "load.log")

    late = sum(count for bound, count in result.histogram_ns if bound > 100_000_000)
    assert result.failures == 0
    assert late >= 4


def test_idle_connections_are_held_until_told(
    programs: Path, floor: processes.Process, tmp_path: Path
) -> None:
    """They say nothing; the server's memory has grown, and both end when the input ends."""
    before = rss_bytes(floor.pid)
    settings = Settings(connections=2_000, seconds=1)
    with Load(programs / "load", port_of(floor), settings, tmp_path / "load.log") as load:
        load.await_connected()
        grown = rss_bytes(floor.pid) - before

        assert 0 < grown < 2_000 * 1_000
        assert rss_bytes_max(floor.pid) >= before


@pytest.mark.parametrize("seed", range(5))
def test_the_floor_takes_any_cut(floor: processes.Process, seed: int) -> None:
    """Lines of any bytes, sent whole, byte by byte, and cut anywhere, with and without a tail."""
    chance = random.Random(seed)
    lines = [chance.randbytes(chance.choice([0, 1, 60, 300])) for _ in range(40)]
    sent = b"\n".join([*(line.replace(b"\n", b"") for line in lines), b"tail" * (seed % 2)])
    cuts = sorted(chance.randrange(len(sent)) for _ in range(30))
    pieces = [sent[a:b] for a, b in zip([0, *cuts], [*cuts, len(sent)], strict=True)]

    for way in ([sent], [bytes([byte]) for byte in sent[-700:]], pieces):
        assert exchange(port_of(floor), way) == expected(b"".join(way))


def test_the_floor_takes_long_lines_and_slow_readers(floor: processes.Process) -> None:
    """More than the socket buffers hold comes back whole, once the client reads."""
    line = b"x" * 8_191 + b"\n"
    sent = line * 3_000
    with socket.create_connection(("127.0.0.1", port_of(floor)), timeout=DEADLINE_S) as client:

        def write() -> None:
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)

        writer = threading.Thread(target=write)
        writer.start()
        received = client.makefile("rb").read()
        writer.join(DEADLINE_S)

    assert received == expected(sent)


def test_the_floor_refuses_too_long_a_line(floor: processes.Process) -> None:
    """8,192 bytes with the LF are a line; one byte more is an error, ended or not."""
    assert exchange(port_of(floor), [b"x" * 8_192]).startswith(b"ERR line-too-long ")
    assert exchange(port_of(floor), [b"a\n" + b"x" * 8_192 + b"\n"]).startswith(b"a\nERR line-too")


def test_the_kernel_counts_what_a_process_used(
    programs: Path, floor: processes.Process, tmp_path: Path
) -> None:
    """CPU time under load grows, and by less than the time that passed."""
    before = cpu_time(floor.pid)
    result, _ = measure(programs, port_of(floor), SHORT, tmp_path / "load.log")
    used_s = cpu_time(floor.pid).total - before.total

    assert result.round_trips * 500e-9 < used_s < DEADLINE_S


def test_a_process_that_is_gone_has_no_figures(floor: processes.Process) -> None:
    """It is an error with the process's number, not a traceback."""
    floor.kill()
    for ask in (cpu_time, rss_bytes, rss_bytes_max):
        with pytest.raises(MeasureError, match=str(floor.pid)):
            ask(floor.pid)


def test_a_bad_setting_is_named(programs: Path, tmp_path: Path) -> None:
    """The generator's own limits are errors too."""
    settings = Settings(connections=1, seconds=1, line_bytes=9_000)
    with (
        Load(programs / "load", 1, settings, tmp_path / "load.log") as load,
        pytest.raises(MeasureError, match="--line-bytes 9000: must be 32 to 8192"),
    ):
        load.await_connected()


def test_a_missing_compiler_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It says what is missing and how to get it."""
    monkeypatch.setenv("CC", str(tmp_path / "no-such-cc"))
    with pytest.raises(MeasureError, match=r"no C compiler: .*no-such-cc.*apt-get install"):
        compiler.build(tmp_path)


def test_a_failing_compiler_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What it said is in the error, and nothing half-built stays."""
    script = tmp_path / "cc"
    script.write_text('#!/bin/sh\n[ "$1" = --version ] && echo cc 1 && exit\necho no >&2; exit 1\n')
    script.chmod(0o755)
    cache = tmp_path / "cache"
    cache.mkdir()
    monkeypatch.setenv("CC", shlex.quote(str(script)))
    with pytest.raises(MeasureError, match=r"(?s)failed:.*no"):
        compiler.build(cache)
    assert not list(cache.iterdir())


def test_programs_are_built_once(programs: Path) -> None:
    """The same sources and compiler are found again in the cache."""
    built = (programs / "load").stat().st_mtime_ns
    assert compiler.build(programs.parent) == programs
    assert (programs / "load").stat().st_mtime_ns == built
