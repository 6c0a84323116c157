"""Drives the fan-out's load generator (lab/measure/c/fanout.c): join, hold, go, result."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.measure.generator import SLACK_S, Generator, flags

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """What the generator is told; c/fanout.c says what each means."""

    speech: str
    rooms: int
    members: int
    """Of each room."""
    posts_per_s: float
    """In all rooms together."""
    seconds: float
    warm_up_s: float = 1.0
    text_bytes: int = 64
    joining_max: int = 32
    answer_s_max: float = 5.0
    join_s_max: float = 60.0

    @property
    def took_s_max(self) -> float:
        """How long any of its steps may take before it counts as hung."""
        return self.join_s_max + self.warm_up_s + self.seconds + self.answer_s_max + SLACK_S


@dataclass(frozen=True, slots=True)
class Result:
    """What it measured; what went wrong is counted from the first post, the warm-up's included."""

    deliveries: int
    posts: int
    seconds: float
    cpu_s: float
    late_ns_max: int
    """How late a post left, at worst: the generator's own fault."""
    wrong: int
    duplicated: int
    reordered: int
    missing: int
    unacknowledged: int
    closed: int
    histogram_ns: list[tuple[int, int]]
    """From a post to each of its deliveries."""

    @property
    def lost(self) -> int:
        """Deliveries that were wrong, repeated or missing, and connections that ended."""
        return self.wrong + self.duplicated + self.missing + self.unacknowledged + self.closed

    def explain(self) -> str:
        """What went wrong, by kind, in words."""
        return (
            f"{self.missing} deliveries missing, {self.wrong} wrong, {self.duplicated} repeated,"
            f" {self.reordered} out of order, {self.unacknowledged} posts unacknowledged,"
            f" {self.closed} connections closed"
        )


class Fanout(Generator[Result]):
    """The generator, with members on every one of `ports` of 127.0.0.1."""

    result = Result

    def __init__(self, program: Path, ports: Sequence[int], settings: Settings, log: Path) -> None:
        told = {"ports": ",".join(map(str, ports)), **dataclasses.asdict(settings)}
        super().__init__([str(program), *flags(told)], settings.took_s_max, log)
