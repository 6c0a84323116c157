"""The repeats of `fleet experiment fanout`, gathered, and what a post costs. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.measure.experiment.samples import Repeats

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lab.measure.experiment.fanout import Busy, Load, Point


@dataclass(frozen=True, slots=True)
class Summary:
    """One system with so many servers under one load, over its repeats."""

    system: str
    servers: int
    load: Load
    rate: Repeats
    """Deliveries a second."""
    p50_ms: Repeats
    p99_ms: Repeats
    servers_us: Repeats
    """CPU for a delivery, as the next two."""
    redis_us: Repeats
    total_us: Repeats
    """Servers and Redis together."""
    load_us: Repeats
    copies: Repeats
    vain: Repeats
    busy: list[Busy]
    lost: int
    """In all repeats, as is the next."""
    reordered: int

    @property
    def per_cpu_s(self) -> Repeats:
        """Deliveries for a CPU second of servers and Redis together."""
        return self.total_us.map(lambda us: 1e6 / us)

    @property
    def saturated(self) -> bool:
        """Whether some repeat left nothing to spare: latencies then are a queue's."""
        return any(max(one.server, one.machine) > BUSY_MAX for one in self.busy)


# Of a process's one CPU, or of the machine's: above it, work waits for a CPU now and then.
BUSY_MAX = 0.9


def summarise(points: Sequence[Point]) -> list[Summary]:
    """One for each system, number of servers and load, in the order of their first repeat."""
    grouped: dict[tuple[str, int, Load], list[Point]] = {}
    for point in points:
        grouped.setdefault((point.system, point.servers, point.load), []).append(point)
    return [_summary(key, group) for key, group in grouped.items()]


def _summary(key: tuple[str, int, Load], group: Sequence[Point]) -> Summary:
    def repeats(figure: Callable[[Point], float]) -> Repeats:
        return Repeats({point.repeat: figure(point) for point in group})

    return Summary(
        *key,
        rate=repeats(lambda point: point.deliveries_per_s),
        p50_ms=repeats(lambda point: point.p50_ms),
        p99_ms=repeats(lambda point: point.p99_ms),
        servers_us=repeats(lambda point: point.servers_us),
        redis_us=repeats(lambda point: point.redis_us),
        total_us=repeats(lambda point: point.servers_us + point.redis_us),
        load_us=repeats(lambda point: point.load_us),
        copies=repeats(lambda point: point.copies),
        vain=repeats(lambda point: point.vain),
        busy=[point.busy for point in group],
        lost=sum(point.lost for point in group),
        reordered=sum(point.reordered for point in group),
    )


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
