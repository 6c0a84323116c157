"""Clients that take their time, through HAProxy: idle, slow to read, slow to write, in a queue.

Each function is one of them, takes the ports, and returns what it saw in a few words for the
table of test_haproxy_versions.py; what must not be is an assertion that fails. They take up
to 75 s and little else, so all of them are played at once.
"""

from __future__ import annotations

import selectors
import socket
import time
from typing import NamedTuple

from tests.daemon import raw

# Beyond what is promised, for a busy machine.
SLACK_S = 10.0
# Longer than the longest of them.
PATIENCE_S = 90.0

ECHO_IDLE_S, SESSION_IDLE_S = 5.0, 60.0
# Shorter and longer than HAProxy's `timeout client`, and near the session port's limit.
SILENCES_S = (15.0, 55.0)

# A round of those that wait for their turn is 130 * 16 kB / 100 kB a second = 21 s.
SOURCE_BYTES_MAX = 100_000
QUEUE, QUEUE_SOURCE = 130, "127.0.0.9"
QUEUED_LINE, QUEUED_LINES = b"x" * 8_191 + b"\n", 4


class Ports(NamedTuple):
    """Where HAProxy listens."""

    echo: int
    session: int


def connect(port: int, source: str = "127.0.0.1", receive_buffer: int = 0) -> socket.socket:
    """A connection from an address of this machine."""
    sock = socket.socket()
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.settimeout(PATIENCE_S)
    sock.bind((source, 0))
    sock.connect(("127.0.0.1", port))
    return sock


def idle(port: int, first: bytes, limit_s: float) -> str:
    """Says `first`, and then nothing: the daemon ends it, at its limit and in its words."""
    # Before the daemon can count: what comes between only makes the wait longer.
    begin_s = time.monotonic()
    with connect(port) as sock:
        if first:
            sock.sendall(first)
            assert raw.read_some(sock)
        said = raw.read_all(sock)
        took_s = time.monotonic() - begin_s
    assert said.startswith(b"ERR idle-timeout "), f"{said!r} after {took_s:.1f} s"
    assert took_s < limit_s + SLACK_S
    # The daemon's clock goes in ticks.
    assert took_s > limit_s - 0.5
    return f"{took_s:.0f} s"


def silent_client(ports: Ports) -> str:
    """The plain port's idle limit, from the connect on."""
    return idle(ports.echo, b"", ECHO_IDLE_S)


def silent_after_a_line(ports: Ports) -> str:
    """The plain port's idle limit, after a line."""
    return idle(ports.echo, b"a line\n", ECHO_IDLE_S)


def silent_session(ports: Ports) -> str:
    """The session port's idle limit."""
    return idle(ports.session, b"HELLO\n", SESSION_IDLE_S)


def session_that_pauses(ports: Ports) -> str:
    """A session that is silent, but not for too long, is served each time."""
    with connect(ports.session) as sock:
        sock.sendall(b"HELLO\nECHO 1 a\n")
        replies = sock.makefile("rb")
        assert replies.readline().startswith(b"WELCOME ")
        assert replies.readline() == b"ECHO 1 a\n"
        for silence_s in SILENCES_S:
            _nothing_for(sock, silence_s)
            sock.sendall(b"PING %d\n" % silence_s)
            said = replies.readline()
            assert said == b"PONG %d\n" % silence_s, f"{said!r} after {silence_s:g} s"
    return "served"


def member_that_listens(ports: Ports) -> str:
    """A member of a quiet room hears what is said in it after so long a silence."""
    with connect(ports.session) as member:
        member.sendall(b"HELLO\nECHO 1 a\nJOIN quiet\n")
        replies = member.makefile("rb")
        assert replies.readline().startswith(b"WELCOME ")
        assert replies.readline() == b"ECHO 1 a\n"
        assert replies.readline().startswith(b"JOINED quiet ")
        for silence_s in SILENCES_S:
            _nothing_for(member, silence_s)
            with connect(ports.session) as poster:
                poster.sendall(b"HELLO\nJOIN quiet\nSAY quiet 1 %d\n" % silence_s)
                said = replies.readline()
                assert said.endswith(b" %d\n" % silence_s), f"{said!r} after {silence_s:g} s"
            member.sendall(b"PING\n")
            assert replies.readline() == b"PONG\n"
    return "hears"


def slow_writer(ports: Ports) -> str:
    """A line of which a byte comes every two seconds."""
    with connect(ports.echo) as sock:
        for _ in range(15):
            sock.sendall(b"x")
            _nothing_for(sock, 2.0)
        sock.sendall(b"\n")
        assert raw.read(sock, 16) == b"x" * 15 + b"\n"
    return "30 s, answered"


def slow_reader(ports: Ports) -> str:
    """Half-closes, reads nothing for 6 s and then 10 kB a second: it gets every byte.

    The daemon sees progress in steps of the buffers between: 24 kB with haproxy.cfg's, which
    this client shows 1 to 3 s after it has begun to read: within `send_s_max`.
    """
    line, lines = b"x" * 999 + b"\n", 200
    left = (2 * lines - 1) * len(line)
    begin_s = time.monotonic()
    with connect(ports.echo, "127.0.0.8", receive_buffer=4_096) as sock:
        sock.sendall(line * lines)
        sock.shutdown(socket.SHUT_WR)
        _nothing_read_for(6.0)
        while data := raw.read_some(sock, 4_096):
            left -= len(data)
            _nothing_read_for(0.4)
    assert left == 0, f"{left} bytes are missing"
    return f"{time.monotonic() - begin_s:.0f} s, whole"


def queue_of_one_source(ports: Ports) -> str:
    """One address has more to send than it may: each of its connections waits long, and is whole."""
    owed = {}
    longest_s = 0.0
    with selectors.DefaultSelector() as selector:
        for _ in range(QUEUE):
            sock = connect(ports.echo, QUEUE_SOURCE)
            sock.sendall(QUEUED_LINE * QUEUED_LINES)
            sock.shutdown(socket.SHUT_WR)
            selector.register(sock, selectors.EVENT_READ)
            owed[sock] = (2 * QUEUED_LINES - 1) * len(QUEUED_LINE)
        heard_s = dict.fromkeys(owed, time.monotonic())
        deadline_s = time.monotonic() + PATIENCE_S
        while selector.get_map():
            assert time.monotonic() < deadline_s, "they are not served in time"
            for key, _ in selector.select(1.0):
                sock = key.fileobj  # type: ignore[assignment]  # what was registered
                data = raw.read_some(sock)
                now_s = time.monotonic()
                longest_s = max(longest_s, now_s - heard_s[sock])
                heard_s[sock] = now_s
                owed[sock] -= len(data)
                if not data:
                    selector.unregister(sock)
                    sock.close()
    cut = sum(left != 0 for left in owed.values())
    assert cut == 0, f"{cut} of {QUEUE} were cut"
    return f"waited {longest_s:.0f} s, whole"


def _nothing_for(sock: socket.socket, seconds: float) -> None:
    """So long nothing comes."""
    sock.settimeout(seconds)
    try:
        said = sock.recv(1_000, socket.MSG_PEEK)
    except TimeoutError:
        return
    finally:
        sock.settimeout(PATIENCE_S)
    raise AssertionError(f"{said!r}, within {seconds:g} s of silence")


def _nothing_read_for(seconds: float) -> None:
    """The client's own slowness, which is what is tried: no wait for anything."""
    time.sleep(seconds)
