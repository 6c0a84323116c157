"""The repeats of `fleet experiment fanout`, gathered, and what a post costs. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.measure.samples import Figure, Group, Repeats, grouped

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lab.measure.fanout.measure import Point


# Of a process's one CPU, or of the machine's: above it, work waits for a CPU now and then.
BUSY_MAX = 0.9


class Summary(Group["Point"]):
    """One system with so many servers under one load; µs are CPU for a delivery."""

    rate = Figure(lambda point: point.deliveries_per_s)
    """Deliveries a second."""
    p50_ms = Figure()
    p99_ms = Figure()
    servers_us = Figure()
    redis_us = Figure()
    total_us = Figure(lambda point: point.servers_us + point.redis_us)
    per_cpu_s = Figure()
    """Deliveries for a CPU second of servers and Redis together."""
    copies = Figure()
    vain = Figure()

    def __init__(self, repeats: Sequence[Point]) -> None:
        super().__init__(repeats)
        self.system = self.first.system
        self.servers = self.first.servers
        self.load = self.first.load
        self.busy = [point.busy for point in repeats]
        self.saturated = any(max(one.server, one.machine) > BUSY_MAX for one in self.busy)
        """Whether some repeat left nothing to spare: latencies then are a queue's."""
        self.lost = sum(point.lost for point in repeats)
        self.reordered = sum(point.reordered for point in repeats)


def summarise(points: Sequence[Point]) -> list[Summary]:
    """One for each system, number of servers and load, in the order of their first repeat."""
    groups = grouped(points, lambda point: (point.system, point.servers, point.load))
    return [Summary(group) for group in groups.values()]


@dataclass(frozen=True, slots=True)
class PostCost:
    """What a post costs by one route, and what one more copy of it adds: µs of CPU.

    A copy is a publication that reaches a daemon. Taken from the smallest rooms, where the
    deliveries themselves weigh least.
    """

    redis: Repeats
    """With the most daemons."""
    redis_copy: Repeats
    daemon_copy: Repeats
    """Of the daemon that it reaches, members or not."""
    copies: float


def post_cost(fewest: Summary, most: Summary) -> PostCost | None:
    """From the same load with the fewest and with the most daemons.

    None if there is no more than one copy, or no repeat has both.
    """
    common = fewest.total_us.by_repeat.keys() & most.total_us.by_repeat.keys()
    more = most.copies.median - fewest.copies.median
    if not common or more <= 0:
        return None

    def slope(figure: Callable[[Summary], Repeats]) -> Repeats:
        few, many = figure(fewest).by_repeat, figure(most).by_repeat
        members = most.load.members
        return Repeats({n: max(0.0, many[n] - few[n]) * members / more for n in sorted(common)})

    return PostCost(
        redis=most.redis_us.times(most.load.members),
        redis_copy=slope(lambda one: one.redis_us),
        daemon_copy=slope(lambda one: one.servers_us),
        copies=most.copies.median,
    )


@dataclass(frozen=True, slots=True)
class Stop:
    """The posts a second that one route can't exceed with so many daemons, whatever the CPUs."""

    redis: float
    """One Redis's thread is full."""
    daemon: float
    """Every daemon is full with copies alone; inf where more daemons share them."""

    @property
    def first(self) -> float:
        """The lower."""
        return min(self.redis, self.daemon)


def stop(cost: PostCost, route_copies: float, *, everywhere: bool) -> Stop:
    """Where posts to small rooms stop.

    Args:
        cost: As measured.
        route_copies: Of a post, with the number of daemons that is asked for.
        everywhere: Each daemon gets a copy of every post, so that more of them don't help.
    """
    redis_us = cost.redis.median + cost.redis_copy.median * (route_copies - cost.copies)
    copy_us = cost.daemon_copy.median
    return Stop(
        redis=1e6 / redis_us,
        daemon=1e6 / copy_us if everywhere and copy_us > 0 else float("inf"),
    )
