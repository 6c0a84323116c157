"""Owners of one session, two daemons, one store: who may commit, and who is told what.

The committer by hand: batches leave, are carried out, are answered, or break before or
after they were carried out and go again. The store is the one in memory, which
tests/contract holds to the same behaviour as Redis.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from echod.protocol.state import State
from echod.protocol.token import Token
from echod.store.base import Lives
from echod.store.batch import Batcher, Sums, Write
from echod.store.keys import Session, decode_state
from echod.store.memory.store import MemoryStore
from echod.store.operations import END, KEEP, Open, Opened, Operation, Resume

TOKEN = Token(b"abcdefghij", b"k" * 26)
NEVER = 1 << 60


@dataclass(eq=False)
class Owner:
    """A connection that was, or wants to be, the session's owner."""

    daemon: Daemon
    session: Session
    gathering: Write | None = None
    gone: bool = False
    welcomed: bool = False
    quitting: bool = False
    last: bytes = b""
    # On the machine's own count of events: when it was taken over, when it last spoke.
    fenced_at: int = NEVER
    # The lines of each write, and when the last of them was sent.
    lines: dict[int, list[bytes]] = field(default_factory=dict)
    spoke_at: dict[int, int] = field(default_factory=dict)
    writes: list[Write] = field(default_factory=list)

    def acknowledged(self, write: Write, now_s: float) -> None:
        """The machine looks itself."""

    def unavailable(self) -> None:
        """Not here."""

    def broken(self) -> None:
        """Not here."""


@dataclass(eq=False)
class Daemon:
    """One batcher, and what the store has said to what is flying."""

    batcher: Batcher = field(default_factory=lambda: Batcher(Sums()))
    taken: bool = False
    missing: list[Write] | None = None


class Ownership(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryStore(Lives(60, 60), clock=lambda: 0.0)
        self.store.connect()
        self.daemons = [Daemon(), Daemon()]
        self.events = 0
        self.all: list[Owner] = []
        # What was carried out at the store.
        self.holder: Owner | None = None
        self.epoch = 0
        self.ended = False
        self.committed: dict[int, bytes] = {}
        # What clients know.
        self.answered = 0

    def state(self) -> State | None:
        """The one state there is, whoever's it is."""
        assert len(self.store.states) <= 1
        return next((decode_state(value) for value, _ in self.store.states.values()), None)

    # Clients.

    @initialize(number=st.integers(0, 1))
    def open(self, number: int) -> None:
        """A new session; its token is known once this is answered."""
        self.join(number, Open(TOKEN.digest()))
        self.turn(number, lost=False)

    @rule(number=st.integers(0, 1), tell=st.booleans())
    def hello(self, number: int, tell: bool) -> None:  # noqa: FBT001 — hypothesis gives it by name
        """Resume it, at either daemon."""
        self.join(number, Resume(TOKEN.digest(), self.answered if tell else 0))

    def join(self, number: int, operation: Operation) -> None:
        """A connection says HELLO."""
        self.all.append(Owner(self.daemons[number], Session(TOKEN.name, ())))
        self.submit(self.all[-1], operation)

    def one(self, back: int) -> Owner | None:
        """One of those who may speak, the newest for 0."""
        able = [one for one in self.all if one.welcomed and not one.gone and not one.quitting]
        return able[-1 - back % len(able)] if able else None

    def submit(self, owner: Owner, operation: Operation) -> Write:
        """A line of `owner` for which the store does more than replace the state."""
        write = owner.daemon.batcher.submit(owner, owner.session, operation, 1)
        owner.writes.append(write)
        owner.spoke_at[id(write)] = self.events
        return write

    @rule(back=st.integers(0, 2), commits=st.booleans())
    def line(self, back: int, commits: bool) -> None:  # noqa: FBT001 — as `hello`
        """A line that commits, or one that is only answered."""
        if owner := self.one(back):
            self.say(owner, commits=commits)

    def say(self, owner: Owner, *, commits: bool) -> None:
        """It waits for the store, in one write until that leaves."""
        self.events += 1
        write = owner.gathering
        if write is None:
            write = owner.daemon.batcher.open(owner, owner.session, KEEP)
            owner.writes.append(write)
        owner.spoke_at[id(write)] = self.events
        pair, cut = write.pair, write.cut
        if commits:
            write.operation = None
            owner.session.seq += 1
            text = b"%d" % self.events
            pair, cut, owner.last = owner.last + text, len(owner.last), text
            owner.lines.setdefault(id(write), []).append(text)
        owner.daemon.batcher.add(write, b"reply", 1, pair, cut)

    @rule(back=st.integers(0, 2), number=st.integers(0, 2))
    def quit(self, back: int, number: int) -> None:
        """A few lines, and the session shall end."""
        if owner := self.one(back):
            for _ in range(number):
                self.say(owner, commits=True)
            self.events += 1
            owner.quitting = True
            self.submit(owner, END)

    @rule(back=st.integers(0, 2))
    def leave(self, back: int) -> None:
        """The connection is gone."""
        if owner := self.one(back):
            owner.gone = True

    # Daemons and the store.

    @rule(number=st.integers(0, 1), writes_max=st.integers(1, 4))
    def take(self, number: int, writes_max: int) -> None:
        """A batch leaves."""
        daemon = self.daemons[number]
        if not daemon.taken:
            daemon.taken = bool(daemon.batcher.take(writes_max))

    @rule(number=st.integers(0, 1))
    def carry_out(self, number: int) -> None:
        """The store gets to it; nobody knows yet."""
        daemon = self.daemons[number]
        if daemon.taken and daemon.missing is None:
            self.events += 1
            daemon.missing = [w for w in daemon.batcher.flying if not self.carry_out_one(w)]

    def carry_out_one(self, write: Write) -> bool:
        """One write, and that it changes what its owner may change."""
        owner = write.client
        assert isinstance(owner, Owner)
        before = self.state()
        self.store.begin([write])
        done = not self.store.finish()
        after = self.state()
        if isinstance(write.operation, Open | Resume):
            if isinstance(write.result, Opened):
                assert not self.ended
                self.take_over(owner, write.result)
            assert before == after or before is None
        elif owner is not self.holder or self.ended:
            # Only its own end is confirmed again.
            assert not done or (write.operation is END and owner is self.holder)
            assert before == after
        elif write.operation is END:
            assert done
            assert after is None
            self.ended = True
        else:
            assert done
            if write.operation is None:
                self.commit(owner, write, after)
        return done

    def take_over(self, owner: Owner, opened: Opened) -> None:
        """Only one that is not the owner already makes another epoch."""
        if self.holder is not owner:
            if self.holder is not None:
                self.holder.fenced_at = self.events
            self.epoch += 1
            self.holder = owner
            owner.fenced_at = NEVER
        assert opened.epoch == self.epoch
        assert opened.state.seq == max(self.committed, default=0)
        assert opened.state.last == self.committed.get(opened.state.seq, b"")

    def commit(self, owner: Owner, write: Write, state: State | None) -> None:
        """Its lines stand behind what there was, once."""
        lines = owner.lines[id(write)]
        numbers = range(write.seq - len(lines) + 1, write.seq + 1)
        for n, text in zip(numbers, lines, strict=True):
            assert self.committed.setdefault(n, text) == text
        assert max(self.committed) == write.seq == len(self.committed)
        assert state == State(write.seq, self.committed.get(write.seq - 1, b""), lines[-1])

    @rule(number=st.integers(0, 1))
    def breaks(self, number: int) -> None:
        """The connection fails; the batch goes again, whether it was carried out or not."""
        self.daemons[number].taken = False
        self.daemons[number].missing = None

    @rule(number=st.integers(0, 1))
    def answer(self, number: int) -> None:
        """The daemon hears, and tells those who are still there."""
        daemon = self.daemons[number]
        if daemon.missing is None:
            return
        missing, daemon.missing, daemon.taken = daemon.missing, None, False
        for write in daemon.batcher.acknowledge(missing):
            owner = write.client
            assert isinstance(owner, Owner)
            if owner.gone:
                continue
            if write.refused:
                assert owner.fenced_at < NEVER, "refused, and nobody has taken over"
                owner.gone = True
            else:
                self.tell(owner, write)

    def tell(self, owner: Owner, write: Write) -> None:
        """A reply leaves: nothing sent after a takeover is answered, what is answered is stored."""
        if isinstance(write.operation, Open | Resume):
            if isinstance(write.result, Opened):
                owner.session.own(write.result.epoch)
                owner.session.seq, owner.last = write.result.state.seq, write.result.state.last
                owner.welcomed = True
                assert owner.session.seq >= self.answered
            else:
                assert self.ended or self.holder is None
                owner.gone = True
            return
        assert owner.spoke_at[id(write)] < owner.fenced_at
        if write.operation is END:
            assert self.ended
        elif write.operation is None:
            assert write.seq <= max(self.committed)
            for n, text in enumerate(reversed(owner.lines[id(write)])):
                assert self.committed[write.seq - n] == text
            self.answered = max(self.answered, write.seq)

    @rule(number=st.integers(0, 1), lost=st.booleans())
    def turn(self, number: int, lost: bool) -> None:  # noqa: FBT001 — as `hello`
        """All of that at once, so that much happens in few steps; the answer may be lost."""
        self.take(number, 4)
        self.carry_out(number)
        if lost:
            self.breaks(number)
        self.answer(number)

    @rule(number=st.integers(0, 1))
    def prune(self, number: int) -> None:
        """What gone clients left is let go of, flying or not."""
        self.daemons[number].batcher.prune()

    @invariant()
    def sums_are_sums(self) -> None:
        """The bounds are kept on true figures."""
        for daemon in self.daemons:
            batcher = daemon.batcher
            writes = [*batcher.flying, *batcher.pending]
            assert batcher.sums.lines_waiting == sum(write.waiting for write in writes)
            assert batcher.sums.held_bytes == sum(
                len(write.reply) + write.weight for write in writes
            )

    @invariant()
    def nothing_goes_back(self) -> None:
        """The state is the last committed line, until the session ends."""
        state = self.state()
        if state is None:
            assert self.ended or self.epoch == 0
        else:
            assert not self.ended
            assert state.seq == max(self.committed, default=0) >= self.answered


TestOwnership = Ownership.TestCase
TestOwnership.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
