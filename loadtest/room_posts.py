"""A room as its member knows it: the position, the posts on their way, and what was refused.

    say ─▶ posts ─▶ sendable ─▶ SAY ─▶ SAID                  answered
              ▲                  └──▶ ERR room-unavailable   the same again, after a wait
              │                  └──▶ ERR out-of-order, conflict
              └──────────────────────────── under a new id, behind the others

Pure; `room_member.py` drives it. What PROTOCOL §4 tells a client of each error is what happens
here (tests/unit/test_loadtest_room_posts.py has the table).

Invariants (the same tests hold them for random answers):
  once   a post is sent again under its id until the server has said what became of it, and
         under another id only where the server has said that it is not posted;
  hold   from a `room-unavailable` on nothing is sent to the room until the wait is over;
  fate   every post is answered, given up and told, or still here.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from loadtest.session_requests import Who

# The server knows a sender's last 100 posts again (§3): with fewer unanswered, each that is
# sent a second time is among them.
KNOWN_POSTS: Final = 100
POSTS_IN_FLIGHT_MAX: Final = 50
# A post gets another id so often. Once is enough where this client is its session's only one.
RENUMBERED_MAX: Final = 3


@dataclass(slots=True)
class Post:
    """One message on its way.

    Attributes:
        id: its number in its room; another one if the server refused the first.
        offset: where it stands, None while that is not known.
        asked: on the connection of the moment.
        sent: under this id, on any connection: it may stand in the room.
        renumbered: how often it got another id.
    """

    id: int
    text: bytes
    offset: int | None = None
    asked: bool = False
    sent: bool = False
    renumbered: int = 0


@dataclass(slots=True)
class Room:
    """See the module.

    Attributes:
        life, offset: the last position seen; None before the first JOINED.
        joined: on the connection of the moment; `joining` and `parting` are on the way there.
        wanted: the caller wants to be there.
        posts: not answered yet, in the order of their ids.
        questions: `WHO`s that were refused, to be asked again.
        last_id: the highest id that was given to a post.
        proven: a post was answered, so that this session's ids are known to be free. Until then
            posts go one by one: of several, those that are refused would come after the others.
        said: the highest offset at which a post of its own is known to stand.
        failures: `room-unavailable` in a row; `away_s` is when the row began, by the client's
            clock, `again_s` when to ask again; None: there is no such row, or wait.
        given_up: the row was too long, and nothing is asked until the caller wants something.
    """

    name: bytes
    life: bytes | None = None
    offset: int = 0
    joined: bool = False
    joining: bool = False
    parting: bool = False
    wanted: bool = True
    posts: deque[Post] = field(default_factory=deque)
    questions: deque[Who] = field(default_factory=deque)
    last_id: int = 0
    proven: bool = False
    said: int = 0
    failures: int = 0
    away_s: float | None = None
    again_s: float | None = None
    given_up: bool = False

    def post(self, text: bytes) -> Post:
        """Another post, behind the others."""
        self.last_id += 1
        post = Post(self.last_id, text)
        self.posts.append(post)
        return post

    def sendable(self) -> list[Post]:
        """Posts to send now, in order; they count as sent."""
        if not self.joined or self.parting or not self.wanted or self.again_s is not None:
            return []
        found = []
        for at, post in enumerate(islice(self.posts, POSTS_IN_FLIGHT_MAX)):
            # Alone: what is refused for now while one behind it is taken needs another id.
            alone = post.renumbered or not self.proven
            if alone and at:
                break
            if not post.asked:
                post.asked = post.sent = True
                found.append(post)
            if alone:
                break
        return found

    def left(self) -> None:
        """The connection is another one: nothing is joined, or under way, there."""
        self.joined = self.joining = self.parting = False
        self.again_s = None
        for post in self.posts:
            post.asked = False

    def answered(self, id_: int, offset: int) -> None:
        """SAID."""
        post = self._find(id_)
        if post is not None:
            self.posts.remove(post)
            post.offset = offset
            self.proven = True
        self.said = max(self.said, offset)
        self.served()

    def served(self) -> None:
        """The room's part of the store takes lines."""
        self.failures, self.away_s = 0, None

    def wished(self) -> None:
        """The caller wants something there: who goes on after it was given up has as long again."""
        if self.given_up:
            self.given_up = False
            self.served()

    def postpone(self, id_: int) -> None:
        """A post was refused for now, and may stand there or not: the same goes again."""
        post = self._find(id_)
        if post is not None:
            post.asked = False

    def renumber(self, id_: int, next_id: int) -> Post | None:
        """A post was refused under its id, and does not stand there: another id.

        Those behind it that were never sent get others too, so that their order stays. Returns
        the post if it is given up instead.
        """
        post = self._find(id_)
        if post is None:
            return None
        if post.renumbered >= RENUMBERED_MAX:
            self.posts.remove(post)
            return post
        post.asked = post.sent = False
        post.renumbered += 1
        sent = [one for one in self.posts if one.sent]
        self.last_id = max([id_, next_id - 1, *(one.id for one in sent)])
        for one in self.posts:
            if not one.sent:
                self.last_id += 1
                one.id = self.last_id
        self.posts = deque([*sent, *(one for one in self.posts if not one.sent)])
        return None

    def drop(self, id_: int) -> None:
        """A post was refused for good, and the caller hears of that."""
        post = self._find(id_)
        if post is not None:
            self.posts.remove(post)

    def _find(self, id_: int) -> Post | None:
        return next((post for post in self.posts if post.id == id_), None)
