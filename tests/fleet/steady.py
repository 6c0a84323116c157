"""Clients that go on and on: who cuts them, with which words, and for how long nobody serves them.

Each sends a line when the last one has been answered and a moment has passed, stays
connected, and reconnects at once when it is cut. A thread of its own, so that the test can
break things meanwhile.
"""

from __future__ import annotations

import contextlib
import selectors
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Self

from lab.wait import until
from tests.daemon import raw

if TYPE_CHECKING:
    import socket

PAUSE_S = 0.02
# To connect, and for a reply: beyond it the client gives up, which is an end too.
PATIENCE_S = 15.0
ALL_SERVED_S_MAX = 60.0


class Client:
    """One of them."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.sock: socket.socket | None = None
        # When a line is due, when the last was answered, and when that one was sent.
        self.due_s = self.answered_s = time.monotonic()
        self.served_s = 0.0
        self.waits = False
        self._sent_s = 0.0
        self._number = 0
        self._owed = self._previous = b""

    def send(self) -> socket.socket:
        """The next line, on a new connection if there is none."""
        if self.sock is None:
            self.sock = raw.connect(self._port, PATIENCE_S)
            self._previous = b""
        self._number += 1
        line = b"steady %d\n" % self._number
        self._owed, self._previous = self._previous + line, line
        self.waits = True
        self._sent_s = time.monotonic()
        self.sock.sendall(line)
        return self.sock

    def receive(self) -> str:
        """Take what came: how the connection ended, "" if it did not."""
        assert self.sock is not None
        try:
            data = self.sock.recv(65_536)
        except OSError:
            return "cut"
        if not data:
            return "cut"
        reply, error, words = data.partition(b"ERR ")  # they may come together
        assert self._owed.startswith(reply), (data, self._owed)
        self._owed = self._owed[len(reply) :]
        if reply and not self._owed:
            self.waits, self.served_s = False, self._sent_s
            self.answered_s = time.monotonic()
            self.due_s = self.answered_s + PAUSE_S
        return words.split()[0].decode() if error else ""


class Steady:
    """`size` of them, while its `with` block is open; each has had an answer when it opens.

    Attributes:
        ends: how connections ended: the codes of `ERR`, `cut`, `refused` (no connection).
        longest_s: the longest time for which a client had no answer, since it opened.
    """

    def __init__(self, port: int, size: int) -> None:
        self.ends: Counter[str] = Counter()
        self.longest_s = 0.0
        self._clients = [Client(port) for _ in range(size)]
        self._opened, self._done = threading.Event(), threading.Event()
        self._selector = selectors.DefaultSelector()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        until(lambda: self.all_served_since(0), ALL_SERVED_S_MAX, "all to be served")
        self._opened.set()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        for client in self._clients:
            if client.sock:
                client.sock.close()
        self._selector.close()

    def all_served_since(self, moment_s: float) -> bool:
        """Whether each has been answered a line that it sent after that moment."""
        return all(client.served_s > moment_s for client in self._clients)

    def _run(self) -> None:
        while not self._done.is_set():
            now_s = time.monotonic()
            for client in self._clients:
                if self._opened.is_set():
                    self.longest_s = max(self.longest_s, now_s - client.answered_s)
                if not client.waits and client.due_s <= now_s:
                    self._send(client)
            for key, _ in self._selector.select(PAUSE_S / 4):
                if end := key.data.receive():
                    self._ended(key.data, end)

    def _send(self, client: Client) -> None:
        begun = client.sock is None
        try:
            sock = client.send()
        except OSError:
            self._ended(client, "refused" if begun else "cut")
        else:
            if begun:
                self._selector.register(sock, selectors.EVENT_READ, client)

    def _ended(self, client: Client, end: str) -> None:
        self.ends[end] += 1
        if client.sock is not None:
            with contextlib.suppress(KeyError):
                self._selector.unregister(client.sock)
            client.sock.close()
        client.sock, client.waits = None, False
