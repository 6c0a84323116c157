"""A drill's members: they post in rooms, note what they get, and come back whatever happens.

    m…   in some rooms each, posts at a rate; the first also asks WHO, twice a second

`judge/rooms.py` judges what they saw.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import gevent

from lab.drill.load.crowd import LOOK_S, Client
from loadtest import session_events as events
from loadtest.room_member import RoomMember

if TYPE_CHECKING:
    from lab.drill.load.crowd import Crowd

LOOK_S_MIN = 0.001
WHO_S = 0.5
# When the pause begins, from when the member was served.
PAUSE_AT_S = 2.0


class Member(Client):
    """One session in several rooms."""

    def __init__(self, crowd: Crowd, number: int, said: dict[bytes, int]) -> None:
        super().__init__(crowd, f"m{number}")
        self._said = said  # of all members: room → the highest offset that one was answered
        load = crowd.load
        first = number % load.rooms
        self._rooms = [b"room%d" % ((first + n) % load.rooms) for n in range(load.rooms_each)]
        self._asks = number < load.rooms
        self._pauses = bool(load.pause_s) and number == 1
        self._posts = 0
        self._due_s = self._who_s = self._served_s = 0.0
        self.client = self.connection(self.name)
        self.member = RoomMember(self.client)
        for room in self._rooms:
            self.member.join(room)

    def prepare(self) -> None:
        """No two post at one moment."""
        self._due_s = time.monotonic() + self.chance.random() / self.crowd.load.posts_rate

    def lost(self) -> None:
        """It asks again, as after any fault: to the ledger it is one member all the time."""

    def turn(self) -> None:
        """A post and WHO if they are due, and what comes until the next."""
        now_s, crowd, member = time.monotonic(), self.crowd, self.member
        if self._pauses and self._served_s and now_s - self._served_s >= PAUSE_AT_S:
            self._pauses = False
            gevent.sleep(crowd.load.pause_s)
        if self._served_s and not crowd.finishing and now_s >= self._due_s:
            self._posts += 1
            text = b"%b %d %b" % (self.name.encode(), self._posts, b"x" * crowd.load.text_bytes)
            member.say(self.chance.choice(self._rooms), text)
            interval_s = self.chance.expovariate(crowd.load.posts_rate)
            self._due_s = max(now_s - 1, self._due_s + interval_s)
        if self._asks and now_s >= self._who_s and member.rooms[self._rooms[0]].joined:
            member.who(self._rooms[0])
            self._who_s = now_s + WHO_S
        crowd.note_busy(self.name, busy=self._busy)
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


def everyone(crowd: Crowd) -> list[Member]:
    """As many as the load has."""
    said: dict[bytes, int] = {}
    return [Member(crowd, number, said) for number in range(crowd.load.members)]
