"""The repeats of `fleet experiment scaling`, gathered; the laws and costs they make. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.measure.samples import Figure, Group, grouped, spread
from lab.measure.scaling import costs, usl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab.measure.scaling.costs import Costs
    from lab.measure.scaling.measure import Point

FULL_FLEET = "Redis, HAProxy"


class Summary(Group["Point"]):
    """One shape with one number of daemons, over its repeats; µs are CPU for a round trip."""

    rate = Figure(lambda point: point.round_trips_per_s)
    p50_us = Figure()
    p99_us = Figure()
    daemons_us = Figure()
    redis_us = Figure()
    redis_disk_us = Figure()
    haproxy_us = Figure()
    load_us = Figure()
    servers_us = Figure(lambda point: point.daemons_us + point.redis_us + point.haproxy_us)
    """Daemons, Redis and HAProxy together."""

    def __init__(self, repeats: Sequence[Point]) -> None:
        super().__init__(repeats)
        self.shape = self.first.shape.name
        self.daemons = self.first.daemons
        self.busy = [point.busy for point in repeats]
        self.saturated = costs.saturated(self.busy)
        """The part that was full (costs.py)."""


def summarise(points: Sequence[Point]) -> list[Summary]:
    """One for each shape and number of daemons, in the order of their first repeat."""
    groups = grouped(points, lambda point: (point.shape, point.daemons))
    return [Summary(group) for group in groups.values()]


def by_shape(summaries: Sequence[Summary]) -> dict[str, list[Summary]]:
    """Each shape's summaries, by rising number of daemons."""
    shapes: dict[str, list[Summary]] = {}
    for one in sorted(summaries, key=lambda one: one.daemons):
        shapes.setdefault(one.shape, []).append(one)
    return {one.shape: shapes[one.shape] for one in summaries}


def laws(points: Sequence[Point]) -> dict[str, usl.Law]:
    """The law of each shape that was measured with enough numbers of daemons."""
    found = {}
    for shape, group in grouped(points, lambda point: point.shape.name).items():
        pairs = [(point.daemons, point.round_trips_per_s) for point in group]
        if len({size for size, _ in pairs}) >= usl.SIZES_MIN:
            found[shape] = usl.fit(pairs)
    return found


def fleet_costs(summaries: Sequence[Summary]) -> Costs | None:
    """The full fleet's costs for a round trip: the medians, over all numbers of daemons."""
    fleet = [one for one in summaries if one.shape == FULL_FLEET]
    if not fleet:
        return None
    return costs.Costs(
        daemon=spread([one.daemons_us.median for one in fleet]),
        redis=spread([one.redis_us.median for one in fleet]),
        redis_disk=spread([one.redis_disk_us.median for one in fleet]),
        haproxy=spread([one.haproxy_us.median for one in fleet]),
    )
