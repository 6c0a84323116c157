"""The drills on Redis: killed, frozen, and come back with less than it had."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.drill.drills.steps import freeze, kill, reset_clients, start
from lab.drill.judge.expectations import bites, heard, served_since, told_of_loss
from lab.drill.scenario import Drill, Load, Step

if TYPE_CHECKING:
    from lab.drill.stage.base import Stage

END_S_MAX = 10.0
FREEZE_S = 5

# While Redis is away everybody waits. When it is back: the daemons' next attempt to connect
# (1.5 s), or a client's that has just heard `unavailable` (a backoff of 1 s); on containers,
# Docker says that it is healthy later than it is.
BACK_S = 3.0


def _restart(stage: Stage) -> None:
    stage.terminate("redis")
    stage.await_end("redis", END_S_MAX)
    stage.start_again("redis")


def lost(how: str, what: str) -> Drill:
    """Redis comes back with less than it had."""

    def lose(stage: Stage) -> None:
        stage.kill("redis")
        stage.lose_data(how)

    steps = [Step(4, f"kill redis, {how} its data", lose, loses=True), start(5, "redis")]
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
    Drill(
        "kill-redis",
        "Redis is killed and started again on its append-only file: nothing answered is lost.",
        [kill(2, "redis"), start(4, "redis")],
        seconds=9,
        expects=[served_since(BACK_S)],
    ),
    Drill(
        "restart-redis",
        "Redis is restarted in order, under load; then every client has to resume.",
        # A daemon that goes on needs less of Redis than one that takes a session over.
        [Step(2, "SIGTERM redis, start it", _restart, lasts=False), reset_clients(4)],
        seconds=7,
        expects=[bites(50), served_since(BACK_S)],
        links=frozenset({"clients"}),
    ),
    Drill(
        "freeze-redis",
        f"Redis stands still for {FREEZE_S} s; clients are told so, no daemon is marked down.",
        freeze(2, "redis", FREEZE_S),
        seconds=7 + FREEZE_S,
        expects=[bites(), heard("unavailable"), served_since(BACK_S)],
    ),
    lost("truncate", "Redis comes back with the end of its append-only file cut off."),
    lost("empty", "Redis comes back empty."),
    lost("restore", "Redis comes back with an older copy of its data."),
)
