"""Rooms under random faults, over real sockets: every member's stream judged by PROTOCOL §3.

Three daemons, one Redis, thirty members in five rooms. Nothing is trimmed and no history is
lost here, so every position can be recovered: a `lost`, a GAP, a hole, a message twice, or one
offset with two texts is a fault, whatever was killed meanwhile.
"""

from __future__ import annotations

import contextlib
import random
import time
from typing import TYPE_CHECKING, cast

import pytest
import redis as redis_py

from lab.wait import until
from tests.daemon import raw
from tests.daemon.test_rooms import ROUTES

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from lab.fleet.redis_server import RedisServer
    from tests.conftest import Echod

ROOMS = 5
PEOPLE = 30
DAEMONS = 3
CHAOS_S = 3.0
# With a burst of 20 still among the last hundred, of which the store knows the ids (§3).
UNSAID_MAX = 80
# What a member may hear that ends its connection here: it resumes.
PASSING = (b"ERR unavailable", b"ERR taken-over")


class Talker:
    """One member: what it has asked and not been answered, and how far its stream is."""

    def __init__(self, number: int, heard: dict[tuple[bytes, int], bytes]) -> None:
        self.number = number
        self.room = b"room-%d" % (number % ROOMS)
        self.token = b""
        self.position: tuple[bytes, int] | None = None
        self.joined = False
        self.waits: list[bytes] = []  # verbs whose answers are due: JOINED, PARTED
        self.unsaid: dict[int, bytes] = {}
        self.said: dict[int, int] = {}
        self._asked: tuple[bytes, int] | None = None  # the position of the JOIN under way
        self._heard = heard
        self._received = b""
        self._sock: socket.socket | None = None

    def connect(self, port: int, *, join: bool) -> None:
        """Come (again): what was not answered is said again with its number."""
        if self._sock is not None:
            self._sock.close()
        self._received, self.joined, self.waits = b"", False, []
        self._sock = raw.connect(port)
        self.send(b"HELLO %b\n" % self.token if self.token else b"HELLO\n")
        if join or self.unsaid:
            self.join()
        for line in self.unsaid.values():
            self.send(line)

    def send(self, data: bytes) -> None:
        """A broken connection is noticed when it is read."""
        assert self._sock is not None
        with contextlib.suppress(OSError):
            self._sock.sendall(data)

    def join(self) -> None:
        """With the position, once there is one."""
        self._asked = self.position
        position = b" %b %d" % self.position if self.position else b""
        self.waits.append(b"JOINED")
        self.send(b"JOIN %b%b\n" % (self.room, position))

    def part(self) -> None:
        """Leave the room."""
        self.waits.append(b"PARTED")
        self.send(b"PART %b\n" % self.room)

    def say(self) -> None:
        """The next message."""
        number = len(self.said) + len(self.unsaid) + 1
        self.unsaid[number] = b"SAY %b %d %d-%d\n" % (self.room, number, self.number, number)
        self.send(self.unsaid[number])

    def hear(self) -> bool:
        """Judge what has come; whether the connection still stands."""
        assert self._sock is not None
        self._sock.settimeout(0)
        ended = False
        try:
            while data := self._sock.recv(65_536):
                self._received += data
            ended = True
        except BlockingIOError:
            pass
        except OSError:
            ended = True
        self._sock.settimeout(raw.PATIENCE_S)
        *lines, self._received = self._received.split(b"\n")
        for line in lines:
            if line.startswith(PASSING):
                return False
            self._judge(line)
        return not ended

    def _judge(self, line: bytes) -> None:
        verb, *words = line.split(b" ")
        match verb:
            case b"WELCOME":
                self.token = words[0]
            case b"JOINED":
                assert self.waits[:1] == [b"JOINED"], (self.number, line)
                del self.waits[0]
                at = words[1], int(words[2])
                assert words[3] == (b"recovered" if self._asked else b"fresh"), (self._asked, line)
                assert not self._asked or at == self._asked, (self._asked, line)
                self.position, self.joined = at, True
            case b"MSG":
                assert self.joined, line
                assert self.position is not None
                epoch, offset = self.position
                assert int(words[1]) == offset + 1, (self.number, self.position, line)
                self.position = epoch, offset + 1
                text = self._heard.setdefault((self.room, offset + 1), line)
                assert text == line
            case b"SAID":
                number, offset = int(words[1]), int(words[2])
                self.unsaid.pop(number, None)
                assert self.said.setdefault(number, offset) == offset
            case b"PARTED":
                assert self.waits[:1] == [b"PARTED"], (self.number, line)
                del self.waits[0]
                self.joined = False
            case _:
                raise AssertionError((self.number, line))


class Chaos:
    """The fleet, its members, and what happens to them."""

    def __init__(self, start: Callable[[], Echod], redis: RedisServer, seed: int) -> None:
        self.dice = random.Random(seed)
        self.heard: dict[tuple[bytes, int], bytes] = {}
        self._start = start
        self.daemons = [start() for _ in range(DAEMONS)]
        self.redis = redis_py.Redis.from_url(redis.url)
        self.people = [Talker(number, self.heard) for number in range(PEOPLE)]

    def come(self, one: Talker, *, join: bool = True) -> None:
        """At any daemon."""
        one.connect(self.dice.choice(self.daemons).session_port, join=join)

    def hear(self) -> None:
        """Everybody; who was cut off comes again."""
        for one in self.people:
            if not one.hear():
                self.come(one)

    def step(self) -> None:
        """Something happens."""
        one = self.dice.choice(self.people)
        what = self.dice.choices(
            ("say", "burst", "part", "join", "reconnect", "kill", "deafen"),
            (60, 10, 5, 15, 6, 0.3, 1.5),
        )[0]
        free = one.joined and not one.waits and len(one.unsaid) < UNSAID_MAX
        if what == "say" and free:
            one.say()
        elif what == "burst" and free:
            for _ in range(20):
                one.say()
        elif what == "part" and free and not one.unsaid:
            one.part()
        elif what == "join" and not one.waits:
            one.join()  # also of a room that it is in: from its position on
        elif what == "reconnect":
            self.come(one)
        elif what == "kill":
            at = self.dice.randrange(DAEMONS)
            self.daemons[at].process.kill()
            self.daemons[at] = self._start()
        elif what == "deafen":
            self.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")  # type: ignore[no-untyped-call] # redis-py leaves it so

    def settled(self) -> bool:
        """Whether everybody is in, was answered, and is where its room is."""
        self.hear()
        for one in self.people:
            if not one.joined and not one.waits:
                one.join()
            last = int(cast("bytes", self.redis.hget(f"m:{{{one.room.decode()}}}", "offset")) or 0)
            if not one.joined or one.waits or one.unsaid or one.position is None:
                return False
            if one.position[1] != last:
                return False
        return True


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("route", ROUTES)
def test_whatever_happens(
    echod: Callable[..., Echod], own_redis: RedisServer, route: str, seed: int
) -> None:
    """One order, every message once, nothing lost, and each id posted once."""

    def start() -> Echod:
        return echod(store=own_redis.url, room_route=route, room_messages_max=20_000)

    chaos = Chaos(start, own_redis, seed)
    with chaos.redis:
        for one in chaos.people:
            chaos.come(one)
        until(chaos.settled, 60, "everybody to have come")
        end_s = time.monotonic() + CHAOS_S
        while time.monotonic() < end_s:
            for _ in range(5):
                chaos.step()
            chaos.hear()
        until(chaos.settled, 30, "everybody to have heard everything")
        texts = {(line.split(b" ")[1], line.split(b" ")[4]) for line in chaos.heard.values()}
        assert len(texts) == len(chaos.heard)
        for one in chaos.people:
            for number, offset in one.said.items():
                line = chaos.heard.get((one.room, offset))
                assert line is None or line.endswith(b" %d-%d" % (one.number, number))
        for daemon in chaos.daemons:
            assert daemon.metrics()['echod_room_messages_total{fate="lost"}'] == 0
