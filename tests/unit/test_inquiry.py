"""Why a session's write was refused: taken over, lost, or ended and expired (PROTOCOL §5, ADR 26)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from echod.client.session import Inquiry
from echod.config import Config
from echod.loop.clock import Clock
from echod.metrics import Metrics
from echod.protocol.errors import Code
from echod.store.base import Alone, Lives
from echod.store.batch import Write
from echod.store.committer import Committer
from echod.store.keys import Session
from echod.store.memory.store import MemoryStore

if TYPE_CHECKING:
    from echod.client.connection import Connection

LIVES = Lives(state_s=300, unused_s=90)
WELCOMED_AT = 1000.0


class Asking:
    """A connection whose session says a line, again and again, until one is refused."""

    def __init__(self) -> None:
        self.clock = Clock(0.0)
        self.clock.now_s = WELCOMED_AT
        self.committer = Committer(
            *(Alone(MemoryStore(LIVES)), Config(), LIVES, self.clock, Metrics()),
            on_rollback=lambda _: None,
        )
        self.terms = SimpleNamespace(committer=self.committer, clock=self.clock)
        self.session = Session(b"abcdefghij", ())
        self.session.lives_until = WELCOMED_AT + LIVES.unused_s
        self.gathering: Write | None = None
        self.told: list[Code] = []

    def say(self, after_s: float) -> Write:
        """A line."""
        self.clock.now_s += after_s
        write = self.committer.open(cast("Any", self), self.session)
        write.queued_at = self.clock.now_s
        return write

    def refused(self, write: Write, *, by_another: bool = False) -> Code:
        """What the client is told of it."""
        inquiry = Inquiry(cast("Connection", self), write)
        answer = Write(cast("Any", inquiry), self.session)
        answer.result = by_another
        inquiry.acknowledged(answer, 0.0)
        (code,) = self.told
        return code

    def abandon(self, code: Code, text: str) -> None:
        """See `Connection`."""
        assert text
        self.told.append(code)


def test_another_owner_has_taken_it_over() -> None:
    """Whenever that was."""
    one = Asking()
    assert one.refused(one.say(1000), by_another=True) is Code.TAKEN_OVER


@pytest.mark.parametrize(
    "after_s",
    [(89,), (10, 30), (10, 70), (60, 60), (60, 60, 60), (60, 20, 279), (60, 80, 80, 220)],
    ids=str,
)
def test_what_is_gone_before_its_time_is_lost(after_s: tuple[float, ...]) -> None:
    """The line before the refused one gave it a life, or HELLO did; a move need not be known."""
    one = Asking()
    for pause_s in after_s:
        write = one.say(pause_s)
    assert one.refused(write) is Code.ROLLED_BACK


@pytest.mark.parametrize("after_s", [(91,), (60, 301), (60, 20, 20, 301)], ids=str)
def test_what_is_gone_after_its_time_has_expired(after_s: tuple[float, ...]) -> None:
    """Its daemon stood still: else the connection would have been closed for being idle."""
    one = Asking()
    for pause_s in after_s:
        write = one.say(pause_s)
    assert one.refused(write) is Code.UNKNOWN_SESSION
