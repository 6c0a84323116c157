"""From looks to views: what is remembered between two, and what one shows. Pure.

Look (each part: how it lives, its readings) ──Model.take──▶ View (rows of figures)
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lab.top.daemons import DaemonRow, FleetRow, Histograms, daemon_row, fleet_row
from lab.top.figures import merged
from lab.top.parts import Life
from lab.top.servers import HaproxyRow, RedisRow, balance_of, haproxy_row, redis_row

if TYPE_CHECKING:
    from lab.fleet.metrics import Reading
    from lab.top.parts import Look, Part

# How far back a trend goes: at a look a second, its column's width in seconds.
TREND_LOOKS = 20


@dataclass(frozen=True, slots=True)
class View:
    """What is shown at one moment (Unix time)."""

    at_s: float
    fleet: str
    all: FleetRow
    daemons: tuple[DaemonRow, ...]
    haproxy: HaproxyRow
    redis: RedisRow


class _Past:
    """What is remembered of a part: two readings, and its lines a second."""

    def __init__(self) -> None:
        self.before: Reading | None = None
        self.now: Reading | None = None
        self.trend: deque[float] = deque(maxlen=TREND_LOOKS)

    def take(self, part: Part) -> None:
        """One look more. Who is silent is begun afresh: it may come back as another process."""
        if part.life is not Life.RUNS or not part.readings:
            self.before = self.now = None
            return
        for reading in part.readings:
            if self.now is None or reading.at_s > self.now.at_s:
                self.before, self.now = self.now, reading

    @property
    def timed(self) -> Histograms:
        """What it timed between the readings."""
        if self.before is None or self.now is None:
            return Histograms()
        return Histograms.between(self.before, self.now)


class Model:
    """The looks so far, as far as rates and trends need them."""

    def __init__(self) -> None:
        self._pasts: dict[str, _Past] = {}

    def take(self, look: Look) -> View:
        """One look more."""
        parts = (*look.daemons, look.haproxy, look.redis)
        self._pasts = {part.name: self._pasts.get(part.name, _Past()) for part in parts}
        for part in parts:
            self._pasts[part.name].take(part)
        haproxy, redis = self._pasts[look.haproxy.name], self._pasts[look.redis.name]
        rows = tuple(self._daemon(part, haproxy.now) for part in look.daemons)
        return View(
            at_s=look.at_s,
            fleet=look.fleet,
            all=fleet_row(rows, self._timed_by_all(look)),
            daemons=rows,
            haproxy=haproxy_row(look.haproxy, haproxy.before, haproxy.now),
            redis=redis_row(look.redis, redis.before, redis.now),
        )

    def _daemon(self, part: Part, haproxy: Reading | None) -> DaemonRow:
        past = self._pasts[part.name]
        row = daemon_row(part, past.before, past.now, past.timed)
        past.trend.append(row.lines or 0.0)
        balance = balance_of(haproxy.samples, part.name) if haproxy else None
        return replace(row, balance=balance, trend=tuple(past.trend))

    def _timed_by_all(self, look: Look) -> Histograms:
        timed = [self._pasts[part.name].timed for part in look.daemons]
        return Histograms(
            merged(one.reply for one in timed),
            merged(one.commit for one in timed),
            merged(one.lag for one in timed),
        )
