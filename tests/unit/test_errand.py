"""client/errand.py: whichever shard speaks first, replies keep the order of the lines (ADR 22)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.client.errand import Answer, Answers, Errand
from echod.store.batch import Nobody, Sums, Write
from echod.store.keys import NO_SESSION
from echod.store.operations import KEEP, Who

if TYPE_CHECKING:
    from collections.abc import Callable

    from echod.store.committer import Committer
    from echod.store.operations import Operation

ROOM = b"r"


class Shards:
    """Two of them: of the session, which acknowledges in order, and of the rooms, which does not."""

    def __init__(self) -> None:
        self.session: list[Write] = []
        self.rooms: list[Write] = []

    def submit(
        self,
        client: Any,  # noqa: ANN401 — of either kind
        session: Any,  # noqa: ANN401 — none
        operation: Operation,
        then: Callable[[Write], bytes | None] | None = None,
    ) -> None:
        """As `Committer.submit`."""
        write = Write(client, session, operation)
        write.then = then
        write.waiting = 0 if then is None else 1
        (self.rooms if then is None else self.session).append(write)


class Asker(Nobody):
    """A connection: as `Connection` does it, without a socket."""

    def __init__(self) -> None:
        self.sums = Sums()
        self.sent: list[bytes] = []
        self.answers: Answers | None = None
        self.shards = Shards()

    def line(self, number: int, *, errand: bool) -> None:
        """A line, whose reply is its number."""
        reply = b"%d" % number
        if errand:
            then = cast("Callable[..., None]", lambda _, answer: answer(reply))
            committer = cast("Committer", self.shards)
            Errand(self, committer, NO_SESSION, Who(ROOM), then)
        else:
            self.shards.submit(self, NO_SESSION, KEEP, lambda _: reply)

    def acknowledged(self, write: Write, now_s: float) -> None:
        """As `Connection.acknowledged`."""
        del now_s
        assert write.then is not None
        reply = write.then(write)
        if reply is None:
            return
        if self.answers is None:
            self.sent.append(reply)
        else:
            self.answers.put(Answer(reply, 1, 0.0))

    def await_answer(self, answer: Answer) -> None:
        """As `Connection.await_answer`."""
        self.answers = self.answers or Answers(self.sums)
        self.answers.put(answer)

    def answered(self, answer: Answer, reply: bytes) -> None:
        """As `Connection.answered`."""
        assert self.answers is not None
        self.answers.make(answer, reply)
        self.sent += [known for known, _ in self.answers.known()]
        if not self.answers:
            self.answers = None


@given(st.lists(st.booleans(), min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_replies_keep_the_order_of_their_lines(errands: list[bool], chance: Any) -> None:  # noqa: ANN401 — hypothesis's
    """Of all schedules in which the session's shard acknowledges in order."""
    asker = Asker()
    for number, errand in enumerate(errands):
        asker.line(number, errand=errand)
    shards = asker.shards
    while shards.session or shards.rooms:
        if shards.session and (not shards.rooms or chance.random() < 0.5):
            write = shards.session.pop(0)
        else:
            write = shards.rooms.pop(chance.randrange(len(shards.rooms)))
        write.client.acknowledged(write, 0.0)
        assert asker.sent == [b"%d" % number for number in range(len(asker.sent))]
    assert len(asker.sent) == len(errands)
    assert asker.sums.held_bytes == 0


@pytest.mark.parametrize("first", ["session", "room"])
def test_nothing_is_said_before_the_owner_is_confirmed(first: str) -> None:
    """Nor before the other shard has spoken, or has taken too long."""
    asker = Asker()
    heard: list[Write | None] = []

    def then(write: Write | None, answer: Callable[[bytes], None]) -> None:
        heard.append(write)
        answer(b"said")

    Errand(asker, cast("Committer", asker.shards), NO_SESSION, Who(ROOM), then)
    ((keep,), (asked,)) = asker.shards.session, asker.shards.rooms
    steps = [lambda: asker.acknowledged(keep, 0.0), asked.client.unavailable]
    for step in steps if first == "session" else reversed(steps):
        assert (asker.sent, heard) == ([], [])
        step()
    assert (asker.sent, heard) == ([b"said"], [None])
    asked.client.unavailable()
    assert len(heard) == 1


def test_who_has_gone_holds_nothing() -> None:
    """What stood behind an answer that never came is let go of."""
    asker = Asker()
    asker.line(0, errand=True)
    asker.line(1, errand=False)
    for write in asker.shards.session:
        asker.acknowledged(write, 0.0)
    assert asker.sums.held_bytes == 1
    assert asker.answers is not None
    asker.answers.drop()
    assert asker.sums.held_bytes == 0
    asker.gone = True
    (asked,) = asker.shards.rooms
    assert asked.client.gone
    asked.client.acknowledged(asked, 0.0)
    assert asker.sent == []
