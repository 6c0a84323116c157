"""A health check: the balancer's own connection, whose lines are echoed as the plain port's.

No store, no session, no limit that it shares with clients: it proves that this process
accepts, reads and answers (docs/adr/0004). What is no check, because it is silent, sends too
long a line or does not take its answer, is closed.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from echod.config import RECEIVE_BYTES
from echod.loop.guard import guarded
from echod.protocol.plain import answer
from echod.protocol.wire import split_lines

if TYPE_CHECKING:
    import _socket

    from echod.client.terms import Terms


class Check:
    """See the module; one of `Capacity.checks`."""

    __slots__ = ("_heard_at", "_last", "_reader", "_socket", "_tail", "_terms", "closed")

    def __init__(self, terms: Terms, sock: _socket.socket) -> None:
        self._terms = terms
        self._socket = sock
        self._last = self._tail = b""
        self._heard_at = terms.clock.now_s
        self._reader = terms.reader(sock.fileno(), self._readable)
        self.closed = False

    def start(self, received: bytes) -> None:
        """Begin with the bytes that came behind the PROXY header."""
        self._terms.metrics.health_checks += 1
        self._terms.capacity.checks.add(self)
        self._reader.start()
        if received:
            guarded(self._take, received)

    def _readable(self) -> None:
        try:
            data = self._socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            guarded(self._take, data)
            return
        if self._tail:
            guarded(self._answer, [self._tail])  # it counts as a last line, as a client's does
        self.close()

    def _take(self, data: bytes) -> None:
        terms = self._terms
        self._heard_at = terms.clock.now_s
        data = self._tail + data
        lines, self._tail, too_long = split_lines(data, len(data), terms.line_bytes_max)
        if too_long:
            self.close()
        elif lines:
            self._answer(lines)

    def _answer(self, lines: list[bytes]) -> None:
        reply, _ = answer(self._last, lines)
        self._last = lines[-1]
        sent = -1
        with contextlib.suppress(OSError):
            sent = self._socket.send(reply)
        if sent < len(reply):
            self.close()

    def sweep(self, now_s: float) -> None:
        """See `capacity.Guest`."""
        if now_s - self._heard_at > self._terms.idle_s_max:
            self.close()

    def close(self) -> None:
        """Close for good; harmless if closed."""
        if not self.closed:
            self.closed = True
            self._terms.capacity.checks.discard(self)
            self._reader.close()
            self._socket.close()
