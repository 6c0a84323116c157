"""A line that concerns another key than its session's: two shards are asked at once (ADR 22).

    line ─┬─ operation ──▶ the other key's shard ──▶ outcome ─┐
          └─ KEEP ───────▶ the session's shard ───▶ owner ────┴─▶ reply, in the line's place

The session's shard says whether the session is still this owner's: without its word nothing is
answered (PROTOCOL §2.3). Either may come first. Replies to later lines wait behind this one's.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from echod.store.batch import Client
from echod.store.operations import KEEP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from echod.store.batch import Sums, Write
    from echod.store.committer import Committer
    from echod.store.keys import Session
    from echod.store.operations import Operation


@dataclass(slots=True)
class Answer:
    """A reply in its place among the others; None until it is known.

    Attributes:
        lines: so many lines are answered by it.
        read_at: when the first of them was read.
    """

    reply: bytes | None
    lines: int
    read_at: float


class Answers:
    """A connection's replies from the first that is not known yet on, in the order of the lines."""

    __slots__ = ("_queue", "_sums")

    def __init__(self, sums: Sums) -> None:
        """What they hold counts in `sums`, with what waits for the store."""
        self._queue: deque[Answer] = deque()
        self._sums = sums

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, answer: Answer) -> None:
        """Behind the others."""
        self._queue.append(answer)
        self._sums.held_bytes += len(answer.reply or b"")

    def make(self, answer: Answer, reply: bytes) -> None:
        """It is known."""
        answer.reply = reply
        self._sums.held_bytes += len(reply)

    def known(self) -> Iterator[tuple[bytes, Answer]]:
        """Those that can be sent; each is taken out."""
        while self._queue and self._queue[0].reply is not None:
            answer = self._queue.popleft()
            reply = answer.reply or b""
            self._sums.held_bytes -= len(reply)
            yield reply, answer

    def drop(self) -> None:
        """The connection has ended."""
        self._sums.held_bytes -= sum(len(answer.reply or b"") for answer in self._queue)
        self._queue.clear()


class Asker(Client, Protocol):
    """What an errand needs of its connection."""

    def await_answer(self, answer: Answer) -> None:
        """The line's reply is not known yet: what comes later stands behind it."""

    def answered(self, answer: Answer, reply: bytes) -> None:
        """Now it is."""


class Errand:
    """See the module; a client of the committer for the operation, as the connection is for KEEP."""

    __slots__ = ("_answer", "_asker", "_heard", "_then", "_waits", "_write", "gathering")

    def __init__(
        self,
        asker: Asker,
        committer: Committer,
        session: Session,
        operation: Operation,
        then: Callable[[Write | None, Callable[[bytes], None]], None],
    ) -> None:
        """Ask both; `then` gets the operation's write and what sends the reply, now or later.

        The write is None if the operation was not acknowledged within the time that a line
        may take.
        """
        self.gathering: Write | None = None
        self._asker = asker
        self._then = then
        self._heard = self._waits = False
        self._write: Write | None = None
        self._answer: Answer | None = None
        # Where one shard has both, it carries out the operation first: then it is heard first,
        # and nothing has to wait.
        committer.submit(self, session, operation)
        committer.submit(asker, session, KEEP, self._confirmed)

    @property
    def gone(self) -> bool:
        """See `store.batch.Client`: the line is not answered any more."""
        return self._heard or self._asker.gone

    def acknowledged(self, write: Write, now_s: float) -> None:
        """See `store.batch.Client`."""
        del now_s
        self._hear(write)

    def unavailable(self) -> None:
        """See `store.batch.Client`."""
        if not self._heard:
            self._hear(None)

    def broken(self) -> None:
        """See `store.batch.Client`."""
        self._heard = True
        self._asker.broken()

    def _hear(self, write: Write | None) -> None:
        self._heard, self._write = True, write
        if self._answer is not None and not self._asker.gone:
            self._then(write, self._reply)

    def _confirmed(self, write: Write) -> bytes | None:
        """The session is this owner's."""
        self._answer = answer = Answer(None, write.waiting, write.read_at)
        if self._heard:
            self._then(self._write, self._reply)
            if answer.reply is not None:
                return answer.reply
        self._waits = True
        self._asker.await_answer(answer)
        return None

    def _reply(self, reply: bytes) -> None:
        if self._answer is None:
            raise ValueError("a reply before the owner is confirmed")
        if self._waits:
            self._asker.answered(self._answer, reply)
        else:
            self._answer.reply = reply
