"""Clients that do as they should, and how they fare: each line's latency, each failure.

As the article's: a connection, ten lines, and again. A line is due every `INTERVAL_S` and
its time counts from when it was due, so that what waits behind a slow reply counts too.
"""

from __future__ import annotations

import selectors
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.daemon import raw

if TYPE_CHECKING:
    import socket

CLIENTS = 20
INTERVAL_S = 0.05
LINES = 10
REPLY_S_MAX = 5.0


@dataclass
class Fared:
    """What the clients saw."""

    latencies_s: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def p99_ms(self) -> float:
        """The latency that one in a hundred lines exceeded."""
        ordered = sorted(self.latencies_s)
        return 1000 * ordered[int(len(ordered) * 0.99)]


class Client:
    """One of them."""

    def __init__(self, port: int, due_s: float) -> None:
        self._port = port
        self.due_s = due_s
        self.sock: socket.socket | None = None
        self._number = 0
        self._owed = self._previous = b""

    def send(self) -> socket.socket:
        """Send the line that is due, on a new connection if ten were sent on the last."""
        if self.sock is None:
            self.sock = raw.connect(self._port, REPLY_S_MAX)
            self._number, self._previous = 0, b""
        line = b"honest line %d\n" % self._number
        self._number += 1
        self._owed, self._previous = self._previous + line, line
        self.sock.sendall(line)
        return self.sock

    def receive(self) -> bool:
        """Take what came; whether the reply is whole, and right.

        Raises:
            OSError, ValueError: It is not what is owed, or the connection broke.
        """
        assert self.sock is not None
        data = self.sock.recv(65_536)
        if not data or not self._owed.startswith(data):
            raise ValueError(f"{data[:100]!r} instead of {self._owed[:100]!r}")
        self._owed = self._owed[len(data) :]
        return not self._owed

    def rest(self) -> None:
        """The reply has come: the next line is due an interval after this one was."""
        self.due_s = max(self.due_s + INTERVAL_S, time.monotonic() - INTERVAL_S)
        if self._number == LINES:
            self.leave()

    def leave(self) -> None:
        """Close."""
        if self.sock is not None:
            self.sock.close()
            self.sock = None


class Crowd:
    """`CLIENTS` of them, each at its own moment."""

    def __init__(self, port: int) -> None:
        self.seen = Fared()
        now_s = time.monotonic()
        self._resting = [Client(port, now_s + n * INTERVAL_S / CLIENTS) for n in range(CLIENTS)]
        self._selector = selectors.DefaultSelector()

    def run(self, seconds: float) -> None:
        """Speak for so long."""
        until_s = time.monotonic() + seconds
        while (now_s := time.monotonic()) < until_s:
            for client in [each for each in self._resting if each.due_s <= now_s]:
                self._resting.remove(client)
                self._send(client)
            for key, _ in self._selector.select(0.001):
                self._receive(key.data)
        for key in tuple(self._selector.get_map().values()):
            if until_s - key.data.due_s > REPLY_S_MAX:
                self.seen.failures.append("no reply")
            key.data.leave()
        for client in self._resting:
            client.leave()
        self._selector.close()

    def _send(self, client: Client) -> None:
        try:
            sock = client.send()
        except OSError as error:
            self._failed(client, error)
        else:
            self._selector.register(sock, selectors.EVENT_READ, client)

    def _receive(self, client: Client) -> None:
        assert client.sock is not None
        sock = client.sock
        try:
            if not client.receive():
                return
        except (OSError, ValueError) as error:
            self._selector.unregister(sock)
            self._failed(client, error)
            return
        self._selector.unregister(sock)
        self.seen.latencies_s.append(time.monotonic() - client.due_s)
        client.rest()
        self._resting.append(client)

    def _failed(self, client: Client, error: Exception) -> None:
        self.seen.failures.append(repr(error))
        client.leave()
        client.rest()
        self._resting.append(client)


def fare(port: int, seconds: float) -> Fared:
    """How they fare in so long a time."""
    crowd = Crowd(port)
    crowd.run(seconds)
    return crowd.seen
