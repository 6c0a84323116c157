"""The drills on links: between a daemon and Redis, between HAProxy and a daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.drill.drills.steps import kill, start
from lab.drill.judge.expectations import bites, goes_on, heard, replies_lost, served_again
from lab.drill.scenario import Drill, Step

if TYPE_CHECKING:
    from lab.drill.stage.base import Stage

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
        [_cut(2, f"cut echod1-redis, {what}", "redis:echod1", *ways), _heal(7, "redis:echod1")],
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
            Step(2, f"half-open: {what}", lambda stage: stage.link("redis:echod1").half_open(end),
                 lasts=False),
        ],
        seconds=7,
        expects=[served_again(TOLD_S + 2), goes_on(1.0)],
        links=REDIS,
        only_local=LINKS,
    )  # fmt: skip


def _cut(at_s: float, text: str, link: str, *ways: str) -> Step:
    return Step(at_s, text, lambda stage: stage.link(link).hold(*ways))


def _heal(at_s: float, link: str, text: str = "heal it") -> Step:
    return Step(at_s, text, lambda stage: stage.link(link).heal(), heals=True)


def _held_batch() -> list[Step]:
    """A batch is on its way to Redis, and stays there."""

    def gathered(stage: Stage) -> None:
        # While an answer was held, lines gathered: the batch that they make is held in turn.
        # In this order: the daemon sends it as soon as the answer is there.
        stage.link("redis:echod1").hold("out")
        stage.link("redis:echod1").release("in")

    return [
        _cut(2, "hold what redis says to echod1", "redis:echod1", "in"),
        Step(2.4, "let it go, hold the batch that has gathered", gathered, lasts=False),
    ]


def _lose(stage: Stage) -> None:
    stage.link("redis:echod1").refuse()
    stage.link("redis:echod1").reset()


def _comes_late(stage: Stage) -> None:
    stage.link("redis:echod1").heal()
    stage.kill("echod1")  # before its clients' next lines could hide what came late


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
            *_held_batch(),
            Step(2.6, "lose that, refuse another connection", _lose, lasts=False),
            _heal(6.5, "redis:echod1"),
        ],
        seconds=9.5,
        expects=[bites(), heard("unavailable"), served_again(TOLD_S + 2, LUCKY), goes_on(1.0)],
        links=REDIS,
        only_local=LINKS,
    ),
    # ADR 3: an old connection must not speak after a new one.
    Drill(
        "late-batch",
        "A batch stays on its way while its daemon connects anew and goes on; then it comes.",
        [
            *_held_batch(),
            Step(
                2.7,
                "reset the daemon's end",
                lambda s: s.link("redis:echod1").strand(),
                lasts=False,
            ),
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
        [_cut(2, "cut haproxy-echod1", "daemon:echod1"), _heal(8, "daemon:echod1")],
        seconds=12,
        expects=[bites(), served_again(TOLD_S + 4), goes_on(1.0)],
        links=DAEMON,
    ),
    Drill(
        "cut-reply",
        "Replies are lost between their commit and their client: WELCOME tells of each.",
        [
            _cut(2, "hold what echod1 says", "daemon:echod1", "in"),
            kill(2.5, "echod1"),
            Step(
                2.6,
                "lose what it said",
                lambda stage: stage.link("daemon:echod1").reset(),
                heals=True,
            ),
            start(6, "echod1"),
            _heal(6.5, "daemon:echod1", "heal the link"),
        ],
        seconds=10,
        expects=[bites(), replies_lost(), served_again(4.0), goes_on(1.0)],
        links=DAEMON,
        only_local=LINKS,
    ),
)
