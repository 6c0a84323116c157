"""The drills on links: between a daemon and Redis, between HAProxy and a daemon."""

from __future__ import annotations

from lab.drill.scenario import Drill, Step, bites, goes_on, heard, replies_lost, served_again

REDIS, DAEMON = frozenset({"redis"}), frozenset({"daemon"})

# A daemon without its store tells its clients after `commit_s_max` (2 s), and is nearly left
# out of the balance after half a second and an agent's interval.
TOLD_S = 2.0


def cut_redis(name: str, what: str, *ways: str) -> Drill:
    """One daemon's link to Redis stands still."""
    return Drill(
        f"cut-redis-{name}",
        f"The link between a daemon and Redis stands still, {what}; what was on the way comes late.",
        [
            Step(3, f"cut echod1-redis, {what}", lambda stage: stage.cut("redis:echod1", *ways)),
            Step(9, "heal it", lambda stage: stage.heal("redis:echod1"), heals=True),
        ],
        seconds=14,
        expects=[bites(), heard("unavailable"), served_again(TOLD_S + 2), goes_on(1.0)],
        links=REDIS,
        only_local="containers have one network between all daemons and Redis",
    )


def half_open_redis(end: str, what: str) -> Drill:
    """One end of one daemon's connection to Redis is gone, the other does not know."""
    return Drill(
        f"half-open-redis-{end}",
        f"A daemon's connection to Redis is half open: {what}.",
        [
            Step(3, f"half-open: {what}", lambda stage: stage.half_open("redis:echod1", end),
                 lasts=False),
        ],
        seconds=9,
        expects=[served_again(TOLD_S + 2), goes_on(1.0)],
        links=REDIS,
        only_local="it needs a link of its own",
    )  # fmt: skip


def cut_daemon() -> Drill:
    """HAProxy does not reach a daemon."""
    return Drill(
        "cut-haproxy-daemon",
        "The links between HAProxy and a daemon stand still; then all of it comes late.",
        [
            Step(3, "cut haproxy-echod1", lambda stage: stage.cut("daemon:echod1")),
            Step(10, "heal it", lambda stage: stage.heal("daemon:echod1"), heals=True),
        ],
        seconds=15,
        expects=[bites(), served_again(TOLD_S + 4), goes_on(1.0)],
        links=DAEMON,
    )


def cut_reply() -> Drill:
    """Between commit and send."""
    return Drill(
        "cut-reply",
        "Replies are lost between their commit and their client: WELCOME tells of each.",
        [
            Step(3, "hold what echod1 says", lambda stage: stage.cut("daemon:echod1", "in")),
            Step(3.5, "kill echod1", lambda stage: stage.kill("echod1")),
            Step(3.6, "lose what it said", lambda stage: stage.reset("daemon:echod1"), heals=True),
            Step(7, "start echod1", lambda stage: stage.start_again("echod1"), heals=True),
            Step(7.5, "heal the link", lambda stage: stage.heal("daemon:echod1"), heals=True),
        ],
        seconds=12,
        expects=[bites(), replies_lost(), served_again(4.0), goes_on(1.0)],
        links=DAEMON,
        only_local="it needs a link that can hold one direction",
    )


ALL = (
    cut_redis("both", "both ways"),
    cut_redis("out", "towards Redis", "out"),
    cut_redis("in", "towards the daemon", "in"),
    half_open_redis("far", "Redis's end is reset, the daemon hears nothing"),
    half_open_redis("near", "the daemon's end is reset, Redis hears nothing"),
    cut_daemon(),
    cut_reply(),
)
