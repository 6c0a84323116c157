"""Drives a load generator in C: start, hold, go, result. That of the bench is c/load.c."""

from __future__ import annotations

import dataclasses
import json
import os
import select
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from lab.measure.errors import MeasureError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path


Told = TypeVar("Told")
Seen = TypeVar("Seen")

# Beside its own times: a busy machine starts and ends it late.
SLACK_S = 30.0

# What it may have to say: the histogram's few hundred buckets in one line.
_READ_BYTES = 65_536


def flags(settings: Mapping[str, object]) -> list[str]:
    """A generator's settings as it takes them: each under its name, a bool as 0 or 1."""
    words = []
    for name, value in settings.items():
        words += [
            f"--{name.replace('_', '-')}",
            str(int(value) if value is True or value is False else value),
        ]
    return words


@dataclass(frozen=True, slots=True)
class Settings:
    """What the generator is told; c/load.c says what each means."""

    connections: int
    seconds: float
    line_bytes: int = 64
    warm_up_s: float = 0.5
    interval_s: float = 0.0
    """Between two lines of one connection; 0: closed loop."""
    connects_per_s: float = 5_000.0
    answer_s_max: float = 10.0
    session: bool = False
    """Whether it speaks the session port's protocol."""

    @property
    def took_s_max(self) -> float:
        """How long any of its steps may take before it counts as hung."""
        connect_s = self.connections / self.connects_per_s
        return connect_s + self.warm_up_s + self.seconds + 2 * self.answer_s_max + SLACK_S


@dataclass(frozen=True, slots=True)
class Result:
    """What it measured; failures are counted from the first line, the warm-up's included."""

    round_trips: int
    seconds: float
    cpu_s: float
    wrong: int
    error_lines: int
    closed: int
    unanswered: int
    latency_ns_max: int
    histogram_ns: list[tuple[int, int]]

    @property
    def failures(self) -> int:
        """Replies that were wrong, errors, cut off or missing."""
        return self.wrong + self.error_lines + self.closed + self.unanswered

    def explain(self) -> str:
        """The failures by kind, in words."""
        return (
            f"{self.wrong} wrong replies, {self.error_lines} ERR lines,"
            f" {self.closed} connections closed, {self.unanswered} lines unanswered"
        )


class Generator(Generic[Told]):
    """A running load program: start, hold, go, result. Leaving its `with` block ends it.

    A subclass says what its result is.

    Raises (every method): MeasureError — it ended or hung; the text has its last words.
    """

    result: Callable[..., Told]
    """Made of what the program says last, by name."""

    def __init__(self, argv: Sequence[str], took_s_max: float, log: Path) -> None:
        """Start it; it connects at once.

        Args:
            argv: The program and its arguments.
            took_s_max: How long any of its steps may take before it counts as hung.
            log: Takes its stderr.
        """
        self._took_s_max = took_s_max
        self._log = log
        self._unread = b""
        with log.open("wb") as output:
            self._popen = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._popen.kill()
        self._popen.wait()
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe:
                pipe.close()

    def await_connected(self) -> None:
        """All connections are made and accepted, and say nothing."""
        self._await("connected")

    def go(self) -> None:
        """Begin the warm-up; returns when it is over and the measured period begins."""
        if not self._popen.stdin:
            raise AssertionError("it was started with a pipe")
        self._popen.stdin.write(b"go\n")
        self._popen.stdin.flush()
        self._await("measuring")

    def await_measured(self) -> None:
        """The measured period is over; the last replies are still to come."""
        self._await("measured")

    def await_result(self) -> Told:
        """The last replies have come, or are given up."""
        event = self._await("result")
        del event["event"]
        event["histogram_ns"] = [(bound, count) for bound, count in event["histogram_ns"]]
        return self.result(**event)

    def words(self) -> str:
        """What it said on stderr: the first wrong replies, or why it ended."""
        return self._log.read_text(errors="replace").strip()

    def _await(self, name: str) -> dict[str, Any]:
        deadline = time.monotonic() + self._took_s_max
        while b"\n" not in self._unread:
            self._unread += self._read(name, deadline - time.monotonic())
        line, _, self._unread = self._unread.partition(b"\n")
        event: dict[str, Any] = json.loads(line)
        if event["event"] != name:
            raise MeasureError(f"the load generator said {event['event']}, not {name}")
        return event

    def _read(self, name: str, wait_s: float) -> bytes:
        if not self._popen.stdout:
            raise AssertionError("it was started with a pipe")
        descriptor = self._popen.stdout.fileno()
        if not select.select([descriptor], [], [], max(0.0, wait_s))[0]:
            raise MeasureError(f"the load generator hung before {name}: {self.words()}")
        data = os.read(descriptor, _READ_BYTES)
        if not data:
            raise MeasureError(f"the load generator ended before {name}: {self.words()}")
        return data


class Load(Generator[Result]):
    """The bench's generator (c/load.c); it connects to 127.0.0.1:`port`."""

    result = Result

    def __init__(self, program: Path, port: int, settings: Settings, log: Path) -> None:
        argv = [str(program), "--port", str(port), *flags(dataclasses.asdict(settings))]
        super().__init__(argv, settings.took_s_max, log)

    def right_result(self) -> Result:
        """The result, if there were replies and each was right.

        Raises:
            MeasureError: One was not; the text has the failures and the first of them.
        """
        result = self.await_result()
        if result.failures or not result.round_trips:
            raise MeasureError(f"{result.explain()}\n{self.words()}".strip())
        return result

    def play(self, look: Callable[[], Seen]) -> tuple[Result, Seen, Seen]:
        """Go, and measure; what `look` saw when the measured period began and when it ended.

        Raises:
            MeasureError: As `right_result`.
        """
        self.go()
        before = look()
        self.await_measured()
        after = look()
        return self.right_result(), before, after
