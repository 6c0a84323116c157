"""A session service for the client's tests: right, but for the faults that a test plans.

Real sockets (`loadtest_servers.Server`), a thread a connection. What outlives a connection
is the `Service`, which any number of servers may share, as daemons share a store.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import struct
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.loadtest.loadtest_servers import lines_of

if TYPE_CHECKING:
    from collections.abc import Iterable

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


@dataclass
class Fault:
    """How one connection ends.

    Attributes:
        lines: after so many committed lines. 0: in place of the answer to HELLO.
        answered: so many of these are answered, the others' replies are lost.
        says: the server's last line, LF included; none for a cut.
        reset: with a reset instead of an end of stream.
        silent: it says nothing any more, and waits for the client to go.
        loses_bye: QUIT is obeyed, and then the connection is cut.
        opens: with 0 lines, HELLO takes the session, and only its answer is lost.
    """

    lines: int
    answered: int = 1_000_000
    says: bytes = b""
    reset: bool = False
    silent: bool = False
    opens: bool = False
    loses_bye: bool = False


@dataclass
class Stored:
    """One session."""

    epoch: int = 0
    texts: list[bytes] = field(default_factory=list)
    ended: bool = False


def word(length: int) -> str:
    """Random letters of a name or secret."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


class Service:
    """Sessions, and what is planned for the connections to come, one `Fault` each."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self.sessions: dict[bytes, Stored] = {}
        self.faults = deque(faults)
        self.drains: deque[int] = deque()  # ms of a DRAIN right after WELCOME, a connection each
        self.hellos: list[bytes] = []
        self.pings = 0
        self.lock = threading.Lock()

    def __call__(self, connection: socket.socket) -> None:
        """One connection, as `loadtest_servers.Behaviour`."""
        with self.lock:
            fault = self.faults.popleft() if self.faults else Fault(1_000_000_000)
        requests = lines_of(connection)
        hello = next(requests, None)
        if hello is None:
            return
        with self.lock:
            self.hellos.append(hello)
        if fault.lines == 0 and not fault.opens:
            self._end(connection, fault, requests)
            return
        session = self._open(connection, hello[:-1], say=fault.lines > 0)
        if session is not None and (fault.lines == 0 or not self._serve(
            connection, session, requests, fault
        )):  # fmt: skip
            self._end(connection, fault, requests)

    def _open(self, connection: socket.socket, hello: bytes, *, say: bool) -> Stored | None:
        _, *words = hello.split(b" ")
        with self.lock:
            token = words[0] if words else f"{word(10)}.{word(26)}".encode()
            if not words:
                self.sessions[token] = Stored()
            session = self.sessions.get(token)
            if session is None or session.ended:
                connection.sendall(b"ERR unknown-session no such session\n")
                return None
            seq = len(session.texts)
            if len(words) > 1 and seq < int(words[1]):
                connection.sendall(b"ERR rolled-back %d\n" % seq)
                return None
            session.epoch += 1
            reply = b"WELCOME %b %d %d 300\n" % (token, session.epoch, seq)
            if seq:
                reply += b"PREV %d %b\n" % (seq, session.texts[-1])
        if say:
            connection.sendall(reply)
            if self.drains:
                connection.sendall(b"DRAIN %d\n" % self.drains.popleft())
        return session

    def _serve(
        self, connection: socket.socket, session: Stored, requests: Iterable[bytes], fault: Fault
    ) -> bool:
        """Answer until the client leaves (True), or the fault is due."""
        with self.lock:
            epoch = session.epoch
        done = 0
        for request in requests:
            verb, _, rest = request[:-1].partition(b" ")
            with self.lock:
                if session.epoch != epoch:
                    connection.sendall(b"ERR taken-over by a newer connection\n")
                    return True
                reply = self._reply(session, verb, rest)
            if verb == b"QUIT" and fault.loses_bye:
                return False
            if verb != b"ECHO":
                connection.sendall(reply)
                continue
            done += 1
            if done <= fault.answered:
                connection.sendall(reply)
            if done >= fault.lines:
                return False
        return True

    def _reply(self, session: Stored, verb: bytes, rest: bytes) -> bytes:
        if verb == b"PING":
            self.pings += 1
            return b"PONG %b\n" % rest if rest else b"PONG\n"
        if verb == b"QUIT":
            session.ended = True
            return b"BYE\n"
        if verb == b"WHO":
            return b"ERR not-in-room join it first\n"
        n, _, text = rest.partition(b" ")
        assert int(n) == len(session.texts) + 1, (n, len(session.texts))
        session.texts.append(text)
        previous = b"PREV %d %b\n" % (int(n) - 1, session.texts[-2]) if int(n) > 1 else b""
        return previous + b"ECHO %b %b\n" % (n, text)

    def _end(self, connection: socket.socket, fault: Fault, requests: Iterable[bytes]) -> None:
        connection.sendall(fault.says)
        if fault.silent:
            with contextlib.suppress(OSError):
                for _ in requests:
                    pass
        if fault.reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
