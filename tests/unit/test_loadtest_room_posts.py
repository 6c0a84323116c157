"""A member's posts through refusals and cuts: each stands in the room once, or its caller is told."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest import session_events as events
from loadtest import session_requests as requests
from loadtest.room_member import GivenUp, RoomMember
from loadtest.room_posts import KNOWN_POSTS, POSTS_IN_FLIGHT_MAX, RENUMBERED_MAX
from loadtest.session_retry import Patience

if TYPE_CHECKING:
    from collections.abc import Callable

    from loadtest.session_client import SessionClient
    from loadtest.session_events import Event
    from loadtest.session_requests import Request

ROOM = b"lobby"
TOKEN = b"abcdefghij.234567abcdefghijklmnopqrstuv"
PATIENCE = Patience(give_up_s=30, backoff_s_first=0.2, backoff_s_max=5)
AWAY = "room-unavailable"


@dataclass
class Fleet:
    """A `SessionClient` and the server behind it (PROTOCOL §3): one session, one room.

    Attributes:
        refuses: asked before each answer: the code to refuse with, none to serve.
        commits: whether what is refused as `AWAY` is stored all the same.
        cut: called before each answer: whether the connection ends here.
    """

    refuses: Callable[[Request], str] = lambda _: ""
    commits: Callable[[], bool] = lambda: False
    cut: Callable[[], bool] = lambda: False
    patience: Patience = PATIENCE
    connected: bool = True
    now_s: float = 0.0
    asked: deque[Request] = field(default_factory=deque)
    log: list[tuple[float, Request]] = field(default_factory=list)
    texts: list[bytes] = field(default_factory=list)
    known: dict[int, tuple[bytes, int]] = field(default_factory=dict)
    joined: bool = False

    def ask(self, request: Request) -> None:
        """As `SessionClient.ask`."""
        self.asked.append(request)

    def withdraw_rooms(self) -> None:
        """As `SessionClient.withdraw_rooms`."""
        self.asked.clear()

    def receive(self, wait_s: float) -> list[Event]:
        """One answer; or the time passes."""
        if self.cut():
            while self.asked and self.commits():
                self.answer(self.asked.popleft())  # and the answer is lost
            self.joined = False
            return [events.Welcome(TOKEN, 2, 0, 300, None)]
        if not self.asked:
            self.now_s += wait_s
            return []
        self.log.append((self.now_s, self.asked[0]))
        return [self.answer(self.asked.popleft())]

    def answer(self, request: Request) -> Event:
        """What the server does and says."""
        code = self.refuses(request)
        if code == AWAY and isinstance(request, requests.Say) and self.joined and self.commits():
            self.serve(request)
        return events.ErrorLine(code, "no", None, request) if code else self.serve(request)

    def serve(self, request: Request) -> Event:
        """Where nothing is wrong with the server."""
        match request:
            case requests.Join(room, life, offset):
                self.joined = True
                how = "fresh" if life is None else "recovered"
                return events.Joined(room, b"one", offset or 0, how)
            case requests.Part(room) if self.joined:
                self.joined = False
                return events.Parted(room)
            case requests.Who(room) if self.joined:
                return events.Members(room, 1, 1)
            case requests.Say(room, id_, text) if self.joined:
                return self.post(request, id_, text)
        return events.ErrorLine("not-in-room", "join it first", None, request)

    def post(self, say: requests.Say, id_: int, text: bytes) -> Event:
        """§3: ids upwards; the last hundred are known again."""
        if id_ in self.known:
            known, offset = self.known[id_]
            if known != text:
                return events.ErrorLine("conflict", "another text", None, say)
            return events.Said(say.room, id_, offset)
        last = max(self.known, default=0)
        if id_ < last:
            return events.ErrorLine("out-of-order", str(last + 1), last + 1, say)
        self.texts.append(text)
        self.known[id_] = text, len(self.texts)
        for old in sorted(self.known)[:-KNOWN_POSTS]:
            del self.known[old]
        return events.Said(say.room, id_, len(self.texts))


def member(fleet: Fleet) -> RoomMember:
    """Of that room."""
    one = RoomMember(cast("SessionClient", fleet), random.Random(1))
    one.join(ROOM)
    return one


def settle(one: RoomMember, most: int = 5_000) -> list[object]:
    """What happens until everything is answered, or given up."""
    happened: list[object] = []
    for _ in range(most):
        if not one.unanswered and (one.rooms[ROOM].joined or not one.rooms[ROOM].wanted):
            return happened
        happened += one.receive(1.0)
    raise AssertionError(f"{one.unanswered} unanswered: {one.rooms[ROOM]}")


@given(st.integers(0, 1_000_000), st.integers(1, 120), st.floats(0, 0.7), st.floats(0, 0.1))
def test_each_post_stands_there_once(seed: int, posts: int, away: float, cut: float) -> None:
    """Refused for now, with or without being stored, and cut anywhere: none is lost, none twice."""
    chance = random.Random(seed)
    fleet = Fleet(
        refuses=lambda _: AWAY if chance.random() < away else "",
        commits=lambda: chance.random() < 0.5,
        cut=lambda: chance.random() < cut,
        patience=Patience(give_up_s=1e9),
    )
    one = member(fleet)
    said = [one.say(ROOM, b"%d" % n) for n in range(posts)]
    happened = settle(one)
    assert sorted(fleet.texts, key=int) == [b"%d" % n for n in range(posts)]
    assert not [event for event in happened if isinstance(event, GivenUp)]
    for post in said:
        assert post.offset is not None
        assert fleet.texts[post.offset - 1] == post.text


@given(st.integers(0, 1_000_000), st.integers(1, 20))
def test_in_order_where_nothing_was_taken_out_of_order(seed: int, posts: int) -> None:
    """A room that is away for all lines until it is back: the order is the caller's."""
    chance = random.Random(seed)
    back_s = chance.uniform(0, 20)
    fleet = Fleet(refuses=lambda _: AWAY if fleet.now_s < back_s else "")
    one = member(fleet)
    for n in range(posts):
        one.say(ROOM, b"%d" % n)
    settle(one)
    assert fleet.texts == [b"%d" % n for n in range(posts)]


def test_a_room_that_is_away_is_asked_seldom() -> None:
    """One JOIN a wait, and waits grow; afterwards everything goes out at once."""
    fleet = Fleet(refuses=lambda _: AWAY if fleet.now_s < 29 else "")
    one = member(fleet)
    for n in range(POSTS_IN_FLIGHT_MAX):
        one.say(ROOM, b"%d" % n)
    settle(one)
    joins = [at_s for at_s, request in fleet.log if isinstance(request, requests.Join)]
    assert 5 < len(joins) < 40
    assert joins[-1] < 29 + PATIENCE.backoff_s_max
    assert len([1 for _, request in fleet.log if isinstance(request, requests.Say)]) == 50


@pytest.mark.parametrize("joined", [False, True])
def test_a_room_that_stays_away_is_given_up_and_told(*, joined: bool) -> None:
    """Every post, question and join has its fate; the caller may begin again."""
    away = not joined
    fleet = Fleet(refuses=lambda _: AWAY if away else "")
    one = member(fleet)
    if joined:
        settle(one)
    away = True
    one.say(ROOM, b"a")
    one.who(ROOM)
    happened: list[object] = []
    while not any(isinstance(event, GivenUp) for event in happened):
        happened += one.receive(1.0)
    happened += settle(one)
    while fleet.asked:
        happened += one.receive(0)  # what was under way: it is refused too
    given_up = [event.request for event in happened if isinstance(event, GivenUp)]
    assert [type(request) for request in given_up if isinstance(request, requests.Join)] == (
        [] if joined else [requests.Join]
    )
    assert requests.Say(ROOM, 1, b"a") in given_up
    assert PATIENCE.give_up_s <= fleet.now_s < PATIENCE.give_up_s + 2 * PATIENCE.backoff_s_max
    away = False
    one.join(ROOM)
    one.say(ROOM, b"b")
    settle(one)
    assert fleet.texts == [b"b"]


def test_who_is_asked_again() -> None:
    """A question is a line as any other."""
    left = 2

    def refuses(request: Request) -> str:
        nonlocal left
        if isinstance(request, requests.Who) and left:
            left -= 1
            return AWAY
        return ""

    one = member(Fleet(refuses=refuses))
    one.who(ROOM)
    happened = settle(one)
    assert [type(event) for event in happened if isinstance(event, events.Members)]
    assert not left


@pytest.mark.parametrize("last", [3, 500])
def test_a_session_that_posted_before(last: int) -> None:
    """Its ids are taken, some known and others forgotten: posts get new ones, and stand in order."""
    fleet = Fleet()
    fleet.serve(requests.Join(ROOM))
    for n in range(1, last + 1):
        fleet.serve(requests.Say(ROOM, n, b"old %d" % n))
    one = member(fleet)
    for n in range(5):
        one.say(ROOM, b"new %d" % n)
    settle(one)
    assert fleet.texts[last:] == [b"new %d" % n for n in range(5)]


def test_who_is_refused_under_every_id_is_given_up() -> None:
    """A server that is wrong is not asked for ever."""
    fleet = Fleet(refuses=lambda one: "conflict" if isinstance(one, requests.Say) else "")
    one = member(fleet)
    one.say(ROOM, b"a")
    happened = settle(one)
    (given_up,) = [event for event in happened if isinstance(event, GivenUp)]
    assert isinstance(given_up.request, requests.Say)
    assert len([1 for _, asked in fleet.log if isinstance(asked, requests.Say)]) == (
        RENUMBERED_MAX + 1
    )


@pytest.mark.parametrize("steps", ["pj", "pjp", "pjpj", "pp", "ppj"])
@pytest.mark.parametrize("answered", [False, True])
def test_leaving_and_entering_before_the_answer(steps: str, *, answered: bool) -> None:
    """The last wish counts, and what is said then is said there."""
    fleet = Fleet()
    one = member(fleet)
    if answered:
        settle(one)
    for step in steps:
        if step == "p":
            one.part(ROOM)
        else:
            one.join(ROOM)
    one.say(ROOM, b"a")
    for _ in range(20):
        one.receive(0.1)
    assert fleet.joined == one.rooms[ROOM].joined == (steps[-1] == "j")
    assert fleet.texts == ([b"a"] if steps[-1] == "j" else [])


@pytest.mark.parametrize("code", ["too-many-rooms"])
def test_a_join_that_is_refused_for_good(code: str) -> None:
    """The error is told, and each post that waited for it."""
    fleet = Fleet(refuses=lambda one: code if isinstance(one, requests.Join) else "")
    one = member(fleet)
    one.say(ROOM, b"a")
    happened = settle(one)
    assert events.ErrorLine(code, "no", None, requests.Join(ROOM)) in happened
    assert [event for event in happened if isinstance(event, GivenUp)] == [
        GivenUp(requests.Say(ROOM, 1, b"a"))
    ]
    assert [type(asked) for _, asked in fleet.log] == [requests.Join]
