"""One run of an experiment, from its empty directory to its report.

Session ─▶ measure, again and again: progress, calm, what failed ─▶ finish: the report, told
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Self, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from lab.errors import LabError
from lab.measure.calm import EXTRA_S, Calm
from lab.measure.command import typed
from lab.measure.samples import READING, REPEATS_MIN
from lab.report import machine, results

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Mapping

    from lab.report.page import Report

Made = TypeVar("Made")

FILES = (
    ("*.svg, *.png", "the plots"),
    ("run.json", "the answers, for the index and the next run"),
)


class Progress:
    """How far a run is, on stderr: a bar on a terminal's last line, else a line for each step."""

    def __init__(self, steps: int) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._bar = Bar(
            *(BarColumn(24), MofNCompleteColumn(), TimeRemainingColumn()),
            TextColumn("{task.description}", markup=False),
            console=self._console,
            transient=True,
            auto_refresh=False,  # no thread that draws while something is measured
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("", total=steps)
        self._steps = steps
        self._done = -1
        self._begin = time.monotonic()

    def step(self, text: str) -> None:
        """Say what begins now."""
        self._done += 1
        self._bar.update(self._task, completed=self._done, description=text, refresh=True)
        if self._bar.disable:
            self.note(f"{self._done + 1:>{len(str(self._steps))}}/{self._steps}  {text}")

    def note(self, text: str) -> None:
        """Say what is done between two steps."""
        self._console.print(text, markup=False)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
        self.note(f"{self._done + 1} steps in {time.monotonic() - self._begin:.0f} s")


class Session:
    """A run: where its files go, and what every experiment does with its `steps` measurements.

    Attributes:
        directory: `results/NAME-DATE`, for raw figures and plots.
        failed: In words; any makes the exit status 1.
    """

    def __init__(self, args: argparse.Namespace, name: str, repeats: int, steps: int) -> None:
        self._root = args.results
        self._name = name
        self._started = datetime.now().astimezone()
        # Why the answers of so small a run must not be trusted.
        self._caution = ""
        if args.quick:
            self._caution = "This was a smoke run (--quick): it shows that it works, and no figure."
        elif repeats < REPEATS_MIN:
            self._caution = f"With fewer than {REPEATS_MIN} repeats no comparison is decided."
        self.directory = results.new_directory(self._root, name, self._started)
        self.machine = machine.describe()
        self.progress = Progress(steps)
        # A smoke run does not wait for a quiet machine.
        self._calm = Calm(repeats, extra_s=0.0 if args.quick else EXTRA_S)
        self.failed: list[str] = []

    def measure(
        self,
        what: str,
        repeat: int,
        make: Callable[[], Made],
        final: Callable[[Made], bool] = lambda _: False,
    ) -> tuple[Made, float] | None:
        """The next step: as `Calm.measure`, told; None if it failed."""
        self.progress.step(f"{what}, repeat {repeat}")
        with self.collecting(f"{what}, repeat {repeat}"):
            return self._calm.measure(repeat, make, final)
        return None

    @contextmanager
    def collecting(self, what: str) -> Iterator[None]:
        """Note a `LabError`, and go on."""
        try:
            yield
        except LabError as error:
            self.failed.append(f"{what}: {error}")

    def finish(self, report: Report, left_out: Mapping[str, str] | None = None) -> int:
        """Fill in what is the run's, and what was `left_out` why; write it, tell it; the exit status."""
        agreement = results.against_the_last(self._root, typed(), report.answers)
        report = replace(
            report,
            files=[*report.files, *FILES],
            machine=[*self.machine.rows, self._calm.row()],
            commands=["make setup", f".venv/bin/{typed()}"],
            date=f"{self._started:%Y-%m-%d %H:%M:%S %z}",
            reading=READING,
            warnings=[
                *filter(None, [self._caution]),
                *self.machine.warnings,
                *self._calm.warnings(),
                *(f"{name} was left out: {reason}." for name, reason in (left_out or {}).items()),
                *(f"Failed: {text}" for text in self.failed),
            ],
            agreement=f"This run {agreement}." if agreement else "",
        )
        results.write_run(self.directory, report, self._name, typed(), failed=bool(self.failed))
        index = results.write_index(self._root)
        print(f"{report.title}\n\n{report.lead}")
        for answer in report.answers:
            print(f"\n{answer.question}  [{answer.verdict}]\n  {answer.text}")
        for text in report.warnings:
            print(f"\nNOTE {text}")
        if report.agreement:
            print(f"\n{report.agreement}")
        print(f"\nreport: {self.directory / 'report.html'}\nall runs: {index}")
        return 1 if self.failed else 0
