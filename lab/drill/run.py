"""Playing one drill: stage and load come up, steps at their times, quiet, the checker.

load ready ──▶ step … step ──▶ lines end ──▶ every fate known ──▶ connections compared ──▶ end
0 s            at_s            seconds       quiet                 metrics and kernel
"""

from __future__ import annotations

import contextlib
import gzip
import json
import math
import shutil
import signal
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lab.drill.judge.checker import Checker, Expiry, Loss
from lab.drill.judge.figures import Figures
from lab.drill.judge.outcome import Mark, Outcome
from lab.drill.lives import shorten
from lab.drill.stage.base import DrillError
from lab.fleet import processes
from lab.wait import until
from loadtest import history

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from lab.drill.scenario import Drill, Load
    from lab.drill.stage.base import Stage
    from lab.fleet.processes import Process

# Of the clients, by the first letter of their names (`load`): those that the drill is about.
# Claimants and ghosts are there to disturb.
PATIENT = "sq"
HAUNTING = "g"

# All clients are served once: sessions opened through checks that have just begun.
READY_S_MAX = 30.0
# From the end of the lines to the last fate, above the load's own deadline.
QUIET_S_MAX = 60.0
# What the daemons still have to close: a ghost's connections, the kernel's lingering.
SETTLED_S_MAX = 8.0
# What a fault leaves when it is healed: a deaf daemon hears again in 5 s.
AFTERMATH_S = 6.0
LEAVE_S_MAX = 15.0
# A million lines at the least rate anybody would wait for.
LINES_S_MAX = 3_600.0


def play(
    drill: Drill, stage: Stage, directory: Path, say: Callable[[str], None] = lambda _: None
) -> Outcome:
    """Bring the stage up and play `drill` on it; its history and its load's log go to `directory`.

    `say` hears what is done.

    Raises:
        DrillError: The load could not do its work, or this stage can't make a fault.
        OSError: A part did not do what it should, or not in time.
    """
    path = directory / "history.jsonl"
    endless = math.isinf(drill.seconds)
    stage.start()
    stage.await_balance(even=True)  # or a fault on one of them would reach few clients, or none
    load = _start_load(drill.load, stage, path)
    try:
        began = float(load.ready["t"])  # all are served, on the history's clock
        marks = _act(drill, stage, load, say)
        if not endless:
            _sleep_until(began + drill.seconds)
            load.signal(signal.SIGTERM)  # no more lines
        ended = time.monotonic()
        wait_s = LINES_S_MAX if endless else QUIET_S_MAX
        quiet = until(lambda: _said_quiet(load), wait_s, f"the load to be quiet ({load.log})")
        counted = _settled(stage)
        load.terminate(LEAVE_S_MAX)  # its history is whole then
        facts = drill.afterwards(stage)
    finally:
        load.kill()
    say("reading the history")
    facts["tracebacks"] = sorted(log.stem for log in stage.logs() if bugs(log.read_text()))
    outcome = judge(
        path, marks, counted,
        began=began, ended=quiet["t"] if endless else ended, facts=facts, factor=drill.load.factor,
    )  # fmt: skip
    with path.open("rb") as source, gzip.open(f"{path}.gz", "wb", compresslevel=1) as packed:
        shutil.copyfileobj(source, packed, 1 << 20)
    path.unlink()
    return outcome


def judge(  # noqa: PLR0913 — all that is known of a drill
    path: Path,
    marks: Sequence[Mark],
    counted: Sequence[tuple[str, int, int]],
    *,
    began: float,
    ended: float,
    facts: dict[str, Any],
    factor: float = 0.0,
) -> Outcome:
    """Read a history, hold it to the rules, count."""
    losses = [Loss(mark.t, mark.slots) for mark in marks if mark.loses]
    expiries = [Expiry(mark.t, mark.done, mark.slots) for mark in marks if mark.expires]
    checker = Checker(
        losses, shorten(factor or 1.0), troubled(marks),
        expiries=expiries, haunts=lambda name: name[0] in HAUNTING,
    )  # fmt: skip
    figures = Figures(patient=lambda name: name[0] in PATIENT)
    for event in history.read(path):
        checker.feed(event)
        figures.feed(event)
    checker.finish(counted)
    figures.finish()
    return Outcome(began, ended, marks, figures, checker, facts)


def troubled(marks: Sequence[Mark]) -> list[tuple[float, float]]:
    """From when to when a fault was there, or what it has left: until the next healing."""
    healed = [mark.done for mark in marks if mark.heals]
    return [
        (mark.t, AFTERMATH_S + next((done for done in healed if done >= mark.t), math.inf))
        for mark in marks
        if mark.lasts and not mark.heals
    ]


def bugs(log: str) -> int:
    """Tracebacks in a log."""
    return f"\n{log}".count("\nTraceback ")


def _start_load(load: Load, stage: Stage, history: Path) -> Process:
    """`lab.drill.load`: the first SIGTERM ends its lines, the second itself."""
    argv = [sys.executable, "-m", "lab.drill.load"]
    for name, address in stage.addresses.items():
        argv += [f"--{name}", address]
    argv += ["--direct", *stage.direct]
    argv += ["--history", str(history), "--load", json.dumps(asdict(load))]
    return processes.start(argv, log=history.with_name("load.log"), ready_s_max=READY_S_MAX)


def _said_quiet(load: Process) -> dict[str, Any]:
    """What the load said when every fate was known; empty if it has not."""
    if not load.alive:
        raise DrillError(f"the load has ended:\n{load.log_tail()}")
    for line in load.log.read_bytes().splitlines():
        if line.startswith(b'{"event": "quiet"'):
            said: dict[str, Any] = json.loads(line)
            return said
    return {}


def _act(drill: Drill, stage: Stage, load: Process, say: Callable[[str], None]) -> list[Mark]:
    """Do the steps, each at its time; with no lines left, none that is not owed."""
    marks: list[Mark] = []
    owed = 0  # faults that a step has still to heal
    for step in drill.steps:
        if not owed and _said_quiet(load):
            break
        _sleep_until(load.ready["t"] + step.at_s)
        say(step.text)
        slots = stage.slots(step.of)
        began = time.monotonic()
        owed += -step.heals if step.heals else step.lasts
        step.act(stage)
        done = time.monotonic()
        marks.append(
            Mark(began, done, step.text, step.heals, step.loses, step.lasts, step.expires, slots)
        )
    return marks


def _settled(stage: Stage) -> list[tuple[str, int, int]]:
    """Connections in the metrics and in the kernel, as soon as they are equal, or at the end."""
    counted: list[tuple[str, int, int]] = []

    def equal() -> bool:
        counted[:] = stage.connections()
        return all(in_metrics == in_kernel for _, in_metrics, in_kernel in counted)

    with contextlib.suppress(TimeoutError):  # a violation of `quiet`
        until(equal, SETTLED_S_MAX, "connections to be those in the kernel")
    return counted


def _sleep_until(t: float) -> None:
    time.sleep(max(0.0, t - time.monotonic()))
