"""One client of the plain port, PROTOCOL §1: every line is answered by the last one and itself."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from echod.client.connection import Connection, grows
from echod.protocol.errors import STORE_FULL, Code
from echod.protocol.plain import answer

if TYPE_CHECKING:
    import _socket

    from echod.metrics import Metrics
    from echod.ports.port import Port
    from echod.store.keys import PlainSession


class PlainConnection(Connection):
    """See `Connection`.

    Attributes:
        session: its identity in the store; None where nothing is stored.
    """

    __slots__ = ("_last", "session")

    def __init__(
        self,
        port: Port,
        sock: _socket.socket,
        peer: str,
        session: PlainSession | None,
        metrics: Metrics,
    ) -> None:
        super().__init__(port, sock, peer, metrics)
        self.session = session
        self._last = b""

    def start(self, received: bytes) -> None:
        """See `Connection.start`; the store knows of it from now on."""
        if self.session is not None:
            self._port.committer.open(self, self.session)
        super().start(received)

    def _answer(self, lines: list[bytes]) -> int:
        """Reply to `lines` now or when the store has them, as the durability says."""
        port = self._port
        count = len(lines)
        if port.committer.tight and self.session and grows(lines, len(self._last)):
            self._refuse(Code.UNAVAILABLE, STORE_FULL)
            return 0
        reply, pair = answer(self._last, lines)
        self._last = lines[-1]
        self.metrics.lines_received += count
        session = self.session
        if session is None:
            self._reply(reply, count)
            return count
        session.seq += count
        committer = port.committer
        write = self.gathering or committer.open(self, session)
        cut = len(pair) - len(self._last)
        if port.defers and not self.inflight and committer.may_defer(count):
            committer.add_answered(write, count, pair, cut, port.clock.now_s)
            self._reply(reply, count)
        else:
            self.inflight += count
            self._held_bytes += len(reply)
            if not write.waiting:
                write.read_at = perf_counter()
                write.queued_at = port.clock.now_s
            committer.add(write, reply, count, pair, cut)
        return count

    def _last_words(self, tail: bytes) -> None:
        """It counts as a last line (§1.4)."""
        self._answer([tail])

    def _reply(self, reply: bytes, lines: int) -> None:
        """Answer lines that wait for nothing."""
        at_s = perf_counter()
        self._send(reply)
        self.metrics.replied(perf_counter() - at_s, lines)

    def _detach(self, reason: str) -> _socket.socket:
        """See `Connection`; the store forgets it too."""
        if self.session is not None:
            self._port.committer.forget(self.session)
        return super()._detach(reason)
