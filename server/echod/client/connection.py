"""One client: what is read, what is owed, what is unsent, how it ends.

    readable ─▶ lines ─▶ replies ─▶ held by the committer ─▶ acknowledged ─▶ sent ─▶ outbox
                                    (durability none: sent at once)

Nothing here waits: a connection is called when its socket can be read or written, when
the store has answered, and by the sweeper when it should look at its deadlines. So no
two greenlets ever use one socket (ADR 19), and a client costs its state and nothing
else. What lines mean is `plain.py`'s and `session.py`'s business;
the limits are the port's.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import gevent

from echod.client.lingering import linger, part, reset
from echod.config import RECEIVE_BYTES
from echod.limits.sources import UNCOUNTED
from echod.limits.unsent import Outbox
from echod.loop.reader import WRITE
from echod.protocol.errors import Code, error_line
from echod.protocol.wire import LF, split_lines

if TYPE_CHECKING:
    import _socket
    from collections.abc import Sequence

    from echod.metrics import Metrics
    from echod.ports.port import Port
    from echod.store.batch import Write

log = logging.getLogger(__name__)

# Why a connection ended, beside the codes of PROTOCOL §4.
CLIENT, RESET, LINE_TIMEOUT = "client", "reset", "line-timeout"


# A line of the article's, and what people type, is always taken.
SMALL_BYTES = 512
# ECHO and its number, on the session port.
VERB_BYTES = 32


def grows(lines: Sequence[bytes], last_bytes: int) -> bool:
    """Whether one of `lines` makes the state larger than the last line, of so many bytes, did.

    While the store is tight such a line is refused, and ends its connection only: the store
    holds two lines of each session, and would be filled by those that send longer ones.
    """
    return max(map(len, lines), default=0) > max(SMALL_BYTES, last_bytes + VERB_BYTES)


class Connection:
    """See the module. A port's own kind says what its lines mean.

    Attributes:
        gathering, gone: see `store.batch.Client`.
        inflight: lines read and not answered.
        source: the address it comes from, which may send so much a second.
        ending: why it is about to end, once what is owed is sent; "" if it is not.
    """

    __slots__ = (
        "_farewell",
        "_heard_s",
        "_held_bytes",
        "_line_s",
        "_outbox",
        "_paused",
        "_port",
        "_reader",
        "_socket",
        "_tail",
        "_unsent_s",
        "_writer",
        "closed",
        "ending",
        "gathering",
        "gone",
        "inflight",
        "metrics",
        "peer",
        "source",
    )

    def __init__(self, port: Port, sock: _socket.socket, peer: str, metrics: Metrics) -> None:
        """Take `sock`, which is non-blocking; what it does is counted in `metrics`."""
        self._port = port
        self.metrics = metrics
        self._socket = sock
        self.peer = peer
        self.source = UNCOUNTED
        self.gathering: Write | None = None
        self.gone = self.closed = False
        self.inflight = 0
        self.ending = ""
        self._tail = self._farewell = b""
        self._held_bytes = 0
        self._outbox: Outbox | None = None
        self._paused = False
        self._heard_s = self._line_s = self._unsent_s = port.clock.now_s
        self._writer: Any = None
        self._reader = port.reader(sock.fileno(), self.readable)

    def start(self, received: bytes) -> None:
        """Begin with the bytes that came behind a PROXY header."""
        self._reader.start()
        if received:
            self.metrics.received_bytes += len(received)
            self.source.left -= len(received)
            self._take(received)

    # Reading.

    def readable(self) -> None:
        """Receive once, and take what came; nothing while it is not its turn.

        That is while too much waits for the store, or its source has had its share.
        """
        port = self._port
        if self.source.left <= 0 or port.committer.sums.held_bytes >= port.pending_bytes_max:
            self._pause()
            return
        try:
            data = self._socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self.close(RESET)
            return
        if not data:
            self._end_of_input()
            return
        self.metrics.received_bytes += len(data)
        self.source.left -= len(data)
        self._heard_s = port.clock.now_s
        try:
            self._take_lines(self._tail + data if self._tail else data)
        except Exception:  # noqa: BLE001 — `broken` logs it; it ends this connection and no other
            self.broken()

    def _take(self, data: bytes) -> None:
        """As `_take_lines`; a bug in doing so ends this connection and no other."""
        try:
            self._take_lines(data)
        except Exception:  # noqa: BLE001 — `broken` logs it
            self.broken()

    def _take_lines(self, data: bytes) -> None:
        """Answer the whole lines of `data`, as many as may be in flight; keep the rest."""
        port = self._port
        while True:
            room = port.inflight_lines_max - self.inflight
            lines, rest, too_long = split_lines(data, room, port.line_bytes_max)
            if rest or self._tail:
                if rest and (lines or not self._tail):
                    self._line_s = port.clock.now_s
                self._keep(rest)
            if lines:
                taken = self._answer(lines)
                if self.closed or self.ending:
                    return
                if taken < len(lines):
                    self._keep(data[sum(map(len, lines[:taken])) :])
                    self._pause()
                    return
            if too_long:
                self._refuse(Code.LINE_TOO_LONG, f"over {port.line_bytes_max} bytes")
                return
            # With room left, `inflight` is below its limit: the rest of `_owes_enough`, inline
            # because this is on the way of every line.
            if (
                len(lines) < room
                and self._outbox is None
                and self._held_bytes < port.unsent_bytes_pause
            ):
                return
            if self._owes_enough() or port.committer.full():
                self._pause()
                return
            data = rest

    def _keep(self, tail: bytes) -> None:
        """`tail` is what was received and can't be answered yet."""
        self._port.unsent.keep(len(tail) - len(self._tail))
        self._tail = tail

    def _answer(self, lines: list[bytes]) -> int:
        """Answer `lines` now or when the store has them; how many of them were taken.

        Those that were not are read again when whatever stands against it is over, which
        `_owes_enough` must say.
        """
        raise NotImplementedError

    def _last_words(self, tail: bytes) -> None:
        """The client has closed its sending side after `tail`, which has no LF."""

    def _refuse(self, code: Code, text: str) -> None:
        """A line that ends the connection."""
        self.fail(code, text)

    def _end_of_input(self) -> None:
        """The client sends nothing more: answer what is complete, then close."""
        self._reader.stop()
        try:
            if self._tail:
                tail = self._tail
                self._keep(b"")
                self._last_words(tail)
            self.ending = self.ending or CLIENT
            self._settle()
        except Exception:  # noqa: BLE001 — as `_take`
            self.broken()

    def _owes_enough(self) -> bool:
        """Whether this client must take, or the store answer, before more is read of it."""
        return (
            self.inflight >= self._port.inflight_lines_max
            or self._held_bytes >= self._port.unsent_bytes_pause
            or self._outbox is not None
        )

    def _pause(self) -> None:
        """Read nothing more until `_resume` finds that nothing is against it."""
        self._paused = True
        self._reader.stop()
        self._resume()

    def _resume(self) -> None:
        """Read on, beginning with what was received and not taken, if nothing is against it.

        Called whenever something that was owed has been paid.
        """
        if not self._paused or self.gone or self.ending or self._owes_enough():
            return
        if self._port.committer.full():
            self._port.committer.hold_back(self._resume, self.unavailable)
            return
        if self.source.left <= 0 and not self._port.may_read(self):
            return
        self._paused = False
        # It could not be heard: its silence, and how long its line takes, count from now.
        self._heard_s = self._line_s = self._port.clock.now_s
        self._reader.start()
        if LF in self._tail:
            tail = self._tail
            self._keep(b"")
            self._take(tail)

    def read_on(self) -> None:
        """Its source may send again, and it is its turn (sources.Receiver)."""
        self._resume()
        if not (self._paused or self.ending or self.gone):
            self.readable()

    # What the committer says (store.batch.Client).

    def acknowledged(self, write: Write, now_s: float) -> None:
        """The store has these lines: send their replies."""
        if self.gone:
            return
        if lines := write.waiting:
            reply = write.reply
            self.inflight -= lines
            self._held_bytes -= len(reply)
            self.metrics.replied(now_s - write.read_at, lines)
            # It could not be expected to speak before it was answered.
            self._heard_s = self._port.clock.now_s
            self._send(reply)
        if self.ending or self._paused:
            self._settle()

    def unavailable(self) -> None:
        """The store did not answer in time: what is in flight has no known fate."""
        self.abandon(Code.UNAVAILABLE, "the store did not acknowledge in time")

    def broken(self) -> None:
        """A bug, found while this connection was served: log it, end no other."""
        log.exception("connection-failed peer=%s", self.peer)  # noqa: LOG004 — called in one
        self.abandon(Code.INTERNAL, "a bug of the server; it has been logged")

    def abandon(self, code: Code, text: str) -> None:
        """End with `ERR`; what is in flight will not be answered. The first reason counts."""
        if self.closed or (self.gone and self.ending):
            return
        self.gone = True
        self.ending = ""  # whatever it was: what is owed before it will not come
        self.fail(code, text)

    # Sending.

    def _send(self, data: bytes) -> None:
        """Send at once; what the kernel does not take waits in the outbox."""
        outbox = self._outbox
        if outbox is None:
            try:
                sent = self._socket.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.close(RESET)
                return
            self.metrics.sent_bytes += sent
            if sent == len(data):
                return
            self._unsent_s = self._port.clock.now_s
            outbox = self._outbox = Outbox(self._port.unsent)
            outbox.add(data)
            outbox.take(sent)
            self._writer = gevent.get_hub().loop.io(self._socket.fileno(), WRITE)
            self._writer.start(self._writable)
        else:
            outbox.add(data)
        if outbox.size > self._port.outbox_bytes_max:
            self.shed()

    def _writable(self) -> None:
        outbox = self._outbox
        if outbox is None or self.closed:
            return
        try:
            sent = self._socket.send(outbox.head())
        except BlockingIOError:
            return
        except OSError:
            self.close(RESET)
            return
        self.metrics.sent_bytes += sent
        self._unsent_s = self._port.clock.now_s
        outbox.take(sent)
        if not outbox.size:
            outbox.drop()
            self._outbox = None
            self._heard_s = self._unsent_s
            self._close_writer()
            self._settle()

    def _close_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    # Ending.

    def fail(self, code: Code, text: str, reason: str = "") -> None:
        """End with `ERR`, once every reply that is due before it has been sent.

        One that is about to end anyway ends as it was going to: a half-closed client's
        last reply may have no LF, and an `ERR` stands at the beginning of a line.
        `reason` is what the metrics call it, where that is more exact than the code.
        """
        if self.ending or self.closed:
            return
        self.ending = reason or code.value
        self._farewell = error_line(code, text)
        self._reader.stop()
        self._settle()

    def _settle(self) -> None:
        """Something owed has been paid: end, or read on, if nothing stands against it."""
        if self.closed or self._outbox is not None:
            return
        if not self.ending:
            self._resume()
        elif self.gone or not self.inflight:
            self._leave()

    def _leave(self) -> None:
        """Everything due has been sent: say why, and go."""
        if self._farewell:
            sock = self._detach(self.ending)
            linger(self._port, sock, self._farewell, self.peer)
        else:
            self.close(self.ending)

    def close(self, reason: str) -> None:
        """Close at once."""
        if not self.closed:
            part(self._detach(reason), self._port.send_s_max)

    def shed(self) -> None:
        """Close at once, and keep nothing for a client that does not take it (`slow-consumer`)."""
        if not self.closed:
            reset(self._detach(Code.SLOW_CONSUMER.value))

    def _detach(self, reason: str) -> _socket.socket:
        """Leave the port; whoever asked has the socket now."""
        self.closed = self.gone = True
        self._reader.close()
        self._close_writer()
        if self._paused:
            self._port.committer.let_go(self._resume)
        self._keep(b"")
        if self._outbox is not None:
            self._outbox.drop()
            self._outbox = None
        self.gathering = None  # it holds this connection, and replies that nobody will get
        self._port.left(self, reason)
        return self._socket

    # Deadlines.

    def sweep(self, now_s: float) -> None:
        """Called about once a second: end what has waited too long (ADR 15)."""
        port = self._port
        if self._outbox is not None:
            # The kernel says "writable" when a third of its buffer is free: a slow, steady
            # reader makes progress that only trying shows.
            self._writable()
            if self._outbox is not None and now_s - self._unsent_s > port.send_s_max:
                self.shed()
        elif self.inflight or self._paused or self.ending:
            return
        elif now_s - self._heard_s > port.idle_s_max:
            self.fail(Code.IDLE_TIMEOUT, f"nothing received for {port.idle_s_max:g} s")
        elif self._tail and now_s - self._line_s > port.line_s_max:
            text = f"a line not ended within {port.line_s_max:g} s"
            self.fail(Code.IDLE_TIMEOUT, text, LINE_TIMEOUT)

    def unsent_bytes(self) -> int:
        """What waits in the outbox."""
        return 0 if self._outbox is None else self._outbox.size

    def waiting_bytes(self) -> int:
        """See `unsent.Client`."""
        return self.unsent_bytes() + len(self._tail)
