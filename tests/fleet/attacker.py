"""One address that means no good: `attacker.py KIND PORT CONNECTIONS SECONDS`.

    connects   connects and resets, as fast as it goes
    writers    holds connections, and sends a byte of a line that never ends now and then
    readers    asks for long replies, and never takes one
    line       sends one line without an end, as fast as it goes
    lines      sends lines as fast as they are taken, and takes the replies

It comes from 127.0.0.2, keeps up to CONNECTIONS open, opens another for each that was
closed, and ends SECONDS after it has opened them all once, by resetting them all. It runs at the lowest priority: who
attacks brings a machine of his own, and this one's CPUs are to serve the honest. For the
same reason it opens no more than a few times of what it is allowed. stdout
gets the line `attacking` when it has opened all once, and at the end one of JSON: what it
came to. Standard library only.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import selectors
import socket
import struct
import sys
import time

SOURCE = "127.0.0.2"
ABORT = struct.pack("ii", 1, 0)

# Of the daemon's line_bytes_max: the longest that it takes, and the dearest.
LINE = b"x" * 8_000 + b"\n"
BLOCK = b"x" * 65_536
# How often a slow writer says something: sooner than it would be taken for idle.
BYTE_EVERY_S = 1.0
# Three times SOURCE_RATE_MAX as shipped; and, for who wants to be let in, less than that.
FLOOD_PER_S, CONNECTS_PER_S = 7_500, 1_500
TURNS_PER_S = 100
# At the lowest priority, on a machine that is busy with other things.
BEGIN_S_MAX = 120.0


class Attacker:
    """See the module."""

    def __init__(self, kind: str, port: int, connections: int) -> None:
        self.kind = kind
        self.port = port
        self.connections = connections
        self.selector = selectors.DefaultSelector()
        self.open: set[socket.socket] = set()
        self.counts = {"opened": 0, "refused": 0, "closed": 0, "most": 0, "sent_bytes": 0}
        self.byte_at_s = 0.0
        self.rate = FLOOD_PER_S if kind == "connects" else CONNECTS_PER_S
        self.events = selectors.EVENT_WRITE
        if kind in ("writers", "lines"):
            self.events |= selectors.EVENT_READ

    def run(self, seconds: float) -> None:
        """Attack for so long."""
        turn_s, begun = time.monotonic(), False
        until_s = turn_s + BEGIN_S_MAX
        while (now_s := time.monotonic()) < until_s:
            if now_s >= turn_s:
                turn_s = now_s + 1 / TURNS_PER_S
                for _ in range(min(self.rate // TURNS_PER_S, self.room())):
                    self._connect()
            if not begun and self.counts["opened"] >= self.connections:
                begun, until_s = True, now_s + seconds
                print("attacking", flush=True)  # noqa: T201 — what its starter waits for
            self.counts["most"] = max(self.counts["most"], len(self.open))
            if self.kind == "writers" and now_s >= self.byte_at_s:
                self.byte_at_s = now_s + BYTE_EVERY_S
                for sock in tuple(self.open):
                    self._send(sock, b"x")
            for key, events in self.selector.select(0.01):
                self._ready(key.data, events)
        for sock in tuple(self.open):
            self._drop(sock)

    def room(self) -> int:
        """How many more it may have open."""
        return self.connections - len(self.open)

    def _connect(self) -> None:
        sock = socket.socket()
        sock.settimeout(0)
        # What waits to be sent is this machine's memory too.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        if self.kind == "readers":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        # The kernel then chooses a port when it knows where to: 28,000 for each target.
        sock.setsockopt(socket.SOL_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
        sock.bind((SOURCE, 0))
        if sock.connect_ex(("127.0.0.1", self.port)) not in (0, errno.EINPROGRESS):
            sock.close()
            self.counts["refused"] += 1
            return
        self.counts["opened"] += 1
        self.open.add(sock)
        self.selector.register(sock, self.events, sock)

    def _ready(self, sock: socket.socket, events: int) -> None:
        if events & selectors.EVENT_READ:
            self._receive(sock)
        if events & selectors.EVENT_WRITE and sock in self.open:
            self._writable(sock)

    def _writable(self, sock: socket.socket) -> None:
        if self.kind == "connects":
            self._drop(sock)
        elif self.kind == "writers":
            self.selector.modify(sock, selectors.EVENT_READ, sock)
            self._send(sock, b"x")
        else:
            self._send(sock, BLOCK if self.kind == "line" else LINE)

    def _send(self, sock: socket.socket, data: bytes) -> None:
        try:
            self.counts["sent_bytes"] += sock.send(data)
        except BlockingIOError:
            pass
        except OSError:
            self._lose(sock)

    def _receive(self, sock: socket.socket) -> None:
        try:
            data = sock.recv(65_536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lose(sock)

    def _lose(self, sock: socket.socket) -> None:
        self.counts["closed"] += 1
        self._drop(sock)

    def _drop(self, sock: socket.socket) -> None:
        if sock in self.open:
            self.open.discard(sock)
            self.selector.unregister(sock)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
        sock.close()


if __name__ == "__main__":
    os.nice(19)
    kind, port, connections, seconds = sys.argv[1:]
    attacker = Attacker(kind, int(port), int(connections))
    attacker.run(float(seconds))
    print(json.dumps(attacker.counts))  # noqa: T201 — what its starter reads
