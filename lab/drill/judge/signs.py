"""Who gave signs of life in time, in a soak, and what became of him. Pure; a part of `checker`.

A client's own clock judges it: what it sent, and when it was answered. A *sign of life* is a
request that was answered, and counts from the moment at which it was sent; so whoever is said
to have been in time was. One whose own signs were further apart than they may be was not
served badly: it is excused, and counted, since a run of which many are excused proves nothing.

A client is named `L<store>-<kind><number>.<session>`: `Lr-say2.1` is the first session of the
second that only says SAY, on Redis. `load/guests.py` has the kinds.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict, deque
from typing import TYPE_CHECKING, Final

from lab.drill.judge import violations as rules
from lab.drill.judge.tenure import ANSWERING, QUESTION_OF, QUESTIONS, Connection
from lab.drill.lives import shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lab.drill.judge.tenure import Session
    from lab.drill.lives import Short
    from loadtest.history import Event

NAME = re.compile(r"L([a-z])-([a-z-]+)\d*\.")
ORDINARY: Final = shorten(1.0)

# A daemon's clock goes in ticks of 0.1 s, and twice that at once after a stall.
TICKS_S = 0.2
# A daemon gives another's TOLD up after 1 s: who waited so long was not found absent.
TOLD_S = 0.9
# What a client notices later than its daemon did: the end of a connection.
NOTICE_S = 1.0
# After it nobody can be delivered anything: the daemon has long noticed, too.
LEFT_S = 5.0
# Unread by its daemon, this one gives signs that are not answered for long.
SLOW = "slow"
# No daemon of this store is killed or drained.
UNHARMED = "m"
# These let their sessions expire, and see that they are gone.
EXPIRES: Final = frozenset({"expire"})
# Who is not there all the time; all others have to answer the roll call, which this one makes.
CALL = "call"
COMING: Final = EXPIRES | {"hello", "pause", "wait", "quit", "idle", CALL}


class Signs:
    """`Checker` feeds it the events of a soak's clients, once it has looked at them itself.

    Args:
        short: the daemons' lives.
        troubled: from when to when a fault was there: nobody is owed a TELL then, for the
            other's daemon may be dead, or deaf.
        sessions: the checker's, by public name.
        broken: hears of violations: rule, session, text, events.

    Attributes:
        excused: who was late by his own clock, by (kind, what he heard).
        given: signs that were answered, by (store, kind).
        counts: by (what, store), of what: `tells` answered, `told`: delivered, `slow`: come to
            nothing only after a second, without a fault; sessions that are unknown, because they
            were `expired`, or `ended` by QUIT; answers to WHO that were right, `counted` (rooms).
        times: seconds by (what, store), of what: sessions `resumed` that were away so long, or
            `unused` before their first line; PINGs that a slow reader left `unread`; posts of
            that age that were known in `repeats`, members away that `recovered` (rooms).
        steady: the clients that are there all the time, by store.
        present: those of whom the roll call at the end heard `delivered`, by store.
    """

    def __init__(
        self,
        short: Short,
        troubled: Sequence[tuple[float, float]],
        sessions: Mapping[str, Session],
        broken: Callable[..., None],
    ) -> None:
        self.short, self.broken = short, broken
        self._troubled = troubled
        self._sessions = sessions
        self.excused: Counter[tuple[str, str]] = Counter()
        self.given: Counter[tuple[str, str]] = Counter()
        self.counts: Counter[tuple[str, str]] = Counter()
        self.times: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
        self.steady: defaultdict[str, set[str]] = defaultdict(set)
        self.present: defaultdict[str, set[str]] = defaultdict(set)
        self._absent: deque[tuple[float, Event, Connection]] = deque()  # told so; asked when

    def connection(self, client: str) -> Connection:
        """Another connection of a client, which may be a soak's."""
        found = NAME.match(client)
        if found is None:
            return Connection(client)
        store, kind = found.groups()
        if kind not in COMING:
            self.steady[store].add(base(client))
        return Connection(client, store, kind)

    def feed(self, connection: Connection, event: Event, asked: Event | None) -> None:
        """The next event, and the request that it answers."""
        kind, t, session = event["e"], event["t"], connection.session
        while self._absent and t > self._absent[0][1]["t"] + NOTICE_S:
            self._judge_absent(*self._absent.popleft())
        if kind in ("connect", "hello") or kind in QUESTIONS:
            connection.gap_s = max(connection.gap_s, t - connection.sent_s)
            connection.sent_s = t
        if kind == "error":
            self._error(connection, event)
        if not session.name:
            return
        if kind == "closed":
            session.since_s, session.closed_s = math.inf, t
            return
        if kind == "hello":
            connection.away_s = t - session.last_s
        elif kind == "welcome":
            self._welcome(connection, session, event)
        elif kind in QUESTIONS:
            session.asked_s = t
        elif asked is not None:
            self._sign(connection, session, event, asked)
        session.last_s = t

    def finish(self) -> None:
        """The history is at its end."""
        while self._absent:
            self._judge_absent(*self._absent.popleft())

    def lost(self, connection: Connection, session: Session, event: Event) -> tuple[bool, str]:
        """`unknown-session`: whether it is as it should be, and for how long it was silent."""
        if session.gone:
            self.counts["ended", connection.store] += 1
            return True, ""
        sign_s = session.sign_s
        if connection.kind == SLOW and (session.since_s < math.inf or connection.store == UNHARMED):
            # While it is connected its daemon keeps it, reading or not. (That its daemon was
            # killed it finds behind all that is still on its way to it.)
            sign_s = max(sign_s, session.asked_s)
        silent_s, owed_s = event["t"] - sign_s, self._life_s(session)
        if silent_s >= owed_s:
            if connection.kind in EXPIRES:
                self.counts["expired", connection.store] += 1
            else:
                self.excused[connection.kind, event["code"]] += 1
        return silent_s >= owed_s, f"; {silent_s:.2f} s after a sign of life, of {owed_s:.2f}"

    def _life_s(self, session: Session) -> float:
        return self.short.lives.state_s if session.used else self.short.lives.unused_s

    def _welcome(self, connection: Connection, session: Session, event: Event) -> None:
        hello = connection.hello
        if hello is None:
            return
        if hello["name"]:
            away_s, owed_s = connection.away_s, self._life_s(session)
            if away_s > owed_s + NOTICE_S:
                text = f"it was silent for {away_s:.1f} s of {owed_s:.1f}, and is resumed"
                self.broken(rules.ENDED, session.name, text, hello, event)
            self.times["resumed", connection.store].append(away_s)
            session.used = True
        session.by, session.sign_s, session.since_s = connection, hello["t"], event["t"]

    def _error(self, connection: Connection, event: Event) -> None:
        code, t = event["code"], event["t"]
        if code == "slow-consumer":
            self.broken(rules.SLOW, "", "`slow-consumer`, and it reads in time", event)
        elif code == "idle-timeout":
            # What it sent last may have crossed this, and a slow reader reads it long after.
            gap_s = max(t - connection.sent_s, connection.gap_s)
            if gap_s < self.short.idle_s - TICKS_S:
                text = f"`idle-timeout`, and it was never silent for more than {gap_s:.2f} s"
                self.broken(rules.IDLE, "", text, event)
            else:
                self.excused[connection.kind, code] += 1
        elif code in ANSWERING and not connection.session.name:
            self.broken(rules.REFUSED, "", f"`{code}` to a HELLO", event)

    def _sign(self, connection: Connection, session: Session, event: Event, asked: Event) -> None:
        """A request was answered: it was a sign of life."""
        store, kind = connection.store, connection.kind
        self.given[store, kind] += 1
        if not session.used and event["e"] != "bye":
            session.used = True
            self.times["unused", store].append(asked["t"] - session.sign_s)
        session.sign_s = max(session.sign_s, asked["t"])
        if QUESTION_OF.get(event["e"]) != asked["e"]:
            return  # the checker says what is wrong
        if event["e"] == "told":
            self.counts["tells", store] += 1
            self._told(connection, asked, event)
        elif event["e"] == "pong" and kind == SLOW:
            self.times["unread", store].append(event["t"] - asked["t"])

    def _told(self, connection: Connection, asked: Event, event: Event) -> None:
        """`delivered` to who is there, `absent` of who is not."""
        other, store, t = self._sessions.get(asked["name"]), connection.store, event["t"]
        if other is None or other.by is None:
            return
        if event["how"] == "delivered":
            self.counts["told", store] += 1
            if connection.kind == CALL:
                self.present[store].add(base(other.by.client))
            if other.closed_s < asked["t"] - LEFT_S and other.since_s == math.inf:
                text = f"TELL {other.by.client} says `delivered`, which is not connected"
                self.broken(rules.NOBODY, other.name, text, asked, event)
        elif any(since_s <= t and asked["t"] <= until_s for since_s, until_s in self._troubled):
            pass
        elif t - asked["t"] >= TOLD_S:
            self.counts["slow", store] += 1
        elif other.since_s < asked["t"] - NOTICE_S and other.by.kind != SLOW:
            # A slow reader finds the end of its connection long after it has come.
            self._absent.append((asked["t"], event, other.by))

    def _judge_absent(self, asked_s: float, event: Event, by: Connection) -> None:
        """The session named was there all the time, as far as its client knows."""
        if by.session.since_s < asked_s and by.session.closed_s < asked_s:
            text = f"TELL {by.client} says `absent`, which has been there since before"
            self.broken(rules.ABSENT, by.session.name, text, event)


def base(client: str) -> str:
    """A client's name, whichever its session."""
    return client.partition(".")[0]
