"""Playing one drill: stage and load are up, steps at their times, quiet, the checker.

load ready ──▶ step … step ──▶ lines end ──▶ every fate known ──▶ connections compared ──▶ end
0 s            at_s            seconds       quiet                 metrics and kernel
"""

from __future__ import annotations

import contextlib
import gzip
import json
import math
import re
import shutil
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

from lab.drill.errors import DrillError
from lab.drill.judge.checker import Checker
from lab.drill.judge.figures import Figures
from lab.drill.judge.outcome import Mark, Outcome
from lab.drill.lives import shorten
from lab.fleet import processes
from lab.wait import until
from loadtest import history

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from lab.drill.scenario import Drill, Load
    from lab.drill.stage.base import Stage

# Of the clients, by the first letter of their names (`load`): those that the drill is about.
# Claimants and ghosts are there to disturb.
PATIENT = "sq"

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


class Most(NamedTuple):
    """So many, and then the drill ends by itself; 0 for no such end."""

    lines: int = 0
    deliveries: int = 0


NO_END = Most()


class LoadProcess:
    """`lab.drill.load`, running."""

    def __init__(self, stage: Stage, load: Load, directory: Path, *, seed: int, most: Most) -> None:
        self.history = directory / "history.jsonl"
        argv = [sys.executable, "-m", "lab.drill.load"]
        for name, address in stage.addresses.items():
            argv += [f"--{name}", address]
        if stage.direct:
            argv += ["--direct", *stage.direct]
        argv += ["--history", str(self.history), "--load", json.dumps(asdict(load))]
        argv += ["--seed", str(seed), "--lines", str(most.lines)]
        argv += ["--deliveries", str(most.deliveries)]
        self._process = processes.start(argv, log=directory / "load.log", ready_s_max=READY_S_MAX)

    @property
    def began(self) -> float:
        """When all were served, on the history's clock."""
        return float(self._process.ready["t"])

    def next_stage(self) -> None:
        """No more lines; the second time: leave."""
        self._process.signal(15)

    def await_quiet(self, wait_s: float) -> dict[str, Any]:
        """What it says when every fate is known.

        Raises:
            DrillError: It said nothing in time.
        """
        try:
            said = until(self.said_quiet, wait_s, "the load to be quiet")
        except TimeoutError as error:
            raise DrillError(f"{error}; its log ends:\n{self._process.log_tail()}") from None
        return said

    def await_end(self) -> None:
        """Its history is whole then."""
        if not self._process.wait(LEAVE_S_MAX):
            self._process.kill()

    def kill(self) -> None:
        """End it whatever it does."""
        self._process.kill()

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.alive

    def said_quiet(self) -> dict[str, Any]:
        """What it said when every fate was known; empty if it has not."""
        if not self.alive:
            raise DrillError(f"the load has ended:\n{self._process.log_tail()}")
        for line in self._process.log.read_bytes().splitlines():
            if line.startswith(b'{"event": "quiet"'):
                said: dict[str, Any] = json.loads(line)
                return said
        return {}


def play(  # noqa: PLR0913 — each is one choice of the caller
    drill: Drill,
    stage: Stage,
    directory: Path,
    *,
    seed: int = 0,
    most: Most = NO_END,
    say: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Play `drill` on a stage that is up; files go to `directory`.

    Args:
        drill: With its load.
        stage: Clients and faults go there.
        directory: For the history and the load's log.
        seed: Of the load's texts and times.
        most: How many are sent in all, instead of for `drill.seconds`.
        say: Hears what is done.

    Raises:
        DrillError: The load could not do its work.
        CannotError: This stage can't make a fault.
    """
    load = LoadProcess(stage, drill.load, directory, seed=seed, most=most)
    try:
        marks = _act(drill, stage, load, say)
        if not any(most):
            _sleep_until(load.began + drill.seconds)
            load.next_stage()
        ended = time.monotonic()
        quiet = load.await_quiet(LINES_S_MAX if any(most) else QUIET_S_MAX)
        ended = quiet["t"] if any(most) else ended
        counted = _settled(stage)
        load.next_stage()
        if any(most):
            load.next_stage()
        load.await_end()
        afterwards = drill.afterwards(stage)
    finally:
        load.kill()
    say("reading the history")
    facts = {"connections": counted, "tracebacks": _tracebacks(stage), "load_lines": quiet["lines"]}
    facts |= afterwards
    return judge(
        load.history, marks, counted,
        began=load.began, ended=ended, facts=facts, factor=drill.load.factor,
    )  # fmt: skip


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
    losses = [mark.t for mark in marks if mark.loses]
    checker = Checker(losses, shorten(factor or 1.0), troubled(marks))
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


def compress(path: Path) -> Path:
    """A history as `.gz`, in its place."""
    packed = path.with_name(path.name + ".gz")
    with path.open("rb") as source, gzip.open(packed, "wb", compresslevel=1) as target:
        shutil.copyfileobj(source, target, 1 << 20)
    path.unlink()
    return packed


def _act(drill: Drill, stage: Stage, load: LoadProcess, say: Callable[[str], None]) -> list[Mark]:
    """Do the steps, each at its time; with no lines left, none that is not owed."""
    marks: list[Mark] = []
    owed = 0  # faults that a step has still to heal
    for step in drill.steps:
        if not owed and load.said_quiet():
            break
        _sleep_until(load.began + step.at_s)
        say(step.text)
        began = time.monotonic()
        owed += -step.heals if step.heals else step.lasts
        try:
            step.act(stage)
        except (OSError, TimeoutError) as error:
            raise DrillError(f"{step.text}: {error}") from error
        done = time.monotonic()
        marks.append(Mark(began, done, step.text, step.heals, step.loses, step.lasts))
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


def _tracebacks(stage: Stage) -> list[str]:
    """Parts that have logged a bug."""
    return sorted(name for name, log in stage.logs().items() if bugs(log.read_text()))


def bugs(log: str) -> int:
    """Tracebacks in a log."""
    return len(re.findall(r"^Traceback ", log, re.MULTILINE))


def _sleep_until(t: float) -> None:
    time.sleep(max(0.0, t - time.monotonic()))
