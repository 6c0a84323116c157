"""The soak: all lives shortened by one factor, and many of each passed while daemons come and go.

What lives must live, by every verb and on either store; what ended must be gone.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from lab.drill.drills.faults import deafen, in_order, kill, restart
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
from lab.drill.scenario import Drill, Load
from lab.wait import until

if TYPE_CHECKING:
    from lab.drill.lives import Short
    from lab.drill.stage.base import Stage

# From the last client's end, beside the longest life: a sweep, a drain that is not over.
GONE_S = 8.0
# A deaf daemon notices it after 2 s; then its rooms are not ready, and live on, for longer than
# an announcement does; it has read what it missed before that is over a room's life old.
DEAF_S = 7.0


def soak() -> Drill:
    """One killed and back; one for longer than anything lives; two at once; two in order; a deaf one."""
    short = shorten(FACTOR)
    share = short.soak_s / 100
    return Drill(
        "soak",
        f"All lives are shortened, a session's to {short.lives.state_s:.1f} s: ten of each pass,"
        " by every verb, on Redis and in memory, while daemons come and go.",
        in_order(
            kill("echod1").steps(10 * share, 12 * share),
            restart("echod2").steps(22 * share),
            deafen("echod4", lasting=True).steps(36 * share, 36 * share + DEAF_S),
            kill("echod3").steps(48 * share, 60 * share),
            kill("echod1", "echod4").steps(68 * share, 70 * share),
            restart("echod3").steps(80 * share),
        ),
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
        load=Load(clients=0, rate=2.0, ghosts=0, plain=3, factor=FACTOR),
        afterwards=lambda stage: _await_gone(stage, short),
        only_alone="its lives are shorter than a failover may take",
        only_local="its daemons' lives are shortened, those of the containers are not",
    )


def _await_gone(stage: Stage, short: Short) -> dict[str, Any]:
    """All clients have left: what the stores keep then, and what at last."""
    left, daemons = stage.keys(), len(stage.daemons) + 1
    wait_s = short.longest_s + GONE_S
    with contextlib.suppress(TimeoutError):  # `all_gone` says what is left
        until(lambda: not remains(stage.keys(), daemons), wait_s, "all keys to go")
    return {"keys_left": left, "keys": stage.keys(), "daemons": daemons}
