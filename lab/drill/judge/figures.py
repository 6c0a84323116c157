"""What a history says in figures: lines, breaks of service, and both over time. Pure.

A *break* is a client's time without service: from the first line that went unanswered (or
from the end of its connection, if none was waiting) to the first answer on the connection
that took its place, or to its WELCOME if no line waits any more. Its parts add up to it:

    begin ──detect──▶ closed ──reconnect──▶ connected ──resume──▶ welcome ──catch up──▶ answer
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from echod.store.slots import slot_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from loadtest.history import Event

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
class _Client:
    patient: bool
    waiting: dict[int, _Line] = field(default_factory=dict)  # sent, and no fate known
    withdrawn: dict[int, _Line] = field(default_factory=dict)  # known not to be committed
    acked: int = 0
    welcomed: bool = False  # the present connection is in service
    code: str = ""
    broken: Break | None = None
    slot: int = 0  # of its session

    @property
    def unknown(self) -> int:
        return len(self.waiting) + len(self.withdrawn)

    def forget(self) -> int:
        """Of all lines, whose number is returned."""
        unknown = self.unknown
        self.waiting.clear()
        self.withdrawn.clear()
        return unknown


class _Line(NamedTuple):
    text: str | None
    since_s: float


class Figures:
    """Feed it what the checker is fed; then read.

    A client whose session was lost goes on as another: `s3.1`, `s3.2` … are one here, `s3`.

    Args:
        patient: Which clients, by name, are to be served whatever happens: the others are
            there to disturb, and may leave lines without a fate and have no breaks.

    Attributes:
        sent: Lines handed to a kernel; each counts once, however often it was repeated.
        repeated: How often one was sent again.
        answered: Lines answered.
        told: Lines whose answer was lost, and which WELCOME said are committed.
        withdrawn: Lines that WELCOME said are not committed.
        lost: Lines that waited when their session was found to be gone, or rolled back.
        resumes: WELCOMEs of sessions that had been.
        sessions: New sessions.
        codes: Errors heard, by code.
        ends: Connections that ended, by how.
        plain_answered, plain_errors: Of the plain port's clients.
        answered_at, plain_at: When each line was answered, on either port.
        waited_s, slots: For each of `answered_at`, since when the line had waited, in seconds,
            however often it was sent; and its session's slot.
        faults_at: When patient and plain clients heard an error, or were cut.
        breaks: Every break that ended, and at the end those that did not.
    """

    def __init__(self, patient: Callable[[str], bool] = bool) -> None:
        self._patient = patient
        self.sent = self.repeated = self.answered = self.told = self.withdrawn = self.lost = 0
        self.resumes = self.sessions = self.plain_answered = 0
        self.codes: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        self.plain_errors: Counter[str] = Counter()
        self.breaks: list[Break] = []
        self.answered_at, self.plain_at, self.faults_at = array("d"), array("d"), array("d")
        self.waited_s, self.slots = array("d"), array("H")
        self.end = 0.0
        self._clients: dict[str, _Client] = {}

    @property
    def unknown(self) -> int:
        """Lines of patient clients whose fate nothing has told yet."""
        return sum(client.unknown for client in self._clients.values() if client.patient)

    def feed(self, event: Event) -> None:
        """Take the next event."""
        self.end = event["t"]
        handler: Callable[[_Client, Event], None] | None
        handler = getattr(self, f"_on_{event['e']}", None)
        if handler is None:
            return
        name = event["c"].partition(".")[0]
        client = self._clients.get(name)
        if client is None:
            client = self._clients[name] = _Client(self._patient(name))
        handler(client, event)

    def finish(self) -> None:
        """No more events: a break that has not ended is one that lasts."""
        for client in self._clients.values():
            if client.broken is not None:
                self.breaks.append(client.broken)
                client.broken = None

    def _on_connected(self, client: _Client, event: Event) -> None:
        if client.broken:
            client.broken.connected = event["t"]

    def _on_drain(self, client: _Client, _: Event) -> None:
        client.code = DRAIN

    def _on_error(self, client: _Client, event: Event) -> None:
        client.code = event["code"]
        self.codes[client.code] += 1
        self._fault(client, event["t"])
        if client.code in ("unknown-session", "rolled-back"):
            # What waited goes on under other numbers, as other lines.
            self.lost += client.forget()

    def _on_bye(self, client: _Client, _: Event) -> None:
        client.forget()
        client.welcomed = False

    def _on_sent(self, client: _Client, event: Event) -> None:
        number, text = event["n"], event["text"]
        before = client.withdrawn.pop(number, None)
        if before is not None and before.text == text:
            self.repeated += 1
            client.waiting[number] = before
        elif number in client.waiting or number <= client.acked:
            self.repeated += 1
        else:
            self.sent += 1
            client.waiting[number] = _Line(text, event["t"])

    def _on_answered(self, client: _Client, event: Event) -> None:
        t, number = event["t"], event["n"]
        client.acked = max(client.acked, number)
        line = client.waiting.pop(number, None)
        if line is not None:  # the answer to a line repeated for the second time is none
            self.answered += 1
            self.answered_at.append(t)
            self.waited_s.append(t - line.since_s)
            self.slots.append(client.slot)
        self._served(client, t)

    def _on_welcome(self, client: _Client, event: Event) -> None:
        seq = client.acked = event["seq"]
        client.slot = slot_of(event["name"].encode())
        self._tell(client, seq, event["text"])
        if event["epoch"] == 1 and not seq:
            self.sessions += 1
        else:
            self.resumes += 1
        client.welcomed = True
        client.code = ""
        if client.broken is not None:
            client.broken.welcomed = event["t"]
            if not client.withdrawn:
                self._served(client, event["t"])  # nothing waits: WELCOME is the service

    def _tell(self, client: _Client, seq: int, text: str | None) -> None:
        """What a WELCOME says of the lines that wait."""
        waiting, client.waiting = client.waiting, {}
        last = waiting.get(seq)
        if last is not None and last.text == text:
            told = [number for number in waiting if number <= seq]
        else:
            told = []  # none, or another claimant's lines are there
        for number in told:
            del waiting[number]
        client.withdrawn = waiting
        self.told += len(told)
        self.withdrawn += len(waiting)

    def _served(self, client: _Client, t: float) -> None:
        if client.broken is not None and not math.isnan(client.broken.welcomed):
            client.broken.answered = t
            self.breaks.append(client.broken)
            client.broken = None

    def _on_closed(self, client: _Client, event: Event) -> None:
        t, how = event["t"], event["how"]
        self.ends[how] += 1
        if how != BY_CLIENT:
            self._fault(client, t)
        left = how == BY_CLIENT and not client.code and not client.waiting
        if client.welcomed and client.broken is None and not left and client.patient:
            begin = min((line.since_s for line in client.waiting.values()), default=t)
            client.broken = Break(event["c"].partition(".")[0], begin, t, client.code or how)
        elif client.broken is not None:
            client.broken.connected = client.broken.welcomed = math.nan
        client.welcomed = False

    def _fault(self, client: _Client, t: float) -> None:
        if client.patient:
            self.faults_at.append(t)

    def _on_plain(self, _: _Client, event: Event) -> None:
        if how := event.get("how"):
            self.plain_errors[how] += 1
            self.faults_at.append(event["t"])
            return
        lines = event["n"]
        self.plain_answered += lines
        self.plain_at.extend([event["t"]] * lines)


def rank(values: Sequence[float], share: float) -> float:
    """The least value that `share` of all are not above; nan for none."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
