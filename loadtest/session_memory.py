"""What a client must remember of its session from one connection to the next (PROTOCOL §2.2).

    add(text) ──▶ waiting ──answered──▶ acknowledged
                     ▲  └──welcomed: committed up to seq, the rest is sent again

Pure. A line that was sent and not answered has an unknown fate: the next WELCOME tells,
and this says whether it can be true. `session_client.py` calls it.

Invariants (tests/unit/test_loadtest_memory.py holds them for random faults):
  order  lines are acknowledged in the order in which they were added, each once;
  truth  a WELCOME with fewer lines than were answered, more than were sent, or another
         text than was sent under its number, is never believed.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loadtest.session_events import Answered, Welcome


class Line:
    """A line of a session on its way.

    Attributes:
        n: its number; a session that lost lines numbers those that wait anew.
        sent_s: when it was first sent, by the client's clock; None: not yet.
        took_s: from then to the acknowledgement; None: not yet.
        sends: how many times it was sent under this number.
    """

    __slots__ = ("n", "sends", "sent_s", "text", "took_s")

    def __init__(self, n: int, text: bytes) -> None:
        self.n = n
        self.text = text
        self.sent_s: float | None = None
        self.took_s: float | None = None
        self.sends = 0

    def __repr__(self) -> str:
        return f"Line({self.n}, {self.text[:40]!r}, sends={self.sends}, took_s={self.took_s})"


class Untrue(Exception):  # noqa: N818 — a WELCOME's property
    """A WELCOME that can't be: the argument says why."""


class Memory:
    """A session as its client knows it.

    Attributes:
        token: empty until a WELCOME gave one.
        acked: the highest number that was acknowledged; None where that is not known:
            the token is from somewhere else.
        waiting: lines not acknowledged, numbered on from there.
        accepting: whether the next WELCOME may have less than was acknowledged.
    """

    __slots__ = ("_last", "accepting", "acked", "token", "waiting")

    def __init__(self, token: bytes = b"") -> None:
        self.token = token
        self.acked: int | None = None if token else 0
        self.waiting: deque[Line] = deque()
        self.accepting = False
        self._last: bytes | None = None  # line `acked`'s text

    @property
    def name(self) -> str:
        """The session's public name; empty before it has one."""
        return self.token.partition(b".")[0].decode()

    @property
    def next(self) -> int:
        """The number of the line that is added next."""
        return (self.acked or 0) + len(self.waiting) + 1

    def add(self, text: bytes) -> Line:
        """A line to be sent."""
        line = Line(self.next, text)
        self.waiting.append(line)
        return line

    def answered(self, event: Answered) -> Line:
        """The first that waits is acknowledged; its connection's judge has seen to the rest."""
        line = self.waiting.popleft()
        self.acked, self._last = event.n, event.text
        return line

    def welcomed(self, welcome: Welcome) -> list[Line]:
        """Learn what was committed: these lines are acknowledged, and wait no more.

        Where less than was acknowledged is left, and accepted, those that wait follow it.

        Raises:
            Untrue: see the module's invariants; nothing has changed then.
        """
        committed: list[Line] = []
        if self.acked is not None:
            count = self._committed(self.acked, welcome)
            committed = [self.waiting.popleft() for _ in range(count)]
        self._adopt(welcome)
        return committed

    def overtaken(self, welcome: Welcome) -> list[Line]:
        """Go on from a WELCOME that another owner's lines are in; return what waited.

        Their fate is not known: they are forgotten.
        """
        forgotten = list(self.waiting)
        self.waiting.clear()
        self._adopt(welcome)
        return forgotten

    def _adopt(self, welcome: Welcome) -> None:
        self.token, self.acked, self._last = welcome.token, welcome.seq, welcome.text
        self.accepting = False
        for n, line in enumerate(self.waiting, welcome.seq + 1):
            if line.n != n:
                line.n, line.sends = n, 0

    def _committed(self, acked: int, welcome: Welcome) -> int:
        """How many of those that wait a WELCOME has, if it can be true."""
        count = welcome.seq - acked
        if count < 0 and self.accepting:
            return 0
        sent = sum(1 for line in self.waiting if line.sends)
        if not 0 <= count <= sent:
            raise Untrue(f"seq {welcome.seq}, with {acked} acknowledged and {sent} more sent")
        text = next(islice(self.waiting, count - 1, None)).text if count else self._last
        if text is not None and text != welcome.text:
            raise Untrue(f"line {welcome.seq} was {text[:40]!r}, and is {welcome.text!r}")
        return count
