"""A soak's clients: a store to be on, a session with signs of life, and those who need more.

Each gives a sign of life at `PACE` of what it may be silent for. `guests.py` has all kinds of
them and what each does; `judge/signs.py` judges what they saw.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from gevent.event import Event

from lab.drill.load.crowd import Client, Crowd
from loadtest import session_events as events
from loadtest.errors import SessionLost
from loadtest.room_member import Room
from loadtest.session_requests import Ping

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lab.drill.lives import Short
    from loadtest.entrances import Entrances

# Of what it may be silent for: the rest is for a machine that is busy.
PACE = 0.6
# Who is cut is back at once: what is away for a second here, lives shortened, is away for long.
BACKOFF_S_MAX, REPLY_S_MAX = 0.2, 2.5
# The long history: messages as long as may be, fewer than the thousand that a room keeps.
LONG_MESSAGES = 900
# Who reads it takes one piece of 32 kB at a time. A daemon sends it a quarter of an outbox at a
# time, which is eight of them, and reads nothing of it before those are taken: so slowly that
# its session would not live so long.
SLOW_PIECES, SLOW_LIVES = 8, 1.5
SLOW_REPLY_S_MAX = 300.0
LOOK_S = 0.1
# The roll call tries so long: what the last fault has left is over by then.
CALL_S_MAX = 15.0
# To leave with QUIT; who gets no answer by then is left to expire.
LEAVE_S = 1.0


@dataclass
class Ground:
    """One store: the way to it, and what its clients share.

    Attributes:
        letter: its clients' and rooms' names have it: `m` memory, `r` Redis.
        names: the public name of each client's session of the moment: whom to TELL.
        long_life: the history of the long room, once it is there.
    """

    crowd: Crowd
    short: Short
    letter: str
    entrances: Entrances
    names: dict[str, bytes] = field(default_factory=dict)
    filled: Event = field(default_factory=Event)
    long_life: bytes | None = None

    def room(self, name: str) -> bytes:
        """A room of this store's."""
        return f"{self.letter}-{name}".encode()

    def pause(self, seconds: float) -> None:
        """Do nothing for so long, or until all leave."""
        self.crowd.leaving.wait(seconds)

    @property
    def pace_s(self) -> float:
        """Between two signs of life."""
        return PACE * self.short.idle_s


class Sitter(Client):
    """A session that gives a sign of life in time by one of its verbs.

    Args:
        ground: where it is.
        name: `<kind><number>`.
        does: a turn.
        verbs: of its signs.
        rooms: it is in them; the first is its home.
    """

    reply_s_max = REPLY_S_MAX

    def __init__(
        self,
        ground: Ground,
        name: str,
        does: Callable[[Sitter], None],
        verbs: Sequence[str] = ("ping",),
        rooms: Sequence[str] = (),
    ) -> None:
        names = [ground.room(room) for room in rooms]
        super().__init__(ground.crowd, f"L{ground.letter}-{name}", names)
        self.ground = ground
        self.entrances = ground.entrances
        self.patience = replace(
            self.patience, reply_s_max=self.reply_s_max, ping_every_s=float("inf"),
            backoff_s_max=BACKOFF_S_MAX,
        )  # fmt: skip
        self.verbs = verbs
        self.texts = 0
        self._does = does

    def run(self) -> None:
        """As every client, but no two give their signs at one moment."""
        self.ground.pause(self.chance.uniform(0, self.ground.pace_s))
        super().run()

    def _turn(self) -> None:
        self._does(self)

    def _leave(self) -> None:
        """Half of them end their sessions, the others leave them to expire."""
        if self.chance.random() < 0.5:  # noqa: PLR2004 — half
            self.client.leave(LEAVE_S)
        else:
            self.client.close()

    # Listening.

    def listen(self, wait_s: float) -> None:
        """As every client; who is there may be told something."""
        super().listen(wait_s)
        if self.client.connected:
            self.ground.names[self.name] = self.client.memory.name.encode()
            self.crowd.served.add(self.name)

    def receive(self, for_s: float) -> None:
        """Listen for so long; who is cut meanwhile comes back."""
        until_s = time.monotonic() + for_s
        while (left_s := until_s - time.monotonic()) > 0 and not self.crowd.leaving.is_set():
            self.listen(left_s)

    def settle(self) -> None:
        """Until it is there, in its rooms, all is answered, and its posts have come to it."""
        member = self.member
        while not self.crowd.leaving.is_set() and not (
            self.client.connected
            and not self.client.memory.waiting
            and not member.unanswered
            and not member.behind
            and all(room.joined for room in member.rooms.values())
        ):
            self.listen(self.ground.pace_s)

    # Signs.

    def stay(self) -> None:
        """A sign of life, and what comes until the next one."""
        if self.client.connected:
            verb = self.chance.choice(self.verbs)
            if verb == "say" and self.crowd.finishing:
                verb = "ping"  # nothing more is on its way to anybody when all leave
            self.sign(verb)
        self.receive(self.ground.pace_s)

    def sign(self, verb: str) -> None:
        """A request; `joinpart` is JOIN and PART in turn."""
        member, names = self.member, self.ground.names
        match verb:
            case "echo":
                self.client.send(self.text())
            case "ping":
                self.client.ask(Ping())
            case "say":
                member.say(self.rooms[0], self.text())
            case "who":
                member.who(self.rooms[0])
            case "tell":  # anybody who is there, or was
                own = self.client.memory.name.encode()
                member.tell(self.chance.choice(list(names.values()) or [own]), self.text())
            case "joinpart":
                room = self.ground.room("churn")
                known = member.rooms.get(room)
                (member.part if known is not None and known.joined else member.join)(room)

    def text(self) -> bytes:
        """Like no other."""
        self.texts += 1
        return b"%b %d" % (self.name.encode(), self.texts)

    def again(self) -> None:
        """Another session; what a fault has left of the one before expires."""
        self.client.close()
        self.begin()
        self.settle()

    def speak(self) -> None:
        """A line and a post, answered."""
        self.sign("echo")
        if not self.crowd.finishing:
            self.sign("say")
        self.settle()

    def is_gone(self, token: bytes) -> None:
        """Ask for a session that is no more. Who gets it makes the judge's case."""
        late = self.session(f"{self.client.name}x", token)
        with contextlib.suppress(SessionLost):
            late.connect()
        late.close()


class Slow(Sitter):
    """Reads the long history slowly, from the beginning, again and again; and PINGs in time."""

    reply_s_max = SLOW_REPLY_S_MAX

    def __init__(self, ground: Ground, name: str) -> None:
        super().__init__(ground, name, Sitter.stay)
        self._ping_s = self._piece_s = 0.0
        self.crowd.busy.add(self.name)

    def _turn(self) -> None:
        """PING, and a piece, each in its time; in the end the rest, at once."""
        now_s, ground = time.monotonic(), self.ground
        if self.client.connected and now_s >= self._ping_s:
            self._ping_s = now_s + ground.pace_s
            self.sign("ping")
        if self.crowd.finishing:
            room = self.member.rooms.get(ground.room("long"))
            behind = room is None or room.offset < LONG_MESSAGES
            busy = behind or bool(self.client.memory.waiting)
            self.crowd.note_busy(self.name, busy=busy)
            self.listen(LOOK_S if busy else ground.pace_s)
        elif not (self.client.connected and ground.filled.is_set()):
            self.listen(LOOK_S)
        else:
            if now_s >= self._piece_s:
                self._piece_s = now_s + SLOW_LIVES * ground.short.lives.state_s / SLOW_PIECES
                self._read_again()
                self.listen(0)
            ground.pause(LOOK_S)

    def _read_again(self) -> None:
        name = self.ground.room("long")
        room = self.member.rooms.get(name)
        if room is None:
            # As if it had been there from the beginning.
            self.member.rooms[name] = Room(name, self.ground.long_life)
            self.member.join(name)
        elif room.joined and room.wanted and room.offset >= LONG_MESSAGES:
            self.member.part(name)
        elif not room.joined and not room.wanted and self.client.connected:
            room.offset = 0
            self.member.join(name)


class Caller(Sitter):
    """The roll call: everybody who is there all the time, once all faults are over."""

    def __init__(self, ground: Ground, name: str, steady: Sequence[Sitter]) -> None:
        super().__init__(ground, name, Sitter.stay)
        self._missing = {sitter.name for sitter in steady}
        self.crowd.busy.add(self.name)

    def _turn(self) -> None:
        """PING until it is time; then TELL."""
        if self.crowd.finishing and self.name in self.crowd.busy:
            until_s = time.monotonic() + CALL_S_MAX
            while self._missing and time.monotonic() < until_s:
                for name in sorted(self._missing & self.ground.names.keys()):
                    self.member.tell(self.ground.names[name], self.text())
                while self.member.unanswered and time.monotonic() < until_s:
                    self.listen(self.ground.pace_s)
                self.receive(self.ground.pace_s)
            self.crowd.note_busy(self.name, busy=False)
        self.stay()

    def _heard(self, happened: object) -> None:
        if isinstance(happened, events.Told) and happened.how == "delivered":
            names = self.ground.names
            self._missing -= {one for one in self._missing if names.get(one) == happened.name}
