"""The drills on links: between a daemon and Redis, between HAProxy and a daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.drill.drills.faults import OF_A_DAEMON, cut, half_open, in_order, kill, reset
from lab.drill.judge.expectations import bites, goes_on, heard, replies_lost, served_again
from lab.drill.scenario import Drill, Step

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
WITHOUT_REDIS = (
    bites(OF_A_DAEMON),
    heard("unavailable"),
    served_again(TOLD_S + 2, LUCKY),
    goes_on(1.0),
)


def cut_redis(name: str, what: str, *ways: str) -> Drill:
    """One daemon's link to Redis stands still."""
    return Drill(
        f"cut-redis-{name}",
        f"The link between a daemon and Redis stands still, {what}; what was on the way comes late.",
        cut(TO_REDIS, *ways).steps(2, 7),
        seconds=11,
        expects=WITHOUT_REDIS,
        links=REDIS,
        only_local=LINKS if ways else "",
    )


def half_open_redis(end: str, what: str) -> Drill:
    """One end of one daemon's connection to Redis is gone, the other does not know."""
    return Drill(
        f"half-open-redis-{end}",
        f"A daemon's connection to Redis is half open: {what}.",
        half_open(TO_REDIS, end).steps(2),
        seconds=7,
        expects=[served_again(TOLD_S + 2), goes_on(1.0)],
        links=REDIS,
        only_local=LINKS,
    )


def _hold_next_batch(stage: Stage) -> None:
    # While an answer was held, lines gathered: the batch that they make is held in turn.
    # In this order: the daemon sends it as soon as the answer is there.
    stage.link(TO_REDIS).hold("out")
    stage.link(TO_REDIS).release("in")


def _lose(stage: Stage) -> None:
    stage.link(TO_REDIS).refuse()
    stage.link(TO_REDIS).reset()


def _comes_late(stage: Stage) -> None:
    stage.link(TO_REDIS).heal()
    stage.do("kill", "echod1")  # before its clients' next lines could hide what came late


# A batch is on its way to Redis, and stays there; then the answers to what was before are let go.
HOLD, HEAL = cut(TO_REDIS, "in").steps(2, 6.5)
HELD_BATCH = (
    HOLD,
    Step(2.4, "let it go, hold the batch that has gathered", _hold_next_batch, lasts=False),
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
        [*HELD_BATCH, Step(2.6, "lose that, refuse another connection", _lose, lasts=False), HEAL],
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
            Step(2.7, "reset the daemon's end", lambda s: s.link(TO_REDIS).strand(), lasts=False),
            Step(4.5, "the batch comes; kill echod1", _comes_late, heals=True),
            Step(6.5, "start echod1", lambda s: s.do("start", "echod1"), heals=True),
        ],
        seconds=9.5,
        expects=[bites(OF_A_DAEMON), served_again(4.0), goes_on(1.0)],
        links=REDIS,
        only_local=LINKS,
    ),
    Drill(
        "cut-haproxy-daemon",
        "The links between HAProxy and a daemon stand still; then all of it comes late.",
        cut(TO_DAEMON).steps(2, 8),
        seconds=12,
        expects=[bites(OF_A_DAEMON), served_again(TOLD_S + 4), goes_on(1.0)],
        links=DAEMON,
    ),
    Drill(
        "cut-reply",
        "Replies are lost between their commit and their client: WELCOME tells of each.",
        in_order(
            cut(TO_DAEMON, "in").steps(2, 6.5),
            kill("echod1").steps(2.5, 6),
            reset(TO_DAEMON).steps(2.6),
        ),
        seconds=10,
        expects=[bites(OF_A_DAEMON), replies_lost(), served_again(4.0), goes_on(1.0)],
        links=DAEMON,
        only_local=LINKS,
    ),
)
