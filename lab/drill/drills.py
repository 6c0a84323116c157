"""The drills, and those on daemons, files and the balance: what is done when, what must come of it.

Times are in seconds from the moment at which every client is served. Each ends with the fleet
whole again, and with every line's fate known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.drill import mixture, network_drills, room_drills, soak_drill, store_drills
from lab.drill.expectations import bites, goes_on, heard, newcomers, served_again, spares
from lab.drill.scenario import Drill, Load, Step

if TYPE_CHECKING:
    from lab.drill.scenario import Stage

# A daemon drains for 10 s at most, and there is what surrounds it.
DRAIN_S_MAX = 20.0

# HAProxy finds a frozen daemon within 1.65 s, and ends its connections (haproxy.cfg).
FOUND_S = 1.65
# Then its clients are served elsewhere: in all, of a killed daemon and of a frozen one.
SERVED_S = 2.0

# Of a HAProxy that was reloaded, what is still connected is ended (haproxy.cfg).
HARD_STOP_S = 12.0


def kill_daemon() -> Drill:
    """SIGKILL."""
    return Drill(
        "kill-daemon",
        "A daemon is killed; its clients are served by the others; it comes back.",
        [
            Step(2, "kill echod1", lambda stage: stage.kill("echod1")),
            Step(6, "start echod1", lambda stage: stage.start_again("echod1"), heals=True),
        ],
        seconds=9,
        expects=[bites(), served_again(SERVED_S), goes_on(1.0)],
    )


def freeze_daemon(freeze_s: float) -> Drill:
    """SIGSTOP, SIGCONT."""
    found = freeze_s > FOUND_S
    return Drill(
        f"freeze-daemon-{freeze_s:g}",
        f"A daemon stands still for {freeze_s:g} s: its kernel accepts, it does not answer.",
        [
            Step(2, "freeze echod1", lambda stage: stage.freeze("echod1")),
            Step(2 + freeze_s, "thaw echod1", lambda stage: stage.thaw("echod1"), heals=True),
        ],
        seconds=6 + freeze_s,
        expects=[*([bites()] if found else []), served_again(SERVED_S), goes_on(1.0)],
        # Short, so that it is they who leave, whether HAProxy has noticed or not.
        load=Load(reply_s_max=1.0),
    )


def terminate_daemon() -> Drill:
    """SIGTERM under load."""
    return Drill(
        "terminate-daemon",
        "A daemon is told to leave under load; its clients go elsewhere, none is cut.",
        [
            Step(2, "SIGTERM echod1", lambda stage: stage.terminate("echod1")),
            Step(3, "wait for its end, start echod1", lambda s: _again(s, "echod1"), heals=True),
        ],
        seconds=14,
        expects=[spares(), served_again(1.0), goes_on(1.0)],
    )


def roll() -> Drill:
    """All of them, one after the other."""

    def one(name: str) -> Step:
        def act(stage: Stage) -> None:
            stage.terminate(name)
            _again(stage, name)
            stage.await_up(name)

        return Step(2, f"SIGTERM {name}, wait for its end, start it", act, lasts=False)

    return Drill(
        "roll",
        "Every daemon is restarted under load, one after the other.",
        [one(f"echod{number}") for number in range(1, 5)],
        seconds=20,
        expects=[spares(), served_again(1.0), goes_on(1.0)],
    )


def fill_files() -> Drill:
    """Prlimit."""
    return Drill(
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
    )


def kill_haproxy() -> Drill:
    """SIGKILL."""
    return Drill(
        "kill-haproxy",
        "HAProxy is killed, and started again a second later.",
        [
            Step(2, "kill haproxy", lambda stage: stage.kill("haproxy")),
            Step(3, "start haproxy", lambda stage: stage.start_again("haproxy"), heals=True),
        ],
        seconds=8,
        expects=[bites(50), served_again(4.0)],
    )


def reload_haproxy() -> Drill:
    """Another beside it."""
    return Drill(
        "reload-haproxy",
        "HAProxy is reloaded: who is connected may finish, for 12 s; then it is cut.",
        [Step(2, "reload haproxy", lambda stage: stage.reload(), lasts=False)],
        seconds=4 + HARD_STOP_S + 2,
        expects=[bites(50), served_again(2.0), goes_on(1.0)],
    )


def storm() -> Drill:
    """Every client at once."""
    return Drill(
        "storm",
        "Every client loses its connection at once, and comes back.",
        [Step(2, "reset every client", lambda stage: stage.reset("clients"), lasts=False)],
        seconds=6,
        expects=[bites(50), served_again(2.0)],
        links=frozenset({"clients"}),
        load=Load(clients=200, rate=4),
    )


def claimants() -> Drill:
    """Two for each token."""
    return Drill(
        "claimants",
        "Two clients hold one token, and take the session from each other again and again.",
        [],
        seconds=8,
        expects=[heard("taken-over", 20)],
        load=Load(clients=20, claimants=10, ghosts=4),
    )


def _again(stage: Stage, name: str) -> None:
    stage.await_end(name, DRAIN_S_MAX)
    stage.start_again(name)


ALL = (
    kill_daemon(),
    freeze_daemon(1),
    freeze_daemon(10),
    freeze_daemon(60),
    terminate_daemon(),
    roll(),
    fill_files(),
    kill_haproxy(),
    reload_haproxy(),
    storm(),
    claimants(),
    *store_drills.ALL,
    *network_drills.ALL,
    *room_drills.ALL,
    mixture.drill(seed=1, seconds=24),
    *soak_drill.ALL,
)
"""In the order in which `fleet drill all` plays them."""
