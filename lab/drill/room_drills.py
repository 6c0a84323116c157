"""The drills for rooms: members on all daemons post, the ledger accounts for every message.

A daemon is *deafened* by letting only its subscription's connection stand still: its other
connection to Redis, and its clients, go on. Half-open, as after a firewall forgot it.
"""

from __future__ import annotations

import contextlib
import math
import time
from typing import TYPE_CHECKING

from lab.drill.errors import DrillError
from lab.drill.expectations import bites
from lab.drill.mixture import Kind, Mixture, kinds
from lab.drill.room_figures import RoomFigures
from lab.drill.scenario import Drill, Load, Step, Verdict
from lab.wait import until
from loadtest.room_ledger import BROKEN, DELIVERED, MISSING

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.drill.scenario import Outcome, Stage

LOAD = Load(clients=8, plain=2, ghosts=0, members=48, posts_rate=1.0)
MIX = "rooms-mix"
LINKS = "containers have no link whose connections can be told apart"

# Issue 5: a deafened daemon steps back within 3 s, is back within 5 s of its link, and WHO is
# right within 5 s of a daemon's death.
DETECTED_S, BACK_S, WHO_S = 3.0, 5.0, 5.0
LOOK_S_MAX = 10.0
DELIVERED_MIN = 1_000


def nothing_lost(outcome: Outcome) -> Verdict:
    """The ledger has nothing that may not be, and nothing was given up: streams keep enough."""
    ledger = _rooms(outcome).ledger
    counts = ledger.counts
    text = (
        f"{ledger.posts:,} posts, {counts[DELIVERED]:,} delivered, {counts[MISSING]:,} declared"
        " missing; " + ", ".join(f"{counts[fate]:,} {fate}" for fate in BROKEN) + "."
    )
    if ledger.faults:
        first = ledger.faults[0]
        text += f" The first, {first.fate}, of {first.member} in {first.room}: {first.text}."
    # A room in which nothing was said would pass too.
    whole = not ledger.broken and not counts[MISSING]
    passed = whole and counts[DELIVERED] >= DELIVERED_MIN
    return Verdict("Has every message on every path its fate?", passed, text)


def all_back(within_s: float) -> Callable[[Outcome], Verdict]:
    """Members that were cut are in their rooms again."""

    def judge(outcome: Outcome) -> Verdict:
        took = [took_s for _, took_s in _rooms(outcome).back]
        longest = max(took, default=0.0)
        text = f"{len(took)} came back, the longest after {longest:.2f} s."
        question = f"Are members who were cut back in their rooms within {within_s:g} s?"
        return Verdict(question, longest <= within_s and bool(took), text)

    return judge


def who_is_right(daemons: int) -> Callable[[Outcome], Verdict]:
    """WHO counts everybody once, soon after the first fault."""

    def judge(outcome: Outcome) -> Verdict:
        rooms = _rooms(outcome)
        began = outcome.first_fault
        healed = min((mark.t for mark in outcome.marks if mark.heals), default=math.inf)
        asked = [one for one in rooms.counts if began < one.t < healed]
        wrong = [
            one.t - began for one in asked
            if one.members != len(rooms.inside[one.room]) or one.daemons != daemons
        ]  # fmt: skip
        last = max(wrong, default=0.0)
        # Right at the end, or else nobody has seen it become so.
        settled = any(one.t - began > last for one in asked)
        text = f"{len(asked)} answers while it was dead; the last wrong one {last:.2f} s after."
        return Verdict(f"Is WHO right within {WHO_S:g} s?", settled and last <= WHO_S, text)

    return judge


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

    def within(self, question: str, within_s: float) -> Callable[[Outcome], Verdict]:
        """It was soon enough."""

        def judge(_: Outcome) -> Verdict:
            text = f"After {self.took_s:.2f} s."
            return Verdict(f"{question} within {within_s:g} s?", self.took_s <= within_s, text)

        return judge


def _rooms(outcome: Outcome) -> RoomFigures:
    rooms = outcome.facts["rooms"]
    assert isinstance(rooms, RoomFigures)  # noqa: S101 — for mypy; `run.judge` puts it there
    return rooms


def deafen(*, lasting: bool) -> Drill:
    """The subscription's connection stands still; `lasting`: any that follows it too."""
    found, back = Watch(), Watch()

    def deafened(stage: Stage) -> None:
        stage.deafen("redis:echod1", lasting=lasting)
        found.until(stage, "echod1", "echod_deaf", 1)
        if not lasting:
            back.until(stage, "echod1", "echod_deaf", 0)

    def healed(stage: Stage) -> None:
        stage.heal("redis:echod1")
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


def kill_daemon() -> Drill:
    """SIGKILL."""
    return Drill(
        "rooms-kill-daemon",
        "A daemon is killed; its members are back in their rooms elsewhere, and miss nothing.",
        [
            Step(2, "kill echod1", lambda stage: stage.kill("echod1")),
            Step(10, "start echod1", lambda stage: stage.start_again("echod1"), heals=True),
        ],
        seconds=12,
        expects=[nothing_lost, all_back(3.0), who_is_right(3)],
        load=LOAD,
    )


def kill_redis() -> Drill:
    """SIGKILL, and its append-only file."""
    return Drill(
        "rooms-kill-redis",
        "Redis is killed and started again on its append-only file: no message is missing.",
        [
            Step(2, "kill redis", lambda stage: stage.kill("redis")),
            Step(4, "start redis", lambda stage: stage.start_again("redis"), heals=True),
        ],
        seconds=11,
        expects=[nothing_lost],
        load=LOAD,
    )


def storm() -> Drill:
    """Every client at once."""
    return Drill(
        "rooms-storm",
        "Every member loses its connection at once, and comes back with its positions.",
        [Step(2, "reset every client", lambda stage: stage.reset("clients"), lasts=False)],
        seconds=8,
        expects=[nothing_lost, all_back(3.0)],
        links=frozenset({"clients"}),
        load=LOAD,
        only_local="it needs a link of its own",
    )


def pause() -> Drill:
    """A member that does not read."""
    return Drill(
        "rooms-pause-member",
        "A member stops reading for 6 s: the room goes on, and it misses nothing.",
        [],
        seconds=12,
        expects=[nothing_lost],
        load=Load(clients=8, plain=2, ghosts=0, members=48, text_bytes=400, pause_s=6.0),
    )


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
            stage.deafen(link, lasting=lasting)

    return Kind(
        f"deafen {name}" + (", its next subscriptions too" if lasting else ""),
        name, (0.5, 6), deafened, lambda stage: stage.heal(link),
    )  # fmt: skip


ALL = (
    deafen(lasting=False),
    deafen(lasting=True),
    kill_daemon(),
    kill_redis(),
    storm(),
    pause(),
    mix(seed=1, seconds=20),
)
