"""PROTOCOL §1 over real sockets, for every server here: the article's own and echod.

One command runs it and prints one table: `pytest tests/contract/test_plain_port.py`.
The servers and the table are in conftest.py, how to read it in docs/variants.md.
"""

from __future__ import annotations

import contextlib
import json
import re
import select
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.wait import until
from tests.daemon import raw

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.contract.conftest import Server

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "vectors/plain.json").read_text()
)
LINE_BYTES_MAX = 8192

# Nothing comes for so long: it won't. It only has to be longer than a reply takes; if it
# is not, a test sees less, and does not fail.
SILENCE_S = 0.2

behaviour = pytest.mark.behaviour


def assert_served(server: Server) -> None:
    """A new client is served."""
    assert raw.converse(server.port, [b"next\n", b"client"]) == b"next\nnext\nclient"


def assert_farewell(reply: bytes, due: bytes, code: bytes) -> None:
    """What was due, one ERR line, and the end (§1.5)."""
    assert reply[: len(due)] == due
    assert re.fullmatch(rb"ERR " + code + rb" [^\n]+\n", reply[len(due) :])


def play(server: Server, cut: Callable[[bytes], Sequence[bytes]]) -> None:
    """Play every vector, its bytes sent in the pieces that `cut` makes."""
    for vector in VECTORS:
        sent, reply = vector["sent"].encode("latin-1"), vector["reply"].encode("latin-1")
        if vector["half_close"]:
            assert raw.converse(server.port, cut(sent)) == reply, vector["name"]
            continue
        with raw.connect(server.port) as sock:
            for piece in cut(sent):
                sock.sendall(piece)
            assert raw.read(sock, len(reply)) == reply, vector["name"]


@behaviour("whole")
def test_vectors_whole(server: Server) -> None:
    """Each vector, sent in one piece, is answered byte for byte."""
    play(server, lambda sent: [sent])


@behaviour("bytes")
def test_vectors_byte_by_byte(server: Server) -> None:
    """Each vector, sent a byte at a time, is answered the same."""
    play(server, lambda sent: [bytes([byte]) for byte in sent])


@behaviour("cuts")
@settings(max_examples=5, deadline=None, database=None, derandomize=True)
@given(data=st.data())
def test_vectors_cut_at_random(server: Server, data: st.DataObject) -> None:
    """Each vector, cut anywhere, is answered the same."""
    play(server, lambda sent: data.draw(pieces(sent)))


@behaviour("deep")
def test_deep_pipeline(server: Server) -> None:
    """10,000 lines sent at once, ten times what echod lets be in flight, come back in order."""
    stream = b"".join(b"%d\n" % number for number in range(10_000))
    assert raw.converse(server.port, [stream]) == raw.owed(stream, LINE_BYTES_MAX)[0]


@behaviour("long")
def test_long_lines_in_a_pipeline(server: Server) -> None:
    """Many of the longest lines: more replies than echod's outbox holds, to a client that reads."""
    line = b"x" * (LINE_BYTES_MAX - 1) + b"\n"
    previous = b""
    with raw.connect(server.port) as sock:
        for _ in range(10):
            sock.sendall(line * 20)
            owed = previous + line + 2 * line * 19
            assert raw.read(sock, len(owed)) == owed
            previous = line
        sock.sendall(b"end\n")
        assert raw.read(sock, len(line) + 4) == line + b"end\n"


@behaviour("half-close")
def test_half_close_behind_a_pipeline(server: Server) -> None:
    """A client that closes its side at once gets every reply, its tail's too, then the end."""
    stream = b"".join(b"%d\n" % number for number in range(1000)) + b"t" * (LINE_BYTES_MAX - 1)
    assert raw.converse(server.port, [stream]) == raw.owed(stream, LINE_BYTES_MAX)[0]


@behaviour("late")
def test_a_client_that_reads_late(server: Server) -> None:
    """It is not read while it takes nothing, so no memory is spent; then it gets everything."""
    stream, sent = (b"y" * (LINE_BYTES_MAX - 1) + b"\n") * 8192, 0
    with raw.connect(server.port) as sock:
        sock.settimeout(0)
        while select.select([], [sock], [], SILENCE_S)[1]:
            sent += sock.send(memoryview(stream)[sent : sent + 100_000])
            assert sent < len(stream), "the server never stops reading"
        sock.settimeout(raw.PATIENCE_S)
        sock.shutdown(socket.SHUT_WR)
        assert raw.read_all(sock) == raw.owed(stream[:sent], LINE_BYTES_MAX)[0]


@behaviour("reset")
def test_a_reset(server: Server) -> None:
    """A client that resets, with lines unread, unsent or unanswered, harms no other."""
    for stream in (b"", b"part", b"a\nb\npart", b"line\n" * 5000):
        for replies in (0, 1):
            sock = raw.connect(server.port)
            sock.sendall(stream)
            if b"\n" in stream:
                assert raw.read(sock, replies) == stream[:replies]
            raw.reset(sock)
            assert_served(server)


@behaviour("idle")
def test_an_idle_client(own_server: Callable[[float], Server]) -> None:
    """A client that says nothing hears `idle-timeout`, counted from its last byte; then the end."""
    idle_s_max = 0.5
    server = own_server(idle_s_max)
    with raw.connect(server.port) as sock:
        assert not select.select([sock], [], [], idle_s_max / 2)[0]
        sent_s = time.monotonic()
        sock.sendall(b"line\npart")
        assert_farewell(raw.read_all(sock), b"line\n", b"idle-timeout")
        assert time.monotonic() - sent_s > idle_s_max * 0.7
    assert_served(server)


@behaviour("too-long")
@pytest.mark.parametrize(
    "long",
    [b"x" * 8192 + b"\n", b"x" * 8192, b"x" * (1 << 20), b"x" * 9000 + b"\nlate\n"],
    ids=["ended", "tail", "endless", "followed"],
)
def test_a_line_too_long(server: Server, long: bytes) -> None:
    """After what was due, `line-too-long`, which arrives though the client still sends."""
    with raw.connect(server.port) as sock:
        sock.sendall(b"due\n" + long)
        sock.shutdown(socket.SHUT_WR)
        # Not raw.read_all, which takes a reset for an end: on another network than the
        # loopback it can overtake the ERR.
        reply = b"".join(iter(lambda: sock.recv(65_536), b""))
    assert_farewell(reply, b"due\n", b"line-too-long")
    assert_served(server)


@behaviour("two")
def test_two_clients_at_once(server: Server) -> None:
    """Both are served side by side; by the serial server the second when the first has left."""
    with raw.connect(server.port) as first, raw.connect(server.port) as second:
        first.sendall(b"1\n")
        assert raw.read(first, 2) == b"1\n"
        second.sendall(b"2\n")
        if server.serial:
            assert not select.select([second], [], [], SILENCE_S)[0]
        else:
            assert raw.read(second, 2) == b"2\n"
        first.sendall(b"3\n")
        assert raw.read(first, 4) == b"1\n3\n"
        first.close()
        if server.serial:
            assert raw.read(second, 2) == b"2\n"
        second.sendall(b"4\n")
        assert raw.read(second, 4) == b"2\n4\n"


def lines_near_the_limit() -> st.SearchStrategy[bytes]:
    """Any bytes but LF, short or about as long as a line may be."""
    short = st.binary(max_size=12).map(lambda text: text.replace(b"\n", b"\r"))
    size = st.sampled_from([1000, LINE_BYTES_MAX - 2, LINE_BYTES_MAX - 1, LINE_BYTES_MAX])
    return st.one_of(short, short, short, size.map(lambda count: b"z" * count))


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """A client's bytes: lines, empty ones, ends with CR, a tail."""
    texts = draw(st.lists(lines_near_the_limit(), max_size=8))
    ends = st.sampled_from([b"\n", b"\n\n", b"\r\n"])
    return b"".join(text + draw(ends) for text in texts) + draw(lines_near_the_limit())


@st.composite
def pieces(draw: st.DrawFn, stream: bytes) -> list[bytes]:
    """The stream cut anywhere."""
    edges = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    return [stream[a:b] for a, b in zip([0, *edges], [*edges, len(stream)], strict=True)]


@behaviour("random")
@settings(max_examples=40, deadline=None, database=None, derandomize=True)
@given(data=st.data(), stream=streams(), reset=st.sampled_from([False, False, False, True]))
def test_random_streams(server: Server, data: st.DataObject, stream: bytes, *, reset: bool) -> None:
    """Any bytes in any cuts are answered right or by `line-too-long`; a reset harms nobody."""
    parts = data.draw(pieces(stream))
    if reset:
        with raw.connect(server.port) as sock:
            sock.sendall(b"".join(parts[:-1]))
            raw.reset(sock)
        assert_served(server)
        return
    reply = raw.converse(server.port, parts)
    owed, too_long = raw.owed(stream, LINE_BYTES_MAX)
    if too_long:
        assert_farewell(reply, owed, b"line-too-long")
    else:
        assert reply == owed


def sockets(pid: int) -> int:
    """How many of a process's descriptors are sockets."""
    count = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            count += str(descriptor.readlink()).startswith("socket:")
    return count


@behaviour("leaves")
def test_leavers_are_noticed(server: Server) -> None:
    """However a client leaves, its descriptor is given back."""
    assert_served(server)
    process = psutil.Process(server.process.pid)

    def alone() -> bool:
        """The client before has been let go of: its descriptor is not counted as the server's.

        Nor is that of a client whose reset has come: a socket that no table of the kernel has.
        """
        open_sockets = sockets(process.pid)
        listed = process.net_connections("all")
        here = [c for c in listed if c.laddr and c.laddr[1:] == (server.port,)]
        return len(listed) == open_sockets and all(
            connection.status == psutil.CONN_LISTEN for connection in here
        )

    until(alone, 30, "nobody to be connected")
    descriptors = process.num_fds()
    for leave in (socket.socket.close, raw.reset, lambda sock: sock.shutdown(socket.SHUT_WR)):
        for stream in (b"", b"a\n", b"a\npart"):
            sock = raw.connect(server.port)
            sock.sendall(stream)
            until(lambda: process.num_fds() > descriptors, 30, "the client to be accepted")
            leave(sock)
            until(lambda: process.num_fds() <= descriptors, 30, "its descriptor to be given back")
            sock.close()


@behaviour("SIGTERM")
def test_sigterm(own_server: Callable[[float], Server]) -> None:
    """It ends a server with a client connected, by itself or by the signal's default."""
    server = own_server(5.0)
    with raw.connect(server.port) as sock:
        sock.sendall(b"line\n")
        assert raw.read(sock, 5) == b"line\n"
        assert server.process.terminate(5.0) in {0, -signal.SIGTERM}
