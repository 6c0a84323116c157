"""A soak's clients that come and go, and who all of them are.

hello    HELLO and no other verb, nearly as far apart as its session lives
pause    away for nearly as long as its session lives, and back
come     in and out of a quiet room, each time at the position that it had
wait     nearly as long as may be, with its first line
quit     ends its sessions, and sees that they have ended
expire   lets its sessions expire, and sees that they are gone
idle     at a daemon where nobody else is, for a moment, longer apart than its marker lives
"""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

from lab.drill.load.sitters import Caller, Filler, Ground, Keeper, Sitter, Slow
from loadtest.errors import SessionLost
from loadtest.session_requests import Say

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lab.drill.lives import Short
    from lab.drill.load.crowd import Crowd

VERBS = ("echo", "ping", "say", "who", "tell", "joinpart")
ALONE, MIXED, LISTENERS, HOMES = 2, 6, 3, 3
# Rooms with one member: enough for each daemon to be the only one that keeps some.
LONERS = 8
GREETERS, PAUSERS, COMERS, WAITERS, QUITTERS, EXPIRERS = 2, 5, 2, 3, 3, 3
# Of a life, how long one waits who comes back in time: the rest is for a busy machine.
NEARLY = 0.8
# Of one, and above it, how long one stays away who comes back too late.
TOO_LATE, TOO_LATE_S = 1.1, 1.5
# Of a marker's, how long a daemon has nobody.
DESERTED = 1.5


class Greeter(Sitter):
    """Asks for its session, and says nothing: a resume is a sign of life."""

    def turn(self) -> None:
        """HELLO; of a new session it must come again before the first line is due."""
        new = not self.client.memory.token
        self.settle()
        self.client.close()
        lives = self.ground.short.lives
        self.ground.pause(NEARLY * (lives.unused_s if new else lives.state_s))


class Pauser(Sitter):
    """Says something, and is away; says it again when it is back."""

    def __init__(self, ground: Ground, name: str, verbs: Sequence[str], *rooms: str) -> None:
        super().__init__(ground, name, verbs, *rooms)
        self.crowd.busy.add(self.name)

    def turn(self) -> None:
        """One absence."""
        ground, room = self.ground, self.member.rooms[self.home]
        self.settle()
        if self.crowd.finishing:
            self.crowd.busy.discard(self.name)
            super().turn()
            return
        self.echo()
        self.say()
        self.settle()
        last = b"%b %d" % (self.name.encode(), self._texts)
        self.client.close()
        ground.stay_away(NEARLY * ground.short.lives.state_s)
        room.joined = False
        self.settle()
        if room.last_id:
            self.client.ask(Say(self.home, room.last_id, last))
        self.receive(ground.pace_s)


class Comer(Sitter):
    """In a room, out of it for longer than it would live by itself, and in again."""

    def turn(self) -> None:
        """One visit."""
        room = self.ground.room("keep")
        self.member.join(room)
        for _ in range(2):
            super().turn()
        if self.member.rooms[room].joined:
            self.member.part(room)
        for _ in range(int(TOO_LATE * self.ground.short.lives.room_s / self.ground.pace_s)):
            super().turn()


class Guest(Sitter):
    """A session for each turn."""

    def turn(self) -> None:
        """Another session; what a fault has left of the one before expires."""
        self.client.close()
        self.begin()
        self.settle()
        self.visit()

    def visit(self) -> None:
        """What it came for."""
        raise NotImplementedError

    def speak(self) -> None:
        """A line and a post, answered."""
        self.echo()
        if not self.crowd.finishing:
            self.say()
        self.settle()

    def is_gone(self, token: bytes) -> None:
        """Ask for a session that is no more. Who gets it makes the judge's case."""
        late = self.connection(f"{self.client.name}x", token, address=self.ground.address)
        with contextlib.suppress(SessionLost):
            late.connect()
        late.close()


class Waiter(Guest):
    """Its first line comes at the last moment; of every other one on another connection."""

    def visit(self) -> None:
        """Wait, say something, end."""
        short = self.ground.short
        if self._begun % 2:
            self.ground.pause(NEARLY * short.idle_s)
            self.client.ping()
        else:
            self.client.close()
            self.ground.pause(NEARLY * short.lives.unused_s)
            self.client.echo(self.text())
        self.client.quit()


class Quitter(Guest):
    """Leaves nothing but a tombstone, and that not for long."""

    def visit(self) -> None:
        """A short life."""
        self.speak()
        token = self.client.memory.token
        self.client.quit()
        self.is_gone(token)
        self.ground.pause(self.ground.pace_s)


class Expirer(Guest):
    """Leaves all that a session has, in a room of its own, to expire."""

    def begin(self) -> None:
        """In another room each time."""
        self._rooms = (f"{self.name}-{self._begun}",)
        super().begin()

    def visit(self) -> None:
        """Live, and be away too long."""
        self.speak()
        token = self.client.memory.token
        self.client.close()
        self.ground.pause(TOO_LATE * self.ground.short.lives.state_s + TOO_LATE_S)
        self.is_gone(token)


class Idler(Guest):
    """The only client of a daemon, and seldom."""

    def visit(self) -> None:
        """A line."""
        self.client.echo(self.text())
        self.client.quit()
        self.ground.pause(DESERTED * self.ground.short.lives.marker_s)


def everyone(
    crowd: Crowd, short: Short, memory: tuple[str, int], idle: tuple[str, int]
) -> list[Sitter]:
    """On both stores; `crowd.session` is the fleet on Redis, `idle` a daemon of it alone."""
    on_redis = Ground(crowd, short, "r", crowd.session)
    found = [*_of(Ground(crowd, short, "m", memory)), *_of(on_redis)]
    return [*found, Idler(replace(on_redis, address=idle), "idle", ())]


def _of(ground: Ground) -> list[Sitter]:
    """All kinds on one store."""
    steady = list(_steady(ground))
    return [
        *steady,
        Caller(ground, "call", steady),
        *(Greeter(ground, f"hello{n}", ()) for n in range(GREETERS)),
        *(Pauser(ground, f"pause{n}", ("ping",), "pause") for n in range(PAUSERS)),
        *(Waiter(ground, f"wait{n}", ()) for n in range(WAITERS)),
        *(Quitter(ground, f"quit{n}", (), "churn") for n in range(QUITTERS)),
        *(Expirer(ground, f"expire{n}", ()) for n in range(EXPIRERS)),
    ]


def _steady(ground: Ground) -> Iterator[Sitter]:
    homes = itertools.cycle(f"home{n}" for n in range(HOMES))
    for verb in VERBS:
        for n in range(ALONE):
            rooms = [next(homes)] if verb in ("say", "who") else []
            yield Sitter(ground, f"{verb}{n}", (verb,), *rooms)
    for pair in itertools.combinations(VERBS, 2):
        rooms = [next(homes)] if {"say", "who"} & set(pair) else []
        yield Sitter(ground, f"{'-'.join(pair)}0", pair, *rooms)
    for n in range(MIXED):
        yield Sitter(ground, f"mixed{n}", VERBS, next(homes))
    for n in range(LISTENERS):
        yield Sitter(ground, f"listen{n}", ("ping",), next(homes))
    for n in range(2):
        yield Sitter(ground, f"quiet{n}", ("ping",), "quiet")
        yield Keeper(ground, f"keep{n}", (), "keep")
    for n in range(COMERS):
        yield Comer(ground, f"come{n}", ("ping",))
    for n in range(LONERS):
        yield Sitter(ground, f"alone{n}", ("ping", "who")[: 1 + n % 2], f"alone{n}")
    yield Filler(ground, "fill0", ("ping",), "long")
    yield Slow(ground, "slow0", ("ping",))
