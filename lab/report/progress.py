"""How far an experiment is: a bar on a terminal's last line, else a line for each step."""

from __future__ import annotations

import sys
import time
from typing import Self

BAR_WIDTH = 24

# Rewrites the terminal's line from its beginning, and clears what was longer before.
_REWRITE = "\r\x1b[K"


class Progress:
    """Steps done out of a known number; on stderr. Leave its `with` block to end the bar."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._done = 0
        self._begin = time.monotonic()
        self._live = sys.stderr.isatty()

    def step(self, text: str) -> None:
        """Say what begins now."""
        counted = f"{self._done + 1:>{len(str(self._steps))}}/{self._steps}"
        if self._live:
            print(f"{_REWRITE}{self._bar()} {counted}  {text}", end="", file=sys.stderr, flush=True)
        else:
            print(f"{counted}  {text}", file=sys.stderr, flush=True)
        self._done += 1

    def note(self, text: str) -> None:
        """Say what is done between two steps."""
        begin, end = (f"{_REWRITE}{self._bar()} ", "") if self._live else ("", "\n")
        print(f"{begin}{text}", end=end, file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        took_s = time.monotonic() - self._begin
        begin = _REWRITE if self._live else ""
        print(f"{begin}{self._done} steps in {took_s:.0f} s", file=sys.stderr, flush=True)

    def _bar(self) -> str:
        filled = BAR_WIDTH * self._done // self._steps
        bar = "█" * filled + "░" * (BAR_WIDTH - filled)
        if not self._done:
            return bar
        spent_s = time.monotonic() - self._begin
        left_s = round(spent_s / self._done * (self._steps - self._done))
        return f"{bar} {left_s // 60}:{left_s % 60:02} left"
