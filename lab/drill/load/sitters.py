"""A soak's clients that stay: every verb alone, mixtures, listeners, slow readers.

    everyone(crowd, …) ─▶ a Ground for each store ─▶ Sitters, and the guests of guests.py

Each gives a sign of life at `PACE` of what it may be silent for, by one of its verbs and no
other, so that a verb whose sign is not noticed costs a session. `judge/signs.py` judges what
they saw. On each store:

    echo … joinpart   one verb and no other
    echo-ping …       two of them, by chance: all pairs
    mixed             all, by chance
    listen            in a room where others talk, PING alone
    quiet, alone      two in a room; one in each of some; nobody ever says anything there
    keep              said something once, and says it again in a room that is quiet since
    fill, slow        a long history, and who reads it so slowly that nothing is read of him
    call              the roll call: at the end it TELLs everybody who should be there
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gevent.event import Event

from lab.drill.load.crowd import CONNECT_S_MAX, Client
from loadtest import session_events as events
from loadtest.room_member import Room, RoomMember
from loadtest.session_requests import Ping, Say
from loadtest.session_retry import Patience

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab.drill.lives import Short
    from lab.drill.load.crowd import Crowd

# Of what it may be silent for: the rest is for a machine that is busy.
PACE = 0.6
# Who is cut is back at once: what is away for a second here, lives shortened, is away for long.
BACKOFF_S_MAX, REPLY_S_MAX = 0.2, 2.5
# The long history: messages as long as may be, fewer than the thousand that a room keeps.
LONG_MESSAGES, LONG_BYTES, LONG_AT_ONCE = 900, 8_000, 20
# Who reads it takes one piece of 32 kB at a time. A daemon sends it a quarter of an outbox at a
# time, which is eight of them, and reads nothing of it before those are taken: so slowly that
# its session would not live so long.
SLOW_PIECES, SLOW_LIVES = 8, 1.5
SLOW_REPLY_S_MAX = 300.0
KEPT_POSTS = 5
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
    address: tuple[str, int]
    names: dict[str, bytes] = field(default_factory=dict)
    filled: Event = field(default_factory=Event)
    long_life: bytes | None = None

    def room(self, name: str) -> bytes:
        """A room of this store's."""
        return f"{self.letter}-{name}".encode()

    def pause(self, seconds: float) -> None:
        """Do nothing for so long, or until all leave."""
        self.crowd.leaving.wait(seconds)

    def stay_away(self, seconds: float) -> None:
        """As `pause`, or until all shall be there once more."""
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0 and not self.crowd.finishing:
            self.crowd.leaving.wait(min(LOOK_S, left_s))

    @property
    def pace_s(self) -> float:
        """Between two signs of life."""
        return PACE * self.short.idle_s


class Sitter(Client):
    """A session that stays, and gives a sign of life in time by one of its verbs."""

    reply_s_max = REPLY_S_MAX

    def __init__(self, ground: Ground, name: str, verbs: Sequence[str], *rooms: str) -> None:
        super().__init__(ground.crowd, f"L{ground.letter}-{name}")
        self.ground = ground
        self.patience = Patience(
            connect_s_max=CONNECT_S_MAX, reply_s_max=self.reply_s_max, give_up_s=float("inf"),
            ping_every_s=float("inf"), backoff_s_max=BACKOFF_S_MAX,
        )  # fmt: skip
        self._verbs = verbs
        self._rooms = rooms
        self._begun = self._texts = 0
        self.begin()

    def begin(self) -> None:
        """Another session, in its rooms."""
        self._begun += 1
        name = f"{self.name}.{self._begun}"
        self.client = self.connection(name, address=self.ground.address)
        self.member = RoomMember(self.client)
        for room in self._rooms:
            self.member.join(self.ground.room(room))

    def prepare(self) -> None:
        """No two give their signs at one moment."""
        self.ground.pause(self.chance.uniform(0, self.ground.pace_s))

    def leave(self) -> None:
        """Half of them end their sessions, the others leave them to expire."""
        if self.chance.random() < 0.5:  # noqa: PLR2004 — half
            self.client.leave(LEAVE_S)
        else:
            self.client.close()

    def turn(self) -> None:
        """A sign of life, and what comes until the next one."""
        if self.client.connected:
            self.sign()
        self.receive(self.ground.pace_s)

    def receive(self, for_s: float) -> None:
        """Listen for so long; who is cut meanwhile comes back."""
        until_s = time.monotonic() + for_s
        while (left_s := until_s - time.monotonic()) > 0 and not self.crowd.leaving.is_set():
            self.listen(left_s)

    def listen(self, wait_s: float) -> None:
        """Take what comes."""
        for happened in self.member.receive(wait_s):
            self.heard(happened)
        if self.client.connected:
            self.ground.names[self.name] = self.client.memory.name.encode()
            self.crowd.served.add(self.name)

    def settle(self) -> None:
        """Until it is there, in its rooms, all is answered, and its posts have come to it."""
        client, rooms = self.client, self.member.rooms
        while not self.crowd.leaving.is_set() and not (
            client.connected
            and not client.memory.waiting
            and not self.member.unanswered
            and not self.member.behind
            and all(room.joined for room in rooms.values())
        ):
            self.listen(self.ground.pace_s)

    def heard(self, happened: object) -> None:
        """What the server said, and the client does not see to."""

    # Signs.

    def sign(self) -> None:
        """One of its verbs."""
        verb = self.chance.choice(self._verbs)
        if verb == "say" and self.crowd.finishing:
            verb = "ping"  # nothing more is on its way to anybody when all leave
        getattr(self, verb)()

    def text(self) -> bytes:
        """Like no other."""
        self._texts += 1
        return b"%b %d" % (self.name.encode(), self._texts)

    @property
    def home(self) -> bytes:
        """The room that it is in."""
        return self.ground.room(self._rooms[0])

    def echo(self) -> None:
        """ECHO."""
        self.client.send(self.text())

    def ping(self) -> None:
        """PING."""
        self.client.ask(Ping())

    def say(self) -> None:
        """SAY."""
        self.member.say(self.home, self.text())

    def who(self) -> None:
        """WHO."""
        self.member.who(self.home)

    def tell(self) -> None:
        """TELL, to anybody who is there, or was."""
        names = list(self.ground.names.values()) or [self.client.memory.name.encode()]
        self.member.tell(self.chance.choice(names), self.text())

    def joinpart(self) -> None:
        """JOIN and PART in turn."""
        room = self.ground.room("churn")
        known = self.member.rooms.get(room)
        if known is not None and known.joined:
            self.member.part(room)
        else:
            self.member.join(room)


class Keeper(Sitter):
    """Has said something, and says it again and again: it is known again, and posted once."""

    def sign(self) -> None:
        """The first posts; then PING, and one of them again twice in a session's life."""
        room = self.member.rooms[self.home]
        if room.last_id < KEPT_POSTS and not self.crowd.finishing:
            self.say()
        elif room.joined and self.chance.random() < 2 * self.ground.pace_s / self._ttl_s:
            number = self.chance.randint(1, room.last_id)
            self.client.ask(Say(self.home, number, self._text_of(number)))
        else:
            self.ping()

    def text(self) -> bytes:
        """Of its next post."""
        return self._text_of(self.member.rooms[self.home].last_id + 1)

    def _text_of(self, number: int) -> bytes:
        return b"%b %d" % (self.client.name.encode(), number)

    @property
    def _ttl_s(self) -> float:
        return self.ground.short.lives.state_s


class Filler(Sitter):
    """Makes the long room's history, and stays."""

    def turn(self) -> None:
        """All of it, at once; then PING."""
        room = self.member.rooms[self.home]
        if not self.ground.filled.is_set() and room.joined:
            while room.last_id < LONG_MESSAGES:
                for _ in range(LONG_AT_ONCE):
                    self.member.say(self.home, self.text().ljust(LONG_BYTES, b"."))
                while self.member.unanswered or self.member.behind:
                    self.listen(self.ground.pace_s)
            self.ground.long_life = room.life
            self.ground.filled.set()
        super().turn()


class Slow(Sitter):
    """Reads the long history slowly, from the beginning, again and again; and PINGs in time."""

    reply_s_max = SLOW_REPLY_S_MAX

    def __init__(self, ground: Ground, name: str, verbs: Sequence[str]) -> None:
        super().__init__(ground, name, verbs)
        self._ping_s = self._piece_s = 0.0
        self.crowd.busy.add(self.name)

    def turn(self) -> None:
        """PING, and a piece, each in its time; in the end the rest, at once."""
        now_s, ground = time.monotonic(), self.ground
        if self.client.connected and now_s >= self._ping_s:
            self._ping_s = now_s + ground.pace_s
            self.ping()
        if self.crowd.finishing:
            self._finish()
        elif not (self.client.connected and ground.filled.is_set()):
            self.listen(LOOK_S)
        else:
            if now_s >= self._piece_s:
                self._piece_s = now_s + SLOW_LIVES * ground.short.lives.state_s / SLOW_PIECES
                self._read_again()
                self.listen(0)
            ground.pause(LOOK_S)

    def _finish(self) -> None:
        room = self.member.rooms.get(self.ground.room("long"))
        if room is None or room.offset < LONG_MESSAGES or self.client.memory.waiting:
            self.listen(LOOK_S)
            return
        self.crowd.busy.discard(self.name)
        self.listen(self.ground.pace_s)

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
        super().__init__(ground, name, ("ping",))
        self._missing = {sitter.name for sitter in steady}
        self.crowd.busy.add(self.name)

    def turn(self) -> None:
        """PING until it is time."""
        if self.crowd.finishing and self._missing:
            self._call()
        super().turn()

    def _call(self) -> None:
        until_s = time.monotonic() + CALL_S_MAX
        while self._missing and time.monotonic() < until_s:
            for name in sorted(self._missing & self.ground.names.keys()):
                self.member.tell(self.ground.names[name], self.text())
            while self.member.unanswered and time.monotonic() < until_s:
                self.listen(self.ground.pace_s)
            self.receive(self.ground.pace_s)
        self._missing.clear()
        self.crowd.busy.discard(self.name)

    def heard(self, happened: object) -> None:
        """It is there."""
        if isinstance(happened, events.Told) and happened.how == "delivered":
            names = self.ground.names
            self._missing -= {one for one in self._missing if names.get(one) == happened.name}
