"""A part of the fleet at one look, and the one word for how it is. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.fleet.metrics import Reading, Samples


class Life(StrEnum):
    """What is known of a part without asking it."""

    RUNS = "runs"
    FROZEN = "frozen"
    DOWN = "down"


class State(StrEnum):
    """A part in one word."""

    UP = "up"
    DEGRADED = "degraded"
    """It serves; its store is away or slow."""
    DRAINING = "draining"
    FROZEN = "frozen"
    """Stopped by a signal, or paused."""
    SILENT = "silent"
    """It runs and does not answer."""
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Part:
    """A process or container at one look.

    Attributes:
        name: as the source knows it.
        life: whether it runs.
        readings: what it said, the newest last; none if it did not answer. More than one
            where somebody else has asked it before.
        where: its pid or container, for people.
    """

    name: str
    life: Life
    readings: tuple[Reading, ...] = ()
    where: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """Everything at one moment (Unix time); `fleet` says what is looked at."""

    at_s: float
    fleet: str
    daemons: tuple[Part, ...]
    haproxy: Part
    redis: Part


def state_of(life: Life, samples: Samples | None) -> State:
    """The word for a part that lives so and said `samples`, None if it did not answer."""
    if life is Life.DOWN:
        return State.DOWN
    if life is Life.FROZEN:
        return State.FROZEN
    if samples is None:
        return State.SILENT
    if samples.get("echod_draining"):
        return State.DRAINING
    return State.DEGRADED if samples.get("echod_degraded") else State.UP
