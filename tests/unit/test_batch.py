"""Group commit by hand: the invariants of store/batch.py under random schedules."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from echod.store.batch import Batcher, Sums, Write
from echod.store.keys import PlainSession, Session
from echod.store.operations import FORGET


@dataclass(eq=False)
class Client:
    """A connection that notes what it hears."""

    name: int
    gathering: Write | None = None
    gone: bool = False
    session: PlainSession = field(default_factory=lambda: PlainSession(()))
    added: list[bytes] = field(default_factory=list)
    heard: bytes = b""

    def acknowledged(self, write: Write, now_s: float) -> None:
        """The batch is stored."""
        del now_s
        self.heard += write.reply

    def unavailable(self) -> None:
        """Not here."""

    def broken(self) -> None:
        """Not here."""


class GroupCommit(RuleBasedStateMachine):
    """Clients add lines, batches fly, break, are acknowledged in part; clients leave."""

    def __init__(self) -> None:
        super().__init__()
        self.sums = Sums()
        self.batcher = Batcher(self.sums)
        self.clients = [Client(number) for number in range(4)]
        self.now_s = 0.0
        self.store: set[Session] = set()
        self.flying = False

    @rule(number=st.integers(0, 3), lines=st.integers(1, 3))
    def add(self, number: int, lines: int) -> None:
        """A client's lines wait, in one write until it leaves."""
        client = self.clients[number]
        if client.gone:
            return
        self.now_s += 1
        write = client.gathering
        if write is None:
            write = self.batcher.open(client, client.session)
            write.queued_at = self.now_s
        reply = b"%d:%d;" % (number, len(client.added))
        client.added.append(reply)
        client.session.seq += lines
        self.batcher.add(write, reply, lines, reply, 0)

    @rule(number=st.integers(0, 3))
    def leave(self, number: int) -> None:
        """A client goes; what it waited for is forgotten, and its session deleted."""
        client = self.clients[number]
        if not client.gone:
            client.gone = True
            self.batcher.enqueue(client.session, FORGET)

    @precondition(lambda self: not self.flying)
    @rule(writes_max=st.integers(1, 3))
    def take(self, writes_max: int) -> None:
        """A batch leaves: bounded, of live clients, oldest first."""
        again = [w for w in self.batcher.flying if not w.client.gone]
        batch = list(self.batcher.take(writes_max))
        assert not any(write.client.gone for write in batch)
        if again:
            assert batch == again
        else:
            assert len(batch) <= writes_max
            assert [w.queued_at for w in batch if w.operation is not FORGET] == sorted(
                w.queued_at for w in batch if w.operation is not FORGET
            )
        self.flying = bool(batch)

    @rule()
    def lose(self) -> None:
        """The store comes back empty."""
        self.store.clear()

    @precondition(lambda self: self.flying)
    @rule()
    def acknowledge(self) -> None:
        """The store has the batch, but for what it misses, which goes again first."""
        missing = self.commit()
        for write in self.batcher.acknowledge(missing):
            write.client.acknowledged(write, self.now_s)
        assert self.batcher.pending[: len(missing)] == missing
        self.flying = False

    def commit(self) -> list[Write]:
        """What a store does with the batch that flies; see `store.base.Store.finish`."""
        missing = []
        for write in self.batcher.flying:
            if write.operation is FORGET:
                self.store.discard(write.session)
            elif write.session.stored and write.session not in self.store:
                missing.append(write)
            else:
                self.store.add(write.session)
                write.session.stored = True
        return missing

    @precondition(lambda self: self.flying)
    @rule()
    def breaks(self) -> None:
        """The connection fails: nothing is known, the batch stays."""
        self.flying = False

    @rule(age_s=st.integers(0, 5))
    def expire(self, age_s: int) -> None:
        """Those who have waited too long hear so, once, and are let go of."""
        for write in self.batcher.overdue(self.now_s - age_s):
            assert write.queued_at <= self.now_s - age_s
            self.leave(next(c.name for c in self.clients if c is write.client))
        self.batcher.prune()
        assert not self.batcher.overdue(self.now_s - age_s)

    @invariant()
    def replies_come_once_and_in_order(self) -> None:
        """What a client heard is the beginning of what it is owed."""
        for client in self.clients:
            assert b"".join(client.added).startswith(client.heard)

    @invariant()
    def sums_are_sums(self) -> None:
        """The bounds are kept on true figures."""
        writes = [*self.batcher.flying, *self.batcher.pending]
        assert self.sums.lines_waiting == sum(write.waiting for write in writes)
        assert self.sums.held_bytes == sum(len(write.reply) + write.weight for write in writes)
        assert self.sums.frees == sum(write.operation is FORGET for write in writes)

    def teardown(self) -> None:
        """Left alone, the store catches up, and every client that stayed has heard all."""
        while self.batcher.take(2):
            for write in self.batcher.acknowledge(self.commit()):
                write.client.acknowledged(write, self.now_s)
        assert self.sums.lines_waiting == self.sums.held_bytes == 0
        assert not any(client.gone and client.session in self.store for client in self.clients)
        for client in self.clients:
            if not client.gone:
                assert client.heard == b"".join(client.added)


TestGroupCommit = GroupCommit.TestCase
TestGroupCommit.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
