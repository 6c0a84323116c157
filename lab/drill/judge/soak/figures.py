"""What a soak's history says of lives: who gave signs in time, and what became of him. Pure.

    history ──feed──▶ SoakFigures ──▶ wrong (what may not be), excused, counts

A client's own clock judges it: what it sent, and when it was answered. A *sign of life* is a
request that was answered, and counts from the moment at which it was sent; so whoever is said
to have been in time was. One whose own signs were further apart than they may be was not
served badly: it is excused, and counted, since a run of which many are excused proves nothing.

A client is named `L<store>-<kind><number>.<session>`: `Lr-say2.1` is the first session of the
second that only says SAY, on Redis. `load/sitters.py` and `guests.py` have the kinds.
"""

from __future__ import annotations

import math
import re
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from lab.drill.judge.questions import ANSWERING, QUESTION_OF, QUESTIONS
from lab.drill.judge.soak.rooms import SoakRooms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lab.drill.lives import Short
    from loadtest.history import Event

NAME = re.compile(r"L([a-z])-([a-z-]+)\d*\.")

# A daemon's clock goes in ticks of 0.1 s, and twice that at once after a stall.
TICKS_S = 0.2
# A daemon gives another's TOLD up after 1 s: who waited so long was not found absent.
TOLD_S = 0.9
# What a client notices later than its daemon did: the end of a connection.
NOTICE_S = 1.0
# After it nobody can be delivered anything: the daemon has long noticed, too.
LEFT_S = 5.0
# Wrong is what is told in words; all are counted.
WRONG_MAX = 20
# Unread by its daemon, this one gives signs that are not answered for long.
SLOW = "slow"
# No daemon of this store is killed or drained.
UNHARMED = "m"
# These let their sessions expire, and see that they are gone.
EXPIRES: Final = frozenset({"expire"})
# Who is not there all the time; all others have to answer the roll call, which this one makes.
CALL = "call"
COMING: Final = EXPIRES | {"hello", "pause", "wait", "quit", "idle", CALL}


@dataclass(slots=True)
class Life:
    """One session, by its public name; times on the history's clock."""

    client: str
    sign_s: float
    used: bool = False  # a line was answered: it lives longer from then on
    last_s: float = 0.0  # anything that was sent or heard
    asked_s: float = -math.inf
    ended: bool = False
    since_s: float = math.inf  # its connection's WELCOME; inf while there is none
    closed_s: float = -math.inf


@dataclass(slots=True)
class Link:
    """A client's connection of the moment."""

    store: str
    kind: str
    life: Life | None = None
    hello: Event | None = None
    last_s: float = -math.inf  # what was last sent or heard of its session before HELLO
    sent_s: float = -math.inf
    gap_s: float = 0.0  # the longest time in which nothing was sent
    due: deque[Event] = field(default_factory=deque)


class SoakFigures:
    """Feed it every event in the order of time, then `finish`.

    Args:
        short: the daemons' lives.
        troubled: from when to when a fault was there: nobody is owed a TELL then, for the
            other's daemon may be dead, or deaf.

    Attributes:
        wrong: what may not be, in words, at most `WRONG_MAX`; `wrongs` counts all.
        excused: who was late by his own clock, by (kind, what he heard).
        signs: answered, by (store, kind).
        verbs: answered, by (store, request).
        resumed: how long each session was away that was resumed, by store.
        unused: how long each lived without a line before its first one, by store.
        expired: sessions that were over and are unknown, by store.
        ended: sessions that ended by QUIT and are unknown, by store.
        told: TELLs delivered, by store.
        steady: the clients that are there all the time, by store.
        present: those of whom the roll call at the end heard `delivered`, by store.
        unread_s: the longest time that a slow reader's PING was not answered, by store.
        slow: TELLs that came to nothing only after a second, without a fault.
        rooms: what is said of rooms.
    """

    def __init__(self, short: Short, troubled: Sequence[tuple[float, float]] = ()) -> None:
        self._lives = short.lives
        self._troubled = troubled
        self._idle_s = short.idle_s
        self.wrong: list[str] = []
        self.wrongs: Counter[str] = Counter()
        self.excused: Counter[tuple[str, str]] = Counter()
        self.signs: Counter[tuple[str, str]] = Counter()
        self.verbs: Counter[tuple[str, str]] = Counter()
        self.resumed: dict[str, list[float]] = {}
        self.unused: dict[str, list[float]] = {}
        self.expired: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.told: Counter[str] = Counter()
        self.slow: Counter[str] = Counter()
        self.steady: dict[str, set[str]] = {}
        self.present: dict[str, set[str]] = {}
        self.unread_s: dict[str, float] = {}
        self.rooms = SoakRooms(short.lives, self._break)
        self._links: dict[str, Link] = {}
        self._by_name: dict[str, Life] = {}
        self._absent: deque[tuple[float, float, str, Life]] = deque()
        self._excuse: Event | None = None
        self._handlers: dict[str, Callable[[str, Link, Event], None]] = {
            "connect": self._connect,
            "hello": self._hello,
            "welcome": self._welcome,
            "error": self._error,
            "closed": self._closed,
            **dict.fromkeys(QUESTIONS, self._asked),
            **dict.fromkeys(QUESTION_OF, self._answered),
        }

    def excuses(self, event: Event) -> bool:
        """Whether the event fed last is the loss of a session that was too late itself."""
        return event is self._excuse

    def feed(self, event: Event) -> None:
        """Take the next event; only the soak's clients are looked at."""
        found = NAME.match(event["c"])
        if found is None:
            return
        client, t = event["c"], event["t"]
        while self._absent and t > self._absent[0][1] + NOTICE_S:
            self._judge_absent(*self._absent.popleft())
        link = self._links.get(client)
        if link is None:
            link = self._links[client] = Link(found[1], found[2])
            if link.kind not in COMING:
                self.steady.setdefault(link.store, set()).add(base(client))
        self.rooms.feed(client, link.store, event)
        handler = self._handlers.get(event["e"])
        if handler is not None:
            handler(client, link, event)
        if link.life is not None and event["e"] not in ("connect", "connected", "closed"):
            link.life.last_s = t

    def finish(self) -> None:
        """The history is at its end."""
        while self._absent:
            self._judge_absent(*self._absent.popleft())
        self.rooms.finish()

    # Opening and ending.

    def _connect(self, _: str, link: Link, event: Event) -> None:
        link.life = link.hello = None
        link.due.clear()
        link.sent_s, link.gap_s = event["t"], 0.0

    def _hello(self, _: str, link: Link, event: Event) -> None:
        link.hello, link.sent_s = event, event["t"]
        link.life = self._by_name.get(event["name"])
        if link.life is not None:
            link.last_s = link.life.last_s

    def _welcome(self, client: str, link: Link, event: Event) -> None:
        hello, life, t = link.hello, link.life, event["t"]
        if hello is None:
            return
        if life is None:
            life = link.life = self._by_name[event["name"]] = Life(client, hello["t"])
        else:
            away_s = hello["t"] - link.last_s
            owed_s = self._life_s(life)
            if life.ended or away_s > owed_s + NOTICE_S:
                was = "ended" if life.ended else f"silent for {away_s:.1f} s of {owed_s:.1f}"
                self._break("back from the dead", client, f"its session was {was}, and is resumed")
            self.resumed.setdefault(link.store, []).append(away_s)
            life.sign_s, life.used, life.client = hello["t"], True, client
        life.since_s = t

    def _closed(self, _: str, link: Link, event: Event) -> None:
        if link.life is not None:
            if link.due and link.due[-1]["e"] == "quit":
                link.life.ended = True  # obeyed or not, nobody knows
            link.life.since_s, link.life.closed_s = math.inf, event["t"]
        link.due.clear()

    def _error(self, client: str, link: Link, event: Event) -> None:
        code, t = event["code"], event["t"]
        if code in ANSWERING:
            self._refused(client, link, event)
        elif code == "unknown-session":
            self._lost(client, link, event)
        elif code == "idle-timeout":
            # What it sent last may have crossed this, and a slow reader reads it long after.
            gap_s = max(t - link.sent_s, link.gap_s)
            if gap_s < self._idle_s - TICKS_S:
                text = f"`idle-timeout`, and it was never silent for more than {gap_s:.2f} s"
                self._break("idle though in time", client, text)
            else:
                self.excused[link.kind, code] += 1
        elif code in ("rolled-back", "internal", "slow-consumer"):
            self._break(code, client, f"`{code}`, and nothing is wrong with its store or with it")

    def _lost(self, client: str, link: Link, event: Event) -> None:
        """It hears that there is no such session."""
        life = link.life
        if life is None:
            return
        if life.ended:
            self.ended[link.store] += 1
            self._excuse = event
            return
        sign_s = life.sign_s
        if link.kind == SLOW and (life.since_s < math.inf or link.store == UNHARMED):
            # While it is connected its daemon keeps it, reading or not. (That its daemon was
            # killed it finds behind all that is still on its way to it.)
            sign_s = max(sign_s, life.asked_s)
        silent_s, owed_s = event["t"] - sign_s, self._life_s(life)
        life.ended = True
        if silent_s < owed_s:
            text = f"its session is lost {silent_s:.2f} s after a sign of life, of {owed_s:.2f}"
            self._break("lost though in time", client, text)
            return
        self._excuse = event
        if link.kind in EXPIRES:
            self.expired[link.store] += 1
        else:
            self.excused[link.kind, "unknown-session"] += 1

    def _life_s(self, life: Life) -> float:
        return self._lives.state_s if life.used else self._lives.unused_s

    # Asking, being answered.

    def _asked(self, _: str, link: Link, event: Event) -> None:
        link.due.append(event)
        if link.life is not None:
            link.life.asked_s = event["t"]
        link.gap_s = max(link.gap_s, event["t"] - link.sent_s)
        link.sent_s = event["t"]

    def _answered(self, client: str, link: Link, event: Event) -> None:
        if event["e"] == "joined" and not (link.due and link.due[0]["e"] == "join"):
            return  # unasked: `SoakRooms` says what it thinks of it
        asked = self._sign(link, event)
        if asked is None or asked["e"] != QUESTION_OF[event["e"]]:
            return  # the checker says what is wrong
        self.verbs[link.store, asked["e"]] += 1
        match event["e"]:
            case "told":
                self._told(client, link, asked, event)
            case "pong" if link.kind == SLOW:
                unread_s = event["t"] - asked["t"]
                self.unread_s[link.store] = max(self.unread_s.get(link.store, 0.0), unread_s)
            case "bye" if link.life is not None:
                link.life.ended = True

    def _refused(self, client: str, link: Link, event: Event) -> None:
        asked = self._sign(link, event)
        what = f"a {asked['e']} is answered `{event['code']}`" if asked else f"`{event['code']}`"
        self._break("refused", client, f"{what}, which nothing here deserves")

    def _sign(self, link: Link, event: Event) -> Event | None:
        """A request was answered: it was a sign of life."""
        asked = link.due.popleft() if link.due else None
        life = link.life
        if asked is not None and life is not None:
            self.signs[link.store, link.kind] += 1
            if not life.used and event["e"] != "bye":
                life.used = True
                self.unused.setdefault(link.store, []).append(asked["t"] - life.sign_s)
            life.sign_s = max(life.sign_s, asked["t"])
        return asked

    def _told(self, client: str, link: Link, asked: Event, event: Event) -> None:
        """`delivered` to who is there, `absent` of who is not."""
        other = self._by_name.get(asked["name"])
        if other is None:
            return
        t = event["t"]
        if event["how"] == "delivered":
            self.told[link.store] += 1
            if link.kind == CALL:
                self.present.setdefault(link.store, set()).add(base(other.client))
            if other.closed_s < asked["t"] - LEFT_S and other.since_s == math.inf:
                text = f"TELL {other.client} says `delivered`, which is not connected"
                self._break("delivered to nobody", client, text)
        elif any(since_s <= t and asked["t"] <= until_s for since_s, until_s in self._troubled):
            pass
        elif t - asked["t"] >= TOLD_S:
            self.slow[link.store] += 1
        elif other.since_s < asked["t"] - NOTICE_S and not is_slow(other.client):
            self._absent.append((asked["t"], t, client, other))

    def _judge_absent(self, asked_s: float, _: float, client: str, other: Life) -> None:
        """The session named was there all the time, as far as its client knows."""
        if other.since_s < asked_s and other.closed_s < asked_s:
            text = f"TELL {other.client} says `absent`, which has been there since before"
            self._break("absent though there", client, text)

    def _break(self, rule: str, client: str, text: str) -> None:
        self.wrongs[rule] += 1
        if len(self.wrong) < WRONG_MAX:
            self.wrong.append(f"{client}: {text}")


def is_slow(client: str) -> bool:
    """Whether it finds the end of its connection long after it has come."""
    found = NAME.match(client)
    return found is not None and found[2] == SLOW


def base(client: str) -> str:
    """A client's name, whichever its session."""
    return client.partition(".")[0]
