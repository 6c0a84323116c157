"""Who all of a soak's clients are, and what those do whose turns are not a sign of life alone.

On each store, by the kinds in their names:

    echo … joinpart   one verb and no other, so that one whose sign is missed costs a session
    echo-ping …       two of them, by chance: all pairs
    mixed             all, by chance
    listen            in a room where others talk, PING alone
    quiet, alone      two in a room; one in each of some; nobody ever says anything there
    keep              said something once, and says it again in a room that is quiet since
    come              in and out of a quiet room, each time at the position that it had
    fill, slow        a long history, and who reads it so slowly that nothing is read of him
    call              the roll call: at the end it TELLs everybody who should be there
    hello             HELLO and no other verb, nearly as far apart as its session lives
    pause             away for nearly as long as its session lives, and back
    wait              nearly as long as may be, with its first line
    quit              ends its sessions, and sees that they have ended
    expire            lets its sessions expire, and sees that they are gone
    idle              at a daemon where nobody else is, for a moment, longer apart than its
                      marker lives
"""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from lab.drill.load.sitters import LONG_MESSAGES, LOOK_S, Caller, Ground, Sitter, Slow
from loadtest.session_requests import Say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.drill.lives import Short
    from lab.drill.load.crowd import Crowd
    from loadtest.entrances import Entrances

VERBS = ("echo", "ping", "say", "who", "tell", "joinpart")
# Of a life, how long one waits who comes back in time: the rest is for a busy machine.
NEARLY = 0.8
# Of one, and above it, how long one stays away who comes back too late.
TOO_LATE, TOO_LATE_S = 1.1, 1.5
# Of a marker's, how long a daemon has nobody.
DESERTED = 1.5
LONG_BYTES, LONG_AT_ONCE = 8_000, 20
KEPT_POSTS = 5


def keep(me: Sitter) -> None:
    """The first posts; then PING, and one of them again twice in a session's life.

    It is known again, and posted once.
    """
    ground, home = me.ground, me.member.rooms[me.rooms[0]]

    def text(number: int) -> bytes:
        return b"%b %d" % (me.client.name.encode(), number)

    if me.client.connected:
        if home.last_id < KEPT_POSTS and not me.crowd.finishing:
            me.member.say(home.name, text(home.last_id + 1))
        elif home.joined and me.chance.random() < 2 * ground.pace_s / ground.short.lives.state_s:
            number = me.chance.randint(1, home.last_id)
            me.client.ask(Say(home.name, number, text(number)))
        else:
            me.sign("ping")
    me.receive(ground.pace_s)


def fill(me: Sitter) -> None:
    """The long room's history, all of it at once; then PING."""
    ground, room = me.ground, me.member.rooms[me.rooms[0]]
    if not ground.filled.is_set() and room.joined:
        while room.last_id < LONG_MESSAGES:
            for _ in range(LONG_AT_ONCE):
                me.member.say(room.name, me.text().ljust(LONG_BYTES, b"."))
            while me.member.unanswered or me.member.behind:
                me.listen(ground.pace_s)
        ground.long_life = room.life
        ground.filled.set()
    me.stay()


def come(me: Sitter) -> None:
    """In a room, out of it for longer than it would live by itself, and in again."""
    room = me.ground.room("keep")
    me.member.join(room)
    for _ in range(2):
        me.stay()
    if me.member.rooms[room].joined:
        me.member.part(room)
    for _ in range(int(TOO_LATE * me.ground.short.lives.room_s / me.ground.pace_s)):
        me.stay()


def hello(me: Sitter) -> None:
    """A resume is a sign of life; of a new session, before the first line is due."""
    new, lives = not me.client.memory.token, me.ground.short.lives
    me.settle()
    me.client.close()
    me.ground.pause(NEARLY * (lives.unused_s if new else lives.state_s))


def pause(me: Sitter) -> None:
    """Says something, and is away; says it again when it is back."""
    room = me.member.rooms[me.rooms[0]]
    me.settle()
    me.crowd.note_busy(me.name, busy=not me.crowd.finishing)
    if me.crowd.finishing:
        me.stay()
        return
    me.sign("echo")
    me.sign("say")
    me.settle()
    last = b"%b %d" % (me.name.encode(), me.texts)
    me.client.close()
    until_s = time.monotonic() + NEARLY * me.ground.short.lives.state_s
    while time.monotonic() < until_s and not me.crowd.finishing:
        me.ground.pause(min(LOOK_S, max(0.0, until_s - time.monotonic())))
    room.joined = False
    me.settle()
    if room.last_id:
        me.client.ask(Say(room.name, room.last_id, last))
    me.receive(me.ground.pace_s)


def wait(me: Sitter) -> None:
    """The first line comes at the last moment; of every other one on another connection."""
    me.again()
    if me.begun % 2:
        me.ground.pause(NEARLY * me.ground.short.idle_s)
        me.client.ping()
    else:
        me.client.close()
        me.ground.pause(NEARLY * me.ground.short.lives.unused_s)
        me.client.echo(me.text())
    me.client.quit()


def end(me: Sitter) -> None:
    """A short life; it leaves nothing but a tombstone, and that not for long."""
    me.again()
    me.speak()
    token = me.client.memory.token
    me.client.quit()
    me.is_gone(token)
    me.ground.pause(me.ground.pace_s)


def expire(me: Sitter) -> None:
    """Leaves all that a session has, in a room of its own, to expire."""
    me.rooms = [b"%b-%d" % (me.name.encode(), me.begun)]
    me.again()
    me.speak()
    token = me.client.memory.token
    me.client.close()
    me.ground.pause(TOO_LATE * me.ground.short.lives.state_s + TOO_LATE_S)
    me.is_gone(token)


def visit(me: Sitter) -> None:
    """The only client of a daemon, and seldom."""
    me.again()
    me.client.echo(me.text())
    me.client.quit()
    me.ground.pause(DESERTED * me.ground.short.lives.marker_s)


# Kind, how many, a turn, rooms. Of those who are there all the time …
STEADY = (
    ("quiet", 2, Sitter.stay, ("quiet",)),
    ("keep", 2, keep, ("keep",)),
    ("come", 2, come, ()),
    ("fill", 1, fill, ("long",)),
)
# … and of those who are not.
COMING = (
    ("hello", 2, hello, ()),
    ("pause", 5, pause, ("pause",)),
    ("wait", 3, wait, ()),
    ("quit", 3, end, ("churn",)),
    ("expire", 3, expire, ()),
)
# In rooms where all talk, so many: of each verb, with all verbs, and silent.
ALONE, MIXED, LISTENERS, HOMES = 2, 6, 3, 3
# Rooms with one member: enough for each daemon to be the only one that keeps some.
LONERS = 8


def everyone(crowd: Crowd, short: Short, memory: Entrances, idle: Entrances) -> list[Sitter]:
    """On both stores; `crowd.session` is the fleet on Redis, `idle` a daemon of it alone."""
    on_redis = Ground(crowd, short, "r", crowd.session)
    found = [Sitter(replace(on_redis, entrances=idle), "idle", visit)]
    for ground in (Ground(crowd, short, "m", memory), on_redis):
        steady, coming = (
            [Sitter(ground, f"{kind}{n}", does, rooms=rooms)
             for kind, many, does, rooms in kinds for n in range(many)]
            for kinds in (STEADY, COMING)
        )  # fmt: skip
        steady += [*_talkers(ground), Slow(ground, "slow0")]
        found += [*steady, *coming, Caller(ground, "call", steady)]
    return found


def _talkers(ground: Ground) -> Iterator[Sitter]:
    """Every verb alone, every pair, all of them; and who only listens."""
    homes = itertools.cycle(f"home{n}" for n in range(HOMES))
    rows: list[tuple[str, int, tuple[str, ...]]] = [(verb, ALONE, (verb,)) for verb in VERBS]
    rows += [("-".join(pair), 1, pair) for pair in itertools.combinations(VERBS, 2)]
    for kind, many, verbs in [*rows, ("mixed", MIXED, VERBS), ("listen", LISTENERS, ("ping",))]:
        at_home = kind == "listen" or {"say", "who"} & set(verbs)
        for n in range(many):
            yield Sitter(ground, f"{kind}{n}", Sitter.stay, verbs, [next(homes)] if at_home else [])
    for n in range(LONERS):
        yield Sitter(ground, f"alone{n}", Sitter.stay, ("ping", "who")[: 1 + n % 2], [f"alone{n}"])
