"""The drills on daemons, HAProxy, clients and Redis, each as a whole.

Each drill ends with the fleet whole again, and with every line's fate known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.drill.drills.faults import (
    OF_A_DAEMON,
    OF_A_SHARD,
    OF_ALL,
    freeze,
    kill,
    reset,
    restart,
    terminate,
)
from lab.drill.judge.expectations import (
    bites,
    goes_on,
    heard,
    newcomers,
    served_again,
    served_since,
    spares,
    told_of_loss,
)
from lab.drill.scenario import Drill, Load, Step
from lab.drill.stage.base import REDIS

if TYPE_CHECKING:
    from lab.drill.stage.base import Stage

# HAProxy finds a frozen daemon within 1.65 s, and ends its connections (haproxy.cfg).
FOUND_S = 1.65
# Then its clients are served elsewhere: in all, of a killed daemon and of a frozen one.
SERVED_S = 2.0

# While Redis is away everybody waits. When it is back: the daemons' next attempt to connect
# (1.5 s), or a client's that has just heard `unavailable` (a backoff of 1 s); on containers,
# Docker says that it is healthy later than it is.
BACK_S = 3.0
# And of a shard's nodes each is started, its replicas copy what the master has.
SHARD_BACK_S = 5.0


def freeze_daemon(freeze_s: float) -> Drill:
    """SIGSTOP, SIGCONT."""
    found = freeze_s > FOUND_S
    return Drill(
        f"freeze-daemon-{freeze_s:g}",
        f"A daemon stands still for {freeze_s:g} s: its kernel accepts, it does not answer.",
        freeze("echod1").steps(2, 2 + freeze_s),
        seconds=6 + freeze_s,
        expects=[*([bites(OF_A_DAEMON)] if found else []), served_again(SERVED_S), goes_on(1.0)],
        # Short, so that it is they who leave, whether HAProxy has noticed or not.
        load=Load(reply_s_max=1.0),
    )


def lose_data(how: str, what: str, *before: Step) -> Drill:
    """Redis comes back with less than it had."""

    def lose(stage: Stage) -> None:
        stage.do("kill", REDIS)
        stage.change_data(how)

    return Drill(
        f"redis-{how}",
        f"Redis comes back {what}.",
        [
            *before,
            Step(4, f"kill redis, {how} its data", lose, loses=True, of=REDIS),
            Step(5, "start redis", lambda s: s.do("start", REDIS), heals=True, of=REDIS),
        ],
        seconds=11,
        expects=[bites(OF_ALL), told_of_loss(), served_since(BACK_S)],
        load=Load(quitters=6),
        differs={"expects": [bites(OF_A_SHARD), told_of_loss(), served_since(SHARD_BACK_S)]},
    )


ALL = (
    Drill(
        "kill-daemon",
        "A daemon is killed; its clients are served by the others; it comes back.",
        kill("echod1").steps(2, 6),
        seconds=9,
        expects=[bites(OF_A_DAEMON), served_again(SERVED_S), goes_on(1.0)],
    ),
    *(freeze_daemon(freeze_s) for freeze_s in (1, 10, 60)),
    Drill(
        "terminate-daemon",
        "A daemon is told to leave under load; its clients go elsewhere, none is cut.",
        terminate("echod1").steps(2, 3),
        seconds=14,
        expects=[spares(), served_again(1.0), goes_on(1.0)],
    ),
    Drill(
        "roll",
        "Every daemon is restarted under load, one after the other.",
        [step for number in range(1, 5) for step in restart(f"echod{number}").steps(2)],
        seconds=20,
        expects=[spares(), served_again(1.0), goes_on(1.0)],
    ),
    Drill(
        "fill-files",
        "A daemon can open no more files: it keeps its clients, and newcomers go elsewhere.",
        [
            Step(2, "echod1 has no file left", lambda s: s.do("fill", "echod1")),
            # Sessions that ended there have left a file each, and no others have taken it.
            Step(4, "nor is again", lambda s: s.do("fill", "echod1"), lasts=False),
            Step(8, "it may open files", lambda s: s.do("free", "echod1"), heals=True),
        ],
        seconds=11,
        # Its agent tells within half a second; who comes before is refused, and comes again.
        expects=[spares(), newcomers(50, refused_share_max=0.25), goes_on(1.0)],
        load=Load(quitters=20),
        only_local="a container's limits can't be changed while it runs",
    ),
    Drill(
        "kill-haproxy",
        "HAProxy is killed, and started again a second later.",
        kill("haproxy").steps(2, 3),
        seconds=8,
        expects=[bites(OF_ALL), served_again(4.0)],
    ),
    Drill(
        "reload-haproxy",
        "HAProxy is reloaded: who is connected may finish, for 12 s; then it is cut.",
        [Step(2, "reload haproxy", lambda stage: stage.do("reload", "haproxy"), lasts=False)],
        # HAProxy ends what is still connected 12 s after its reload (haproxy.cfg).
        seconds=18,
        expects=[bites(OF_ALL), served_again(2.0), goes_on(1.0)],
    ),
    Drill(
        "storm",
        "Every client loses its connection at once, and comes back.",
        reset("clients").steps(2),
        seconds=6,
        expects=[bites(OF_ALL), served_again(2.0)],
        links=frozenset({"clients"}),
        load=Load(clients=200, rate=4),
    ),
    Drill(
        "claimants",
        "Two clients hold one token, and take the session from each other again and again.",
        [],
        seconds=8,
        expects=[heard("taken-over", 20)],
        load=Load(clients=20, claimants=10, ghosts=4),
    ),
    Drill(
        "kill-redis",
        "Redis is killed and started again on its append-only file: nothing answered is lost.",
        kill(REDIS).steps(2, 4),
        seconds=9,
        expects=[served_since(BACK_S)],
        differs={"expects": [served_since(SHARD_BACK_S), goes_on(1.0)]},
    ),
    Drill(
        "restart-redis",
        "Redis is restarted in order, under load; then every client has to resume.",
        # A daemon that goes on needs less of Redis than one that takes a session over.
        [*restart(REDIS).steps(2), *reset("clients").steps(4)],
        seconds=7,
        expects=[bites(OF_ALL), served_since(BACK_S)],
        differs={"expects": [bites(OF_ALL), served_since(SHARD_BACK_S), goes_on(1.0)]},
        links=frozenset({"clients"}),
    ),
    Drill(
        "freeze-redis",
        "Redis stands still for 5 s; clients are told so, no daemon is marked down.",
        freeze(REDIS).steps(2, 7),
        seconds=12,
        expects=[bites(OF_ALL), heard("unavailable"), served_since(BACK_S)],
        # For longer than daemons wait for a failover. As far apart as its nodes are frozen, they
        # are thawed: who is first may be master by then, and lack what the others have.
        differs={
            "steps": freeze(REDIS).steps(2, 10),
            "seconds": 16,
            "expects": [
                bites(OF_A_SHARD),
                heard("unavailable"),
                served_since(SHARD_BACK_S),
                goes_on(1.0),
            ],
        },
    ),
    lose_data("truncate", "with the end of its append-only file cut off"),
    lose_data("empty", "empty"),
    lose_data(
        "restore",
        "with an older copy of its data",
        Step(2, "copy the data", lambda s: s.change_data("copy"), heals=True, lasts=False),
    ),
)
