"""What clients saw, held to what PROTOCOL promises them. Pure.

    histories ──by time──▶ Checker.feed … ──▶ Checker.violations
                                 │
                  connection ─▶ tenure ─▶ session   (tenure.py)
                       ├──────▶ signs of life       (signs.py, in a soak)
                       └──────▶ rooms               (rooms.py)

It knows nothing of daemons or faults, and of the store only when which slots may have lost data:
one shard's loss excuses nobody on another. An unanswered line is *unknown* until a WELCOME tells.
The rules and their names are in `violations.py`; tests/unit/test_drill_checker.py has a model of a
correct service whose histories never break one, and for each rule histories that do.

Memory is bounded by the sessions, their open connections and the lines in flight, never by the
length of the history: a million lines take seconds (docs/drills.md).
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from echod.store.slots import slot_of
from lab.drill.judge import violations as rules
from lab.drill.judge.rooms import Rooms
from lab.drill.judge.signs import ORDINARY, Signs
from lab.drill.judge.tenure import (
    ANSWERING,
    ECHOING,
    QUESTION_OF,
    QUESTIONS,
    Due,
    Floor,
    Session,
    Tenure,
)
from lab.drill.judge.violations import Violation

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from lab.drill.judge.tenure import Connection
    from lab.drill.lives import Short
    from loadtest.history import Event

# One rule that is broken is broken often: so many are kept, all are counted.
KEPT_MAX = 20


class Loss(NamedTuple):
    """Data may have been lost or rolled back: when, on the history's clock, and of which slots."""

    t: float
    slots: Collection[int]

    def concerns(self, name: str) -> bool:
        """Whether a session or a room of this name may have lost something."""
        return slot_of(name.encode()) in self.slots


class Expiry(NamedTuple):
    """Sessions of these slots may have expired early, all at once, and nothing else was lost.

    A node took over whose clock is ahead: between `t` and `done` on the history's clock. A client
    hears `unknown-session`, or `rolled-back` first, from a daemon that knows how long its session
    was to live. Either way the session is gone.
    """

    t: float
    done: float
    slots: Collection[int]

    def concerns(self, name: str, answered_s: float, heard_s: float) -> bool:
        """Whether a session that is gone at `heard_s` may have gone by it.

        Not if it was there afterwards: then it has its whole life since. `answered_s` is when the
        last question was sent that was answered there.
        """
        return self.t < heard_s and answered_s <= self.done and slot_of(name.encode()) in self.slots


class Checker:
    """Feed it every event of every client, in the order of time; then look at `violations`.

    Args:
        losses: Of the store's data: only after one of its slot may a client hear `rolled-back`
            or `unknown-session`.
        short: The daemons' lives, if they are shortened.
        troubled: From when to when a fault was there.
        expiries: After one of its slot a client may hear the same, once, and its session is gone.
        haunts: Which clients, by name, post in rooms and are no good members of them: nothing is
            owed to them there.

    Attributes:
        violations: What was found, at most `KEPT_MAX` of each rule.
        counts: How often each rule was broken, all of them.
        signs: What a soak's clients did, and the rules of lives.
        rooms: What members saw, and the rules of rooms.
    """

    def __init__(
        self,
        losses: Sequence[Loss] = (),
        short: Short = ORDINARY,
        troubled: Sequence[tuple[float, float]] = (),
        *,
        expiries: Sequence[Expiry] = (),
        haunts: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self.violations: list[Violation] = []
        self.counts: Counter[str] = Counter()
        self._losses = losses
        self._expiries = expiries
        self._sessions: dict[str, Session] = {}
        self._connections: dict[tuple[str, int], Connection] = {}
        self.signs = Signs(short, troubled, self._sessions, self.broken)
        self.rooms = Rooms(self.signs)
        self._haunts = haunts

    def feed(self, event: Event) -> None:
        """Take the next event; kinds that promise nothing are passed over."""
        kind, key = event["e"], (event["c"], event["k"])
        if kind == "plain-wrong":
            self.broken(rules.PLAIN, "", str(event.get("text")), event)
        if kind in ("plain", "plain-wrong"):
            return
        connection = self._connections.get(key)
        if connection is None:
            connection = self._connections[key] = self.signs.connection(event["c"])
        due = self._due(connection, event)
        asked = due.event if due is not None else None
        self._judge(connection, event, due)
        if connection.kind:
            self.signs.feed(connection, event, asked)
        if connection.session.name:
            self.rooms.hold_fence(connection, event)
            if not self._haunts(event["c"]):
                self.rooms.feed(connection, event, asked)
        if kind == "closed":
            del self._connections[key]

    def _judge(self, connection: Connection, event: Event, due: Due | None) -> None:
        kind = event["e"]
        if kind in QUESTIONS:
            self._asked(connection, event)
        elif kind in QUESTION_OF:
            self._told(connection, event, due)
        elif kind == "hello":
            self._hello(connection, event)
        elif kind == "welcome":
            self._welcome(connection, event)
        elif kind == "error":
            self._error(connection, event, due)
        elif kind == "wrong":
            self.broken(rules.REPLY, connection.session.name, str(event.get("text")), event)

    @property
    def lines_remembered(self) -> int:
        """What it holds of the lines: bounded, however long the history is."""
        return sum(
            len(tenure.lines) for session in self._sessions.values() for tenure in session.tenures
        ) + sum(len(connection.due) for connection in self._connections.values())

    def finish(self, counted: Iterable[tuple[str, int, int]] = ()) -> None:
        """The history is at its end.

        Args:
            counted: (daemon, connections in its metrics, connections in the kernel), once all
                was quiet.
        """
        self.signs.finish()
        self.rooms.finish()
        for daemon, in_metrics, in_kernel in counted:
            if in_metrics != in_kernel:
                text = f"{daemon} counts {in_metrics} connections, the kernel {in_kernel}"
                self.broken(rules.QUIET, "", text)

    def broken(self, rule: str, session: str, text: str, *events: Event | None) -> None:
        """Note a violation, with the events that prove it."""
        self.counts[rule] += 1
        if self.counts[rule] <= KEPT_MAX:
            proof: tuple[Mapping[str, object], ...] = tuple(dict(one) for one in events if one)
            self.violations.append(Violation(rule, session, text, proof))

    def _due(self, connection: Connection, event: Event) -> Due | None:
        """What an answer, or an error that is one, is the answer to."""
        kind = event["e"]
        answers = kind in QUESTION_OF or (kind == "error" and event["code"] in ANSWERING)
        if not answers or not connection.due or _is_unasked(connection, event):
            return None
        return connection.due.popleft()

    # Opening.

    def _hello(self, connection: Connection, event: Event) -> None:
        connection.hello = event
        if event["name"]:
            connection.session = self._sessions.setdefault(event["name"], Session(event["name"]))
            connection.floor = connection.session.floor()

    def _welcome(self, connection: Connection, event: Event) -> None:
        name = event["name"]
        session = connection.session
        if not session.name:
            if name in self._sessions or event["epoch"] != 1 or event["seq"] != 0:
                text = f"a new session is {name}, epoch {event['epoch']}, seq {event['seq']}"
                rule = rules.FOREIGN if name in self._sessions else rules.EPOCH
                self.broken(rule, name, text, event)
            session = connection.session = self._sessions.setdefault(name, Session(name))
        elif session.name != name:
            text = f"HELLO named {session.name}, WELCOME {name}"
            self.broken(rules.FOREIGN, session.name, text, connection.hello, event)
            return
        tenure = connection.tenure = Tenure(event)
        if connection.hello is not None:
            session.there_s = max(session.there_s, connection.hello["t"])
        if (
            session.ended is not None
            and (connection.hello is None or connection.hello["t"] > session.ended["t"])
            and not self._lost_between(name, 0, event["t"])  # it may be in the older copy
        ):
            text = "it had ended, and is resumed"
            self.broken(rules.ENDED, name, text, session.ended, event)
        if session.quit is not None and session.quit[1] < tenure.epoch:
            session.quit = None  # there is a later owner, so it was not obeyed, and never will be
        self._succeed(session, connection, tenure)

    def _succeed(self, session: Session, connection: Connection, tenure: Tenure) -> None:
        """Put a new tenure in its place among those of its session, and hold it to them."""
        floor, hello = connection.floor, connection.hello
        if self._blurred(session, floor, hello, tenure.welcome):
            return
        welcome = tenure.welcome
        back = False
        if floor is not None and floor.welcome is not None:
            if self._lost_between(session.name, floor.welcome["t"], welcome["t"]):
                # Another history. All that binds it is what this client gave as answered.
                session.forget()
                acked = hello["acked"] if hello is not None else None
                floor = Floor(0, acked or 0, None, hello, session.era)
            elif tenure.epoch <= floor.epoch:
                text = f"epoch {tenure.epoch} after epoch {floor.epoch}"
                self.broken(rules.EPOCH, session.name, text, floor.welcome, welcome)
            back = tenure.seq < floor.committed
            if back:
                self._went_back(session, tenure, floor.committed, floor.proof)
        before, after = session.insert(tenure)
        if before is not None:
            if before.epoch == tenure.epoch and (floor is None or floor.epoch < tenure.epoch):
                text = f"two owners of epoch {tenure.epoch}"
                self.broken(rules.EPOCH, session.name, text, before.welcome, welcome)
            if not back:
                self._follow(session, before, tenure)
        if after is not None:
            self._follow(session, tenure, after)

    def _blurred(
        self, session: Session, floor: Floor | None, hello: Event | None, welcome: Event
    ) -> bool:
        """Whether nobody can tell on which side of a loss this WELCOME was given.

        Such owners, and all whose HELLO was sent before one was seen, are held to nothing;
        the next one begins another history.
        """
        if hello is None or floor is None:
            return False
        lost = self._lost_between(session.name, hello["t"], welcome["t"])
        if floor.era != session.era or lost:
            session.forget()
            session.blur = welcome
        elif session.blur is not None and hello["t"] > session.blur["t"]:
            session.blur = None
        return session.blur is not None

    def _follow(self, session: Session, before: Tenure, tenure: Tenure) -> None:
        """`tenure` took over from `before`: what was answered is there, what was not, once."""
        welcome = tenure.welcome
        if tenure.seq < before.committed:
            self._went_back(session, tenure, before.committed, before.answered or before.welcome)
            return
        if tenure.seq == 0:
            return
        owed = before.lines.get(tenure.seq)
        if owed is None:
            text = (
                f"seq {tenure.seq}, but after seq {before.seq} in epoch {before.epoch}"
                f" no line {tenure.seq} was sent"
            )
            self.broken(rules.UNKNOWN, session.name, text, before.welcome, welcome)
        elif owed != welcome["text"]:
            rule = self._foreign_or(rules.UNKNOWN, session, welcome["text"])
            text = f"line {tenure.seq} was {owed!r}, and WELCOME tells {welcome['text']!r}"
            self.broken(rule, session.name, text, before.welcome, welcome)
        elif (previous := before.lines.get(tenure.seq - 1)) is not None:
            tenure.lines[tenure.seq - 1] = previous

    def _went_back(
        self, session: Session, tenure: Tenure, committed: int, proof: Event | None
    ) -> None:
        told = proof is not None and proof["e"] == "welcome"
        rule = rules.FORWARD if told else rules.ACKNOWLEDGED
        how = "told by WELCOME" if told else "answered"
        text = f"line {committed} was {how}, and a later WELCOME says seq {tenure.seq}"
        self.broken(rule, session.name, text, proof, tenure.welcome)

    # Asking.

    def _asked(self, connection: Connection, event: Event) -> None:
        session, tenure = connection.session, connection.tenure
        latest, late, right = session.latest, None, False
        if latest is not None and latest is not tenure:
            late = latest.welcome
        elif tenure is not None and event["e"] == "sent":
            right = tenure.send(event["n"], event["text"] or "")
        elif tenure is not None and event["e"] == "quit":
            session.quit = event, tenure.epoch
        connection.due.append(Due(event, late, right))

    # Being answered.

    def _told(self, connection: Connection, event: Event, due: Due | None) -> None:
        kind, session, tenure = event["e"], connection.session, connection.tenure
        if due is None and _is_unasked(connection, event):
            return
        if due is None or tenure is None or due.event["e"] != QUESTION_OF[kind]:
            rule = self._foreign_or(rules.REPLY, session, event.get("text"))
            owed = f"owed was the answer to a {due.event['e']}" if due else "nothing was owed"
            proof = due.event if due else None
            self.broken(rule, session.name, f"{owed}, and a {kind} comes", proof, event)
        elif kind in ECHOING and any(event.get(of) != due.event.get(of) for of in ("n", "text")):
            rule = self._foreign_or(rules.REPLY, session, event.get("text"))
            asked_for, got = ((one.get("n", ""), one["text"]) for one in (due.event, event))
            wrong = f"{due.event['e']} {asked_for} is answered by {got}"
            self.broken(rule, session.name, wrong, due.event, event)
        elif due.late is not None:
            wrong = f"a {due.event['e']} was sent after a takeover, and is answered"
            self.broken(rules.OWNER, session.name, wrong, due.late, due.event, event)
        else:
            session.there_s = max(session.there_s, due.event["t"])
            if kind == "answered":
                self._answered(session, tenure, event)
            elif kind == "bye":
                self._bye(session, tenure, event)

    def _answered(self, session: Session, tenure: Tenure, event: Event) -> None:
        """A line is: no later owner may have been told less."""
        self._hold_previous(session, tenure, event)
        later = session.successor(tenure)
        if later is not None and later.seq < event["n"]:
            wrong = f"line {event['n']} is answered, and the next WELCOME said seq {later.seq}"
            self.broken(rules.ACKNOWLEDGED, session.name, wrong, later.welcome, event)
        else:
            tenure.commit(event)

    def _hold_previous(self, session: Session, tenure: Tenure, event: Event) -> None:
        """The first half of the reply is line n-1, or is not there for n = 1."""
        number, previous = event["n"], event["previous"]
        owed = tenure.lines.get(number - 1)
        if number > 1 and owed is None and previous is not None:
            return  # a line of an earlier owner's that no event tells
        if previous != owed:
            rule = self._foreign_or(rules.REPLY, session, previous)
            wrong = f"line {number - 1} was {owed!r}, and the reply to {number} has {previous!r}"
            self.broken(rule, session.name, wrong, event)

    def _bye(self, session: Session, tenure: Tenure, event: Event) -> None:
        if self._lost_between(session.name, tenure.welcome["t"], event["t"]):
            return  # what was ended may have come back with the older copy
        latest = session.latest
        if latest is not None and latest is not tenure:
            wrong = "it has a later owner, and its earlier connection is told that it ended"
            self.broken(rules.ENDED, session.name, wrong, latest.welcome, event)
            return
        session.ended = event

    def _error(self, connection: Connection, event: Event, due: Due | None) -> None:
        code, session = event["code"], connection.session
        if code == "internal":
            self.broken(rules.INTERNAL, session.name, "a daemon reports a bug of its own", event)
        elif code in ("rolled-back", "unknown-session") and session.name:
            self._lost(connection, session, event)
        elif due is None:
            return
        elif due.late is not None:
            wrong = f"a {due.event['e']} was sent after a takeover, and is answered by an error"
            self.broken(rules.OWNER, session.name, wrong, due.late, due.event, event)
        elif code == "room-unavailable" and due.event["e"] == "join":
            return  # a daemon may be deaf for as long as a line may wait; it is asked again
        elif due.right or connection.kind:  # a soak's clients ask for nothing that they may not
            wrong = f"a {due.event['e']} was right, and is answered `{code}`"
            self.broken(rules.REFUSED, session.name, wrong, due.event, event)

    def _lost(self, connection: Connection, session: Session, event: Event) -> None:
        """A client hears that its session, or a part of it, is gone."""
        code, how = event["code"], ""
        excused = self._lost_between(session.name, -math.inf, event["t"])
        expired = not excused and session.ended is None and self._expired(session, event)
        excused = excused or expired
        if code == "unknown-session":
            excused = excused or session.gone
            if connection.kind:
                late, how = self.signs.lost(connection, session, event)
                excused = excused or late
            session.ended = session.ended or event
        elif expired:
            session.ended = event
        else:
            session.forget()
        if not excused:
            wrong = f"`{code}`, and the store has kept its data{how}"
            self.broken(rules.LOST, session.name, wrong, event)

    # Finding words.

    def _foreign_or(self, rule: str, session: Session, text: str | None) -> str:
        """`FOREIGN` if another session sent `text` lately, else `rule`. Slow: for what is wrong."""
        if text and any(
            other is not session and other.knows(text) for other in self._sessions.values()
        ):
            return rules.FOREIGN
        return rule

    def _expired(self, session: Session, event: Event) -> bool:
        return any(
            expiry.concerns(session.name, session.there_s, event["t"]) for expiry in self._expiries
        )

    def _lost_between(self, name: str, since_s: float, until_s: float) -> bool:
        return any(since_s < loss.t < until_s and loss.concerns(name) for loss in self._losses)


def _is_unasked(connection: Connection, event: Event) -> bool:
    """Whether it is a JOINED that answers nothing: the room's history changed (§3)."""
    if event["e"] != "joined" or event.get("how") != "lost":
        return False
    return not connection.due or connection.due[0].event["e"] != "join"
