"""The clients of every drill, beside ghosts and those of a soak.

Steady    s…  a session each, lines at a rate, several in flight
          q…  as they, but a session ends after a few lines, and another begins
Claimant  x…  two hold one token, and take the session from each other
Member    m…  in some rooms each, posts at a rate; the first also ask WHO, twice a second
Plain     p…  the plain port's; it compares every byte
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import gevent

from lab.drill.load.crowd import CONNECT_S_MAX, LOOK_S, Client, Crowd, Someone
from loadtest import session_events as events
from loadtest.client import PlainClient
from loadtest.errors import ClientError, WrongReply
from loadtest.session_client import Acknowledged
from loadtest.session_requests import Join

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loadtest.entrances import Entrances

# Never without a wait: a greenlet that only looks lets no other run.
LOOK_S_MIN = 0.001
# Who has just lost a session to the other claimant leaves it that for a moment.
CLAIMANTS_BACKOFF_S = 0.6
# A quitter's session has so many lines.
QUIT_LINES = (3, 30)
WHO_S = 0.5
# When a member's pause begins, from when it was served.
PAUSE_AT_S = 2.0
PLAIN_REPLY_S_MAX = 3.0


class Talker(Client):
    """Says something at a rate. Exponential: independent clients, no beat among them."""

    def __init__(self, crowd: Crowd, name: str, rate: float, rooms: Sequence[bytes] = ()) -> None:
        super().__init__(crowd, name, rooms)
        self._rate = rate
        # No two begin at one moment.
        self._due_s = time.monotonic() + self.chance.random() / rate

    def _turn(self) -> None:
        """What is due, and what comes until the next."""
        now_s = time.monotonic()
        if self._may_speak() and now_s >= self._due_s:
            self._due_s = max(self._due_s + self.chance.expovariate(self._rate), now_s - 1)
            self._speak()
        self.crowd.note_busy(self.name, busy=self._is_busy())
        wait_s = self._due_s - now_s if self._may_speak() else LOOK_S
        self.listen(min(LOOK_S, max(LOOK_S_MIN, wait_s)))

    def _may_speak(self) -> bool:
        """Whether it may, once it is due."""
        return self.crowd.may_send()

    def _speak(self) -> None:
        raise NotImplementedError

    def _is_busy(self) -> bool:
        """Whether an answer is still to come."""
        return bool(self.client.memory.waiting or self.member.unanswered)


class Steady(Talker):
    """Sends lines at its rate, whatever happens; `quits`: a few lines to each session."""

    shared = True

    def __init__(self, crowd: Crowd, name: str, *, quits: bool = False) -> None:
        super().__init__(crowd, name, crowd.load.rate)
        self._quits = quits
        self._left = 0

    def begin(self, token: bytes = b"") -> None:
        """Another session, of so many lines."""
        self._left = self.chance.randint(*QUIT_LINES)
        super().begin(token)

    def _may_speak(self) -> bool:
        return super()._may_speak() and len(self.client.memory.waiting) < self.crowd.load.inflight

    def _speak(self) -> None:
        self.client.send(self.some_bytes())
        self.crowd.lines += 1
        self._left -= 1
        if self._quits and self._left <= 0:
            self.client.quit()
            self.begin()

    def _heard(self, happened: object) -> None:
        if isinstance(happened, Acknowledged):
            self.crowd.served.add(self.name)


class Claimant(Steady):
    """One of two that hold one token. The second takes the first's when there is one."""

    expected = False

    def __init__(self, crowd: Crowd, name: str, other: Claimant | None = None) -> None:
        super().__init__(crowd, name)
        self._other = other
        self.patience = replace(self.patience, backoff_s_first=CLAIMANTS_BACKOFF_S)

    def begin(self, token: bytes = b"") -> None:
        """With the other's token, if there is another."""
        super().begin(token or (self._other.client.memory.token if self._other else b""))

    def run(self) -> None:
        """As every client, once the other has a session."""
        while self._other and self._other.name not in self.crowd.served:
            if self.crowd.leaving.wait(LOOK_S):
                return
        super().run()

    def _lost(self) -> None:
        # The first begins another session, which is then the second's too.
        if self._other:
            gevent.sleep(LOOK_S)
        super()._lost()


class Member(Talker):
    """One session in several rooms.

    Args:
        crowd: its load says in which.
        number: of the member.
        said: of all members: room → the highest offset that one was answered.
    """

    def __init__(self, crowd: Crowd, number: int, said: dict[bytes, int]) -> None:
        load = crowd.load
        rooms = [b"room%d" % ((number + n) % load.rooms) for n in range(load.rooms_each)]
        super().__init__(crowd, f"m{number}", load.posts_rate, rooms)
        self._said = said
        self._asks = number < load.rooms
        self._pauses = bool(load.pause_s) and number == 1
        self._posts = 0
        self._who_s = self._served_s = 0.0

    def _turn(self) -> None:
        now_s, member = time.monotonic(), self.member
        if self._pauses and self._served_s and now_s - self._served_s >= PAUSE_AT_S:
            self._pauses = False
            gevent.sleep(self.crowd.load.pause_s)
        if self._asks and now_s >= self._who_s and member.rooms[self.rooms[0]].joined:
            member.who(self.rooms[0])
            self._who_s = now_s + WHO_S
        super()._turn()

    def _may_speak(self) -> bool:
        return bool(self._served_s) and super()._may_speak()

    def _speak(self) -> None:
        self._posts += 1
        padding = b"x" * self.crowd.load.text_bytes
        text = b"%b %d %b" % (self.name.encode(), self._posts, padding)
        self.member.say(self.chance.choice(self.rooms), text)

    def _is_busy(self) -> bool:
        """As any, or a message is still to come that another was answered."""
        known = self.member.rooms
        behind = any(known[room].offset < self._said.get(room, 0) for room in self.rooms)
        return super()._is_busy() or behind or not self._joined

    def _heard(self, happened: object) -> None:
        match happened:
            case events.Msg():
                self.crowd.deliveries += 1
            case events.Said(room, _, offset):
                self._said[room] = max(self._said.get(room, 0), offset)
            case events.ErrorLine("room-unavailable", request=Join(room)):
                self.member.join(room)  # its shard was away for as long as a line may wait
            case events.Joined() if not self._served_s and self._joined:
                self._served_s = time.monotonic()
                self.crowd.served.add(self.name)

    @property
    def _joined(self) -> bool:
        return all(room.joined for room in self.member.rooms.values())


class Plain(Someone):
    """A client of the plain port: the article's, without its pauses."""

    def __init__(self, crowd: Crowd, name: str, entrances: Entrances | None = None) -> None:
        super().__init__(crowd, name)
        self._entrances = entrances or crowd.plain
        self._connection = 0

    def run(self) -> None:
        """Connection after connection, until the crowd leaves."""
        while not self.crowd.leaving.is_set():
            self._connection += 1
            try:
                self._converse()
            except WrongReply as error:
                self._note("plain-wrong", text=str(error))
            except ClientError as error:
                self._note("plain", n=0, how=f"{type(error).__name__} {error.kind}")
            self.crowd.leaving.wait(self.chance.uniform(0.05, 0.3))

    def _converse(self) -> None:
        with PlainClient(
            entrances=self._entrances, connect_s_max=CONNECT_S_MAX, reply_s_max=PLAIN_REPLY_S_MAX
        ) as client:
            while not self.crowd.finishing:
                client.ask(self.some_bytes() + b"\n")
                self.crowd.served.add(self.name)
                self._note("plain", n=1)
                gevent.sleep(self.chance.expovariate(self.crowd.load.rate))
            client.finish()
            self.crowd.leaving.wait()

    def _note(self, kind: str, **fields: Any) -> None:  # noqa: ANN401 — as `record`
        self.crowd.history.record(kind, c=self.name, k=self._connection, **fields)


def everyone(crowd: Crowd) -> list[Someone]:
    """As many of each as the load has."""
    load = crowd.load
    said: dict[bytes, int] = {}
    clients: list[Someone] = [
        *(Steady(crowd, f"s{number}") for number in range(load.clients)),
        *(Steady(crowd, f"q{number}", quits=True) for number in range(load.quitters)),
        *(Plain(crowd, f"p{number}") for number in range(load.plain)),
        *(Member(crowd, number, said) for number in range(load.members)),
    ]
    for number in range(load.claimants):
        first = Claimant(crowd, f"x{number}a")
        clients += [first, Claimant(crowd, f"x{number}b", first)]
    return clients
