"""Group commit: which writes share the next round trip to the store.

    connection ──open, add──▶ pending ──take──▶ flying ──commit──▶ store
         ▲───────── replies leave when their batch is acknowledged ────────┘

Greedy: while one batch is on its way the next one gathers, and leaves as soon as the
answer is there. No timer: at low load a batch is one line (ADR 3, docs/adr/0003).
Lines of one connection that wait together collapse into one write of their last state.

No socket, greenlet or clock: callers pass times. `committer.py` drives this under
gevent, the tests drive it by hand.

Invariants (tests/unit/test_batch.py holds them for random schedules):
  order   writes leave in the order in which they were opened, a broken batch first;
  once    the replies of a client that stays are handed out once each, in order;
  bound   `Sums` are those over what is pending and flying, so whoever adds can stop at a
          limit: nothing is dropped in here but the writes of clients that have gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from echod.store.operations import END, only_frees, size

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence

    from echod.store.keys import Session
    from echod.store.operations import Operation


# Of a line that asks the store for something: the objects that are made of it, for two shards
# and of WHO for three questions (tests/unit/test_asked_bytes.py).
ASKED_BYTES = 1_600


class Client(Protocol):
    """Who adds lines and hears of their end: a connection, or a test."""

    gathering: Write | None  # the write of this client that has not left yet

    @property
    def gone(self) -> bool:
        """Nobody waits for it any more: what has not left must not."""

    def acknowledged(self, write: Write, now_s: float) -> None:
        """The store has it, or refuses it: see `Write`. `now_s` is on the clock of `Write.read_at`."""

    def unavailable(self) -> None:
        """The store did not acknowledge in time: answer so, and be gone."""

    def broken(self) -> None:
        """`acknowledged` raised, which is a bug: log it and be gone. In an `except`."""


class Write:
    """One connection's share of one batch.

    Attributes:
        seq, cut, pair: the state after its last line (`session.encode_state`).
        reply: the replies that wait for it, joined; b"" if none does.
        waiting: lines that `reply` answers.
        weight: bytes that it holds beside `reply`, where a line asked for an operation.
        asked: its client waits for it, whether a line does or not.
        answered: lines that were answered already (durability async), since `answered_at`.
        read_at: when the first waiting line was read, for the histogram of reply times.
        queued_at: the same on the daemon's clock, for the deadline.
        operation: what is asked of the store instead of the state's replacement.
        result: what the store said to it, if it says more than that it is done.
        then: makes the reply of what the store has said; None if it comes later.
        refused: the store has no such state: the session is another's, or no more
            (ADR 2). Never of a plain connection's, which is written anew.
    """

    __slots__ = (
        "answered",
        "answered_at",
        "asked",
        "client",
        "cut",
        "operation",
        "pair",
        "queued_at",
        "read_at",
        "refused",
        "reply",
        "result",
        "seq",
        "session",
        "then",
        "waiting",
        "weight",
    )

    def __init__(
        self, client: Client, session: Session, operation: Operation | None = None
    ) -> None:
        self.client = client
        self.session = session
        self.operation = operation
        self.result: object = None
        self.then: Callable[[Write], bytes | None] | None = None
        self.refused = self.asked = False
        self.read_at = self.queued_at = 0.0
        self.seq = session.seq
        self.cut = 0
        self.pair = self.reply = b""
        self.waiting = self.answered = self.weight = 0
        self.answered_at = 0.0

    @property
    def slot(self) -> int:
        """What it is about lives there; -1 for what is about a shard."""
        operation = self.operation
        return self.session.slot if operation is None else operation.slot(self.session)


class Nobody:
    """The client of a write that no client waits for: a deletion, a renewal."""

    gathering: Write | None = None
    gone = False

    def acknowledged(self, write: Write, now_s: float) -> None:
        """Nobody is told."""

    def unavailable(self) -> None:
        """Nobody is told."""

    def broken(self) -> None:
        """Nobody is told."""


NOBODY = Nobody()


class Sums:
    """How much waits for the store, pending and flying together.

    Attributes:
        held_bytes: replies, and what lines ask for.
        lines_waiting: lines whose reply waits.
        lines_answered: lines that were answered and are not stored yet (durability async).
        frees: deletions of what would expire by itself.
    """

    __slots__ = ("frees", "held_bytes", "lines_answered", "lines_waiting")

    def __init__(self) -> None:
        self.held_bytes = self.lines_waiting = self.lines_answered = self.frees = 0

    def add(self, other: Sums) -> None:
        """Both together."""
        self.held_bytes += other.held_bytes
        self.lines_waiting += other.lines_waiting
        self.lines_answered += other.lines_answered
        self.frees += other.frees


class Batcher:
    """What waits for the store: `pending` to leave, and `flying`, which has left."""

    __slots__ = ("_answered_flying_at", "_answered_pending_at", "flying", "pending", "sums")

    def __init__(self, sums: Sums) -> None:
        """With each write that is added or done with, `sums` is kept."""
        self.pending: list[Write] = []
        self.flying: list[Write] = []
        self.sums = sums
        self._answered_flying_at: float | None = None
        self._answered_pending_at: float | None = None

    def open(self, client: Client, session: Session, operation: Operation | None = None) -> Write:
        """Queue a write, to which `client` may add lines until it leaves."""
        write = client.gathering = Write(client, session, operation)
        self.pending.append(write)
        return write

    def submit(self, client: Client, session: Session, operation: Operation, lines: int) -> Write:
        """Queue an operation, to which nothing can be added; so many lines wait for it."""
        write = Write(client, session, operation)
        client.gathering = None  # what comes later stands behind it
        write.asked = True
        write.weight = size(operation)
        if lines:
            write.waiting = lines
            write.weight += ASKED_BYTES
            self.sums.lines_waiting += lines
        self.sums.held_bytes += write.weight
        self.pending.append(write)
        return write

    def enqueue(self, session: Session, operation: Operation, client: Client = NOBODY) -> None:
        """Queue an operation that nobody waits for; it does not leave once `client` has gone."""
        self.sums.frees += only_frees(operation)
        self.pending.append(Write(client, session, operation))

    def add(self, write: Write, reply: bytes, lines: int, pair: bytes, cut: int) -> None:
        """Add `lines` lines, whose `reply` waits for the store, to a write that has not left."""
        write.seq = write.session.seq
        write.pair = pair
        write.cut = cut
        write.reply = write.reply + reply if write.waiting else reply
        write.waiting += lines
        sums = self.sums
        sums.lines_waiting += lines
        sums.held_bytes += len(reply)

    def add_answered(self, write: Write, lines: int, pair: bytes, cut: int, now_s: float) -> None:
        """As `add`, for lines that are answered without waiting (durability async)."""
        if self._answered_pending_at is None:
            self._answered_pending_at = now_s
        write.seq = write.session.seq
        write.pair = pair
        write.cut = cut
        if not write.answered:
            write.answered_at = now_s
        write.answered += lines
        self.sums.lines_answered += lines

    def take(self, writes_max: int) -> list[Write]:
        """Let the next batch leave: what flew and came down, else the oldest pending writes.

        A broken batch comes first and alone, so that nothing newer overtakes it.
        """
        if self.flying:
            self.flying = self._live(self.flying)
        while self.pending and not self.flying:
            batch, self.pending = self.pending[:writes_max], self.pending[writes_max:]
            self.flying = self._live(batch)
            self._answered_flying_at = self._answered_pending_at
            self._answered_pending_at = _oldest_answered_at(self.pending)
            for write in self.flying:
                client = write.client
                if client.gathering is write:
                    client.gathering = None
                write.session.sent = True
        return self.flying

    def acknowledge(self, missing: list[Write]) -> list[Write]:
        """End the flight: the store has all of it but `missing`.

        Of those, a plain connection's is written anew, next; any other is refused, unless
        its session was ended in this very flight, by its owner: then the batch was carried
        out before, its answer lost, and what stood before the end was written that time.

        Returns:
            The writes whose clients may hear of them now, in order.
        """
        batch, self.flying = self.flying, []
        self._answered_flying_at = None
        if missing:
            again = set()
            refused = set(map(id, missing))
            ended = {
                id(write.session)
                for write in batch
                if write.operation is END and id(write) not in refused
            }
            for write in missing:
                if write.session.restored:
                    write.session.stored = False
                    write.session.former_keys = ()
                    again.add(id(write))
                else:
                    write.refused = id(write.session) not in ended
            self.pending[:0] = [write for write in batch if id(write) in again]
            batch = [write for write in batch if id(write) not in again]
        self._settle(batch)
        return batch

    def overdue(self, before_at: float) -> list[Write]:
        """The writes that have been waited for since `before_at` or longer."""
        return [
            write
            for queue in (self.flying, self.pending)
            for write in queue
            if (write.waiting or write.asked)
            and write.queued_at <= before_at
            and not write.client.gone
        ]

    def doubt(self) -> None:
        """The link on which `flying` left may still deliver it, late (ADR 24).

        Each state that it replaces goes on under another key, which late bytes do not know.
        """
        doubted = {
            id(write.session): write.session for write in self.flying if write.operation is None
        }
        for session in doubted.values():
            session.move()

    def take_out(self, slots: Container[int]) -> dict[int, list[Write]]:
        """Let go of what is about these slots, by slot; what flew, and is in doubt, comes first.

        Not while the store may still carry out what flies.
        """
        taken: dict[int, list[Write]] = {}
        for write in (*self.flying, *self.pending):
            if (slot := write.slot) in slots:
                taken.setdefault(slot, []).append(write)
        if taken:
            gone = {id(write) for writes in taken.values() for write in writes}
            self.flying = [write for write in self.flying if id(write) not in gone]
            self.pending = [write for write in self.pending if id(write) not in gone]
            self._settle([write for writes in taken.values() for write in writes])
            self._look_for_answered()
        return taken

    def adopt(self, writes: Sequence[Write]) -> None:
        """Queue writes that another batcher let go of: nothing of their slot is here yet."""
        self.pending += writes
        self._settle(writes, -1)
        self._look_for_answered()

    def prune(self) -> None:
        """Let go of what the clients that have gone were waiting for."""
        self.flying = self._live(self.flying)
        self.pending = self._live(self.pending)

    def oldest_answered_at(self) -> float | None:
        """When, on the daemon's clock, the oldest unstored line was answered; None for none."""
        if not self.sums.lines_answered:
            return None
        flying_at = self._answered_flying_at
        return self._answered_pending_at if flying_at is None else flying_at

    def _live(self, writes: list[Write]) -> list[Write]:
        live = [write for write in writes if not write.client.gone]
        if len(live) < len(writes):
            self._settle([write for write in writes if write.client.gone])
        return live

    def _look_for_answered(self) -> None:
        self._answered_flying_at = _oldest_answered_at(self.flying)
        self._answered_pending_at = _oldest_answered_at(self.pending)

    def _settle(self, writes: Sequence[Write], sign: int = 1) -> None:
        """Take the writes out of the sums; with -1, put them in."""
        waiting = answered = held = frees = 0
        for write in writes:
            waiting += write.waiting
            answered += write.answered
            held += len(write.reply) + write.weight
            frees += write.operation is not None and only_frees(write.operation)
        sums = self.sums
        sums.lines_waiting -= sign * waiting
        sums.lines_answered -= sign * answered
        sums.held_bytes -= sign * held
        sums.frees -= sign * frees


def _oldest_answered_at(writes: Sequence[Write]) -> float | None:
    return min((write.answered_at for write in writes if write.answered), default=None)
