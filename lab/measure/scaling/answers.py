"""What `fleet experiment scaling` concludes, from the figures of its run alone. Pure.

A `Measurement` (samples.py) is one shape with one number of daemons here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.measure.samples import A_TENTH_MORE, at_least, beside, bounded, ranged
from lab.measure.scaling import costs
from lab.report.answers import NO, SAME, YES, Answer
from lab.report.words import number

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lab.measure.samples import Measurement, Row

FULL_FLEET = "Redis, HAProxy"

PREDICTED_CPUS = (8, 64)

# The article's A12, by its name.
C10K = 10_000

RATE = "round_trips_per_s"

# The parts of what serves, by their columns of CPU for a round trip.
PARTS = {"daemons_us": "daemon", "redis_us": "Redis", "haproxy_us": "HAProxy"}

# The question; the shape with the part, the one without; what the part is called.
COSTS = (
    (
        "Does the store take at least a tenth more CPU?",
        *("Redis, direct", "no store, direct", "with Redis"),
    ),
    (
        "Does HAProxy take at least a tenth more CPU?",
        *("Redis, HAProxy", "Redis, direct", "through HAProxy"),
    ),
)


def by_shape(measured: Sequence[Measurement]) -> dict[str, list[Measurement]]:
    """Each shape's measurements, by rising number of daemons; the shapes in their order."""
    shapes: dict[str, list[Measurement]] = {one["shape"]: [] for one in measured}
    for one in sorted(measured, key=lambda one: one["daemons"]):
        shapes[one["shape"]].append(one)
    return shapes


def answers(measured: Sequence[Measurement], cpus: int, held: Row | None) -> Iterator[Answer]:
    """Every conclusion that these measurements allow.

    Args:
        measured: In the order of their first repeat.
        cpus: Of this machine.
        held: What one daemon held (c10k.py).
    """
    shapes = by_shape(measured)
    for shape, group in shapes.items():
        if len(group) > 1:
            yield _grows(shape, group)
    for shape, group in shapes.items():
        yield _full(shape, group[-1], cpus)
    for question, dear, cheap, what in COSTS:
        if dear in shapes and cheap in shapes:
            # With the fewest daemons: each more has smaller batches, which is another question.
            yield from _cost(question, shapes[dear][0], shapes[cheap][0], what)
    if FULL_FLEET in shapes:
        for count in PREDICTED_CPUS:
            yield _predicted(costs.costs(shapes[FULL_FLEET]), count)
    if held:
        yield _c10k(held)


def lead(measured: Sequence[Measurement], cpus: int) -> str:
    """The answer in one paragraph."""
    fleet = by_shape(measured).get(FULL_FLEET, [])
    if len(fleet) < 2:  # noqa: PLR2004 — a comparison
        return "The whole fleet was not measured with several numbers of daemons: see below."
    first, last = fleet[0], fleet[-1]
    what = f"{_half(first, last):g} times what {first['daemons']} does"
    grew = {
        YES: f"{daemons(last)} carry at least {what}",
        NO: f"{daemons(last)} don't carry {what}",
        SAME: f"whether {daemons(last)} carry {what} is left open",
    }[_grown(first, last)]
    return (
        f"With Redis and HAProxy, on {cpus} CPUs, {grew}: {ranged(last.of(RATE), '/s')} against"
        f" {ranged(first.of(RATE), '/s')} round trips, every reply on disk before it was sent."
        f" {_explained(last, cpus)} What the design would do with more CPUs is predicted from the"
        " cost of each part, below."
    )


def _half(first: Measurement, last: Measurement) -> float:
    """What is asked of more daemons: half of what as many times the daemons would be."""
    return float(last["daemons"] / first["daemons"] / 2)


def _grown(first: Measurement, last: Measurement) -> str:
    found = beside(last, first, RATE)
    return at_least(found[2], _half(first, last)) if found else SAME


def _grows(shape: str, group: Sequence[Measurement]) -> Answer:
    first, last = group[0], group[-1]
    found = beside(last, first, RATE)
    few = first["daemons"]
    times = (
        f"{bounded(found[2])} times the round trips of {few}"
        if found
        else "no repeat together with those"
    )
    medians = "; ".join(f"{one['daemons']}: {number(one.of(RATE).median)}" for one in group)
    return Answer(
        f"{shape}: do {daemons(last)} carry at least {_half(first, last):g} times what {few} does?",
        _grown(first, last),
        f"{daemons(last)} gave {times}. Round trips a second by daemons, medians: {medians}.",
    )


def _full(shape: str, last: Measurement, cpus: int) -> Answer:
    return Answer(
        f"{shape}: what is full with {daemons(last)}?",
        costs.saturated(last),
        f"{_explained(last, cpus)} All CPUs together were"
        f" {ranged(last.of('machine_busy').times(100), ' %')} busy.",
    )


def _explained(one: Measurement, cpus: int) -> str:
    """What was full, and what that means for the design."""
    full = costs.saturated(one)
    if full == costs.CPUS:
        return (
            f"The {cpus} CPUs ran out, the load generator's part of them and other programs' included,"
            " before any part met a limit of its own: they are what was measured, not the design."
        )
    if full == SAME:
        return f"What was full with {daemons(one)} can't be told for certain."
    if full == costs.NOTHING:
        return (
            f"Nothing was full with {daemons(one)}: replies waited in turn for daemon, Redis"
            " and disk, and more connections would find the limit."
        )
    return f"Full was {full}."


def _cost(question: str, dear: Measurement, cheap: Measurement, what: str) -> Iterator[Answer]:
    if found := beside(dear, cheap, "servers_us"):
        told = ", ".join(
            f"{name} {number(dear.of(column).median)} µs"
            for column, name in PARTS.items()
            if dear.of(column).max
        )
        yield Answer(
            question,
            at_least(found[2], A_TENTH_MORE),
            f"CPU for a round trip, all servers together: {ranged(dear.of('servers_us'), ' µs')} {what},"
            f" and {ranged(cheap.of('servers_us'), ' µs')} without, {bounded(found[2])} times as much,"
            f" measured with {daemons(dear)} ({told}).",
        )


def daemons(one: Measurement) -> str:
    """`1 daemon`, `4 daemons`."""
    count = one["daemons"]
    return f"{count} daemon{'s' if count > 1 else ''}"


def _predicted(measured: costs.Costs, cpus: int) -> Answer:
    one = costs.predict(measured, cpus)
    low, high = one.limit
    used = {column: number(high * measured[column].min / 1e6) for column in PARTS}
    text = (
        f"All CPUs: {number(one.all_cpus[0])} to {number(one.all_cpus[1])} round trips/s; Redis's"
        f" thread: {number(one.redis[0])} (the disk's wait as measured) to {number(one.redis[1])}"
        f" (its CPU alone). So at most {number(low)} to {number(high)}/s. The upper one takes"
        f" {used['daemons_us']} CPUs of daemons, {used['haproxy_us']} of HAProxy and"
        f" {used['redis_us']} of Redis, whose thread can't have more than 1."
    )
    if one.first == SAME:
        text += " Which of the two is full first depends on how many lines share an fsync."
    if one.first != costs.PREDICTED_CPUS:
        low, high = one.all_cpus
        text += (
            f" With a store of {one.shards} shards it is the CPUs: {number(low)} to"
            f" {number(high)}/s, as far as a line costs there what it costs on one Redis."
        )
    return Answer(f"What would be full first on {cpus} CPUs?", one.first, text)


def _c10k(held: Row) -> Answer:
    by, idle_kb, busy_kb = held["limited_by"], held["idle_bytes"] / 1e3, held["busy_bytes"] / 1e3
    return Answer(
        f"Does one daemon hold {C10K:,} connections?",
        YES if held["connections"] >= C10K else f"not tried: {by} set the number",
        f"One daemon held {held['connections']:,} connections, and answered each; {by} set the"
        f" number. One costs {number(idle_kb)} kB of the daemon's memory when it is silent,"
        f" {number(busy_kb)} kB at the highest moment of a line every"
        f" {held['interval_s']:.1f} s; replies then took {number(held['p50_ms'])} ms (p50) and"
        f" {number(held['p99_ms'])} ms (p99). In a burst {number(held['accepts_per_s'])}"
        f" connections were accepted a second, at {number(held['accept_us'])} µs of the daemon's CPU"
        " each.",
    )
