"""What one owner of a session has done with it, as its client saw it. Pure; `checker` has the rules.

A *tenure* begins with a WELCOME and ends with the next one's: all that one connection sent
and was answered in between. A *due* is something sent whose answer has not come.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loadtest.history import Event

# What answers what (PROTOCOL §2, §3). An answer of any kind is one (§2.3).
QUESTION_OF = {
    "answered": "sent",
    "pong": "ping",
    "bye": "quit",
    "joined": "join",
    "said": "say",
    "parted": "part",
    "members": "who",
    "told": "tell",
}
QUESTIONS = frozenset(QUESTION_OF.values())
# These say again what was asked.
ECHOING = frozenset({"answered", "pong"})
# §4: the errors that answer one line and leave the connection open.
ANSWERING = frozenset(
    {
        "bad-request", "out-of-order", "conflict",
        "not-in-room", "too-many-rooms", "room-unavailable",
    }
)  # fmt: skip

# Of one session's tenures so many are kept: more than can be open at once in a drill.
TENURES_MAX = 16


@dataclass(slots=True)
class Due:
    """A request that was sent on a connection and not answered there yet."""

    event: Event
    late: Event | None
    """The WELCOME of a later owner that had been seen before this was sent."""
    right: bool
    """A line that is next, or the last one repeated: it may not be refused."""


class Tenure:
    """One owner's time.

    Attributes:
        welcome: The event it began with; `epoch` and `seq` are its.
        lines: Number → text, as far as it matters: the last two that are known to be
            committed, and those sent after them.
        committed: The highest number that was answered here, or that WELCOME told.
        answered: The event of that answer, or None if WELCOME told.
        sent: The highest number that was sent here, or is committed.
    """

    __slots__ = ("answered", "committed", "epoch", "lines", "sent", "seq", "welcome")

    def __init__(self, welcome: Event) -> None:
        self.welcome = welcome
        self.epoch = welcome["epoch"] or 0
        self.seq = self.committed = self.sent = welcome["seq"]
        self.answered: Event | None = None
        self.lines: dict[int, str] = {}
        text = welcome["text"]
        if text is not None:
            self.lines[self.seq] = text

    def send(self, number: int, text: str) -> bool:
        """A line goes out; whether it is next, or the last one repeated: it may not be refused."""
        repeated = number == self.sent and self.lines.get(number) == text
        right = number == self.sent + 1 or repeated
        self.sent = max(self.sent, number)
        self.lines.setdefault(number, text)
        return right

    def commit(self, answered: Event) -> None:
        """A line was answered: older ones than it and its predecessor are of no more use."""
        number = answered["n"]
        if number >= self.committed:
            self.committed = number
            self.answered = answered
            self.lines.pop(number - 2, None)


@dataclass(slots=True)
class Connection:
    """One connection to the session port, from its `connect` to its `closed`."""

    client: str
    store: str = ""  # of a soak's client, as its kind (`signs`); empty for any other
    kind: str = ""
    session: Session = field(default_factory=lambda: Session(""))  # until HELLO or WELCOME names it
    tenure: Tenure | None = None
    hello: Event | None = None
    floor: Floor | None = None  # what was known of the session when HELLO was sent
    due: deque[Due] = field(default_factory=deque)
    sent_s: float = math.inf  # when anything was sent last
    gap_s: float = 0.0  # the longest time in which nothing was
    away_s: float = 0.0  # how long the session had heard and sent nothing when HELLO was sent


@dataclass(frozen=True, slots=True)
class Floor:
    """What any later WELCOME has to be above, with the events that said so."""

    epoch: int
    committed: int
    welcome: Event | None
    proof: Event | None
    era: int


@dataclass(slots=True, eq=False)
class Session:
    """Everything known of one session."""

    name: str
    tenures: list[Tenure] = field(default_factory=list)  # the latest, in the order of ownership
    cut: bool = False  # tenures before the oldest of `tenures` are forgotten
    era: int = 0  # how often data was lost, as clients heard: within one nothing goes back
    blur: Event | None = None  # a WELCOME that may belong to this era or to the one before
    quit: tuple[Event, int] | None = None  # may have been obeyed; and its owner's epoch
    ended: Event | None = None  # the BYE, or the `unknown-session`
    there_s: float = -math.inf  # when the last question was sent that was answered

    # In a soak, on the history's clock.
    by: Connection | None = None  # who had it last
    used: bool = False  # a line was answered: it lives longer from then on
    sign_s: float = -math.inf  # its last sign of life
    asked_s: float = -math.inf  # the last request, answered or not
    last_s: float = -math.inf  # the last of anything that was sent or heard
    since_s: float = math.inf  # its connection's WELCOME; inf while there is none
    closed_s: float = -math.inf  # the end of its last connection

    @property
    def latest(self) -> Tenure | None:
        """The tenure of the highest epoch."""
        return self.tenures[-1] if self.tenures else None

    @property
    def gone(self) -> bool:
        """Whether it has ended, or may have."""
        return self.ended is not None or self.quit is not None

    def floor(self) -> Floor:
        """What a HELLO sent now must find at least."""
        latest = self.latest
        if latest is None:
            return Floor(0, 0, None, None, self.era)
        proof = latest.answered or latest.welcome
        return Floor(latest.epoch, latest.committed, latest.welcome, proof, self.era)

    def forget(self) -> None:
        """Data was lost, and a client was told so: what follows is another history."""
        self.tenures.clear()
        self.cut = False
        self.era += 1

    def insert(self, tenure: Tenure) -> tuple[Tenure | None, Tenure | None]:
        """Put it into its place; returns the tenures before and after it.

        WELCOMEs of two claimants may be seen in another order than they were given in.
        """
        at = len(self.tenures)
        while at and self.tenures[at - 1].epoch > tenure.epoch:
            at -= 1
        if not at and self.cut:
            return None, None  # later than all memory: its neighbours are forgotten
        before = self.tenures[at - 1] if at else None
        after = self.tenures[at] if at < len(self.tenures) else None
        self.tenures.insert(at, tenure)
        if len(self.tenures) > TENURES_MAX:
            del self.tenures[0]
            self.cut = True
        return before, after

    def successor(self, tenure: Tenure) -> Tenure | None:
        """The next tenure after `tenure`, or None while it is the latest or of an earlier era."""
        for before, after in zip(self.tenures, self.tenures[1:], strict=False):
            if before is tenure:
                return after
        return None

    def knows(self, text: str) -> bool:
        """Whether it is one of the texts that this session sent or was told lately."""
        return any(text in tenure.lines.values() for tenure in self.tenures)
