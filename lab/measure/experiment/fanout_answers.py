"""What `fleet experiment fanout` concludes, from the figures of its run alone. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.measure.experiment.fanout_summary import post_cost, stop
from lab.measure.experiment.fanout_systems import BROADCAST, DIRECTED, ROOM, daemons
from lab.measure.experiment.samples import (
    A_QUARTER_MORE,
    TWICE,
    at_least,
    bounded,
    comparable,
    ranged,
    ratio,
)
from lab.report.answers import NO, SAME, YES, Answer
from lab.report.words import number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab.measure.experiment.fanout import Load
    from lab.measure.experiment.fanout_summary import Stop, Summary

# What a question asks for, where a way is hardly dearer than another.
HALF_AGAIN = 1.5

# Where the report looks beyond what this machine can run.
DAEMONS_PREDICTED = 64

# For comparing with the peers: processes of each.
COMPARED_SERVERS = 4

NAMES = {
    BROADCAST: "one channel for all",
    ROOM: "a channel for each room",
    DIRECTED: "directed inboxes",
}


@dataclass(frozen=True, slots=True)
class Promise:
    """Deliveries for a CPU second, over a peer's, under one load; and the project's limit."""

    peer: str
    title: str
    load: Load
    tick_s: float
    factor: float


TIMES = "\N{MULTIPLICATION SIGN}"


def short(load: Load) -> str:
    """For tables and plots: rooms, members of each, posts a second."""
    return f"{load.rooms} {TIMES} {load.members:,}, {load.posts_per_s:g}/s"


def find(
    summaries: Sequence[Summary], system: str, load: Load, servers: int | None = None
) -> Summary | None:
    """That one; with `servers` None the one with the most."""
    found = [
        one
        for one in summaries
        if one.system == system and one.load == load and servers in (None, one.servers)
    ]
    return max(found, key=lambda one: one.servers, default=None)


def answers(
    summaries: Sequence[Summary],
    grid: Sequence[Load],
    tick: tuple[Load, float],
    promises: Sequence[Promise],
) -> list[Answer]:
    """Every conclusion that these measurements allow.

    Args:
        summaries: Of all measurements.
        grid: The loads that every route was put under.
        tick: The load that was measured with a tick too, and how long it was.
        promises: What the peers are held against.
    """
    made = [
        *(_way(summaries, load, route) for route in (BROADCAST, DIRECTED) for load in grid),
        *(_vain(summaries, load) for load in grid),
        *(_stops(summaries, grid, route) for route in NAMES),
        _tick(summaries, *tick),
        *(_promise(summaries, promise) for promise in promises),
        *(_latency(summaries, promise) for promise in promises if not promise.tick_s),
    ]
    return [answer for answer in made if answer]


def lead(summaries: Sequence[Summary], grid: Sequence[Load]) -> str:
    """The article's question, answered in one paragraph."""
    small = min(grid, key=lambda load: load.members)
    large = max(grid, key=lambda load: load.members)
    parts = []
    for load, why in (
        (small, ": what a server without members does with its copy is in vain"),
        (large, ": when every server has members of the room, each needs a copy anyway"),
    ):
        told = _compared(summaries, load, BROADCAST)
        if told:
            parts.append(f"In {_rooms(load)}, {told}{why}.")
    directed = _compared(summaries, small, DIRECTED)
    if directed:
        parts.append(f"Where members are looked up for each post, {directed}.")
    stops = {route: _limits(summaries, small, route) for route in NAMES}
    told_stops = [
        f"at {number(found.first)} posts/s by {NAMES[route]}"
        for route, found in stops.items()
        if found
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


def _compared(summaries: Sequence[Summary], load: Load, route: str) -> str:
    one, other = _pair(summaries, load, route)
    if one is None or other is None:
        return ""
    times = bounded(ratio(one.total_us, other.total_us))
    return (
        f"a delivery by {NAMES[route]} takes {times} times the CPU that it takes by"
        f" {NAMES[ROOM]}, with {one.servers} servers"
    )


def _pair(
    summaries: Sequence[Summary], load: Load, route: str
) -> tuple[Summary | None, Summary | None]:
    """That route, and a channel for each room, with the most servers that both have."""
    one = find(summaries, daemons(route).name, load)
    other = find(summaries, daemons(ROOM).name, load, one.servers if one else None)
    if one is None or other is None or not comparable(one.total_us, other.total_us):
        return None, None
    return one, other


def _way(summaries: Sequence[Summary], load: Load, route: str) -> Answer | None:
    one, other = _pair(summaries, load, route)
    if one is None or other is None:
        return None
    # Far from what is the case: broadcast to small rooms takes a half more, and all others alike.
    in_vain = route == BROADCAST and load.members < one.servers
    factor = A_QUARTER_MORE if in_vain else HALF_AGAIN
    times = ratio(one.total_us, other.total_us)
    more = {HALF_AGAIN: "half again as much CPU as", A_QUARTER_MORE: "a quarter more CPU than"}[
        factor
    ]
    return Answer(
        f"{_title(load)}, {one.servers} servers: does a delivery by {NAMES[route]} take at least"
        f" {more} by {NAMES[ROOM]}?",
        at_least(times, factor),
        f"{bounded(times)} times as much: {ranged(one.total_us, ' µs')} against"
        f" {ranged(other.total_us, ' µs')}, daemons and Redis together. A post had"
        f" {number(one.copies.median)} copies against {number(other.copies.median)}; Redis took"
        f" {number(one.redis_us.median * load.members)} µs for it against"
        f" {number(other.redis_us.median * load.members)}. Half of the deliveries took"
        f" {number(one.p50_ms.median)} ms against {number(other.p50_ms.median)}, 99 of 100"
        f" {number(one.p99_ms.median)} against {number(other.p99_ms.median)}.",
    )


def _title(load: Load) -> str:
    text = load.title
    return text[0].upper() + text[1:]


def _vain(summaries: Sequence[Summary], load: Load) -> Answer | None:
    one = find(summaries, daemons(BROADCAST).name, load)
    if one is None:
        return None
    others = [
        f"{NAMES[route]}: {found.vain.median:.0%}"
        for route in (ROOM, DIRECTED)
        if (found := find(summaries, daemons(route).name, load, one.servers))
    ]
    half = 0.5
    verdict = YES if one.vain.min >= half else NO if one.vain.max < half else SAME
    return Answer(
        f"{_title(load)}, {one.servers} servers: is at least half of what a daemon gets by"
        f" {NAMES[BROADCAST]} in vain?",
        verdict,
        f"{one.vain.median:.0%} of the publications that reached a daemon found no member there"
        f" ({'; '.join(others)}).",
    )


def _limits(summaries: Sequence[Summary], load: Load, route: str) -> Stop | None:
    name = daemons(route).name
    found = [one for one in summaries if one.system == name and one.load == load]
    if not found:
        return None
    fewest = min(found, key=lambda one: one.servers)
    most = max(found, key=lambda one: one.servers)
    cost = post_cost(fewest, most)
    if cost is None:
        return None
    everywhere = route == BROADCAST
    copies = DAEMONS_PREDICTED if everywhere else min(load.members, DAEMONS_PREDICTED)
    return stop(cost, copies, everywhere=everywhere)


REDIS_FIRST, DAEMONS_FIRST = "Redis's thread", "every daemon"


def _stops(summaries: Sequence[Summary], grid: Sequence[Load], route: str) -> Answer | None:
    load = min(grid, key=lambda one: one.members)
    most = find(summaries, daemons(route).name, load)
    found = _limits(summaries, load, route)
    if most is None or found is None:
        return None
    # A factor of two, so that the verdict is not the machine's mood.
    verdict = (
        REDIS_FIRST
        if found.redis * TWICE < found.daemon
        else DAEMONS_FIRST
        if found.daemon * TWICE < found.redis
        else SAME
    )
    text = (
        f"In {_rooms(load)}, Redis spends {number(most.redis_us.median * load.members)} µs on a"
        f" post of {number(most.copies.median)} copies, and more for each more copy. With"
        f" {DAEMONS_PREDICTED} servers its thread is full at {number(found.redis)} posts/s."
    )
    if found.daemon < float("inf"):
        text += (
            f" Every daemon reads every post, wherever its members are: one is full with that at"
            f" {number(found.daemon)} posts/s, and no further daemon helps."
        )
    else:
        text += (
            " What daemons do is shared by more of them. Beyond that, rooms are divided among"
            " several Redis servers, by name."
        )
    return Answer(
        f"{DAEMONS_PREDICTED} servers, {NAMES[route]}, {_rooms(load)}: what is full first?",
        verdict,
        text,
    )


def _tick(summaries: Sequence[Summary], load: Load, tick_s: float) -> Answer | None:
    ticking = find(summaries, daemons(ROOM, tick_s).name, load)
    other = find(summaries, daemons(ROOM).name, load, ticking.servers if ticking else None)
    if ticking is None or other is None or not comparable(ticking.total_us, other.total_us):
        return None
    times = ratio(other.total_us, ticking.total_us)
    return Answer(
        f"{_title(load)}: do deliveries that are gathered for {tick_s * 1e3:g} ms cost at most two"
        " thirds of the CPU?",
        at_least(times, HALF_AGAIN),
        f"{ranged(ticking.total_us, ' µs')} against {ranged(other.total_us, ' µs')} for a delivery,"
        f" {bounded(times)} times less, daemons and Redis together. Half of the deliveries took"
        f" {number(ticking.p50_ms.median)} ms against {number(other.p50_ms.median)}, 99 of 100"
        f" {number(ticking.p99_ms.median)} against {number(other.p99_ms.median)}."
        f"{_queued(ticking, other)}",
    )


def _queued(*ones: Summary) -> str:
    """A caution about latencies."""
    if not any(one.saturated for one in ones):
        return ""
    return (
        " At this rate the machine's CPUs had nothing to spare in some repeats: latencies are"
        " those of a queue."
    )


def _held_against(summaries: Sequence[Summary], promise: Promise) -> tuple[Summary, Summary] | None:
    own = find(summaries, daemons(ROOM, promise.tick_s).name, promise.load, COMPARED_SERVERS)
    peer = find(summaries, promise.peer, promise.load, COMPARED_SERVERS)
    if own is None or peer is None or not comparable(own.total_us, peer.total_us):
        return None
    return own, peer


def _promise(summaries: Sequence[Summary], promise: Promise) -> Answer | None:
    pair = _held_against(summaries, promise)
    if pair is None:
        return None
    own, peer = pair
    times = ratio(own.per_cpu_s, peer.per_cpu_s)
    ticking = f", gathered for {promise.tick_s * 1e3:g} ms," if promise.tick_s else ""
    lost = f" It lost {peer.lost:,} deliveries." if peer.lost else ""
    return Answer(
        f"{_title(promise.load)}: does a CPU second of echod{ticking} bring at least"
        f" {promise.factor:g} times {promise.title}'s deliveries?",
        at_least(times, promise.factor),
        f"{bounded(times)} times: {ranged(own.per_cpu_s)} deliveries for a CPU second of"
        f" {own.servers} servers and Redis, every post stored and in one order for all, against"
        f" {ranged(peer.per_cpu_s)}.{lost}{_queued(own, peer)}",
    )


def _latency(summaries: Sequence[Summary], promise: Promise) -> Answer | None:
    pair = _held_against(summaries, promise)
    if pair is None:
        return None
    own, peer = pair
    times = ratio(peer.p99_ms, own.p99_ms)
    return Answer(
        f"{_title(promise.load)}: is echod's p99 from post to delivery no worse than"
        f" {promise.title}'s?",
        at_least(times, 1.0),
        f"{ranged(own.p99_ms, ' ms')} against {ranged(peer.p99_ms, ' ms')}; half of the deliveries"
        f" took {ranged(own.p50_ms, ' ms')} against {ranged(peer.p50_ms, ' ms')}."
        f"{_queued(own, peer)}",
    )
