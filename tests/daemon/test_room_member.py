"""The shared client's rooms on real daemons: what is cut comes back, and nothing is missed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from lab.wait import until
from loadtest import session_events as events
from loadtest.entrances import Entrances
from loadtest.room_ledger import DELIVERED, Ledger
from loadtest.room_member import GivenUp, RoomMember
from loadtest.session_client import SessionClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lab.fleet.redis_server import RedisServer
    from tests.conftest import Echod

WAIT_S = 30.0


class Person(RoomMember):
    """Remembers what happened."""

    def __init__(self, *daemons: Echod) -> None:
        addresses = [(one.host, one.session_port) for one in daemons]
        super().__init__(SessionClient(*addresses))
        self.happened: list[object] = []

    @property
    def name(self) -> bytes:
        """The session's."""
        return self.client.memory.name.encode()

    def look(self) -> None:
        """What has come."""
        self.happened += self.receive(0.02)

    def texts(self) -> list[bytes]:
        """Of the messages that came."""
        return [one.text for one in self.happened if isinstance(one, events.Msg)]

    def had(self, kind: type) -> list[object]:
        """All events of a kind."""
        return [one for one in self.happened if isinstance(one, kind)]


@pytest.fixture
def people() -> Iterator[Callable[..., Person]]:
    """Each of these is closed at the end."""
    with contextlib.ExitStack() as stack:

        def connect(*daemons: Echod) -> Person:
            person = Person(*daemons)
            stack.callback(person.client.close)
            return person

        yield connect


def all_look(everybody: list[Person], done: Callable[[], bool], what: str) -> None:
    """Until it is done."""

    def look() -> bool:
        for person in everybody:
            person.look()
        return done()

    until(look, WAIT_S, what)


def test_the_talk_goes_on_when_a_daemon_dies(
    echod: Callable[..., Echod], own_redis: RedisServer, people: Callable[..., Person]
) -> None:
    """Posts under way when the daemon dies are posted once; both members get all, in order."""
    one, two = (echod(store=own_redis.url, name=f"d{n}") for n in (1, 2))
    ann, bob = people(one), people(two)
    first, second = ((d.host, d.session_port) for d in (one, two))
    ann.client._entrances = Entrances(first, second)  # noqa: SLF001
    ann.client.entrance = second  # was there last: it begins on the first
    both = [ann, bob]
    for person in both:
        person.join(b"lobby")
    all_look(both, lambda: all(p.had(events.Joined) for p in both), "both in the room")
    for n in range(20):
        ann.say(b"lobby", b"ann %d" % n)
    one.process.kill()
    for n in range(20, 40):
        ann.say(b"lobby", b"ann %d" % n)
        bob.say(b"lobby", b"bob %d" % n)
    all_look(
        both,
        lambda: all(len(p.texts()) >= 60 and not p.unanswered for p in both),
        "all messages, and their answers",
    )

    assert ann.texts() == bob.texts()
    assert [t for t in bob.texts() if t[:3] == b"ann"] == [b"ann %d" % n for n in range(40)]
    assert ann.had(events.Joined)[-1].how == "recovered"  # type: ignore[attr-defined]
    ledger = Ledger()
    for person in both:
        for event in person.happened:
            enter(ledger, person.name.decode(), event)
    assert ledger.settle() == {DELIVERED: 120}


def enter(ledger: Ledger, member: str, event: object) -> None:
    """Into the ledger."""
    match event:
        case events.Joined(room, life, offset, how):
            ledger.joined(member, room.decode(), life.decode(), offset, how)
        case events.Msg(room, offset, sender, text):
            ledger.message(member, room.decode(), offset, sender.decode(), text.decode())


def test_questions_after_a_cut(
    echod: Callable[..., Echod], own_redis: RedisServer, people: Callable[..., Person]
) -> None:
    """WHO is asked again behind the JOIN; a TELL that may have come is given up, and told."""
    (one,) = [echod(store=own_redis.url, name="d1")]
    ann, bob = people(one), people(one)
    both = [ann, bob]
    for person in both:
        person.join(b"lobby")
    all_look(both, lambda: all(p.had(events.Joined) for p in both), "both in the room")
    ann.tell(bob.name, b"psst")
    all_look(both, lambda: bool(bob.had(events.From) and ann.had(events.Told)), "the word")
    ann.client.sever()
    ann.who(b"lobby")
    ann.tell(bob.name, b"psst again")
    all_look(both, lambda: bool(ann.had(events.Members) and ann.had(GivenUp)), "the answers")

    assert ann.had(events.Members)[0].members == 2  # type: ignore[attr-defined]
    assert not ann.had(events.ErrorLine)


def test_leaving(
    echod: Callable[..., Echod], own_redis: RedisServer, people: Callable[..., Person]
) -> None:
    """A room that was left is not joined again; one that is refused neither."""
    (one,) = [echod(store=own_redis.url, name="d1")]
    ann = people(one)
    ann.join(b"lobby")
    all_look([ann], lambda: bool(ann.had(events.Joined)), "in the room")
    ann.part(b"lobby")
    all_look([ann], lambda: bool(ann.had(events.Parted)), "left")
    ann.client.sever()
    ann.join(b"attic")
    all_look([ann], lambda: ann.rooms[b"attic"].joined, "back, and in the other")
    assert not ann.rooms[b"lobby"].joined
    with pytest.raises(ValueError, match="not"):
        ann.join(b"no room")


def test_a_room_is_entered_once(echod: Callable[..., Echod], people: Callable[..., Person]) -> None:
    """Who joins again before the answer has come asks nothing more: it would get all twice."""
    ann = people(echod())
    ann.client.connect()
    for _ in range(3):
        ann.join(b"r")
    all_look([ann], lambda: ann.rooms[b"r"].joined, "to be in it")
    ann.who(b"r")
    all_look([ann], lambda: bool(ann.had(events.Members)), "an answer behind all that was asked")
    assert len(ann.had(events.Joined)) == 1
