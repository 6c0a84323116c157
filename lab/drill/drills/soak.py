"""The soak: all lives shortened by one factor, and many of each passed while daemons come and go.

What lives must live, by every verb and on either store; what ended must be gone.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from lab.drill.drills.rooms import cut_subscription
from lab.drill.drills.steps import bring_back, kill, start
from lab.drill.judge.expectations import (
    all_gone,
    all_present,
    in_time_lives,
    nothing_lost,
    remains,
    rooms_are_kept,
    ten_lives,
    tried,
)
from lab.drill.lives import FACTOR, shorten
from lab.drill.scenario import Drill, Load, Step
from lab.wait import until

if TYPE_CHECKING:
    from lab.drill.lives import Short
    from lab.drill.stage.base import Stage

# From the last client's end, beside the longest life: a sweep, a drain that is not over.
GONE_S = 8.0
# A deaf daemon notices it after 2 s; then its rooms are not ready, and live on, for longer than
# an announcement does; it has read what it missed before that is over a room's life old.
DEAF_S = 7.0


def soak(factor: float = FACTOR) -> Drill:
    """Ten lives of everything."""
    short = shorten(factor)
    return Drill(
        "soak",
        f"All lives are shortened, a session's to {short.lives.state_s:.1f} s: ten of each pass,"
        " by every verb, on Redis and in memory, while daemons come and go.",
        _steps(short.soak_s),
        seconds=short.soak_s,
        expects=[
            nothing_lost,
            in_time_lives,
            all_present,
            rooms_are_kept,
            tried(short),
            ten_lives(short),
            all_gone,
        ],
        links=frozenset({"redis"}),
        load=Load(clients=0, rate=2.0, ghosts=0, plain=3, factor=factor),
        afterwards=lambda stage: _await_gone(stage, short),
        only_local="its daemons' lives are shortened, those of the containers are not",
    )


def _steps(soak_s: float) -> list[Step]:
    """One killed and back; one for longer than anything lives; two at once; two in order; a deaf one."""

    def roll(at_s: float, name: str) -> Step:
        def act(stage: Stage) -> None:
            stage.terminate(name)
            bring_back(stage, name)

        return Step(at_s, f"SIGTERM {name}, wait, start it", act, lasts=False)

    share = soak_s / 100
    link = "redis:echod4"
    return [
        kill(10 * share, "echod1"),
        start(12 * share, "echod1"),
        roll(22 * share, "echod2"),
        Step(36 * share, "deafen echod4", lambda s: cut_subscription(s, link, lasting=True)),
        Step(36 * share + DEAF_S, "heal its link", lambda s: s.link(link).heal(), heals=True),
        kill(48 * share, "echod3"),
        start(60 * share, "echod3"),
        kill(68 * share, "echod1", "echod4"),
        start(70 * share, "echod1", "echod4"),
        roll(80 * share, "echod3"),
    ]


def _await_gone(stage: Stage, short: Short) -> dict[str, Any]:
    """All clients have left: what the stores keep then, and what at last."""
    left = dict(stage.keys())
    with contextlib.suppress(TimeoutError):  # `all_gone` says what is left
        until(lambda: not remains(stage.keys(), len(stage.daemons) + 1),
              short.longest_s + GONE_S, "all keys to go")  # fmt: skip
    return {"keys_left": left, "keys": dict(stage.keys()), "daemons": len(stage.daemons) + 1}


ALL = (soak(),)
