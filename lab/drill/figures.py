"""What a history says in figures: lines, breaks of service, and both over time. Pure.

A *break* is a client's time without service: from the first line that went unanswered (or
from the end of its connection, if none was waiting) to the first answer on the connection
that took its place. Its parts add up to it:

    begin ──detect──▶ closed ──reconnect──▶ connected ──resume──▶ welcome ──catch up──▶ answer
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from loadtest.history import Event

# A picture of 20 s is 800 pixels wide: a quarter of that many columns can be told apart.
BIN_S = 0.1

# How a connection ends that its client has done with; and why, if it obeyed DRAIN.
BY_CLIENT, DRAIN = "by client", "DRAIN"

PARTS = ("detect", "reconnect", "resume", "catch up")


@dataclass(slots=True)
class Break:
    """One client's time without service; times in seconds on the history's clock."""

    client: str
    begin: float
    closed: float
    why: str
    """The error's code, or how the connection ended."""
    attempts: int = 0
    connected: float = math.nan
    welcomed: float = math.nan
    answered: float = math.nan

    @property
    def over(self) -> bool:
        """Whether service came back."""
        return not math.isnan(self.answered)

    @property
    def took_s(self) -> float:
        """All of it."""
        return self.answered - self.begin

    @property
    def parts_s(self) -> tuple[float, float, float, float]:
        """Its `PARTS`."""
        return (
            self.closed - self.begin,
            self.connected - self.closed,
            self.welcomed - self.connected,
            self.answered - self.welcomed,
        )


@dataclass(slots=True)
class Timeline:
    """Counts in bins of `BIN_S`, from the first event on."""

    begin: float
    answered: Counter[int] = field(default_factory=Counter)
    plain: Counter[int] = field(default_factory=Counter)
    faults: Counter[int] = field(default_factory=Counter)
    """Errors heard, and connections that ended without the client's doing."""

    def bin(self, t: float) -> int:
        """Where `t` belongs."""
        return int((t - self.begin) / BIN_S)


@dataclass(slots=True)
class _Client:
    waiting: dict[int, float] = field(default_factory=dict)  # line → first sent
    highest: int = 0
    welcomed: bool = False  # the present connection is in service
    code: str = ""
    broken: Break | None = None


class Figures:
    """Feed it what the checker is fed; then read.

    Attributes:
        sent: Lines handed to a kernel; each counts once, however often it was repeated.
        repeated: How often one was sent again.
        answered: Lines answered.
        told: Lines whose answer was lost, and which WELCOME said are committed.
        withdrawn: Lines that WELCOME said are not committed.
        resumes: WELCOMEs of sessions that had been.
        sessions: New sessions.
        codes: Errors heard, by code.
        ends: Connections that ended, by how.
        plain_answered, plain_errors: Of the plain port's clients.
        reply_s: From first sending a line to its answer, of each.
        breaks: Every break that ended, and at the end those that did not.
    """

    def __init__(self) -> None:
        self.sent = self.repeated = self.answered = self.told = self.withdrawn = 0
        self.resumes = self.sessions = self.plain_answered = 0
        self.codes: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        self.plain_errors: Counter[str] = Counter()
        self.reply_s = array("d")
        self.breaks: list[Break] = []
        self.timeline: Timeline | None = None
        self.end = 0.0
        self._clients: dict[str, _Client] = {}
        self._handlers: dict[str, Callable[[_Client, Event], None]] = {
            "connect": self._connect,
            "connected": self._connected,
            "welcome": self._welcome,
            "sent": self._sent,
            "answered": self._answered,
            "drain": self._drain,
            "error": self._error,
            "closed": self._closed,
            "bye": self._bye,
            "plain": self._plain,
        }

    @property
    def unknown(self) -> int:
        """Lines whose fate nothing has told yet."""
        return sum(len(client.waiting) for client in self._clients.values())

    @property
    def without_service(self) -> int:
        """Clients that are in a break, or have lines waiting, now."""
        return sum(one.broken is not None or bool(one.waiting) for one in self._clients.values())

    def feed(self, event: Event) -> None:
        """Take the next event."""
        t = self.end = event["t"]
        if self.timeline is None:
            self.timeline = Timeline(t)
        handler = self._handlers.get(event["e"])
        if handler is None:
            return
        client = self._clients.get(event["c"])
        if client is None:
            client = self._clients[event["c"]] = _Client()
        handler(client, event)

    def finish(self) -> None:
        """No more events: a break that has not ended is one that lasts."""
        for client in self._clients.values():
            if client.broken is not None:
                self.breaks.append(client.broken)
                client.broken = None

    def _connect(self, client: _Client, _: Event) -> None:
        if client.broken:
            client.broken.attempts += 1

    def _connected(self, client: _Client, event: Event) -> None:
        if client.broken:
            client.broken.connected = event["t"]

    def _drain(self, client: _Client, _: Event) -> None:
        client.code = DRAIN

    def _error(self, client: _Client, event: Event) -> None:
        client.code = event["code"]
        self.codes[client.code] += 1
        self._fault(event["t"])

    def _bye(self, client: _Client, _: Event) -> None:
        client.waiting.clear()
        client.highest = 0
        client.welcomed = False

    def _sent(self, client: _Client, event: Event) -> None:
        number = event["n"]
        if number > client.highest:
            client.highest = number
            self.sent += 1
            client.waiting[number] = event["t"]
        else:
            self.repeated += 1

    def _answered(self, client: _Client, event: Event) -> None:
        t = event["t"]
        since_s = client.waiting.pop(event["n"], None)
        if since_s is not None:  # the answer to a line repeated for the second time is none
            self.answered += 1
            self.reply_s.append(t - since_s)
            if self.timeline is not None:
                self.timeline.answered[self.timeline.bin(t)] += 1
        self._served(client, t)

    def _welcome(self, client: _Client, event: Event) -> None:
        seq = event["seq"]
        if event["epoch"] == 1 and not seq:
            self.sessions += 1
            client.waiting.clear()
            client.highest = 0
        else:
            self.resumes += 1
        committed = [number for number in client.waiting if number <= seq]
        for number in committed:
            del client.waiting[number]
        self.told += len(committed)
        self.withdrawn += len(client.waiting)
        client.welcomed = True
        client.code = ""
        if client.broken is not None:
            client.broken.welcomed = event["t"]
            if committed and not client.waiting:
                self._served(client, event["t"])  # WELCOME was the answer

    def _served(self, client: _Client, t: float) -> None:
        if client.broken is not None and not math.isnan(client.broken.welcomed):
            client.broken.answered = t
            self.breaks.append(client.broken)
            client.broken = None

    def _closed(self, client: _Client, event: Event) -> None:
        t, how = event["t"], event["how"]
        self.ends[how] += 1
        if how != BY_CLIENT:
            self._fault(t)
        left = how == BY_CLIENT and not client.code and not client.waiting
        if client.welcomed and client.broken is None and not left:
            begin = min(client.waiting.values(), default=t)
            client.broken = Break(event["c"], begin, t, client.code or how)
        elif client.broken is not None:
            client.broken.connected = client.broken.welcomed = math.nan
        client.welcomed = False

    def _fault(self, t: float) -> None:
        if self.timeline is not None:
            self.timeline.faults[self.timeline.bin(t)] += 1

    def _plain(self, _: _Client, event: Event) -> None:
        if how := event.get("how"):
            self.plain_errors[how] += 1
            return
        lines = event["n"]
        self.plain_answered += lines
        if self.timeline is not None:
            self.timeline.plain[self.timeline.bin(event["t"])] += lines


def rank(values: Sequence[float], share: float) -> float:
    """The least value that `share` of all are not above; nan for none."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
