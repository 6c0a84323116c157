"""The drills on links: between a daemon and Redis, between HAProxy and a daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.drill.expectations import bites, goes_on, heard, replies_lost, served_again
from lab.drill.scenario import Drill, Step

if TYPE_CHECKING:
    from lab.drill.scenario import Stage

REDIS, DAEMON = frozenset({"redis"}), frozenset({"daemon"})

LINKS = "containers have no link that can be cut so"

# A daemon without its store tells its clients after `commit_s_max` (2 s), and is nearly left
# out of the balance after half a second and an agent's interval.
TOLD_S = 2.0

# `leastconn` counts connections by weight, and a daemon that nobody is left on has none: it is
# sent one client at a time, at whatever weight, who hears `unavailable` in his turn.
LUCKY = 0.9


def cut_redis(name: str, what: str, *ways: str) -> Drill:
    """One daemon's link to Redis stands still."""
    return Drill(
        f"cut-redis-{name}",
        f"The link between a daemon and Redis stands still, {what}; what was on the way comes late.",
        [
            Step(2, f"cut echod1-redis, {what}", lambda stage: stage.cut("redis:echod1", *ways)),
            Step(7, "heal it", lambda stage: stage.heal("redis:echod1"), heals=True),
        ],
        seconds=11,
        expects=[bites(), heard("unavailable"), served_again(TOLD_S + 2, LUCKY), goes_on(1.0)],
        links=REDIS,
        only_local=LINKS if ways else "",
    )


def half_open_redis(end: str, what: str) -> Drill:
    """One end of one daemon's connection to Redis is gone, the other does not know."""
    return Drill(
        f"half-open-redis-{end}",
        f"A daemon's connection to Redis is half open: {what}.",
        [
            Step(2, f"half-open: {what}", lambda stage: stage.half_open("redis:echod1", end),
                 lasts=False),
        ],
        seconds=7,
        expects=[served_again(TOLD_S + 2), goes_on(1.0)],
        links=REDIS,
        only_local=LINKS,
    )  # fmt: skip


def break_redis() -> Drill:
    """A batch is lost on its way, and there is no other way for it."""

    def lose(stage: Stage) -> None:
        stage.refuse("redis:echod1")
        stage.reset("redis:echod1")

    return Drill(
        "break-redis",
        "A daemon's connection to Redis breaks under a batch, which is lost, and can't be made anew.",
        [
            Step(2, "hold what redis says to echod1", lambda s: s.cut("redis:echod1", "in")),
            Step(2.4, "let it go, hold the batch that has gathered", _gathered, lasts=False),
            Step(2.6, "lose that, refuse another connection", lose, lasts=False),
            Step(6.5, "heal it", lambda stage: stage.heal("redis:echod1"), heals=True),
        ],
        seconds=9.5,
        expects=[bites(), heard("unavailable"), served_again(TOLD_S + 2, LUCKY), goes_on(1.0)],
        links=REDIS,
        only_local=LINKS,
    )


def late_batch() -> Drill:
    """ADR 3: an old connection must not speak after a new one."""

    def late(stage: Stage) -> None:
        stage.heal("redis:echod1")
        stage.kill("echod1")  # before its clients' next lines could hide what came late

    return Drill(
        "late-batch",
        "A batch stays on its way while its daemon connects anew and goes on; then it comes.",
        [
            Step(2, "hold what redis says to echod1", lambda s: s.cut("redis:echod1", "in")),
            Step(2.4, "let it go, hold the batch that has gathered", _gathered, lasts=False),
            Step(2.7, "reset the daemon's end", lambda s: s.strand("redis:echod1"), lasts=False),
            Step(4.5, "the batch comes; kill echod1", late, heals=True),
            Step(6.5, "start echod1", lambda stage: stage.start_again("echod1"), heals=True),
        ],
        seconds=9.5,
        expects=[bites(), served_again(4.0), goes_on(1.0)],
        links=REDIS,
        only_local=LINKS,
    )


def cut_daemon() -> Drill:
    """HAProxy does not reach a daemon."""
    return Drill(
        "cut-haproxy-daemon",
        "The links between HAProxy and a daemon stand still; then all of it comes late.",
        [
            Step(2, "cut haproxy-echod1", lambda stage: stage.cut("daemon:echod1")),
            Step(8, "heal it", lambda stage: stage.heal("daemon:echod1"), heals=True),
        ],
        seconds=12,
        expects=[bites(), served_again(TOLD_S + 4), goes_on(1.0)],
        links=DAEMON,
    )


def cut_reply() -> Drill:
    """Between commit and send."""
    return Drill(
        "cut-reply",
        "Replies are lost between their commit and their client: WELCOME tells of each.",
        [
            Step(2, "hold what echod1 says", lambda stage: stage.cut("daemon:echod1", "in")),
            Step(2.5, "kill echod1", lambda stage: stage.kill("echod1")),
            Step(2.6, "lose what it said", lambda stage: stage.reset("daemon:echod1"), heals=True),
            Step(6, "start echod1", lambda stage: stage.start_again("echod1"), heals=True),
            Step(6.5, "heal the link", lambda stage: stage.heal("daemon:echod1"), heals=True),
        ],
        seconds=10,
        expects=[bites(), replies_lost(), served_again(4.0), goes_on(1.0)],
        links=DAEMON,
        only_local=LINKS,
    )


def _gathered(stage: Stage) -> None:
    """While an answer was held, lines gathered: the batch that they make is held in turn.

    In this order: the daemon sends it as soon as the answer is there.
    """
    stage.cut("redis:echod1", "out")
    stage.release("redis:echod1", "in")


ALL = (
    cut_redis("both", "both ways"),
    cut_redis("out", "towards Redis", "out"),
    cut_redis("in", "towards the daemon", "in"),
    half_open_redis("far", "Redis's end is reset, the daemon hears nothing"),
    half_open_redis("near", "the daemon's end is reset, Redis hears nothing"),
    break_redis(),
    late_batch(),
    cut_daemon(),
    cut_reply(),
)
