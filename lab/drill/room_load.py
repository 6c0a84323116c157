"""A drill's members: they post in rooms, note what they get, and come back whatever happens.

    m…   in some rooms each, posts at a rate; the first also asks WHO, twice a second

`load.py` runs them beside its other clients; `room_figures.py` judges what they saw.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import gevent

from loadtest import session_events as events
from loadtest.errors import ClientError, WrongReply
from loadtest.room_member import RoomMember
from loadtest.session_client import SessionClient
from loadtest.session_retry import Patience
from loadtest.session_rooms import LedgerRooms

if TYPE_CHECKING:
    from lab.drill.load import Crowd

LOOK_S, LOOK_S_MIN = 0.25, 0.001
WHO_S = 0.5
# As the other clients of a drill (`load.py`).
CONNECT_S_MAX = BACKOFF_S_MAX = 1.0
# When the pause begins, from when the member was served.
PAUSE_AT_S = 2.0


class Member:
    """One session in several rooms."""

    def __init__(self, crowd: Crowd, number: int, said: dict[bytes, int]) -> None:
        self.crowd = crowd
        self._said = said  # of all members: room → the highest offset that one was answered
        self.name = f"m{number}"
        load = crowd.load
        self._chance = random.Random(f"{crowd.chance.random()} {self.name}")  # noqa: S311 — dice
        first = number % load.rooms
        self._rooms = [b"room%d" % ((first + n) % load.rooms) for n in range(load.rooms_each)]
        self._asks = number < load.rooms
        self._pauses = bool(load.pause_s) and number == 1
        self._posts = 0
        self._due_s = self._who_s = self._served_s = 0.0
        patience = Patience(
            connect_s_max=CONNECT_S_MAX, reply_s_max=load.reply_s_max,
            give_up_s=float("inf"), backoff_s_max=BACKOFF_S_MAX,
        )  # fmt: skip
        client = SessionClient(
            crowd.session, name=self.name, patience=patience, recorder=crowd.history,
            random=self._chance, rooms=LedgerRooms,
        )  # fmt: skip
        self.member = RoomMember(client)
        for room in self._rooms:
            self.member.join(room)

    def run(self) -> None:
        """Until the crowd leaves."""
        self._due_s = time.monotonic() + self._chance.random() / self.crowd.load.posts_rate
        while not self.crowd.leaving.is_set():
            try:
                self._turn()
            except WrongReply as error:
                self.crowd.history.record("wrong", c=self.name, k=0, text=str(error))
            except ClientError:
                continue  # in the history; calling again goes on
        self.member.client.close()

    def _turn(self) -> None:
        now_s, crowd, member = time.monotonic(), self.crowd, self.member
        if self._pauses and self._served_s and now_s - self._served_s >= PAUSE_AT_S:
            self._pauses = False
            gevent.sleep(crowd.load.pause_s)
        if self._served_s and not crowd.finishing and now_s >= self._due_s:
            self._posts += 1
            text = b"%b %d %b" % (self.name.encode(), self._posts, b"x" * crowd.load.text_bytes)
            member.say(self._chance.choice(self._rooms), text)
            self._due_s = max(now_s - 1, self._due_s + self._interval_s())
        if self._asks and now_s >= self._who_s and member.rooms[self._rooms[0]].joined:
            member.who(self._rooms[0])
            self._who_s = now_s + WHO_S
        (crowd.busy.add if self._busy else crowd.busy.discard)(self.name)
        # Never without a wait: a greenlet that only looks lets no other run.
        posting = self._served_s and crowd.may_send()
        wait_s = self._due_s - now_s if posting else LOOK_S
        for happened in member.receive(min(LOOK_S, max(LOOK_S_MIN, wait_s))):
            if isinstance(happened, events.Msg):
                crowd.deliveries += 1
            elif isinstance(happened, events.Said):
                self._said[happened.room] = max(self._said.get(happened.room, 0), happened.offset)
            elif isinstance(happened, events.Joined) and not self._served_s and self._joined:
                self._served_s = time.monotonic()
                crowd.served.add(self.name)

    @property
    def _busy(self) -> bool:
        """Whether anything is still to come: an answer, or a message that another was answered."""
        member = self.member
        behind = any(member.rooms[room].offset < self._said.get(room, 0) for room in self._rooms)
        return bool(member.unanswered) or behind or not self._joined

    @property
    def _joined(self) -> bool:
        return all(room.joined for room in self.member.rooms.values())

    def _interval_s(self) -> float:
        return self._chance.expovariate(self.crowd.load.posts_rate)


def members(crowd: Crowd) -> list[Member]:
    """As many as the load has."""
    said: dict[bytes, int] = {}
    return [Member(crowd, number, said) for number in range(crowd.load.members)]
