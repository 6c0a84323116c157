"""A session's part in rooms, which outlives its connections: the chat's, the drills', Locust's.

    join, say ─▶ RoomMember ─▶ SessionClient ─▶ … cut … ─▶ WELCOME ─▶ JOIN at the position ─▶ SAY again
    receive() ◀─ Joined, Msg, Gap, Said …

Membership ends with a connection (PROTOCOL §3). So after every WELCOME this joins each room
anew, at the last position seen, and then posts what was not answered, under its old number
and in its old order: the server knows it if it was committed. What a cut left unanswered is
otherwise asked again (`WHO`), or given up and told (`TELL`, which might come twice).

For one greenlet or thread at a time.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from loadtest import session_events as events
from loadtest import session_requests as requests

if TYPE_CHECKING:
    from loadtest.session_client import Happening, SessionClient
    from loadtest.session_requests import Request

# The server knows a sender's last 100 posts again (§3): with fewer unanswered, each that is
# sent a second time is among them.
POSTS_IN_FLIGHT_MAX: Final = 50


@dataclass(slots=True)
class Post:
    """One message on its way; `offset` is where it stands, None while that is not known."""

    id: int
    text: bytes
    offset: int | None = None
    asked: bool = False  # on the connection of the moment


@dataclass(slots=True)
class Room:
    """A room as its member knows it.

    Attributes:
        life, offset: the last position seen; None before the first JOINED.
        joined: on the connection of the moment; `joining` is on its way there.
        posts: not answered yet, in order.
        said: the highest offset at which a post of its own is known to stand.
    """

    name: bytes
    life: bytes | None = None
    offset: int = 0
    joined: bool = False
    joining: bool = False
    wanted: bool = True
    posts: deque[Post] = field(default_factory=deque)
    last_id: int = 0
    said: int = 0


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Asked, and cut before the answer: it may have been done."""

    request: Request


class RoomMember:
    """A client's rooms; see the module. Faults are the client's, and raised as it raises them.

    Attributes:
        client: whose lines, pings and quits go on as before.
        rooms: by name, also those that were left.
    """

    def __init__(self, client: SessionClient) -> None:
        self.client = client
        self.rooms: dict[bytes, Room] = {}
        self._to_ask: deque[requests.Who | requests.Tell] = deque()  # while nobody is there
        self._asked: deque[requests.Who | requests.Tell] = deque()

    @property
    def unanswered(self) -> int:
        """Posts and questions without an answer."""
        posts = sum(len(room.posts) for room in self.rooms.values())
        return posts + len(self._asked) + len(self._to_ask)

    @property
    def behind(self) -> bool:
        """Whether a post of its own, which is committed, has not come back to it."""
        return any(room.wanted and room.said > room.offset for room in self.rooms.values())

    def join(self, name: bytes) -> None:
        """Be in a room, from now on or from where this was there last.

        Raises:
            ValueError: for what is no room's name.
        """
        join = self._join(self.rooms.get(name) or Room(name))
        requests.encode(join)
        room = self.rooms.setdefault(name, Room(name))
        if room.joined:
            return
        room.wanted = True
        # Asked twice from one position, what was missed comes twice.
        if self.client.connected and not room.joining:
            room.joining = True
            self.client.ask(join)

    def part(self, name: bytes) -> None:
        """Be there no more; posts not answered are forgotten."""
        room = self.rooms[name]
        room.wanted = False
        room.posts.clear()
        if room.joined:
            self.client.ask(requests.Part(name))

    def say(self, name: bytes, text: bytes) -> Post:
        """Post, as soon as the room is joined.

        Raises:
            ValueError: for what is no text.
            KeyError: the room was never joined.
        """
        room = self.rooms[name]
        requests.encode(requests.Say(name, room.last_id + 1, text))
        room.last_id += 1
        post = Post(room.last_id, text)
        room.posts.append(post)
        self._pump(room)
        return post

    def who(self, name: bytes) -> None:
        """Ask how many are in a room; `Members` comes."""
        self._question(requests.Who(name))

    def tell(self, name: bytes, text: bytes) -> None:
        """A line to one session; `Told` comes, or `GivenUp`.

        Raises:
            ValueError: for what is no name, or no text.
        """
        self._question(requests.Tell(name, text))

    def receive(self, wait_s: float) -> list[Happening | GivenUp]:
        """As the client's, with the rooms kept."""
        happened: list[Happening | GivenUp] = []
        for one in self.client.receive(wait_s):
            happened.append(one)
            happened += self._digest(one)
        return happened

    def move(self, client: SessionClient) -> list[Post]:
        """Go on with another session: positions stay, numbers begin again.

        Returns the posts whose fate is not known: under another name they could come twice.
        """
        self.client = client
        left = [post for room in self.rooms.values() for post in room.posts]
        self._asked.clear()
        for room in self.rooms.values():
            room.joined, room.last_id, room.said = False, 0, 0
            room.joining = False
            room.posts.clear()
        return left

    # Out.

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
        if not room.joined:
            return
        for at, post in enumerate(room.posts):
            if at >= POSTS_IN_FLIGHT_MAX:
                break
            if not post.asked:
                post.asked = True
                self.client.ask(requests.Say(room.name, post.id, post.text))

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
                    self._pump(room)
            case events.Msg(name, offset) | events.Gap(name, _, offset):
                room = self.rooms[name]
                room.offset = max(room.offset, offset)
            case events.Said(name, id_, offset):
                self._said(self.rooms[name], id_, offset)
            case events.Parted(name):
                self.rooms[name].joined = False
            case events.Members() | events.Told():
                self._asked.popleft()
            case events.ErrorLine(request=request) if request is not None:
                self._refused(request)
        return []

    def _welcomed(self) -> list[GivenUp]:
        """Another connection: nothing is joined there."""
        client = self.client
        client.withdraw_rooms()
        for room in self.rooms.values():
            room.joined = False
            for post in room.posts:
                post.asked = False
            room.joining = room.wanted
            if room.wanted:
                client.ask(self._join(room))
        given_up = [GivenUp(one) for one in self._asked if isinstance(one, requests.Tell)]
        again = [one for one in self._asked if isinstance(one, requests.Who)]
        self._asked = deque([*again, *self._to_ask])
        self._to_ask.clear()
        for one in self._asked:
            client.ask(one)  # behind the JOINs, which are answered before
        return given_up

    def _said(self, room: Room, id_: int, offset: int) -> None:
        while room.posts and room.posts[0].id <= id_:
            room.posts.popleft().offset = offset
        room.said = max(room.said, offset)
        self._pump(room)

    def _refused(self, request: Request) -> None:
        match request:
            case requests.Say(name, id_):
                room = self.rooms[name]
                if room.posts and room.posts[0].id == id_:
                    room.posts.popleft()
            case requests.Join(name):
                self.rooms[name].wanted = self.rooms[name].joining = False
                self.rooms[name].posts.clear()
            case requests.Who() | requests.Tell():
                self._asked.popleft()
