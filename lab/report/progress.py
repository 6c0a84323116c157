"""How far a run is: a bar on a terminal's last line, else a line for each step."""

from __future__ import annotations

import time
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar


class Progress:
    """Steps done out of a known number; on stderr. Leave its `with` block to end the bar."""

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
