"""A session's part in rooms, which outlives its connections: the chat's, the drills', Locust's.

    join, say ─▶ RoomMember ─▶ SessionClient ─▶ … cut … ─▶ WELCOME ─▶ JOIN at the position ─▶ SAY again
    receive() ◀─ Joined, Msg, Gap, Said …

Membership ends with a connection (PROTOCOL §3). So after every WELCOME this joins each room
anew, at the last position seen, and then posts what was not answered, under its old number
and in its old order: the server knows it if it was committed. What a cut left unanswered is
otherwise asked again (`WHO`), or given up and told (`TELL`, which might come twice).

A room whose part of the store is away answers `room-unavailable` (§4): the same lines are sent
again, with backoff, until it has been away for the client's `give_up_s`; then they are given up
and told. Each error that the server says comes out of `receive` too.

For one greenlet or thread at a time.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from random import SystemRandom
from typing import TYPE_CHECKING

from loadtest import session_events as events
from loadtest import session_requests as requests
from loadtest.backoff import backoff_s
from loadtest.room_posts import KNOWN_POSTS, POSTS_IN_FLIGHT_MAX, Post, Room

if TYPE_CHECKING:
    from random import Random

    from loadtest.session_client import Happening, SessionClient
    from loadtest.session_requests import Request

__all__ = ["POSTS_IN_FLIGHT_MAX", "GivenUp", "Post", "Room", "RoomMember"]


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Asked, and not answered: it may have been done.

    A `Tell` that was cut; a `Join`, `Say` or `Who` of a room that was away for too long.
    """

    request: Request


class RoomMember:
    """A client's rooms; see the module. Faults are the client's, and raised as it raises them.

    Attributes:
        client: whose lines, pings and quits go on as before.
        rooms: by name, also those that were left.

    Args:
        client: not used by anybody else for rooms.
        random: for the waits; the system's by default.
    """

    def __init__(self, client: SessionClient, random: Random | None = None) -> None:
        self.client = client
        self._random = random or SystemRandom()
        self.rooms: dict[bytes, Room] = {}
        self._to_ask: deque[requests.Who | requests.Tell] = deque()  # while nobody is there
        self._asked: deque[requests.Who | requests.Tell] = deque()

    @property
    def unanswered(self) -> int:
        """Posts and questions without an answer."""
        rooms = sum(len(room.posts) + len(room.questions) for room in self.rooms.values())
        return rooms + len(self._asked) + len(self._to_ask)

    @property
    def behind(self) -> bool:
        """Whether a post of its own, which is committed, has not come back to it."""
        return any(room.wanted and room.said > room.offset for room in self.rooms.values())

    def join(self, name: bytes) -> None:
        """Be in a room, from now on or from where this was there last.

        Raises:
            ValueError: for what is no room's name.
        """
        requests.encode(requests.Join(name))
        room = self.rooms.setdefault(name, Room(name))
        room.wanted = True
        room.wished()
        self._enter(room)

    def part(self, name: bytes) -> None:
        """Be there no more; posts not answered are forgotten.

        Raises:
            KeyError: the room was never joined.
        """
        room = self.rooms[name]
        room.wanted = False
        room.posts.clear()
        if self.client.connected and (room.joined or room.joining) and not room.parting:
            room.parting = True
            self.client.ask(requests.Part(name))

    def say(self, name: bytes, text: bytes) -> Post:
        """Post, as soon as the room is joined. The post's `offset` says when it is committed.

        Raises:
            ValueError: for what is no text.
            KeyError: the room was never joined.
        """
        room = self.rooms[name]
        requests.encode(requests.Say(name, room.last_id + 1, text))
        room.wished()
        post = room.post(text)
        self._pump(room)
        return post

    def who(self, name: bytes) -> None:
        """Ask how many are in a room; `Members` comes, an error, or `GivenUp`."""
        if name in self.rooms:
            self.rooms[name].wished()
        self._question(requests.Who(name))

    def tell(self, name: bytes, text: bytes) -> None:
        """A line to one session; `Told` comes, or `GivenUp`.

        Raises:
            ValueError: for what is no name, or no text.
        """
        self._question(requests.Tell(name, text))

    def receive(self, wait_s: float) -> list[Happening | GivenUp]:
        """As the client's, with the rooms kept.

        Raises:
            ClientError: as the client's.
        """
        until_s = self.client.now_s + wait_s
        happened: list[Happening | GivenUp] = []
        while True:
            self._ask_again()
            now_s = self.client.now_s
            for one in self.client.receive(max(0.0, min(until_s, self._due_s()) - now_s)):
                happened.append(one)
                happened += self._digest(one)
            if happened or self.client.now_s >= until_s:
                return happened

    def move(self, client: SessionClient) -> list[Post]:
        """Go on with another session: positions stay, numbers begin again.

        Returns the posts whose fate is not known: under another name they could come twice.
        """
        self.client = client
        left = [post for room in self.rooms.values() for post in room.posts]
        self._asked.clear()
        for room in self.rooms.values():
            room.left()
            room.last_id = room.said = 0
            room.proven = False
            room.posts.clear()
            room.questions.clear()
        return left

    # Out.

    def _enter(self, room: Room) -> None:
        """JOIN, where that is not done, or under way, or to be done later.

        Asked twice from one position, what was missed would come twice.
        """
        busy = room.joined or room.joining or room.parting or room.again_s is not None
        if self.client.connected and not busy:
            room.joining = True
            self.client.ask(self._join(room))

    @staticmethod
    def _join(room: Room) -> requests.Join:
        if room.life is None:
            return requests.Join(room.name)
        return requests.Join(room.name, room.life, room.offset)

    def _question(self, request: requests.Who | requests.Tell) -> None:
        requests.encode(request)
        if self.client.connected:
            self._asked.append(request)
            self.client.ask(request)
        else:
            self._to_ask.append(request)

    def _pump(self, room: Room) -> None:
        """Post what waits, in order, as far as may be."""
        for post in room.sendable():
            self.client.ask(requests.Say(room.name, post.id, post.text))

    def _due_s(self) -> float:
        """When a room that was away is to be asked again; a WELCOME asks all at once."""
        if not self.client.connected:
            return math.inf
        waits = (room.again_s for room in self.rooms.values() if room.again_s is not None)
        return min(waits, default=math.inf)

    def _ask_again(self) -> None:
        """What rooms refused, where their wait is over."""
        now_s = self.client.now_s
        for room in self.rooms.values():
            if room.again_s is None or now_s < room.again_s or not self.client.connected:
                continue
            room.again_s = None
            if room.wanted:
                self._enter(room)
            while room.questions:
                self._question(room.questions.popleft())
            self._pump(room)

    # In.

    def _digest(self, event: Happening) -> list[GivenUp]:
        match event:
            case events.Welcome():
                return self._welcomed()
            case events.Joined(name, life, offset):
                room = self.rooms[name]
                room.said = room.said if room.life in (None, life) else 0
                room.life, room.offset, room.joined = life, offset, True
                if event.asked:
                    room.joining = False
                    room.served()
                    self._pump(room)
            case events.Msg(name, offset) | events.Gap(name, _, offset):
                room = self.rooms[name]
                room.offset = max(room.offset, offset)
            case events.Said(name, id_, offset):
                self.rooms[name].answered(id_, offset)
                self._pump(self.rooms[name])
            case events.Parted(name):
                self._parted(self.rooms[name])
            case events.Members(name):
                self._asked.popleft()
                self.rooms[name].served()
            case events.Told():
                self._asked.popleft()
            case events.ErrorLine(request=request) if request is not None:
                return self._refused(event, request)
        return []

    def _welcomed(self) -> list[GivenUp]:
        """Another connection: nothing is joined there."""
        client = self.client
        client.withdraw_rooms()
        given_up = [GivenUp(one) for one in self._asked if isinstance(one, requests.Tell)]
        again = [one for one in self._asked if isinstance(one, requests.Who)]
        for room in self.rooms.values():
            room.left()
            if room.wanted:
                self._enter(room)
            again += room.questions
            room.questions.clear()
        self._asked = deque([*again, *self._to_ask])
        self._to_ask.clear()
        for one in self._asked:
            client.ask(one)  # behind the JOINs, which are answered before
        return given_up

    def _parted(self, room: Room) -> None:
        """Out of the room; it may be wanted again meanwhile."""
        room.joined = room.parting = False
        if room.wanted:
            self._enter(room)

    def _refused(self, error: events.ErrorLine, request: Request) -> list[GivenUp]:
        """PROTOCOL §4's last column, of errors that answer a request."""
        if isinstance(request, requests.Who | requests.Tell):
            self._asked.popleft()
        match request:
            case requests.Say(name):
                return self._post_refused(self.rooms[name], request, error)
            case requests.Join(name):
                return self._join_refused(self.rooms[name], error.code)
            case requests.Who(name) if error.code == "room-unavailable":
                self.rooms[name].questions.append(request)
                return self._wait(self.rooms[name])
            case requests.Part(name):
                self._parted(self.rooms[name])
        return []

    def _post_refused(
        self, room: Room, say: requests.Say, error: events.ErrorLine
    ) -> list[GivenUp]:
        match error.code:
            case "room-unavailable":
                room.postpone(say.id)
                return self._wait(room)
            case "out-of-order":
                return self._renumber(room, say, error.number or 0)
            case "conflict":
                # Behind all that the server can know.
                return self._renumber(room, say, say.id + KNOWN_POSTS)
        room.drop(say.id)
        return []

    def _join_refused(self, room: Room, code: str) -> list[GivenUp]:
        room.joining = False
        if code == "room-unavailable":
            return self._wait(room)
        join = GivenUp(self._join(room))
        return [one for one in self._give_up(room) if one != join]  # the error says that one

    def _renumber(self, room: Room, say: requests.Say, next_id: int) -> list[GivenUp]:
        given_up = room.renumber(say.id, next_id)
        self._pump(room)
        return [] if given_up is None else [GivenUp(say)]

    def _wait(self, room: Room) -> list[GivenUp]:
        """The room's part of the store is away: ask again later, or no more."""
        now_s, patience = self.client.now_s, self.client.patience
        if room.away_s is None:
            room.away_s = now_s
        if now_s - room.away_s >= patience.give_up_s:
            return self._give_up(room)
        if room.again_s is None:
            room.failures += 1
            room.again_s = now_s + backoff_s(
                room.failures,
                self._random,
                first_s=patience.backoff_s_first,
                max_s=patience.backoff_s_max,
            )
        return []

    def _give_up(self, room: Room) -> list[GivenUp]:
        """Ask nothing more of a room, but to be there if it is joined; the caller may again."""
        given_up: list[GivenUp] = []
        if not room.joined and room.wanted:
            room.wanted = False
            given_up.append(GivenUp(self._join(room)))
        given_up += [GivenUp(requests.Say(room.name, one.id, one.text)) for one in room.posts]
        given_up += map(GivenUp, room.questions)
        room.posts.clear()
        room.questions.clear()
        room.again_s, room.given_up = None, True
        return given_up
