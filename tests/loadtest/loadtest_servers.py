"""Servers for the load's tests: one that is right, and some that are wrong in one way.

Real sockets, a thread a connection. Each behaviour is a function of the connection
that returns when it is done with it; the connection is closed then.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import TYPE_CHECKING, Self

from tests.loadtest import black_hole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Behaviour = Callable[[socket.socket], None]

# A thread that a test forgot ends with the test's process; one that hangs is not waited
# for longer than this.
JOIN_S_MAX = 5.0


def lines_of(connection: socket.socket) -> Iterator[bytes]:
    """The client's lines, with their LF, until it has shut its sending side."""
    rest = b""
    while data := connection.recv(65_536):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield line + b"\n"
    if rest:
        yield rest


def replies_to(connection: socket.socket) -> Iterator[bytes]:
    """The right replies to the client's lines."""
    previous = b""
    for line in lines_of(connection):
        yield previous + line
        previous = line


def right(connection: socket.socket) -> None:
    """PROTOCOL §1."""
    for reply in replies_to(connection):
        connection.sendall(reply)


def byte_by_byte(connection: socket.socket) -> None:
    """As `right`, each byte in a segment of its own."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for reply in replies_to(connection):
        for byte in reply:
            connection.sendall(bytes([byte]))


def current_line_only(connection: socket.socket) -> None:
    """What two of the article's servers do: the previous line is missing."""
    for line in lines_of(connection):
        connection.sendall(line)


def one_reply_too_many(connection: socket.socket) -> None:
    """Right until the client has nothing more to say, then the last reply once more."""
    reply = b""
    for reply in replies_to(connection):
        connection.sendall(reply)
    connection.sendall(reply)


def closes_within_a_reply(connection: socket.socket) -> None:
    """The first line's reply without its last byte, then the end."""
    reply = next(replies_to(connection))
    connection.sendall(reply[:-1])


def resets(connection: socket.socket) -> None:
    """A reset in place of the first reply."""
    next(lines_of(connection))
    linger_0_s = struct.pack("ii", 1, 0)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_0_s)


def silent(connection: socket.socket) -> None:
    """Reads, says nothing, until the client goes."""
    for _ in lines_of(connection):
        pass


def half_a_reply(connection: socket.socket) -> None:
    """The first line's reply without its last byte, then nothing, until the client goes."""
    lines = lines_of(connection)
    connection.sendall(next(lines)[:-1])
    for _ in lines:
        pass


def busy(connection: socket.socket) -> None:
    """Refuses at once, whether or not a line has come, and closes with it unread."""
    connection.sendall(b"ERR busy 10000 clients are connected\n")


class Server:
    """A listening socket on loopback whose every connection gets `behaviour`."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host, self.port = self._listener.getsockname()
        self.accepted = 0
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return self.host, self.port

    @property
    def url(self) -> str:
        """As Locust's --host takes it."""
        return f"tcp://{self.host}:{self.port}"

    @property
    def connected(self) -> int:
        """Connections that neither side has ended."""
        with self._lock:
            return len(self._open)

    def vanish(self) -> None:
        """As a machine without power: nothing arrives, nobody is told (black_hole.py)."""
        with self._lock:
            for connection in [self._listener, *self._open]:
                black_hole.vanish(connection)

    def come_back(self) -> None:
        """Others may connect again; who was connected still gets no answer."""
        black_hole.come_back(self._listener)

    def narrow(self, receive_bytes: int) -> None:
        """Connections from now on have so small a receive buffer."""
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            for connection in [self._listener, *self._open]:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(JOIN_S_MAX)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listener was shut
            while True:
                connection, _ = self._listener.accept()
                self.accepted += 1
                with self._lock:
                    self._open.add(connection)
                thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            self._behaviour(connection)
        with self._lock:
            self._open.discard(connection)
