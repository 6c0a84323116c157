"""How long a client of the session port waits, when it tries again, and when it gives up.

Pure: whoever calls brings the time and the randomness. `session_client.py` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from loadtest.backoff import BACKOFF_S_FIRST, BACKOFF_S_MAX, backoff_s
from loadtest.sockets import CONNECT_S_MAX

if TYPE_CHECKING:
    from random import Random


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a client waits, and how much it has under way.

    Attributes:
        connect_s_max: for TCP, at one entrance; the next attempt follows (sockets.py).
        reply_s_max: without an answer, while one is due; then the connection is given up.
            Above the daemon's `commit_s_max` of 2 s, with a cluster 6 s, so that its
            `ERR unavailable` comes first. Lower, a frozen daemon is left sooner, and a slow
            one for nothing.
        give_up_s: without service; then the error goes to the caller.
        ping_every_s: while `receive` waits and nothing else is sent; the server's idle
            limit is 60 s.
        backoff_s_first: the most that is waited after a first failure (backoff.py).
        backoff_s_max: after any.
        lines_in_flight_max: unanswered on a connection; the server's limit is 1,000.
        bytes_in_flight_max: likewise; with replies twice as long it stays below what
            sockets buffer, so that neither side waits for the other to read.
    """

    connect_s_max: float = CONNECT_S_MAX
    reply_s_max: float = 8.0
    give_up_s: float = 30.0
    ping_every_s: float = 20.0
    backoff_s_first: float = BACKOFF_S_FIRST
    backoff_s_max: float = BACKOFF_S_MAX
    lines_in_flight_max: int = 200
    bytes_in_flight_max: int = 65_536


PATIENCE: Final = Patience()


@dataclass(frozen=True, slots=True)
class Resumed:
    """The session is back, on another connection.

    Attributes:
        took_s: from when the fault was noticed, or the connection left for a DRAIN.
        attempts: connections tried.
        cause: the fault's `repr`, one of few.
    """

    took_s: float
    attempts: int
    cause: str


class Retry:
    """What a client counts from the first fault on until it is served again.

    Attributes:
        due_s: not before then is there another attempt.
    """

    __slots__ = ("_attempts", "_cause", "_cut_s", "_failures", "_patience", "_random",
                 "_unserved_s", "due_s")  # fmt: skip

    def __init__(self, patience: Patience, random: Random) -> None:
        self._patience = patience
        self._random = random
        self.due_s = 0.0
        self._failures = 0  # in a row; a WELCOME alone does not end the row
        self._unserved_s: float | None = None  # since when
        self._attempts = 0
        self._cut_s: float | None = None  # since when there is no session, and why
        self._cause = ""

    def cut(self, now_s: float, cause: str) -> None:
        """The session has lost its connection, or left it; the first cause stays."""
        if self._cut_s is None:
            self._cut_s, self._cause = now_s, cause

    def failed(self, now_s: float, *, elsewhere: bool = False) -> bool:
        """A connection failed; whether that has lasted for `give_up_s`.

        `elsewhere`: another entrance is there that has not failed. Then the wait is as after a
        first failure, and the row of failures begins when all have failed.

        Who goes on after that is given as long again.
        """
        patience = self._patience
        self._failures += not elsewhere
        wait_s = backoff_s(
            self._failures or 1,
            self._random,
            first_s=patience.backoff_s_first,
            max_s=patience.backoff_s_max,
        )
        self.due_s = now_s + wait_s
        if self._unserved_s is None:
            self._unserved_s = now_s
        if now_s - self._unserved_s < patience.give_up_s:
            return False
        self._unserved_s = None
        return True

    def trying(self) -> None:
        """Another attempt begins."""
        self._attempts += 1

    def back(self, now_s: float) -> Resumed | None:
        """The session is open; None where it was not cut before: it is new."""
        attempts, self._attempts = self._attempts, 0
        if self._cut_s is None:
            return None
        resumed = Resumed(now_s - self._cut_s, attempts, self._cause)
        self._cut_s = None
        return resumed

    def served(self) -> None:
        """Something was answered: what comes next is another fault."""
        self._failures = 0
        self._unserved_s = None
