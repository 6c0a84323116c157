"""The drills on daemons, their files, and the balance.

Times are in seconds from the moment at which every client is served. Each drill ends with the
fleet whole again, and with every line's fate known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.drill.drills.steps import bring_back, freeze, kill, reset_clients, start
from lab.drill.judge.expectations import bites, goes_on, heard, newcomers, served_again, spares
from lab.drill.scenario import Drill, Load, Step

if TYPE_CHECKING:
    from lab.drill.stage.base import Stage

# HAProxy finds a frozen daemon within 1.65 s, and ends its connections (haproxy.cfg).
FOUND_S = 1.65
# Then its clients are served elsewhere: in all, of a killed daemon and of a frozen one.
SERVED_S = 2.0

# Of a HAProxy that was reloaded, what is still connected is ended (haproxy.cfg).
HARD_STOP_S = 12.0


def freeze_daemon(freeze_s: float) -> Drill:
    """SIGSTOP, SIGCONT."""
    found = freeze_s > FOUND_S
    return Drill(
        f"freeze-daemon-{freeze_s:g}",
        f"A daemon stands still for {freeze_s:g} s: its kernel accepts, it does not answer.",
        freeze(2, "echod1", freeze_s),
        seconds=6 + freeze_s,
        expects=[*([bites()] if found else []), served_again(SERVED_S), goes_on(1.0)],
        # Short, so that it is they who leave, whether HAProxy has noticed or not.
        load=Load(reply_s_max=1.0),
    )


def _roll(name: str) -> Step:
    def act(stage: Stage) -> None:
        stage.terminate(name)
        bring_back(stage, name)
        stage.await_up(name)

    return Step(2, f"SIGTERM {name}, wait for its end, start it", act, lasts=False)


ALL = (
    Drill(
        "kill-daemon",
        "A daemon is killed; its clients are served by the others; it comes back.",
        [kill(2, "echod1"), start(6, "echod1")],
        seconds=9,
        expects=[bites(), served_again(SERVED_S), goes_on(1.0)],
    ),
    freeze_daemon(1),
    freeze_daemon(10),
    freeze_daemon(60),
    Drill(
        "terminate-daemon",
        "A daemon is told to leave under load; its clients go elsewhere, none is cut.",
        [
            Step(2, "SIGTERM echod1", lambda stage: stage.terminate("echod1")),
            Step(3, "wait for its end, start echod1", lambda s: bring_back(s, "echod1"),
                 heals=True),
        ],
        seconds=14,
        expects=[spares(), served_again(1.0), goes_on(1.0)],
    ),
    Drill(
        "roll",
        "Every daemon is restarted under load, one after the other.",
        [_roll(f"echod{number}") for number in range(1, 5)],
        seconds=20,
        expects=[spares(), served_again(1.0), goes_on(1.0)],
    ),
    Drill(
        "fill-files",
        "A daemon can open no more files: it keeps its clients, and newcomers go elsewhere.",
        [
            Step(2, "echod1 has no file left", lambda stage: stage.fill_files("echod1")),
            # Sessions that ended there have left a file each, and no others have taken it.
            Step(4, "nor is again", lambda stage: stage.fill_files("echod1"), lasts=False),
            Step(8, "it may open files", lambda stage: stage.free_files("echod1"), heals=True),
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
        [kill(2, "haproxy"), start(3, "haproxy")],
        seconds=8,
        expects=[bites(50), served_again(4.0)],
    ),
    Drill(
        "reload-haproxy",
        "HAProxy is reloaded: who is connected may finish, for 12 s; then it is cut.",
        [Step(2, "reload haproxy", lambda stage: stage.reload(), lasts=False)],
        seconds=4 + HARD_STOP_S + 2,
        expects=[bites(50), served_again(2.0), goes_on(1.0)],
    ),
    Drill(
        "storm",
        "Every client loses its connection at once, and comes back.",
        [reset_clients(2)],
        seconds=6,
        expects=[bites(50), served_again(2.0)],
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
)  # fmt: skip
