"""The drills for rooms: members on all daemons post, the ledger accounts for every message.

A daemon is *deafened* by letting only its subscription's connection stand still: its other
connection to Redis, and its clients, go on. Half-open, as after a firewall forgot it.
"""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from lab.drill.drills.mixture import Kind, Mixture, kinds
from lab.drill.drills.steps import kill, reset_clients, start
from lab.drill.errors import DrillError
from lab.drill.judge.expectations import all_back, bites, nothing_lost, who_is_right
from lab.drill.judge.outcome import Verdict
from lab.drill.scenario import Drill, Load, Step
from lab.wait import until

if TYPE_CHECKING:
    from lab.drill.judge.outcome import Expectation, Outcome
    from lab.drill.stage.base import Stage

LOAD = Load(clients=8, plain=2, ghosts=0, members=48, posts_rate=1.0)
MIX = "rooms-mix"
LINKS = "containers have no link whose connections can be told apart"

# Issue 5: a deafened daemon steps back within 3 s, and is back within 5 s of its link.
DETECTED_S, BACK_S = 3.0, 5.0
LOOK_S_MAX = 10.0


class Watch:
    """When a daemon's metric said something, as seconds after a step; of one play."""

    def __init__(self) -> None:
        self.took_s = math.inf

    def until(self, stage: Stage, daemon: str, sample: str, wanted: float) -> None:
        """Look until it does; the time counts from now."""
        self.took_s = math.inf
        began = time.monotonic()
        until(lambda: stage.metric(daemon, sample) == wanted, LOOK_S_MAX, f"{sample} {wanted}")
        self.took_s = time.monotonic() - began

    def within(self, question: str, within_s: float) -> Expectation:
        """It was soon enough."""

        def judge(_: Outcome) -> Verdict:
            text = f"After {self.took_s:.2f} s."
            return Verdict(f"{question} within {within_s:g} s?", self.took_s <= within_s, text)

        return judge


def cut_subscription(stage: Stage, link: str, *, lasting: bool) -> None:
    """Of the daemon at this end.

    Raises:
        DrillError: It has none.
    """
    if not stage.link(link).deafen(lasting=lasting)["deaf"]:
        raise DrillError(f"{link}: no connection has subscribed")


def deafen(*, lasting: bool) -> Drill:
    """The subscription's connection stands still; `lasting`: any that follows it too."""
    found, back = Watch(), Watch()

    def deafened(stage: Stage) -> None:
        cut_subscription(stage, "redis:echod1", lasting=lasting)
        found.until(stage, "echod1", "echod_deaf", 1)
        if not lasting:
            back.until(stage, "echod1", "echod_deaf", 0)

    def healed(stage: Stage) -> None:
        stage.link("redis:echod1").heal()
        back.until(stage, "echod1", "echod_deaf", 0)

    steps = [Step(2, "deafen echod1", deafened, lasts=lasting)]
    if lasting:
        steps.append(Step(8, "heal its link", healed, heals=True))
    return Drill(
        "rooms-deaf" + ("-long" if lasting else ""),
        "A daemon's subscription alone is cut, half-open"
        + (", and any that it makes for 6 s: no member is told, and none misses anything."
           if lasting else ": it notices, makes another, and no member misses anything."),
        steps,
        seconds=14 if lasting else 10,
        expects=[
            nothing_lost,
            found.within("Does it notice that it is deaf", DETECTED_S),
            back.within("Does it hear again", BACK_S),
        ],
        links=frozenset({"redis"}),
        load=LOAD,
        only_local=LINKS,
    )  # fmt: skip


def mix(seed: int, seconds: float, load: Load | None = None) -> Drill:
    """Faults by chance, deafness among them; with `seconds` infinite, until all is delivered."""
    choices = [
        *kinds(),
        *(
            _deafness(f"echod{n}", lasting=lasting)
            for n in range(1, 5)
            for lasting in (False, True)
        ),
    ]
    return Drill(
        MIX,
        f"Faults by chance (seed {seed}), among them deafened daemons, under members of rooms.",
        Mixture(seed, seconds - 4, choices),
        seconds=seconds,
        expects=[bites(), nothing_lost],
        links=frozenset({"redis", "daemon", "clients"}),
        load=load or LOAD,
        only_local="it needs links of its own",
    )


def _deafness(name: str, *, lasting: bool) -> Kind:
    link = f"redis:{name}"

    def deafened(stage: Stage) -> None:
        # Its subscription may be down with another fault: then there is none to cut.
        with contextlib.suppress(DrillError):
            cut_subscription(stage, link, lasting=lasting)

    return Kind(
        f"deafen {name}" + (", its next subscriptions too" if lasting else ""),
        name, (0.5, 6), deafened, lambda stage: stage.link(link).heal(),
    )  # fmt: skip


ALL = (
    deafen(lasting=False),
    deafen(lasting=True),
    Drill(
        "rooms-kill-daemon",
        "A daemon is killed; its members are back in their rooms elsewhere, and miss nothing.",
        [kill(2, "echod1"), start(10, "echod1")],
        seconds=12,
        expects=[nothing_lost, all_back(3.0), who_is_right(3)],
        load=LOAD,
    ),
    Drill(
        "rooms-kill-redis",
        "Redis is killed and started again on its append-only file: no message is missing.",
        [kill(2, "redis"), start(4, "redis")],
        seconds=11,
        expects=[nothing_lost],
        load=LOAD,
    ),
    Drill(
        "rooms-storm",
        "Every member loses its connection at once, and comes back with its positions.",
        [reset_clients(2)],
        seconds=8,
        expects=[nothing_lost, all_back(3.0)],
        links=frozenset({"clients"}),
        load=LOAD,
        only_local="it needs a link of its own",
    ),
    Drill(
        "rooms-pause-member",
        "A member stops reading for 6 s: the room goes on, and it misses nothing.",
        [],
        seconds=12,
        expects=[nothing_lost],
        load=replace(LOAD, text_bytes=400, pause_s=6.0),
    ),
    mix(seed=1, seconds=20),
)
