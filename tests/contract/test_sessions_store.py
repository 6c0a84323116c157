"""What sessions ask of a store, the same of each in stores.py (store/operations.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from echod.protocol.state import EMPTY, State
from echod.protocol.token import Token
from echod.store.batch import NOBODY, Write
from echod.store.keys import Session, decode_state
from echod.store.operations import (
    END,
    FORGET,
    INQUIRE,
    KEEP,
    MEASURE,
    Fill,
    Open,
    Opened,
    Operation,
    Remember,
    Resume,
    RolledBack,
)
from lab.wait import until
from tests.contract.test_store import LIVES, sessions_apart, shard, subject

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.contract.test_store import OneShard, Subject

__all__ = ["shard", "subject"]

# Of two shards, where there are several.
TOKEN, OTHER = Token(b"abcdefghij", b"k" * 26), Token(b"cccccccccc", b"k" * 26)


class Owner:
    """One connection's ownership of the session, and what the store says to it."""

    def __init__(self, at: Subject, token: Token = TOKEN, daemon: bytes = b"d1") -> None:
        self.at = at
        self.token = token
        self.session = Session(token.name, (b"daemon", daemon))

    def ask(self, operation: Operation) -> tuple[object, bool]:
        """Its result, and whether it was refused."""
        write = Write(NOBODY, self.session, operation)
        missing = self.at.commit([write])
        return write.result, bool(missing)

    def open(self) -> object:
        """A new session."""
        result, _ = self.ask(Open(self.token.digest()))
        self.session.own(1)
        return result

    def resume(self, acked: int = 0) -> object:
        """Take it over."""
        result, refused = self.ask(Resume(self.token.digest(), acked))
        assert not refused
        if isinstance(result, Opened):
            self.session.own(result.epoch)
            self.session.seq = result.state.seq
        return result

    def write(self, seq: int, previous: bytes = b"", last: bytes = b"") -> bool:
        """A line is committed; false if it was refused."""
        self.session.seq = seq
        write = Write(NOBODY, self.session)
        write.cut, write.pair = len(previous), previous + last
        return not self.at.commit([write])

    @property
    def state(self) -> State | None:
        """What is kept under this ownership's key."""
        return self.at.state(self.session)


@pytest.fixture
def owner(subject: Subject) -> Callable[..., Owner]:
    """Make owners of one store."""
    return lambda **more: Owner(subject, **more)


def test_opened_with_a_record_that_holds_no_secret(owner: Callable[..., Owner]) -> None:
    """A new session has epoch 1 and no line; its secret is nowhere in the store."""
    one = owner()
    assert one.open() == Opened(1, EMPTY)
    assert one.state == EMPTY
    record = one.at.record(one.session)
    assert record[b"epoch"] == b"1"
    assert record[b"daemon"] == b"d1"
    assert all(TOKEN.secret not in value for value in record.values())


def test_a_taken_name_is_said(owner: Callable[..., Owner]) -> None:
    """Another's session is not overwritten; the same call again finds its own."""
    one = owner()
    assert one.open() == Opened(1, EMPTY)
    assert one.write(1, b"", b"a")
    other = owner(token=Token(TOKEN.name, b"x" * 26))
    assert other.open() is None
    assert one.state == State(1, b"", b"a")
    again = owner()
    assert again.open() == Opened(1, EMPTY)


def test_resume_moves_the_state_and_fences_the_earlier_owner(owner: Callable[..., Owner]) -> None:
    """The new owner has the last line under the next epoch; the old one can do nothing more."""
    one, two = owner(), owner(daemon=b"d2")
    one.open()
    assert one.write(1, b"", b"a")
    assert one.write(2, b"a", b"\xff b")
    assert two.resume(acked=2) == Opened(2, State(2, b"a", b"\xff b"))
    assert two.at.record(two.session)[b"daemon"] == b"d2"
    assert not one.write(3, b"\xff b", b"c")
    assert one.ask(KEEP) == (None, True)
    assert one.ask(END) == (None, True)
    assert one.state is None
    assert two.state == State(2, b"a", b"\xff b")
    assert two.write(3, b"\xff b", b"d")
    assert one.ask(INQUIRE) == (True, False)
    assert two.ask(INQUIRE) == (False, False)


def test_resume_twice_is_once(owner: Callable[..., Owner]) -> None:
    """Sent again because its answer was lost, it finds itself the owner."""
    one, two = owner(), owner()
    one.open()
    one.write(1, b"", b"a")
    assert two.resume() == Opened(2, State(1, b"", b"a"))
    assert two.resume() == Opened(2, State(1, b"", b"a"))
    assert two.write(2, b"a", b"b")


def test_a_store_that_holds_less_changes_nothing(owner: Callable[..., Owner]) -> None:
    """With more acknowledged than is kept, the number is told and the owner stays (§2.1)."""
    one, two = owner(), owner()
    one.open()
    one.write(7, b"a", b"b")
    assert two.resume(acked=8) == RolledBack(7)
    assert one.write(8, b"b", b"c")
    assert two.resume(acked=8) == Opened(2, State(8, b"b", b"c"))


def test_nobody_resumes_what_is_not_his(owner: Callable[..., Owner]) -> None:
    """Wrong secret, unknown name, expired state: the same answer, and nothing is created."""
    one = owner()
    one.open()
    one.write(1, b"", b"a")
    wrong = owner(token=Token(TOKEN.name, b"x" * 26))
    unknown = owner(token=Token(b"zzzzzzzzzz", TOKEN.secret))
    assert wrong.resume() is None
    assert unknown.resume() is None
    assert unknown.at.record(unknown.session) == {}
    assert one.write(2, b"a", b"b")
    one.at.lose_state(one.session)
    two = owner()
    assert two.resume() is None
    assert not one.write(3, b"b", b"c")
    assert one.ask(INQUIRE) == (False, False)


def test_an_ended_session_stays_ended(owner: Callable[..., Owner]) -> None:
    """QUIT leaves a tombstone: no resume, and its earlier owner learns that it was taken over.

    The tombstone is small. It lives for as long as that owner may take the session for alive.
    """
    one, two = owner(), owner()
    one.open()
    one.write(1, b"", b"a")
    two.resume()
    assert two.ask(END) == (None, False)
    assert two.ask(END) == (None, False)
    assert owner().resume() is None
    assert not two.write(2, b"a", b"b")
    assert not one.write(2, b"a", b"b")
    assert one.ask(INQUIRE) == (True, False)
    assert two.ask(INQUIRE) == (False, False)
    tombstone = {b"owner": two.session.owner, b"ended": two.session.owner}
    assert one.at.record(one.session) == tombstone
    assert LIVES.tombstone_s < one.at.record_ttl_s(one.session) <= LIVES.state_s


def test_of_a_session_with_one_owner_little_is_left(owner: Callable[..., Owner]) -> None:
    """Nobody else was told that it is his: a tombstone is soon gone."""
    one = owner()
    one.open()
    assert one.ask(END) == (None, False)
    assert one.at.record_ttl_s(one.session) <= LIVES.tombstone_s
    one.at.let_pass(LIVES.tombstone_s, one.session)
    assert one.ask(INQUIRE) == (False, False)
    until(lambda: not one.at.record(one.session), 30, "the tombstone to expire")


def test_a_session_lives_on_any_shard(owner: Callable[..., Owner]) -> None:
    """From its first line to its end: no script touches what is only on another's node."""
    for name in (plain.name for plain in sessions_apart()):
        token = Token(name, TOKEN.secret)
        one, two = owner(token=token), owner(token=token)
        assert one.open() == Opened(1, EMPTY)
        assert one.write(1, b"", b"a")
        assert one.ask(Remember((b"r",))) == (None, False)
        assert two.resume(acked=2) == RolledBack(1)
        assert two.resume(acked=1) == Opened(2, State(1, b"", b"a"), (b"r",))
        assert one.ask(INQUIRE) == (True, False)
        assert two.ask(KEEP) == (None, False)
        assert two.ask(END) == (None, False)
        assert two.ask(FORGET) == (None, False)
        assert two.at.record(two.session) == {}


def test_an_epoch_counted_twice_is_another_key(owner: Callable[..., Owner]) -> None:
    """After a rollback of the record, two owners of one epoch don't share a key (ADR 2)."""
    one, two = owner(), owner()
    one.session.own(5)
    two.session.own(5)
    assert one.session.state_key != two.session.state_key


@pytest.mark.parametrize("line", ["keep", "echo", "resume"])
def test_any_line_gives_a_session_its_whole_life(owner: Callable[..., Owner], line: str) -> None:
    """Until its first line it lives shorter; then so long after each (§2).

    KEEP comes with every verb that writes no state (tests/unit/test_committer.py).
    """
    one, two = owner(), owner()
    one.open()
    assert one.at.state_ttl_s(one.session) <= LIVES.unused_s
    if line == "echo":
        assert one.write(1, b"", b"a")
    elif line == "resume":
        assert isinstance(two.resume(), Opened)
        one = two
    else:
        assert not one.ask(KEEP)[1]
    assert one.at.state_ttl_s(one.session) > LIVES.unused_s
    assert one.state is not None


def test_a_session_without_a_line_is_soon_gone(owner: Callable[..., Owner]) -> None:
    """One that has had a line stays."""
    one, unused = owner(), owner(token=OTHER)
    one.open()
    unused.open()
    assert one.write(1, b"", b"a")
    one.at.let_pass(LIVES.unused_s, one.session, unused.session)
    until(lambda: unused.state is None, 30, "the session without a line to expire")
    assert one.state is not None


def test_a_renewal_lengthens_the_record(owner: Callable[..., Owner]) -> None:
    """Nothing else does, once it is made; of a missing one it makes none."""
    one = owner()
    one.open()
    assert one.write(1, b"", b"a")
    one.ask(Remember())
    one.at.let_pass(LIVES.state_s - 10, one.session)
    assert one.write(2, b"a", b"b")
    one.at.let_pass(LIVES.record_s - LIVES.state_s, one.session)
    assert one.write(3, b"b", b"c")
    assert one.at.record_ttl_s(one.session) <= 10
    assert one.ask(Remember()) == (None, False)
    assert one.at.record_ttl_s(one.session) > LIVES.record_s - 10
    unknown = owner(token=Token(b"zzzzzzzzzz", TOKEN.secret))
    unknown.session.own(1)
    assert unknown.ask(Remember()) == (None, False)
    assert unknown.at.record(unknown.session) == {}


def test_where_a_session_posted_is_remembered(owner: Callable[..., Owner]) -> None:
    """Whoever resumes it is told; an earlier owner changes nothing, nor renews a tombstone."""
    one, two, three = owner(), owner(), owner()
    one.open()
    one.ask(Remember((b"a", b"b")))
    assert two.resume() == Opened(2, EMPTY, (b"a", b"b"))
    two.ask(Remember((b"b",)))
    one.ask(Remember((b"x",)))
    assert three.resume() == Opened(3, EMPTY, (b"b",))
    three.ask(END)
    two.ask(Remember((b"x",)))
    assert b"posted" not in three.at.record(three.session)
    assert three.at.record_ttl_s(three.session) <= LIVES.state_s


def test_until_the_first_line_a_record_lives_shorter(owner: Callable[..., Owner]) -> None:
    """Not much longer than its state."""
    one = owner()
    one.open()
    assert LIVES.unused_s < one.at.record_ttl_s(one.session) <= LIVES.unused_record_s


def test_its_fill_is_a_share(owner: Callable[..., Owner]) -> None:
    """Of a memory store 0; of a Redis with 256 MB and little in it not much."""
    fill, refused = owner().ask(MEASURE)
    assert not refused
    assert 0.0 <= cast("Fill", fill).share < 0.5


def test_a_batch_of_many_kinds(shard: OneShard) -> None:
    """Each write finds its own answer, whatever stands before and behind it."""
    one, two, three = (Owner(shard, Token(shard.session().name, TOKEN.secret)) for _ in range(3))
    one.open()
    two.open()
    three.session.own(1)
    state = Write(NOBODY, one.session)
    state.seq, state.cut, state.pair = 1, 0, b"x"
    writes = [
        state,
        Write(NOBODY, three.session, Open(TOKEN.digest())),
        Write(NOBODY, two.session, KEEP),
        Write(NOBODY, two.session, INQUIRE),
        Write(NOBODY, two.session, Resume(b"wrong", 0)),
        Write(NOBODY, three.session, Remember()),
        Write(NOBODY, two.session, END),
        Write(NOBODY, two.session, KEEP),
    ]
    assert shard.commit(writes) == [writes[-1]]
    results = [write.result for write in writes]
    assert results == [None, Opened(1, EMPTY), None, False, None, None, None, None]
    assert cast("State", one.state).last == b"x"
    assert decode_state(b"1 0 x") == one.state
