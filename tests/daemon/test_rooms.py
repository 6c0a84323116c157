"""Rooms over daemons and a real Redis, PROTOCOL §3: one order, no silent loss, never deaf."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING, Any, cast

import pytest
import redis as redis_py

from echod.store.base import Lives
from lab.fleet import redis_server
from lab.wait import until
from tests.daemon import raw
from tests.daemon.test_session_port import Client, client

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.fleet.redis_server import RedisServer
    from tests.conftest import Echod

__all__ = ["client"]

ROUTES = ("room", "broadcast", "directed")
JOINED = re.compile(rb"JOINED (\S+) (\S+) (\d+) (fresh|recovered|lost)\n")


class Person(Client):
    """A client that knows the rooms it is in."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.hello()
        self.name = self.token.split(b".")[0]

    def join(self, room: bytes, position: bytes = b"") -> tuple[bytes, int, bytes]:
        """`JOIN`; epoch, offset and how."""
        self.send(b"JOIN %b%b\n" % (room, position))
        match = JOINED.fullmatch(self.line())
        assert match
        assert match[1] == room
        return match[2], int(match[3]), match[4]

    def lines(self, count: int) -> list[bytes]:
        """So many lines, without their LF."""
        return [self.line()[:-1] for _ in range(count)]


@pytest.fixture
def people() -> Callable[..., list[Person]]:
    """So many, at these daemons in turn."""

    def connect(*daemons: Echod, count: int = 0) -> list[Person]:
        count = count or len(daemons)
        return [Person(daemons[n % len(daemons)].session_port) for n in range(count)]

    return connect


@pytest.fixture
def fleet(echod: Callable[..., Echod], own_redis: RedisServer) -> Callable[..., list[Echod]]:
    """Daemons of one fleet."""

    def start(count: int = 2, **settings: object) -> list[Echod]:
        return [echod(store=own_redis.url, name=f"d{n}", **settings) for n in range(count)]

    return start


@pytest.mark.parametrize("route", ROUTES)
def test_everybody_hears_the_same(
    fleet: Callable[..., list[Echod]], people: Callable[..., list[Person]], route: str
) -> None:
    """Members on all daemons get every message once, in one order, their own included."""
    daemons = fleet(3, room_route=route)
    members = people(*daemons, count=9)
    for member in members:
        assert member.join(b"lobby")[1:] == (0, b"fresh")
    for n in range(1, 21):
        for member in members:
            member.send(b"SAY lobby %d from %b %d\n" % (n, member.name, n))
    heard = []
    for member in members:
        lines = member.lines(20 * 9 + 20)
        assert [line for line in lines if line.startswith(b"SAID")]
        heard.append([line for line in lines if line.startswith(b"MSG")])
    assert all(each == heard[0] for each in heard)
    assert [int(line.split()[2]) for line in heard[0]] == list(range(1, 181))
    for daemon in daemons:
        assert daemon.metrics()['echod_room_messages_total{fate="lost"}'] == 0


@pytest.mark.parametrize("route", ROUTES)
def test_a_member_comes_back_and_misses_nothing(
    fleet: Callable[..., list[Echod]], people: Callable[..., list[Person]], route: str
) -> None:
    """With its position, at another daemon, after its own was killed (more than a page behind)."""
    one, two = fleet(2, room_route=route)
    ann, bob = people(one, two)
    epoch, _, _ = ann.join(b"lobby")
    bob.join(b"lobby")
    bob.ask(b"SAY lobby 1 a\n", 2)
    assert ann.line() == b"MSG lobby 1 %b a\n" % bob.name
    one.process.kill()
    for n in range(2, 352):
        bob.send(b"SAY lobby %d m%d\n" % (n, n))
    bob.lines(700)
    back = Person(two.session_port)
    assert back.join(b"lobby", b" %b 1" % epoch) == (epoch, 1, b"recovered")
    assert back.lines(350) == [b"MSG lobby %d %b m%d" % (n, bob.name, n) for n in range(2, 352)]
    bob.ask(b"SAY lobby 352 live\n", 2)
    assert back.line() == b"MSG lobby 352 %b live\n" % bob.name


def test_what_can_not_be_had_is_said(
    fleet: Callable[..., list[Echod]], people: Callable[..., list[Person]]
) -> None:
    """Trimmed, or of another history: `lost`, and on from where the room is."""
    (daemon,) = fleet(1, room_messages_max=100)
    ann, bob = people(daemon, daemon)
    epoch, _, _ = ann.join(b"lobby")
    for n in range(1, 501):
        ann.send(b"SAY lobby %d x\n" % n)
    ann.lines(1000)
    assert bob.join(b"lobby", b" %b 3" % epoch) == (epoch, 500, b"lost")
    assert bob.join(b"lobby", b" 0-other 500") == (epoch, 500, b"lost")
    assert bob.join(b"lobby", b" %b 501" % epoch) == (epoch, 500, b"lost")
    assert bob.join(b"lobby", b" %b 500" % epoch) == (epoch, 500, b"recovered")
    assert bob.join(b"lobby", b" %b 498" % epoch) == (epoch, 498, b"recovered")
    assert [line.split()[2] for line in bob.lines(2)] == [b"499", b"500"]


def test_posted_once(
    fleet: Callable[..., list[Echod]], people: Callable[..., list[Person]]
) -> None:
    """An id sent again gets the same SAID, also at another daemon; a lower one is refused.

    With another text it is a conflict (§3): nothing is posted, and the connection stays open.
    """
    one, two = fleet(2)
    (ann,) = people(one)
    ann.join(b"lobby")
    ann.ask(b"SAY lobby 5 a\n", 2)
    ann.ask(b"SAY lobby 9 b\n", 2)
    assert ann.ask(b"SAY lobby 5 a\n") == b"SAID lobby 5 1\n"
    assert ann.ask(b"SAY lobby 7 c\n") == b"ERR out-of-order 10\n"
    assert ann.ask(b"SAY lobby 9 B\n").startswith(b"ERR conflict ")
    token = ann.token
    bob = Client(two.session_port)
    bob.hello(b" " + token)
    bob.send(b"JOIN lobby\n")
    assert b" 2 fresh" in bob.line()
    assert bob.ask(b"SAY lobby 5 b\n").startswith(b"ERR conflict ")
    assert bob.ask(b"SAY lobby 9 b\n") == b"SAID lobby 9 2\n"
    for n in range(10, 120):
        bob.send(b"SAY lobby %d x\n" % n)
    for _ in range(220):
        bob.line()
    assert bob.ask(b"SAY lobby 15 x\n") == b"ERR out-of-order 120\n"


def test_errors(fleet: Callable[..., list[Echod]], people: Callable[..., list[Person]]) -> None:
    """Bad names and arguments, rooms that were not joined, one room too many."""
    (daemon,) = fleet(1, rooms_joined_max=2)
    (ann,) = people(daemon)
    for line in (b"JOIN", b"JOIN a b", b"JOIN a/b", b"JOIN " + b"r" * 65, b"JOIN a e x",
                 b"JOIN a 0-1 1 2", b"SAY a", b"SAY a 0 x", b"SAY a 1", b"PART", b"PART a b",
                 b"WHO", b"TELL x y", b"TELL aaaaaaaaaa"):  # fmt: skip
        assert ann.ask(line + b"\n").startswith(b"ERR bad-request "), line
    for number in (0, 2**53, 10**16):
        assert b"1 to 9007199254740991" in ann.ask(b"SAY a %d x\n" % number)
    for line in (b"SAY a 1 x", b"PART a", b"WHO a"):
        assert ann.ask(line + b"\n").startswith(b"ERR not-in-room "), line
    ann.join(b"a")
    ann.join(b"b")
    assert ann.ask(b"JOIN c\n").startswith(b"ERR too-many-rooms ")
    assert ann.ask(b"PART a\n") == b"PARTED a\n"
    ann.join(b"c")
    assert ann.ask(b"ECHO 1 still here\n") == b"ECHO 1 still here\n"


def test_replies_keep_their_order(
    fleet: Callable[..., list[Echod]], people: Callable[..., list[Person]]
) -> None:
    """Lines of all kinds in one piece are answered in their order, JOIN and TELL too."""
    one, two = fleet(2)
    ann, bob = people(one, two)
    bob.join(b"other")
    ann.send(
        b"ECHO 1 a\nJOIN lobby\nECHO 2 b\nSAY lobby 1 x\nTELL %b psst\nPING\n"
        b"WHO lobby\nTELL aaaaaaaaaa x\nPART lobby\nECHO 3 c\n" % bob.name
    )
    lines = [line for line in ann.lines(13) if not line.startswith(b"MSG")]
    assert [line.split()[0] for line in lines] == [
        *(b"ECHO", b"JOINED", b"PREV", b"ECHO", b"SAID", b"TOLD", b"PONG"),
        *(b"WHO", b"TOLD", b"PARTED", b"PREV", b"ECHO"),
    ]
    assert lines[5].endswith(b"delivered")
    assert lines[8].endswith(b"absent")
    assert bob.line() == b"FROM %b psst\n" % ann.name


def test_tell_finds_who_moved(
    fleet: Callable[..., list[Echod]], people: Callable[..., list[Person]]
) -> None:
    """Right after it was resumed elsewhere; not where it was, and not when it has gone."""
    one, two = fleet(2)
    ann, bob = people(one, one)
    assert ann.ask(b"TELL %b a\n" % bob.name) == b"TOLD %b delivered\n" % bob.name
    assert bob.line() == b"FROM %b a\n" % ann.name
    moved = Client(two.session_port)
    moved.hello(b" " + bob.token)
    assert ann.ask(b"TELL %b b\n" % bob.name) == b"TOLD %b delivered\n" % bob.name
    assert moved.line() == b"FROM %b b\n" % ann.name
    moved.ask(b"QUIT\n")
    assert ann.ask(b"TELL %b c\n" % bob.name) == b"TOLD %b absent\n" % bob.name


def test_who_is_right_after_a_death(
    fleet: Callable[..., list[Echod]], people: Callable[..., list[Person]]
) -> None:
    """Within five seconds of it, and soon after leaves and joins."""
    one, two = fleet(2)
    ann, bob, cid = people(one, two, two)
    for each in (ann, bob, cid):
        each.join(b"lobby")
    until(lambda: ann.ask(b"WHO lobby\n") == b"WHO lobby 3 2\n", 30, "the joins to be known")
    assert cid.ask(b"PART lobby\n") == b"PARTED lobby\n"
    until(lambda: ann.ask(b"WHO lobby\n") == b"WHO lobby 2 2\n", 30, "the leave to be known")
    two.process.kill()
    # Five seconds, and five of a machine that runs other tests beside.
    until(lambda: ann.ask(b"WHO lobby\n") == b"WHO lobby 1 1\n", 5 + 5, "the death to be known")


@pytest.mark.parametrize("route", ROUTES)
def test_a_killed_subscription_is_made_anew(
    fleet: Callable[..., list[Echod]],
    people: Callable[..., list[Person]],
    own_redis: RedisServer,
    route: str,
) -> None:
    """CLIENT KILL of every subscriber while posts go on: members who stayed miss nothing."""
    one, two = fleet(2, room_route=route)
    ann, bob = people(one, two)
    for each in (ann, bob):
        each.join(b"lobby")
    with redis_py.Redis.from_url(own_redis.url) as client:
        for n in range(1, 301):
            ann.send(b"SAY lobby %d x\n" % n)
            if n % 20 == 0:  # while the post is on its way
                client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            while not ann.line().startswith(b"SAID"):
                pass
    assert [int(line.split()[2]) for line in bob.lines(300)] == list(range(1, 301))
    for daemon in (one, two):
        assert daemon.metrics()["echod_subscriptions_total"] > 1


def test_a_restarted_redis(
    fleet: Callable[..., list[Echod]], people: Callable[..., list[Person]], own_redis: RedisServer
) -> None:
    """Killed and started again with its data: members stay, and hear what is said then."""
    one, two = fleet(2)
    ann, bob = people(one, two)
    epoch, _, _ = ann.join(b"lobby")
    bob.join(b"lobby")
    ann.ask(b"SAY lobby 1 x\n", 2)
    assert bob.line() == b"MSG lobby 1 %b x\n" % ann.name
    own_redis.process.kill()
    directory = own_redis.process.log.parent
    with redis_server.start(directory, port=own_redis.port):
        until(lambda: one.metrics()["echod_degraded"] == 0, 30, "the store is back")
        until(lambda: two.metrics()["echod_degraded"] == 0, 30, "the store is back")
        ann.send(b"SAY lobby 2 y\n")
        assert bob.line() == b"MSG lobby 2 %b y\n" % ann.name
        ann.lines(2)
        assert ann.join(b"lobby", b" %b 2" % epoch) == (epoch, 2, b"recovered")


def test_a_lost_redis_begins_another_history(
    fleet: Callable[..., list[Echod]], people: Callable[..., list[Person]], own_redis: RedisServer
) -> None:
    """Emptied: sessions hear `rolled-back`, and a position of before is `lost`."""
    (one,) = fleet(1)
    (ann,) = people(one)
    epoch, _, _ = ann.join(b"lobby")
    ann.ask(b"SAY lobby 1 x\n", 2)
    with redis_py.Redis.from_url(own_redis.url) as client:
        client.flushall()
    assert ann.end().startswith(b"ERR rolled-back ")
    (bob,) = people(one)
    other, offset, how = bob.join(b"lobby", b" %b 1" % epoch)
    assert other != epoch
    assert (offset, how) == (0, b"lost")


def test_a_slow_member_holds_nobody_up(
    fleet: Callable[..., list[Echod]], people: Callable[..., list[Person]]
) -> None:
    """It is closed at its outbox's limit, others hear everything; it comes back and recovers."""
    (daemon,) = fleet(1, outbox_bytes_max=200_000)
    ann, bob = people(daemon, daemon)
    epoch, _, _ = bob.join(b"lobby")
    ann.join(b"lobby")
    text = b"x" * 8000
    said = 0
    while not daemon.closed("slow-consumer", "session"):
        said += 1
        ann.send(b"SAY lobby %d %b\n" % (said, text))
        ann.lines(2)
        assert said < 2000
    back = Person(daemon.session_port)
    assert back.join(b"lobby", b" %b 0" % epoch) == (epoch, 0, b"recovered")
    got = back.lines(said)
    assert [int(line.split()[2]) for line in got] == list(range(1, said + 1))
    ann.ask(b"SAY lobby %d end\n" % (said + 1), 2)
    assert back.line().endswith(b" end\n")
    del bob


def test_a_long_recovery_is_no_slow_consumer(
    fleet: Callable[..., list[Echod]], people: Callable[..., list[Person]]
) -> None:
    """It is paced by what the client takes: more than its outbox's limit is behind it."""
    (daemon,) = fleet(1, outbox_bytes_max=1_000_000, room_messages_max=2000)
    (ann,) = people(daemon)
    epoch, _, _ = ann.join(b"lobby")
    for n in range(1, 1001):
        ann.send(b"SAY lobby %d %b\n" % (n, b"y" * 7000))
        ann.lines(2)
    back = Person(daemon.session_port)
    back.join(b"lobby", b" %b 0" % epoch)
    until(lambda: daemon.metrics()["echod_unsent_bytes"] > 0, 30, "it takes nothing")
    assert [int(line.split()[2]) for line in back.lines(1000)] == list(range(1, 1001))
    assert daemon.closed("slow-consumer", "session") == 0


def test_a_tick_gathers(
    fleet: Callable[..., list[Echod]], people: Callable[..., list[Person]]
) -> None:
    """With `room_tick_s` messages come together, and a line's own reply does not wait."""
    # Long enough that three posts, and a look at what has come of them, are within one.
    (daemon,) = fleet(1, room_tick_s=1.5)
    ann, bob = people(daemon, daemon)
    for each in (ann, bob):
        each.join(b"lobby")
    ann.send(b"SAY lobby 1 a\nSAY lobby 2 b\nSAY lobby 3 c\n")
    assert [line.split()[0] for line in ann.lines(3)] == [b"SAID"] * 3
    assert raw.read_now(bob.sock) == b""
    assert [line.split()[0] for line in bob.lines(3)] == [b"MSG"] * 3
    # Who joins within a tick gets neither less nor more than what follows its position.
    ann.send(b"SAY lobby 4 d\n")
    assert ann.lines(4)[-1].startswith(b"SAID")
    (cid,) = people(daemon)
    _, offset, _ = cid.join(b"lobby")
    ann.send(b"SAY lobby 5 e\n")
    assert [int(line.split()[2]) for line in cid.lines(5 - offset)] == list(range(offset + 1, 6))


def test_a_frozen_daemon_catches_up(
    fleet: Callable[..., list[Echod]], people: Callable[..., list[Person]]
) -> None:
    """Its lease lapses, posts that look for daemons pass it by; thawed, its members miss nothing."""
    one, two = fleet(2, room_route="directed")
    ann, bob = people(one, two)
    for each in (ann, bob):
        each.join(b"lobby")
    two.process.signal(signal.SIGSTOP)
    try:
        until(lambda: ann.ask(b"WHO lobby\n") == b"WHO lobby 1 1\n", 30, "the lease to lapse")
        for n in range(1, 11):
            ann.send(b"SAY lobby %d x\n" % n)
            ann.lines(2)
    finally:
        two.process.signal(signal.SIGCONT)
    assert [int(line.split()[2]) for line in bob.lines(10)] == list(range(1, 11))
    assert two.metrics()['echod_room_messages_total{fate="lost"}'] == 0


def test_what_an_earlier_owner_had_on_its_way_is_not_posted(
    fleet: Callable[..., list[Echod]], people: Callable[..., list[Person]]
) -> None:
    """Once the later owner has joined (§2.3): its daemon was frozen, and speaks now (ADR 22)."""
    one, two = fleet()
    ann, bob = people(one, two)
    for person in (ann, bob):
        person.join(b"lobby")
    one.process.signal(signal.SIGSTOP)
    ann.send(b"SAY lobby 1 late\n")
    again = Client(two.session_port)
    again.hello(b" " + ann.token)
    again.send(b"JOIN lobby\n")
    assert again.line().startswith(b"JOINED lobby ")
    one.process.signal(signal.SIGCONT)
    assert raw.read_all(ann.sock).startswith(b"ERR taken-over ")
    again.send(b"SAY lobby 1 mine\n")
    message = b"MSG lobby 1 %b mine" % ann.name
    assert {again.line(), again.line()} == {b"SAID lobby 1 1\n", message + b"\n"}
    assert bob.lines(1) == [message]


def test_an_owner_that_the_room_has_forgotten_joins_again(
    fleet: Callable[..., list[Echod]], people: Callable[..., list[Person]], own_redis: RedisServer
) -> None:
    """It listened for longer than what is kept of it: its next post is taken all the same."""
    (one,) = fleet(1)
    (ann,) = people(one)
    ann.join(b"lobby")
    with redis_py.Redis.from_url(own_redis.url) as store:
        assert store.delete(b"i:{lobby}:" + ann.name) == 1
    ann.send(b"SAY lobby 1 x\nPING\n")
    lines = ann.lines(3)
    message = b"MSG lobby 1 %b x" % ann.name  # comes when it comes
    assert [line for line in lines if line != message] == [b"SAID lobby 1 1", b"PONG"]


def test_who_leaves_leaves_no_owner(
    fleet: Callable[..., list[Echod]], people: Callable[..., list[Person]], own_redis: RedisServer
) -> None:
    """By PART, or with the connection: of who said nothing an epoch stays, for a moment."""
    (one,) = fleet(1)
    ann, bob = people(one, count=2)
    for person in (ann, bob):
        person.join(b"lobby")
    with redis_py.Redis.from_url(own_redis.url) as store:
        assert len(store.keys("i:*")) == 2
        assert ann.ask(b"PART lobby\n") == b"PARTED lobby\n"
        bob.sock.close()

        def fences() -> list[list[bytes]]:
            found: Any = [store.zrange(key, 0, -1) for key in cast("Any", store.keys("i:*"))]
            return cast("list[list[bytes]]", found)

        until(lambda: fences() == 2 * [[b"0:1:"]], 5, "the owners to go")
        tombstone_s = Lives(60, 30).tombstone_s
        assert all(store.pttl(key) <= 1000 * tombstone_s for key in cast("Any", store.keys("i:*")))
