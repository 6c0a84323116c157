"""The drills for rooms: members on all daemons post, the ledger accounts for every message.

A daemon is *deafened* by letting only its subscription's connection stand still: its other
connection to Redis, and its clients, go on. Half-open, as after a firewall forgot it.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from lab.drill.drills.mixture import DAEMONS, Kind, Mixture, by_chance, kinds
from lab.drill.drills.steps import kill, reset_clients, start
from lab.drill.judge.expectations import all_back, nothing_lost, who_is_right
from lab.drill.judge.outcome import Verdict
from lab.drill.scenario import Drill, Load, Step
from lab.drill.stage.base import DrillError
from lab.wait import until

if TYPE_CHECKING:
    from lab.drill.judge.outcome import Expectation, Outcome
    from lab.drill.stage.base import Stage

LOAD = Load(clients=8, plain=2, ghosts=0, members=48, posts_rate=1.0)
LINKS = "containers have no link whose connections can be told apart"

# Issue 5: a deafened daemon steps back within 3 s, and is back within 5 s of its link.
DETECTED_S, BACK_S = 3.0, 5.0
LOOK_S_MAX = 10.0


def took(step: int, question: str, within_s: float) -> Expectation:
    """A step was done soon enough."""

    def judge(outcome: Outcome) -> Verdict:
        took_s = outcome.marks[step].done - outcome.marks[step].t
        question_s = f"{question} within {within_s:g} s?"
        return Verdict(question_s, took_s <= within_s, f"After {took_s:.2f} s.")

    return judge


def cut_subscription(stage: Stage, link: str, *, lasting: bool) -> None:
    """Of the daemon at this end.

    Raises:
        DrillError: It has none.
    """
    if not stage.link(link).deafen(lasting=lasting)["deaf"]:
        raise DrillError(f"{link}: no connection has subscribed")


def deafen(name: str, what: str, *, lasting: bool) -> Drill:
    """The subscription's connection stands still; `lasting`: any that follows it too, until 8 s."""

    def await_deaf(stage: Stage, deaf: int) -> None:
        until(
            lambda: stage.samples("echod1").get("echod_deaf") == deaf,
            LOOK_S_MAX, f"echod_deaf {deaf}",
        )  # fmt: skip

    def deafened(stage: Stage) -> None:
        cut_subscription(stage, "redis:echod1", lasting=lasting)
        await_deaf(stage, 1)

    def healed(stage: Stage) -> None:
        stage.link("redis:echod1").heal()
        await_deaf(stage, 0)

    return Drill(
        name,
        f"A daemon's subscription alone is cut, half-open{what}.",
        [
            Step(2, "deafen echod1", deafened),
            Step(8, "heal its link", healed, heals=True)
            if lasting
            else Step(2, "it hears again", lambda stage: await_deaf(stage, 0), heals=True),
        ],
        seconds=14 if lasting else 10,
        expects=[
            nothing_lost,
            took(0, "Does it notice that it is deaf", DETECTED_S),
            took(1, "Does it hear again", BACK_S),
        ],
        links=frozenset({"redis"}),
        load=LOAD,
        only_local=LINKS,
    )


def mix(seed: int = 1, seconds: float = 20.0, load: Load | None = None) -> Drill:
    """Deafness among the faults."""
    deafness = [_deafness(name, lasting=lasting) for name in DAEMONS for lasting in (False, True)]
    return by_chance(
        "rooms-mix",
        "among them deafened daemons, under members of rooms",
        Mixture(seed, seconds - 4, [*kinds(), *deafness]),
        seconds,
        load or LOAD,
        nothing_lost,
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
    deafen(
        "rooms-deaf",
        ": it notices, makes another, and no member misses anything",
        lasting=False,
    ),
    deafen(
        "rooms-deaf-long",
        ", and any that it makes for 6 s: no member is told, and none misses anything",
        lasting=True,
    ),
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
    mix(),
)
