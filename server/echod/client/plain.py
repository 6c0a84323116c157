"""The plain port's conversation, PROTOCOL §1: every line is answered by the last one and itself."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from echod.client.conversation import Conversation
from echod.client.growth import grows
from echod.protocol.errors import STORE_FULL, Code
from echod.protocol.plain import answer

if TYPE_CHECKING:
    from echod.client.connection import Connection
    from echod.store.keys import PlainSession


class PlainConversation(Conversation):
    """See `Conversation`, of all methods."""

    __slots__ = ("_connection", "_defers", "_last", "_session")

    def __init__(
        self, connection: Connection, session: PlainSession | None, *, defers: bool
    ) -> None:
        """`session` is its identity in the store, None where nothing is stored.

        `defers`: lines may be answered before they are stored (durability async).
        """
        self._connection = connection
        self._session = session
        self._defers = defers
        self._last = b""

    def begin(self) -> None:
        """The store knows of it from now on."""
        if self._session is not None:
            committer = self._connection.terms.committer
            self._connection.shard = committer.routes[self._session.slot]
            committer.open(self._connection, self._session)

    def answer(self, lines: list[bytes]) -> int:
        """Reply to `lines` now or when the store has them, as the durability says."""
        connection = self._connection
        terms = connection.terms
        session = self._session
        count = len(lines)
        committer = terms.committer
        shard = connection.shard if session is None else committer.routes[session.slot]
        if shard.tight and session is not None and grows(lines, len(self._last)):
            self.refuse(Code.UNAVAILABLE, STORE_FULL)
            return 0
        reply, pair = answer(self._last, lines)
        self._last = lines[-1]
        terms.metrics.lines_received += count
        if session is None:
            self._reply(reply, count)
            return count
        session.seq += count
        write = connection.gathering or committer.open(connection, session)
        cut = len(pair) - len(self._last)
        if self._defers and not connection.inflight and committer.may_defer(count):
            shard.add_answered(write, count, pair, cut, terms.clock.now_s)
            self._reply(reply, count)
        else:
            connection.inflight += count
            connection.held_bytes += len(reply)
            if not write.waiting:
                write.read_at = perf_counter()
                write.queued_at = terms.clock.now_s
            shard.add(write, reply, count, pair, cut)
        return count

    def _reply(self, reply: bytes, lines: int) -> None:
        """Answer lines that wait for nothing."""
        started_at = perf_counter()
        self._connection.send(reply)
        self._connection.terms.metrics.replied(perf_counter() - started_at, lines)

    def last_words(self, tail: bytes) -> None:
        """It counts as a last line (§1.4)."""
        self.answer([tail])

    def refuse(self, code: Code, text: str) -> None:
        """See `Conversation`."""
        self._connection.fail(code, text)

    def ended(self) -> None:
        """The store forgets it."""
        if self._session is not None:
            self._connection.terms.committer.free(self._session)
