"""One client: what is read, what is owed, what is unsent, how it ends.

    readable ─▶ lines ─▶ replies ─▶ held by the committer ─▶ acknowledged ─▶ sent ─▶ outbox
                                    (durability none: sent at once)

Nothing here waits: a connection is called when its socket can be read or written, when
the store has answered, and by the sweeper when it should look at its deadlines. So no
two greenlets ever use one socket (ADR 19), and a client costs its state and nothing
else. What lines mean is its conversation's business, how it lives and ends is life.py's,
and what it needs of its port is handed in: its terms, and whom it tells that it has left.
"""

from __future__ import annotations

import logging
from time import perf_counter
from typing import TYPE_CHECKING, Any

import gevent

from echod.client.conversation import SILENCE
from echod.client.errand import Answer, Answers
from echod.client.life import (
    ABANDONED,
    CLOSED,
    DOUBTED,
    ENDING,
    HALF_CLOSED,
    PAUSED,
    READING,
    Event,
    after,
)
from echod.client.lingering import linger, part, reset, unacknowledged_bytes
from echod.config import RECEIVE_BYTES
from echod.limits.unsent import Outbox
from echod.loop.reader import WRITE
from echod.protocol.errors import Code, error_line
from echod.protocol.wire import LF, split_lines

if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable

    from echod.client.conversation import Conversation
    from echod.client.life import Life
    from echod.client.terms import Terms
    from echod.limits.sources import Source
    from echod.store.batch import Write

log = logging.getLogger(__name__)

# Why a connection ended, beside the codes of PROTOCOL §4.
CLIENT, RESET, LINE_TIMEOUT = "client", "reset", "line-timeout"


class Connection:
    """See the module.

    Attributes:
        life: its state.
        gathering, gone: see `store.batch.Client`; gone: from `DOUBTED` on.
        inflight: lines read and not answered.
        held_bytes: their replies, as far as they are known and wait for the store.
        shard: where its session lives, whose limits hold for it.
        source: the address it comes from, which may send so much a second.
        conversation: what lines mean.
    """

    __slots__ = (
        "_answers",
        "_farewell",
        "_heard_at",
        "_left",
        "_line_at",
        "_outbox",
        "_reader",
        "_reason",
        "_sent_at",
        "_socket",
        "_tail",
        "_unacknowledged",
        "_writer",
        "conversation",
        "gathering",
        "gone",
        "held_bytes",
        "inflight",
        "life",
        "peer",
        "shard",
        "source",
        "terms",
    )

    def __init__(
        self,
        terms: Terms,
        sock: _socket.socket,
        peer: str,
        source: Source,
        left: Callable[[Connection, str], None],
    ) -> None:
        """Take `sock`, which is non-blocking; `left` is told that it has ended, and why."""
        self.terms = terms
        self.peer = peer
        self.source = source
        self.shard = terms.committer.home
        self.conversation: Conversation = SILENCE
        self.life: Life = READING
        self.gone = False
        self.gathering: Write | None = None
        self.inflight = self.held_bytes = self._unacknowledged = 0
        self._left = left
        self._socket = sock
        self._tail = self._farewell = b""
        self._reason = CLIENT
        self._answers: Answers | None = None  # behind one that is not known yet, if there is one
        self._outbox: Outbox | None = None
        self._heard_at = self._line_at = self._sent_at = terms.clock.now_s
        self._writer: Any = None
        self._reader = terms.reader(sock.fileno(), self.readable)

    def start(self, conversation: Conversation, received: bytes) -> None:
        """Begin `conversation` with the bytes that came behind a PROXY header."""
        self.conversation = conversation
        conversation.begin()
        self._reader.start()
        if received:
            self.terms.metrics.received_bytes += len(received)
            self.source.left -= len(received)
            self._take(received)

    def _go(self, event: Event) -> bool:
        """The one place where `life` changes; whether it did."""
        before = self.life
        self.life = life = after(before, event)
        self.gone = life >= DOUBTED
        return life is not before

    # Reading.

    def readable(self) -> None:
        """Receive once, and take what came; nothing while it is not its turn.

        That is while too much waits for the store, or its source has had its share.
        """
        terms, source, shard = self.terms, self.source, self.shard
        if source.left <= 0 or shard.sums.held_bytes >= shard.held_bytes_max:
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
        size = len(data)
        terms.metrics.received_bytes += size
        source.left -= size
        self._heard_at = terms.clock.now_s
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
        terms = self.terms
        while True:
            room = terms.inflight_lines_max - self.inflight
            if data.find(LF) == len(data) - 1 and 0 < len(data) <= terms.line_bytes_max:
                lines, rest, too_long = [data], b"", False  # whole and alone, as most come
            else:
                lines, rest, too_long = split_lines(data, room, terms.line_bytes_max)
            if rest or self._tail:
                self._begin_line(rest, ended=bool(lines))
            if lines:
                taken = self.conversation.answer(lines)
                if self.life >= HALF_CLOSED:
                    return
                if taken < len(lines):
                    self._keep(data[sum(map(len, lines[:taken])) :])
                    self._pause()
                    return
            if too_long:
                self.conversation.refuse(Code.LINE_TOO_LONG, f"over {terms.line_bytes_max} bytes")
                return
            # With room left, `inflight` is below its limit: the rest of `_owes_enough`, inline
            # because this is on the way of every line.
            if (
                len(lines) < room
                and self._outbox is None
                and self.held_bytes < terms.unsent_bytes_pause
            ):
                return
            if self._owes_enough() or self.shard.full():
                self._pause()
                return
            data = rest

    def _begin_line(self, rest: bytes, *, ended: bool) -> None:
        """`rest` is behind the last whole line; with `ended` it is none that was begun before."""
        if rest and (ended or not self._tail):
            self._line_at = self.terms.clock.now_s
        self._keep(rest)

    def _keep(self, tail: bytes) -> None:
        """`tail` is what was received and can't be answered yet."""
        self.terms.unsent.keep(len(tail) - len(self._tail))
        self._tail = tail

    def _end_of_input(self) -> None:
        """The client sends nothing more: answer what is complete, then close."""
        self._reader.stop()
        try:
            if self._tail:
                tail = self._tail
                self._keep(b"")
                self.conversation.last_words(tail)
            self._go(Event.HALF_CLOSE)
            self._settle()
        except Exception:  # noqa: BLE001 — as `_take`
            self.broken()

    def _owes_enough(self) -> bool:
        """Whether this client must take, or the store answer, before more is read of it."""
        return (
            self.inflight >= self.terms.inflight_lines_max
            or self.held_bytes >= self.terms.unsent_bytes_pause
            or self._outbox is not None
        )

    def _pause(self) -> None:
        """Read nothing more until `_resume` finds that nothing is against it."""
        self._go(Event.PAUSE)
        self._reader.stop()
        self._resume()

    def _resume(self) -> None:
        """Read on, beginning with what was received and not taken, if nothing is against it.

        Called whenever something that was owed has been paid.
        """
        if self.life is not PAUSED or self._owes_enough():
            return
        terms = self.terms
        if self.shard.full():
            self.shard.hold_back(self._resume, self.unavailable)
            return
        now_s = terms.clock.now_s
        if self.source.left <= 0 and not terms.sources.may_read(self.source, self, now_s):
            return
        self._go(Event.RESUME)
        # It could not be heard: its silence, and how long its line takes, count from now.
        self._heard_at = self._line_at = now_s
        self._reader.start()
        if LF in self._tail:
            tail = self._tail
            self._keep(b"")
            self._take(tail)

    def read_on(self) -> None:
        """Its source may send again, and it is its turn (sources.Receiver)."""
        self._resume()
        if self.life is READING:
            self.readable()

    def suspend(self) -> None:
        """Take nothing more before the line that was taken last is answered."""
        self._go(Event.SUSPEND)

    def go_on(self) -> None:
        """It is answered, or about to be: `_settle` follows, and takes what came behind it."""
        if self._go(Event.GO_ON):
            self._reader.stop()

    # What the committer says (store.batch.Client).

    def acknowledged(self, write: Write, now_s: float) -> None:
        """The store has these lines: send their replies."""
        if self.gone:
            return
        if write.refused:
            # Nothing more of it may be sent, or answered, while this is looked into.
            self._go(Event.DOUBT)
            self._reader.stop()
            self.conversation.refused(write)
            return
        if lines := write.waiting:
            if write.then is None:
                reply = write.reply
                self.held_bytes -= len(reply)
            else:
                made = write.then(write)
                if made is None or self.gone:
                    return
                reply = made
            if self._answers is not None:
                self.held_bytes += len(reply)
                self._answers.put(Answer(reply, lines, write.read_at))
                return
            self._answer(reply, lines, now_s - write.read_at)
        if self.life is not READING:
            self._settle()

    def _answer(self, reply: bytes, lines: int, seconds: float) -> None:
        """So many lines have their reply, so long after the first was read."""
        self.inflight -= lines
        terms = self.terms
        terms.metrics.replied(seconds, lines)
        # It could not be expected to speak before it was answered.
        self._heard_at = terms.clock.now_s
        self.send(reply)

    # What an errand says (errand.Asker).

    def await_answer(self, answer: Answer) -> None:
        """See `errand.Asker`."""
        if self._answers is None:
            self._answers = Answers(self.shard.sums)
        self._answers.put(answer)

    def answered(self, answer: Answer, reply: bytes) -> None:
        """See `errand.Asker`; what stands behind it is sent as far as it is known."""
        answers = self._answers
        if self.gone or answers is None:
            return
        self.held_bytes += len(reply)
        answers.make(answer, reply)
        now_s = perf_counter()
        for known, each in answers.known():
            self.held_bytes -= len(known)
            self._answer(known, each.lines, now_s - each.read_at)
            if self.gone:
                return
        if not answers:
            self._answers = None
        if self.life is not READING:
            self._settle()

    def unavailable(self) -> None:
        """The store did not answer in time: what is in flight has no known fate."""
        self.abandon(Code.UNAVAILABLE, "the store did not acknowledge in time")

    def broken(self) -> None:
        """A bug, found while this connection was served: log it, end no other."""
        log.exception("connection-failed peer=%s", self.peer)  # noqa: LOG004 — called in one
        self.abandon(Code.INTERNAL, "a bug of the server; it has been logged")

    # Sending.

    def send(self, data: bytes) -> None:
        """Send at once; what the kernel does not take waits in the outbox."""
        outbox, terms = self._outbox, self.terms
        if outbox is None:
            try:
                sent = self._socket.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.close(RESET)
                return
            terms.metrics.sent_bytes += sent
            if sent == len(data):
                return
            self._sent_at = terms.clock.now_s
            outbox = self._outbox = Outbox(terms.unsent)
            outbox.add(data)
            outbox.take(sent)
            self._writer = gevent.get_hub().loop.io(self._socket.fileno(), WRITE)
            self._writer.start(self._writable)
        else:
            outbox.add(data)
        if outbox.size > terms.outbox_bytes_max:
            self.shed()

    def push(self, data: bytes) -> None:
        """Send whole lines, unasked."""
        if self.life < ENDING:
            try:
                self.send(data)
            except Exception:  # noqa: BLE001 — `broken` logs it; other members get theirs
                self.broken()

    def _writable(self) -> None:
        outbox = self._outbox
        if outbox is None or self.life is CLOSED:
            return
        try:
            sent = self._socket.send(outbox.head())
        except BlockingIOError:
            return
        except OSError:
            self.close(RESET)
            return
        self.terms.metrics.sent_bytes += sent
        self._sent_at = self.terms.clock.now_s
        outbox.take(sent)
        if not outbox.size:
            outbox.drop()
            self._outbox = None
            self._heard_at = self._sent_at
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
        self.end(error_line(code, text), reason or code.value)

    def end(self, farewell: bytes, reason: str) -> None:
        """As `fail`, with any last line."""
        if self._go(Event.END):
            self._leave_with(farewell, reason)

    def abandon(self, code: Code, text: str) -> None:
        """End with `ERR`; what is in flight will not be answered. The first reason counts."""
        if self._go(Event.ABANDON):
            self._leave_with(error_line(code, text), code.value)

    def _leave_with(self, farewell: bytes, reason: str) -> None:
        self._farewell, self._reason = farewell, reason
        self._reader.stop()
        self._settle()

    def _settle(self) -> None:
        """Something owed has been paid: end, or read on, if nothing stands against it."""
        life = self.life
        if self._outbox is None:
            if life < HALF_CLOSED:
                self._resume()
            elif life is ABANDONED or (life < DOUBTED and not self.inflight):
                self._leave()
        if not self.gone:
            self.conversation.settled()

    def _leave(self) -> None:
        """Everything due has been sent: say why, and go."""
        if self._farewell:
            sock = self._detach(self._reason)
            linger(self.terms, sock, self._farewell, self.peer)
        else:
            self.close(self._reason)

    def close(self, reason: str) -> None:
        """Close at once."""
        if self.life is not CLOSED:
            part(self.terms, self._detach(reason))

    def shed(self) -> None:
        """Close at once, and keep nothing for a client that does not take it (`slow-consumer`)."""
        if self.life is not CLOSED:
            reset(self._detach(Code.SLOW_CONSUMER.value))

    def _detach(self, reason: str) -> _socket.socket:
        """Leave the port; whoever asked has the socket now."""
        self._go(Event.CLOSE)
        conversation, self.conversation = self.conversation, SILENCE  # which holds this one
        conversation.ended()
        self._reader.close()
        self._close_writer()
        self.shard.let_go(self._resume)
        self._keep(b"")
        if self._outbox is not None:
            self._outbox.drop()
            self._outbox = None
        if self._answers is not None:
            self._answers.drop()
            self._answers = None
        self.gathering = None  # it holds this connection, and replies that nobody will get
        self._left(self, reason)
        return self._socket

    # Deadlines.

    def sweep(self, now_s: float) -> None:
        """Called about once a second: end what has waited too long (ADR 15)."""
        if self._outbox is not None:
            # The kernel says "writable" when a third of its buffer is free: a slow, steady
            # reader makes progress that only trying shows, or what is unacknowledged.
            self._writable()
            if self._outbox is not None:
                self._look_at_progress(now_s)
        elif self.life is READING and not self.inflight:
            self._look_at_silence(now_s)
        if self.life < HALF_CLOSED:
            self.conversation.sweep(now_s)

    def _look_at_progress(self, now_s: float) -> None:
        unacknowledged = unacknowledged_bytes(self._socket)
        if unacknowledged != self._unacknowledged:
            self._unacknowledged = unacknowledged
            self._sent_at = now_s
        elif now_s - self._sent_at > self.terms.send_s_max:
            self.shed()

    def _look_at_silence(self, now_s: float) -> None:
        terms = self.terms
        if now_s - self._heard_at > terms.idle_s_max:
            self.fail(Code.IDLE_TIMEOUT, f"nothing received for {terms.idle_s_max:g} s")
        elif self._tail and now_s - self._line_at > terms.line_s_max:
            text = f"a line not ended within {terms.line_s_max:g} s"
            self.fail(Code.IDLE_TIMEOUT, text, LINE_TIMEOUT)

    @property
    def unread(self) -> bool:
        """Whether its client says what it wants, and is not heard."""
        return self.life is not READING or self._outbox is not None

    def unsent_bytes(self) -> int:
        """What waits in the outbox."""
        return 0 if self._outbox is None else self._outbox.size

    def waiting_bytes(self) -> int:
        """See `unsent.Client`."""
        return self.unsent_bytes() + len(self._tail)
