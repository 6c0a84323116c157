"""The drills on Redis: killed, frozen, and come back with less than it had."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.drill.expectations import bites, heard, served_since, told_of_loss
from lab.drill.scenario import Drill, Load, Step

if TYPE_CHECKING:
    from lab.drill.scenario import Stage

END_S_MAX = 10.0

# While Redis is away everybody waits. When it is back: the daemons' next attempt to connect
# (1.5 s), or a client's that has just heard `unavailable` (a backoff of 1 s); on containers,
# Docker says that it is healthy later than it is.
BACK_S = 3.0


def killed() -> Drill:
    """SIGKILL, and its append-only file."""
    return Drill(
        "kill-redis",
        "Redis is killed and started again on its append-only file: nothing answered is lost.",
        [
            Step(2, "kill redis", lambda stage: stage.kill("redis")),
            Step(4, "start redis", lambda stage: stage.start_again("redis"), heals=True),
        ],
        seconds=9,
        expects=[served_since(BACK_S)],
    )


def restarted() -> Drill:
    """SIGTERM."""

    def again(stage: Stage) -> None:
        stage.terminate("redis")
        stage.await_end("redis", END_S_MAX)
        stage.start_again("redis")

    return Drill(
        "restart-redis",
        "Redis is restarted in order, under load; then every client has to resume.",
        [
            Step(2, "SIGTERM redis, start it", again, lasts=False),
            # A daemon that goes on needs less of Redis than one that takes a session over.
            Step(4, "reset every client", lambda stage: stage.reset("clients"), lasts=False),
        ],
        seconds=7,
        expects=[bites(50), served_since(BACK_S)],
        links=frozenset({"clients"}),
    )


def frozen() -> Drill:
    """SIGSTOP, SIGCONT."""
    freeze_s = 5
    return Drill(
        "freeze-redis",
        f"Redis stands still for {freeze_s} s; clients are told so, no daemon is marked down.",
        [
            Step(2, "freeze redis", lambda stage: stage.freeze("redis")),
            Step(2 + freeze_s, "thaw redis", lambda stage: stage.thaw("redis"), heals=True),
        ],
        seconds=7 + freeze_s,
        expects=[bites(), heard("unavailable"), served_since(BACK_S)],
    )


def lost(how: str, what: str) -> Drill:
    """Redis comes back with less than it had."""

    def lose(stage: Stage) -> None:
        stage.kill("redis")
        stage.lose_data(how)

    steps = [
        Step(4, f"kill redis, {how} its data", lose, loses=True),
        Step(5, "start redis", lambda stage: stage.start_again("redis"), heals=True),
    ]
    if how == "restore":
        steps.insert(0, Step(2, "copy the data", lambda s: s.copy_data(), heals=True, lasts=False))
    return Drill(
        f"redis-{how}",
        what,
        steps,
        seconds=11,
        expects=[bites(), told_of_loss(), served_since(BACK_S)],
        load=Load(quitters=6),
    )


ALL = (
    killed(),
    restarted(),
    frozen(),
    lost("truncate", "Redis comes back with the end of its append-only file cut off."),
    lost("empty", "Redis comes back empty."),
    lost("restore", "Redis comes back with an older copy of its data."),
)
