"""What a session's client has to send next, and what it asked and was not answered.

    lines (Memory) ─┐
    requests ───────┴─▶ batch ─▶ one connection ─▶ answered
                          ▲                          │ cut: what was not answered again
                          └──────────────────────────┘

Pure; `session_client.py` sends what `batch` gives.

Invariants:
  bound  at most `lines_in_flight_max` lines, and no more begun at `bytes_in_flight_max`;
  end    QUIT goes out when every line has, and nothing after it on that connection.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Final

from loadtest.session_requests import Echo, Ping, Quit

if TYPE_CHECKING:
    from loadtest.session_memory import Memory
    from loadtest.session_requests import Request
    from loadtest.session_retry import Patience

# Asked by the client itself: its answer is nobody's news. Known by identity.
KEEP_ALIVE: Final = Ping()


class Outbox:
    """See the module.

    Attributes:
        quit_sent: QUIT has gone out, on this connection or an earlier one, and its answer
            has not come.
    """

    __slots__ = ("_asked", "_memory", "_patience", "_to_ask", "quit_sent")

    def __init__(self, memory: Memory, patience: Patience) -> None:
        self._memory = memory
        self._patience = patience
        self._to_ask: deque[Request] = deque()
        self._asked: deque[Request] = deque()  # on the connection of the moment, in order
        self.quit_sent = False

    @property
    def empty(self) -> bool:
        """Whether there is nothing that waits to be sent or acknowledged."""
        return not self._memory.waiting and not self._to_ask and not self._asked

    def ask(self, request: Request) -> None:
        """A request, other than a line, to be sent."""
        self._to_ask.append(request)

    def keep_alive(self) -> None:
        """A PING, unless something else is on its way out."""
        if not self._to_ask:
            self._to_ask.append(KEEP_ALIVE)

    def batch(self, lines: int, line_bytes: int, now_s: float) -> list[Request]:
        """What can be sent now on a connection with so much in flight; it counts as sent."""
        batch: list[Request] = [*self._lines(lines, line_bytes, now_s)]
        all_lines_out = lines + len(batch) == len(self._memory.waiting)
        while self._to_ask:
            ends = isinstance(self._to_ask[0], Quit)
            if ends and not all_lines_out:
                break
            self._asked.append(self._to_ask.popleft())
            batch.append(self._asked[-1])
            self.quit_sent |= ends
            if ends:
                break
        return batch

    def _lines(self, lines: int, line_bytes: int, now_s: float) -> list[Echo]:
        batch: list[Echo] = []
        for line in islice(self._memory.waiting, lines, None):
            if lines >= self._patience.lines_in_flight_max:
                break
            if line_bytes >= self._patience.bytes_in_flight_max:
                break
            lines, line_bytes = lines + 1, line_bytes + len(line.text)
            line.sends += 1
            if line.sent_s is None:
                line.sent_s = now_s
            batch.append(Echo(line.n, line.text))
        return batch

    def withdraw_rooms(self) -> None:
        """Ask nothing of rooms that waits: after a cut its JOINs have old positions."""
        kept = [one for one in self._to_ask if isinstance(one, Ping | Quit)]
        self._to_ask = deque(kept)

    def answered(self) -> Request:
        """The request that was asked first is answered; which it is."""
        request = self._asked.popleft()
        self.quit_sent &= not isinstance(request, Quit)
        return request

    def cut(self) -> None:
        """The connection is gone: what it did not answer is asked again."""
        again = [request for request in self._asked if request is not KEEP_ALIVE]
        self._to_ask.extendleft(reversed(again))
        self._asked.clear()

    def ended(self) -> None:
        """The session has ended by a QUIT whose answer was lost."""
        self._to_ask.clear()
        self.quit_sent = False
