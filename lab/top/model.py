"""From looks to views: what is remembered between two, and what one shows. Pure.

Look (each part: how it lives, its readings) ──Model.take──▶ View (rows of figures)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from lab.top.words import DAEMON, HAPROXY, REDIS, balance_of, values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab.fleet.metrics import Reading, Samples
    from lab.top.figures import Pair
    from lab.top.words import Figure

# How far back a trend goes: at a look a second, its column's width in seconds.
TREND_LOOKS = 20


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
    """A process or container at one look, by the name that its source gives it."""

    name: str
    state: State
    """Without having asked it: UP, FROZEN or DOWN."""
    readings: tuple[Reading, ...] = ()
    """What it said, the newest last; none if it did not answer. More than one where somebody
    else has asked it before."""
    where: str = ""
    """Its pid or container, for people."""


@dataclass(frozen=True, slots=True)
class Look:
    """Everything at one moment (Unix time); `fleet` says what is looked at."""

    at_s: float
    fleet: str
    daemons: tuple[Part, ...]
    haproxy: Part
    redis: Part


Row = dict[str, Any]
"""A part's `name`, `state` and `where`, and its figures by their names (`words`).

A daemon's has `balance`, what HAProxy thinks of it, and `trend`, its lines a second at the last
looks, the newest last. The row of all daemons has `daemons`, how many there are, and how many are
`up`."""


@dataclass(frozen=True, slots=True)
class View:
    """What is shown at one moment (Unix time)."""

    at_s: float
    fleet: str
    all: Row
    daemons: tuple[Row, ...]
    haproxy: Row
    redis: Row


class Model:
    """The looks so far, as far as rates and trends need them."""

    def __init__(self) -> None:
        self._pairs: dict[str, list[Pair]] = {}
        self._trends: dict[str, tuple[float, ...]] = {}

    def take(self, look: Look) -> View:
        """One look more."""
        parts = (*look.daemons, look.haproxy, look.redis)
        self._pairs = {part.name: _pairs(self._pairs.get(part.name, []), part) for part in parts}
        balancer = self._pairs[look.haproxy.name]
        trends, self._trends = self._trends, {}
        rows = tuple(self._row(part, DAEMON) for part in look.daemons)
        for row in rows:
            name = row["name"]
            row["balance"] = balance_of(balancer[0][1].samples, name) if balancer else None
            row["trend"] = (*trends.get(name, ()), row["lines"] or 0.0)[-TREND_LOOKS:]
            self._trends[name] = row["trend"]
        everyone = [pair for part in look.daemons for pair in self._pairs[part.name]]
        up = sum(row["state"] in (State.UP, State.DEGRADED) for row in rows)
        return View(
            at_s=look.at_s,
            fleet=look.fleet,
            all={"up": up, "daemons": len(rows), **values(DAEMON, everyone)},
            daemons=rows,
            haproxy=self._row(look.haproxy, HAPROXY),
            redis=self._row(look.redis, REDIS),
        )

    def _row(self, part: Part, figures: Sequence[Figure]) -> Row:
        pairs = self._pairs[part.name]
        state = state_of(part.state, pairs[0][1].samples if pairs else None)
        said = values(figures, [] if state is State.SILENT else pairs)
        return {"name": part.name, "state": state, "where": part.where, **said}


def state_of(state: State, samples: Samples | None) -> State:
    """A part's that seems to be in `state` and said `samples`, None if it did not answer."""
    if state is not State.UP:
        return state
    # Redis's exporter answers for a Redis that does not.
    if samples is None or samples.get("redis_up") == 0:
        return State.SILENT
    if samples.get("echod_draining"):
        return State.DRAINING
    return State.DEGRADED if samples.get("echod_degraded") else State.UP


def _pairs(known: list[Pair], part: Part) -> list[Pair]:
    """A part's two readings, with one look more.

    Who is silent is begun afresh: it may come back as another process.
    """
    if part.state is not State.UP or not part.readings:
        return []
    for reading in part.readings:
        if not known:
            known = [(None, reading)]
        elif reading.at_s > known[0][1].at_s:
            known = [(known[0][1], reading)]
    return known
