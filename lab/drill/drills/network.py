"""The drills on links: between a daemon and Redis, between HAProxy and a daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.drill.drills.steps import heal, kill, on_link, start
from lab.drill.judge.expectations import bites, goes_on, heard, replies_lost, served_again
from lab.drill.scenario import Drill, Step
from lab.fleet.network import Link

if TYPE_CHECKING:
    from lab.drill.stage.base import Stage

# Of the daemon that all of them are about, and the kinds that they are of.
TO_REDIS, TO_DAEMON = "redis:echod1", "daemon:echod1"
REDIS, DAEMON = frozenset({"redis"}), frozenset({"daemon"})

LINKS = "containers have no link that can be cut so"

# A daemon without its store tells its clients after `commit_s_max` (2 s), and is nearly left
# out of the balance after half a second and an agent's interval.
TOLD_S = 2.0

# `leastconn` counts connections by weight, and a daemon that nobody is left on has none: it is
# sent one client at a time, at whatever weight, who hears `unavailable` in his turn.
LUCKY = 0.9
WITHOUT_REDIS = (bites(), heard("unavailable"), served_again(TOLD_S + 2, LUCKY), goes_on(1.0))


def cut_redis(name: str, what: str, *ways: str) -> Drill:
    """One daemon's link to Redis stands still."""
    return Drill(
        f"cut-redis-{name}",
        f"The link between a daemon and Redis stands still, {what}; what was on the way comes late.",
        [
            on_link(2, f"cut echod1-redis, {what}", TO_REDIS, lambda link: link.hold(*ways)),
            heal(7, TO_REDIS, "heal it"),
        ],
        seconds=11,
        expects=WITHOUT_REDIS,
        links=REDIS,
        only_local=LINKS if ways else "",
    )


def half_open_redis(end: str, what: str) -> Drill:
    """One end of one daemon's connection to Redis is gone, the other does not know."""
    text = f"half-open: {what}"
    return Drill(
        f"half-open-redis-{end}",
        f"A daemon's connection to Redis is half open: {what}.",
        [on_link(2, text, TO_REDIS, lambda link: link.half_open(end), lasts=False)],
        seconds=7,
        expects=[served_again(TOLD_S + 2), goes_on(1.0)],
        links=REDIS,
        only_local=LINKS,
    )


def _hold_next_batch(link: Link) -> None:
    # While an answer was held, lines gathered: the batch that they make is held in turn.
    # In this order: the daemon sends it as soon as the answer is there.
    link.hold("out")
    link.release("in")


def _lose(link: Link) -> None:
    link.refuse()
    link.reset()


def _comes_late(stage: Stage) -> None:
    stage.link(TO_REDIS).heal()
    stage.do("kill", "echod1")  # before its clients' next lines could hide what came late


# A batch is on its way to Redis, and stays there.
HELD_BATCH = (
    on_link(2, "hold what redis says to echod1", TO_REDIS, lambda link: link.hold("in")),
    on_link(
        2.4, "let it go, hold the batch that has gathered", TO_REDIS, _hold_next_batch, lasts=False
    ),
)

ALL = (
    cut_redis("both", "both ways"),
    cut_redis("out", "towards Redis", "out"),
    cut_redis("in", "towards the daemon", "in"),
    half_open_redis("far", "Redis's end is reset, the daemon hears nothing"),
    half_open_redis("near", "the daemon's end is reset, Redis hears nothing"),
    Drill(
        "break-redis",
        "A daemon's connection to Redis breaks under a batch, which is lost, and can't be made anew.",
        [
            *HELD_BATCH,
            on_link(2.6, "lose that, refuse another connection", TO_REDIS, _lose, lasts=False),
            heal(6.5, TO_REDIS, "heal it"),
        ],
        seconds=9.5,
        expects=WITHOUT_REDIS,
        links=REDIS,
        only_local=LINKS,
    ),
    # ADR 3: an old connection must not speak after a new one.
    Drill(
        "late-batch",
        "A batch stays on its way while its daemon connects anew and goes on; then it comes.",
        [
            *HELD_BATCH,
            on_link(2.7, "reset the daemon's end", TO_REDIS, Link.strand, lasts=False),
            Step(4.5, "the batch comes; kill echod1", _comes_late, heals=True),
            start(6.5, "echod1"),
        ],
        seconds=9.5,
        expects=[bites(), served_again(4.0), goes_on(1.0)],
        links=REDIS,
        only_local=LINKS,
    ),
    Drill(
        "cut-haproxy-daemon",
        "The links between HAProxy and a daemon stand still; then all of it comes late.",
        [on_link(2, "cut haproxy-echod1", TO_DAEMON, Link.hold), heal(8, TO_DAEMON, "heal it")],
        seconds=12,
        expects=[bites(), served_again(TOLD_S + 4), goes_on(1.0)],
        links=DAEMON,
    ),
    Drill(
        "cut-reply",
        "Replies are lost between their commit and their client: WELCOME tells of each.",
        [
            on_link(2, "hold what echod1 says", TO_DAEMON, lambda link: link.hold("in")),
            kill(2.5, "echod1"),
            Step(2.6, "lose what it said", lambda s: s.link(TO_DAEMON).reset(), heals=True),
            start(6, "echod1"),
            heal(6.5, TO_DAEMON, "heal the link"),
        ],
        seconds=10,
        expects=[bites(), replies_lost(), served_again(4.0), goes_on(1.0)],
        links=DAEMON,
        only_local=LINKS,
    ),
)
