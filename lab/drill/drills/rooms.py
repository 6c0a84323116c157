"""The drills for rooms: members on all daemons post, the ledger accounts for every message."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lab.drill.drills import faults
from lab.drill.drills.faults import kill, reset
from lab.drill.judge.expectations import all_back, expectation, nothing_lost, who_is_right
from lab.drill.judge.outcome import Outcome, Verdict
from lab.drill.scenario import Drill, Load, Step
from lab.wait import until

if TYPE_CHECKING:
    from lab.drill.stage.base import Stage

LOAD = Load(clients=8, plain=2, ghosts=0, members=48, posts_rate=1.0)

# Issue 5: a deafened daemon steps back within 3 s, and is back within 5 s of its link.
DETECTED_S, BACK_S = 3.0, 5.0
LOOK_S_MAX = 10.0


@expectation
def took(outcome: Outcome, step: int, question: str, within_s: float) -> Verdict:
    """A step was done soon enough."""
    took_s = outcome.marks[step].done - outcome.marks[step].t
    asked = f"{question} within {within_s:g} s?"
    return Verdict(asked, took_s <= within_s, f"After {took_s:.2f} s.")


def deafen(name: str, what: str, *, lasting: bool) -> Drill:
    """Each step is done when the daemon says that it is deaf, and that it hears again."""
    fault = faults.deafen("echod1", lasting=lasting)

    def await_deaf(stage: Stage, deaf: int) -> None:
        what = f"echod_deaf {deaf}"
        until(lambda: stage.samples("echod1").get("echod_deaf") == deaf, LOOK_S_MAX, what)

    def deafened(stage: Stage) -> None:
        fault.do(stage)
        await_deaf(stage, 1)

    def hears(stage: Stage) -> None:
        if lasting:
            stage.link("redis:echod1").heal()
        await_deaf(stage, 0)

    return Drill(
        name,
        f"A daemon's subscription alone is cut, half-open{what}.",
        [
            Step(2, "deafen echod1", deafened),
            Step(8, "heal its link", hears, heals=True)
            if lasting
            else Step(2, "it hears again", hears, heals=True),
        ],
        seconds=14 if lasting else 10,
        expects=[
            nothing_lost,
            took(0, "Does it notice that it is deaf", DETECTED_S),
            took(1, "Does it hear again", BACK_S),
        ],
        links=frozenset({"redis"}),
        load=LOAD,
        only_local="containers have no link whose connections can be told apart",
    )


ALL = (
    deafen(
        "rooms-deaf", ": it notices, makes another, and no member misses anything", lasting=False
    ),
    deafen(
        "rooms-deaf-long",
        ", and any that it makes for 6 s: no member is told, and none misses anything",
        lasting=True,
    ),
    # A deaf daemon does not hear that a session has another owner: it takes the post.
    Drill(
        "rooms-ghosts",
        "Sessions are resumed elsewhere, and go on posting from a daemon that is deaf to it.",
        faults.deafen("echod1", lasting=True).steps(2, 8),
        seconds=11,
        expects=[nothing_lost],
        links=frozenset({"redis"}),
        load=replace(LOAD, ghosts=8),
        only_local="containers have no link whose connections can be told apart",
    ),
    Drill(
        "rooms-kill-daemon",
        "A daemon is killed; its members are back in their rooms elsewhere, and miss nothing.",
        kill("echod1").steps(2, 10),
        seconds=12,
        expects=[nothing_lost, all_back(3.0), who_is_right(3)],
        load=LOAD,
    ),
    Drill(
        "rooms-kill-redis",
        "Redis is killed and started again on its append-only file: no message is missing.",
        kill("redis").steps(2, 4),
        seconds=11,
        expects=[nothing_lost],
        load=LOAD,
    ),
    Drill(
        "rooms-storm",
        "Every member loses its connection at once, and comes back with its positions.",
        reset("clients").steps(2),
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
)
