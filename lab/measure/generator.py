"""Drives a load generator in C: start, hold, go, result. That of the bench is c/load.c."""

from __future__ import annotations

import dataclasses
import json
import math
import select
import subprocess
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

from lab.measure.clocks import Clocks
from lab.measure.errors import MeasureError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from lab.measure.clocks import Used

Told = TypeVar("Told")

# Beside its own times: a busy machine starts and ends it late.
SLACK_S = 30.0


def flags(settings: Mapping[str, object]) -> list[str]:
    """A generator's settings as it takes them: each under its name, a bool as 0 or 1."""
    words = []
    for name, value in settings.items():
        text = str(int(value) if isinstance(value, bool) else value)
        words += [f"--{name.replace('_', '-')}", text]
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


def percentile(buckets: Sequence[tuple[int, int]], fraction: float) -> int:
    """The least bound of a histogram (c/histogram.h) that `fraction` of all values don't exceed.

    Args:
        buckets: (largest value of the bucket, how many values), by rising value.
        fraction: Above 0, up to 1; 0.999 for p99.9.

    Raises:
        ValueError: There are no values, or the fraction is none.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"{fraction}: a fraction is above 0 and up to 1")
    total = sum(count for _, count in buckets)
    if not total:
        raise ValueError("no values to take a percentile of")
    # Exact for p99.9 of 1,000 values, where 0.999 * 1000 is a little above 999.
    rank = math.ceil(round(fraction * total, 6))
    passed = 0
    for bound, count in buckets:
        passed += count
        if passed >= rank:
            return bound
    raise AssertionError("the ranks add up to the total")


class Generator(Generic[Told]):
    """A running load program: start, hold, go, result. Leaving its `with` block ends it.

    A subclass says what its result is.

    Raises (every method): MeasureError — it ended or hung; the text has its last words.
    """

    result: Callable[..., Told]
    """Made of what the program says last, by name."""

    def __init__(self, argv: Sequence[str], took_s_max: float, log: Path) -> None:
        """Start it: it connects at once, and hangs if a step takes over `took_s_max`.

        `log` takes its stderr.
        """
        self._took_s_max = took_s_max
        self._log = log
        with log.open("wb") as output:
            # Unbuffered: what is not read yet must be seen by `select`.
            self._popen = subprocess.Popen(
                argv, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._popen.kill()
        self._popen.communicate()

    def tell(self, *lines: str) -> None:
        """Write lines to its stdin.

        Raises:
            MeasureError: It has ended.
        """
        try:
            cast("IO[bytes]", self._popen.stdin).write(
                "".join(f"{one}\n" for one in lines).encode()
            )
        except BrokenPipeError:
            raise MeasureError(f"the load generator has ended: {self.words()}") from None

    def await_connected(self) -> None:
        """All connections are made and accepted, and say nothing."""
        self._await("connected")

    def go(self) -> None:
        """Begin the warm-up; returns when it is over and the measured period begins."""
        self.tell("go")
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
        said = cast("IO[bytes]", self._popen.stdout)
        if not select.select([said], [], [], self._took_s_max)[0]:
            raise MeasureError(f"the load generator hung before {name}: {self.words()}")
        line = said.readline()
        if not line:
            raise MeasureError(f"the load generator ended before {name}: {self.words()}")
        event: dict[str, Any] = json.loads(line)
        if event["event"] != name:
            raise MeasureError(f"the load generator said {event['event']}, not {name}")
        return event


class Load(Generator[Result]):
    """The bench's generator (c/load.c); it connects to 127.0.0.1:`port`.

    With `tokens`, one for each connection, it resumes sessions that were opened and nothing else.
    """

    result = Result

    def __init__(
        self,
        program: Path,
        port: int,
        settings: Settings,
        log: Path,
        tokens: Sequence[str] = (),
    ) -> None:
        told = {"port": port, **dataclasses.asdict(settings), "resume": bool(tokens)}
        super().__init__([str(program), *flags(told)], settings.took_s_max, log)
        self.tell(*tokens)

    def right_result(self) -> Result:
        """The result, if there were replies and each was right.

        Raises:
            MeasureError: One was not; the text has the failures and the first of them.
        """
        result = self.await_result()
        if result.failures or not result.round_trips:
            raise MeasureError(f"{result.explain()}\n{self.words()}".strip())
        return result

    def play(self, parts: Mapping[str, Sequence[int]]) -> tuple[Result, Used]:
        """Go, and measure; what the processes of `parts` used in the measured period.

        Raises:
            MeasureError: As `right_result`.
        """
        self.go()
        before = Clocks.now(parts)
        self.await_measured()
        used = Clocks.now(parts).since(before)
        return self.right_result(), used
