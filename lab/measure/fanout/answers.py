"""What `fleet experiment fanout` concludes, from the figures of its run alone. Pure.

A `Measurement` (samples.py) is one system with so many servers under one load here.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from lab.measure.fanout.systems import (
    BROADCAST,
    COMPARED_SERVERS,
    DIRECTED,
    ROOM,
    TICK_S,
    Load,
    daemons,
)
from lab.measure.samples import (
    A_QUARTER_MORE,
    HALF_AGAIN,
    TWICE,
    at_least,
    beside,
    bounded,
    measurements,
    ranged,
)
from lab.report.answers import NO, SAME, YES, Answer
from lab.report.words import number

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lab.measure.fanout.systems import Loads
    from lab.measure.samples import Interval, Measurement, Row

    # One for each system, number of servers and load.
    Measured = Sequence[Measurement]
    # Two of them, and a ratio of theirs.
    Pair = tuple[Measurement, Measurement, Interval]

# Where the report looks beyond what this machine can run.
DAEMONS_PREDICTED = 64

# Of a process's one CPU, or of the machine's: above it, work waits for a CPU now and then.
BUSY_MAX = 0.9

NAMES = {
    BROADCAST: "one channel for all",
    ROOM: "a channel for each room",
    DIRECTED: "directed inboxes",
}

WHY_VAIN = ": what a server without members does with its copy is in vain"
WHY_NEEDED = ": when every server has members of the room, each needs a copy anyway"

REDIS_FIRST, DAEMONS_FIRST = "Redis's thread", "every daemon"

TIMES = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True, slots=True)
class Promise:
    """Deliveries for a CPU second, over a peer's, under one load; and the project's limit."""

    peer: str
    title: str
    load: Load
    tick_s: float
    factor: float


def promises(loads: Loads) -> list[Promise]:
    """What the project set itself, for a CPU second of four servers and their Redis."""
    return [
        Promise("socketio-redis", "Socket.IO", loads.large, 0.0, 1.6),
        Promise("python-socketio", "python-socketio", loads.large, 0.0, 3.0),
        Promise("socketio-redis", "Socket.IO", loads.fast, TICK_S, 3.0),
        Promise("socketio-redis", "Socket.IO", loads.some, 0.0, 1.3),
    ]


def summarise(rows: Iterable[Row]) -> list[Measurement]:
    """One for each system, number of servers and load, in the order of their first repeat."""
    return measurements(rows, "system", "servers", "rooms", "members", "posts_per_s")


def under(measured: Measured, system: str, load: Load) -> list[Measurement]:
    """One system's under one load, by rising number of servers."""
    found = [one for one in measured if one["system"] == system and Load.of(one) == load]
    return sorted(found, key=lambda one: one["servers"])


def short(load: Load) -> str:
    """For tables and plots: rooms, members of each, posts a second."""
    return f"{load.rooms} {TIMES} {load.members:,}, {load.posts_per_s:g}/s"


def answers(measured: Measured, loads: Loads, promised: Sequence[Promise]) -> Iterator[Answer]:
    """Every conclusion that these measurements allow, and what the peers are held against."""
    for route in (BROADCAST, DIRECTED):
        for load in loads.grid:
            if pair := _routes(measured, load, route):
                yield _way(pair, load, route)
    for load in loads.grid:
        yield from _vain(measured, load)
    for route in NAMES:
        yield from _stops(measured, min(loads.grid, key=lambda one: one.members), route)
    yield from _tick(measured, loads.fast)
    for promise in promised:
        yield from _promise(measured, promise)
    for promise in promised:
        if not promise.tick_s:
            yield from _latency(measured, promise)


def lead(measured: Measured, grid: Sequence[Load]) -> str:
    """The article's question, answered in one paragraph."""
    small = min(grid, key=lambda load: load.members)
    large = max(grid, key=lambda load: load.members)
    parts = []
    for load, route, where, why in (
        (small, BROADCAST, f"In {_rooms(small)}", WHY_VAIN),
        (large, BROADCAST, f"In {_rooms(large)}", WHY_NEEDED),
        (small, DIRECTED, "Where members are looked up for each post", ""),
    ):
        if pair := _routes(measured, load, route):
            one, _, times = pair
            parts.append(
                f"{where}, a delivery by {NAMES[route]} takes {bounded(times)} times the CPU that it"
                f" takes by {NAMES[ROOM]}, with {one['servers']} servers{why}."
            )
    told_stops = [
        f"at {number(min(found))} posts/s by {NAMES[route]}"
        for route in NAMES
        if (found := _stop_of(under(measured, daemons(route).name, small), route))
    ]
    if told_stops:
        parts.append(
            f"{DAEMONS_PREDICTED} servers with one Redis would stop, in {_rooms(small)},"
            f" {', '.join(told_stops)}, by what each costs here."
        )
    return " ".join(parts) or "The routes were not compared: see below."


def _rooms(load: Load) -> str:
    rooms = "one room" if load.rooms == 1 else "rooms"
    return f"{rooms} of {load.members:,}"


def _title(load: Load) -> str:
    return load.title[0].upper() + load.title[1:]


def _pair(  # noqa: PLR0913, PLR0917 — who, under what, and which figure
    measured: Measured,
    name: str,
    other_name: str,
    load: Load,
    column: str = "total_us",
    servers: int | None = None,
) -> Pair | None:
    """Two systems under one load with so many servers, or the most of the first; their ratio."""
    ones = [one for one in under(measured, name, load) if servers in {None, one["servers"]}]
    others = {other["servers"]: other for other in under(measured, other_name, load)}
    return beside(ones[-1], others.get(ones[-1]["servers"]), column) if ones else None


def _routes(measured: Measured, load: Load, route: str) -> Pair | None:
    return _pair(measured, daemons(route).name, daemons(ROOM).name, load)


def _way(pair: Pair, load: Load, route: str) -> Answer:
    one, other, times = pair
    servers = one["servers"]
    # Far from what is the case: broadcast to small rooms takes a half more, and all others alike.
    in_vain = route == BROADCAST and load.members < servers
    factor, more = (
        (A_QUARTER_MORE, "a quarter more CPU than")
        if in_vain
        else (HALF_AGAIN, "half again as much CPU as")
    )
    redis_us, other_redis_us = (x.of("redis_us").median * load.members for x in (one, other))
    return Answer(
        f"{_title(load)}, {servers} servers: does a delivery by {NAMES[route]} take at least"
        f" {more} by {NAMES[ROOM]}?",
        at_least(times, factor),
        f"{bounded(times)} times as much: {ranged(one.of('total_us'), ' µs')} against"
        f" {ranged(other.of('total_us'), ' µs')}, daemons and Redis together. A post had"
        f" {_median(one, 'copies')} copies against {_median(other, 'copies')}; Redis took"
        f" {number(redis_us)} µs for it against {number(other_redis_us)}."
        f" {_times_of(one, other)}",
    )


def _median(one: Measurement, column: str) -> str:
    return number(one.of(column).median)


def _times_of(one: Measurement, other: Measurement) -> str:
    return (
        f"Half of the deliveries took {_median(one, 'p50_ms')} ms against"
        f" {_median(other, 'p50_ms')}, 99 of 100 {_median(one, 'p99_ms')} against"
        f" {_median(other, 'p99_ms')}."
    )


def _vain(measured: Measured, load: Load) -> Iterator[Answer]:
    found = {route: under(measured, daemons(route).name, load) for route in NAMES}
    if not found[BROADCAST]:
        return
    most = found.pop(BROADCAST)[-1]
    servers, vain, half = most["servers"], most.of("vain"), 0.5
    others = [
        f"{NAMES[route]}: {one.of('vain').median:.0%}"
        for route, ones in found.items()
        for one in ones
        if one["servers"] == servers
    ]
    yield Answer(
        f"{_title(load)}, {servers} servers: is at least half of what a daemon gets by"
        f" {NAMES[BROADCAST]} in vain?",
        YES if vain.min >= half else NO if vain.max < half else SAME,
        f"{vain.median:.0%} of the publications that reached a daemon found no member there"
        f" ({'; '.join(others)}).",
    )


class Stop(NamedTuple):
    """The posts a second that one route can't exceed with so many daemons, whatever the CPUs."""

    redis: float
    """One Redis's thread is full."""
    daemon: float
    """Every daemon is full with copies alone; inf where more daemons share them."""


def stop(
    fewest: Measurement, most: Measurement, route_copies: float, *, everywhere: bool
) -> Stop | None:
    """Where posts to small rooms stop; None if there is no more than one copy, or no repeat has both.

    A copy is a publication that reaches a daemon. What one more of them costs is seen between the
    fewest and the most daemons, in the smallest rooms, where the deliveries themselves weigh least.

    Args:
        fewest: One route with the fewest daemons.
        most: With the most, under the same load.
        route_copies: Of a post, with the number of daemons that is asked for.
        everywhere: Each daemon gets a copy of every post, so that more of them don't help.
    """
    copies = most.of("copies").median
    more = copies - fewest.of("copies").median
    common = set(fewest.all("repeat")) & set(most.all("repeat"))
    if not common or more <= 0:
        return None
    members: int = most["members"]

    def copy_us(column: str) -> float:
        few, many = fewest.of(column).by_repeat, most.of(column).by_repeat
        return statistics.median(max(0.0, many[n] - few[n]) * members / more for n in common)

    redis_us = most.of("redis_us").median * members + copy_us("redis_us") * (route_copies - copies)
    daemon_us = copy_us("servers_us")  # of the daemon that it reaches, members or not
    alone = everywhere and daemon_us > 0
    return Stop(1e6 / redis_us, 1e6 / daemon_us if alone else math.inf)


def _stop_of(found: Measured, route: str) -> Stop | None:
    """With `DAEMONS_PREDICTED`, from one route under one load, by rising number of daemons."""
    if not found:
        return None
    everywhere = route == BROADCAST
    copies = DAEMONS_PREDICTED if everywhere else min(found[0]["members"], DAEMONS_PREDICTED)
    return stop(found[0], found[-1], copies, everywhere=everywhere)


def _stops(measured: Measured, load: Load, route: str) -> Iterator[Answer]:
    ones = under(measured, daemons(route).name, load)
    found = _stop_of(ones, route)
    if found is None:
        return
    # A factor of two, so that the verdict is not the machine's mood.
    verdict = SAME
    if found.redis * TWICE < found.daemon:
        verdict = REDIS_FIRST
    elif found.daemon * TWICE < found.redis:
        verdict = DAEMONS_FIRST
    text = (
        f"In {_rooms(load)}, Redis spends {number(ones[-1].of('redis_us').median * load.members)} µs"
        f" on a post of {_median(ones[-1], 'copies')} copies, and more for each more copy. With"
        f" {DAEMONS_PREDICTED} servers its thread is full at {number(found.redis)} posts/s."
    )
    if found.daemon < math.inf:
        text += (
            f" Every daemon reads every post, wherever its members are: one is full with that at"
            f" {number(found.daemon)} posts/s, and no further daemon helps."
        )
    else:
        text += (
            " What daemons do is shared by more of them. Beyond that, rooms are divided among"
            " several Redis servers, by name."
        )
    yield Answer(
        f"{DAEMONS_PREDICTED} servers, {NAMES[route]}, {_rooms(load)}: what is full first?",
        verdict,
        text,
    )


def _tick(measured: Measured, load: Load) -> Iterator[Answer]:
    plain, ticking = daemons(ROOM).name, daemons(ROOM, TICK_S).name
    if pair := _pair(measured, plain, ticking, load, servers=COMPARED_SERVERS):
        other, one, times = pair
        yield Answer(
            f"{_title(load)}: do deliveries that are gathered for {TICK_S * 1e3:g} ms cost at most"
            " two thirds of the CPU?",
            at_least(times, HALF_AGAIN),
            f"{ranged(one.of('total_us'), ' µs')} against {ranged(other.of('total_us'), ' µs')} for a"
            f" delivery, {bounded(times)} times less, daemons and Redis together."
            f" {_times_of(one, other)}{_queued(one, other)}",
        )


def _queued(*ones: Measurement) -> str:
    """A caution about latencies, if some repeat left nothing to spare."""
    busy = [one.of(column).max for one in ones for column in ("server_busy", "machine_busy")]
    if max(busy) <= BUSY_MAX:
        return ""
    return (
        " At this rate the machine's CPUs had nothing to spare in some repeats: latencies are"
        " those of a queue."
    )


def _held_against(measured: Measured, promise: Promise, column: str) -> Pair | None:
    own = daemons(ROOM, promise.tick_s).name
    return _pair(measured, promise.peer, own, promise.load, column, COMPARED_SERVERS)


def _promise(measured: Measured, promise: Promise) -> Iterator[Answer]:
    if pair := _held_against(measured, promise, "total_us"):
        peer, own, times = pair
        ticking = f", gathered for {promise.tick_s * 1e3:g} ms," if promise.tick_s else ""
        lost = sum(peer.all("lost"))
        lost_too = f" It lost {lost:,} deliveries." if lost else ""
        yield Answer(
            f"{_title(promise.load)}: does a CPU second of echod{ticking} bring at least"
            f" {promise.factor:g} times {promise.title}'s deliveries?",
            at_least(times, promise.factor),
            f"{bounded(times)} times: {ranged(own.of('per_cpu_s'))} deliveries for a CPU second of"
            f" {own['servers']} servers and Redis, every post stored and in one order for all,"
            f" against {ranged(peer.of('per_cpu_s'))}.{lost_too}{_queued(own, peer)}",
        )


def _latency(measured: Measured, promise: Promise) -> Iterator[Answer]:
    if pair := _held_against(measured, promise, "p99_ms"):
        peer, own, times = pair
        yield Answer(
            f"{_title(promise.load)}: is echod's p99 from post to delivery no worse than"
            f" {promise.title}'s?",
            at_least(times, 1.0),
            f"{ranged(own.of('p99_ms'), ' ms')} against {ranged(peer.of('p99_ms'), ' ms')}; half of"
            f" the deliveries took {ranged(own.of('p50_ms'), ' ms')} against"
            f" {ranged(peer.of('p50_ms'), ' ms')}.{_queued(own, peer)}",
        )
