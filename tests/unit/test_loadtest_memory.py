"""What a client remembers: under random faults each line is acknowledged once, in order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.session_events import Answered, Welcome
from loadtest.session_memory import Memory, Untrue

TOKEN = b"abcdefghij.234567abcdefghijklmnopqrstuv"
# Of one connection: lines added; how many go out, are committed, are answered, as shares
# of those before.
ROUNDS = st.lists(
    st.tuples(st.integers(0, 4), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)), max_size=8
)


class Store:
    """A right store, and a memory that talks to it."""

    def __init__(self) -> None:
        self.texts: list[bytes] = []
        self.epoch = 0
        self.memory = Memory()
        self.acknowledged: list[bytes] = []

    def welcome(self) -> Welcome:
        """What it has."""
        self.epoch += 1
        text = self.texts[-1] if self.texts else None
        return Welcome(TOKEN, self.epoch, len(self.texts), 300, text)

    def connection(self, added: int, out: float, committed: float, answered: float) -> None:
        """One connection, from WELCOME to its cut."""
        memory = self.memory
        self.acknowledged += [line.text for line in memory.welcomed(self.welcome())]
        for _ in range(added):
            memory.add(b"%d" % (len(self.acknowledged) + len(memory.waiting)))
        sent = list(memory.waiting)[: round(out * len(memory.waiting))]
        for line in sent:
            line.sends += 1
        taken = sent[: round(committed * len(sent))]
        assert [line.n for line in taken] == [len(self.texts) + i for i in range(1, len(taken) + 1)]
        self.texts += [line.text for line in taken]
        for line in taken[: round(answered * len(taken))]:
            done = memory.answered(Answered(line.n, b"", line.text))
            assert done is line
            self.acknowledged.append(line.text)


@given(ROUNDS)
def test_every_line_is_acknowledged_once_in_order(
    rounds: list[tuple[int, float, float, float]],
) -> None:
    """However connections end; what is acknowledged is what the store has."""
    store = Store()
    for one in [*rounds, (0, 1.0, 1.0, 1.0)]:
        store.connection(*one)
    assert store.acknowledged == store.texts == [b"%d" % i for i in range(len(store.texts))]
    assert (len(store.memory.waiting), store.memory.acked) == (0, len(store.texts))


@given(ROUNDS, st.integers(-3, 3), st.booleans())
def test_what_can_not_be_is_not_believed(
    rounds: list[tuple[int, float, float, float]],
    off: int,
    lie: bool,  # noqa: FBT001 — drawn
) -> None:
    """A WELCOME with too few or too many lines, or another text, changes nothing."""
    store = Store()
    for one in rounds:
        store.connection(*one)
    memory, right = store.memory, store.welcome()
    acked, waiting = memory.acked or 0, list(memory.waiting)
    sent = sum(1 for line in waiting if line.sends)
    seq = max(0, right.seq + off)
    known = [store.texts[i - 1] for i in range(acked, acked + 1) if i] + [
        line.text for line in waiting[:sent]
    ]
    true = acked <= seq <= acked + sent
    text = None
    if seq:
        text = known[seq - acked - (0 if acked else 1)] if true and not lie else b"never sent"
        true = true and not lie
    try:
        memory.welcomed(Welcome(TOKEN, right.epoch, seq, 300, text))
    except Untrue:
        assert not true
        assert (memory.acked, list(memory.waiting)) == (acked, waiting)
    else:
        assert true


def answered(memory: Memory, *texts: bytes) -> None:
    """Lines from their sending to their answer."""
    for text in texts:
        line = memory.add(text)
        line.sends += 1
        memory.answered(Answered(line.n, b"", text))


def test_an_accepted_loss_winds_back_and_goes_on() -> None:
    """Those that wait follow what is left, as if they had never been sent."""
    memory = Memory(b"")
    memory.welcomed(Welcome(TOKEN, 1, 0, 300, None))
    answered(memory, b"a", b"b", b"c")
    line = memory.add(b"d")
    line.sends = 2
    with pytest.raises(Untrue, match="seq 1, with 3"):
        memory.welcomed(Welcome(TOKEN, 2, 1, 300, b"a"))
    memory.accepting = True
    assert memory.welcomed(Welcome(TOKEN, 2, 1, 300, b"a")) == []
    assert (memory.acked, memory.accepting, line.n, line.sends) == (1, False, 2, 0)


def test_an_accepted_loss_that_was_none_commits_nothing_twice() -> None:
    """`rolled-back` is said to all sessions, also to those that lost nothing."""
    memory = Memory(b"")
    memory.welcomed(Welcome(TOKEN, 1, 0, 300, None))
    answered(memory, b"a")
    lines = [memory.add(b"b"), memory.add(b"c")]
    lines[0].sends = 1
    memory.accepting = True
    assert memory.welcomed(Welcome(TOKEN, 2, 2, 300, b"b")) == lines[:1]
    assert (list(memory.waiting), lines[1].n) == (lines[1:], 3)


def test_a_token_from_elsewhere_is_believed_once() -> None:
    """Its past is unknown; from the first WELCOME on it is known."""
    memory = Memory(TOKEN)
    line = memory.add(b"x")
    assert (memory.acked, memory.name) == (None, "abcdefghij")
    assert memory.welcomed(Welcome(TOKEN, 5, 70, 300, b"w")) == []
    assert (memory.acked, line.n) == (70, 71)
    with pytest.raises(Untrue):
        memory.welcomed(Welcome(TOKEN, 6, 69, 300, b"v"))


def test_an_overtaken_session_forgets_what_waited() -> None:
    """Another owner's lines are there: the fate of ours is not known."""
    memory = Memory(TOKEN)
    memory.welcomed(Welcome(TOKEN, 5, 70, 300, b"w"))
    line = memory.add(b"x")
    line.sends = 1
    theirs = Welcome(TOKEN, 7, 72, 300, b"z")
    with pytest.raises(Untrue):
        memory.welcomed(theirs)
    assert memory.overtaken(theirs) == [line]
    assert (memory.acked, memory.add(b"y").n) == (72, 73)
