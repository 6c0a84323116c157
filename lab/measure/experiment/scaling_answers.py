"""What `fleet experiment scaling` concludes, from the figures of its run alone. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.measure.experiment import costs, usl
from lab.measure.experiment.samples import (
    A_TENTH_MORE,
    Repeats,
    at_least,
    bounded,
    comparable,
    ranged,
    ratio,
    spread,
)
from lab.report.answers import NO, SAME, YES, Answer
from lab.report.words import number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lab.measure.experiment.c10k import Held
    from lab.measure.experiment.costs import Busy, Costs, Prediction
    from lab.measure.experiment.scaling import Point

PREDICTED_CPUS = (8, 64)

# The article's A12, by its name.
C10K = 10_000

FULL_FLEET = "Redis, HAProxy"


@dataclass(frozen=True, slots=True)
class Summary:
    """One shape with one number of daemons, over its repeats; µs are CPU for a round trip."""

    shape: str
    daemons: int
    rate: Repeats
    p50_us: Repeats
    p99_us: Repeats
    daemons_us: Repeats
    redis_us: Repeats
    redis_disk_us: Repeats
    haproxy_us: Repeats
    load_us: Repeats
    servers_us: Repeats
    """Daemons, Redis and HAProxy together."""
    busy: list[Busy]

    @property
    def saturated(self) -> str:
        """The part that was full (costs.py)."""
        return costs.saturated(self.busy)


def summarise(points: Sequence[Point]) -> list[Summary]:
    """One for each shape and number of daemons, in the order of their first repeat."""
    grouped: dict[tuple[str, int], list[Point]] = {}
    for point in points:
        grouped.setdefault((point.shape.name, point.daemons), []).append(point)
    return [_summary(shape, daemons, group) for (shape, daemons), group in grouped.items()]


def _summary(shape: str, daemons: int, group: Sequence[Point]) -> Summary:
    def repeats(figure: Callable[[Point], float]) -> Repeats:
        return Repeats({point.repeat: figure(point) for point in group})

    return Summary(
        shape=shape,
        daemons=daemons,
        rate=repeats(lambda point: point.round_trips_per_s),
        p50_us=repeats(lambda point: point.p50_us),
        p99_us=repeats(lambda point: point.p99_us),
        daemons_us=repeats(lambda point: point.daemons_us),
        redis_us=repeats(lambda point: point.redis_us),
        redis_disk_us=repeats(lambda point: point.redis_disk_us),
        haproxy_us=repeats(lambda point: point.haproxy_us),
        load_us=repeats(lambda point: point.load_us),
        servers_us=repeats(lambda point: point.daemons_us + point.redis_us + point.haproxy_us),
        busy=[point.busy for point in group],
    )


def by_shape(summaries: Sequence[Summary]) -> dict[str, list[Summary]]:
    """Each shape's summaries, by rising number of daemons."""
    shapes: dict[str, list[Summary]] = {}
    for one in summaries:
        shapes.setdefault(one.shape, []).append(one)
    return {shape: sorted(group, key=lambda one: one.daemons) for shape, group in shapes.items()}


def laws(points: Sequence[Point]) -> dict[str, usl.Law]:
    """The law of each shape that was measured with enough numbers of daemons."""
    found = {}
    for shape in dict.fromkeys(point.shape.name for point in points):
        pairs = [
            (point.daemons, point.round_trips_per_s)
            for point in points
            if point.shape.name == shape
        ]
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


def answers(summaries: Sequence[Summary], cpus: int, held: Held | None) -> list[Answer]:
    """Every conclusion that these measurements allow."""
    shapes = by_shape(summaries)
    measured = fleet_costs(summaries)
    made = [
        *(_grows(shape, group) for shape, group in shapes.items() if len(group) > 1),
        *(_full(shape, group[-1], cpus) for shape, group in shapes.items()),
        *(_cost(shapes, *pair) for pair in COSTS),
        *(
            _predicted(costs.predict(measured, count), measured)
            for count in PREDICTED_CPUS
            if measured
        ),
        _c10k(held) if held else None,
    ]
    return [answer for answer in made if answer]


def lead(summaries: Sequence[Summary], cpus: int) -> str:
    """The answer in one paragraph."""
    fleet = by_shape(summaries).get(FULL_FLEET, [])
    if len(fleet) < 2:  # noqa: PLR2004 — a comparison
        return "The whole fleet was not measured with several numbers of daemons: see below."
    first, last = fleet[0], fleet[-1]
    what = f"{_half(first, last):g} times what {first.daemons} does"
    grew = {
        YES: f"{_daemons(last.daemons)} carry at least {what}",
        NO: f"{_daemons(last.daemons)} don't carry {what}",
        SAME: f"whether {_daemons(last.daemons)} carry {what} is left open",
    }[_grown(first, last)]
    return (
        f"With Redis and HAProxy, on {cpus} CPUs, {grew}: {ranged(last.rate, '/s')} against"
        f" {ranged(first.rate, '/s')} round trips, every reply on disk before it was sent."
        f" {_explained(last, cpus)} What the design would do with more CPUs is predicted from the"
        " cost of each part, below."
    )


def _half(first: Summary, last: Summary) -> float:
    """What is asked of more daemons: half of what as many times the daemons would be."""
    return last.daemons / first.daemons / 2


def _grown(first: Summary, last: Summary) -> str:
    if not comparable(last.rate, first.rate):
        return SAME
    return at_least(ratio(last.rate, first.rate), _half(first, last))


def _grows(shape: str, group: Sequence[Summary]) -> Answer:
    first, last = group[0], group[-1]
    times = (
        f"{bounded(ratio(last.rate, first.rate))} times the round trips of {first.daemons}"
        if comparable(last.rate, first.rate)
        else "no repeat together with those"
    )
    medians = "; ".join(f"{one.daemons}: {number(one.rate.median)}" for one in group)
    text = (
        f"{_daemons(last.daemons)} gave {times}. Round trips a second by daemons, medians:"
        f" {medians}."
    )
    return Answer(
        f"{shape}: do {_daemons(last.daemons)} carry at least {_half(first, last):g} times what"
        f" {first.daemons} does?",
        _grown(first, last),
        text,
    )


def _full(shape: str, last: Summary, cpus: int) -> Answer:
    return Answer(
        f"{shape}: what is full with {_daemons(last.daemons)}?",
        last.saturated,
        f"{_explained(last, cpus)} All CPUs together were"
        f" {ranged(spread([100 * one.machine for one in last.busy]), ' %')} busy.",
    )


def _explained(one: Summary, cpus: int) -> str:
    """What was full, and what that means for the design."""
    full = one.saturated
    if full == costs.CPUS:
        return (
            f"The {cpus} CPUs ran out, the load generator's part of them and other programs' included,"
            " before any part met a limit of its own: they are what was measured, not the design."
        )
    if full == SAME:
        return f"What was full with {_daemons(one.daemons)} can't be told for certain."
    if full == costs.NOTHING:
        return (
            f"Nothing was full with {_daemons(one.daemons)}: replies waited in turn for daemon, Redis"
            " and disk, and more connections would find the limit."
        )
    return f"Full was {full}."


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


def _cost(
    shapes: Mapping[str, Sequence[Summary]], question: str, dear: str, cheap: str, what: str
) -> Answer | None:
    if dear not in shapes or cheap not in shapes:
        return None
    # With the fewest daemons: each more has smaller batches, which is another question.
    parts = shapes[dear][0]
    one, other = parts.servers_us, shapes[cheap][0].servers_us
    if not comparable(one, other):
        return None
    times = ratio(one, other)
    told = ", ".join(
        f"{name} {number(part.median)} µs"
        for name, part in (
            ("daemon", parts.daemons_us),
            ("Redis", parts.redis_us),
            ("HAProxy", parts.haproxy_us),
        )
        if part.max
    )
    text = (
        f"CPU for a round trip, all servers together: {ranged(one, ' µs')} {what}, and"
        f" {ranged(other, ' µs')} without, {bounded(times)} times as much, measured with"
        f" {_daemons(parts.daemons)} ({told})."
    )
    return Answer(question, at_least(times, A_TENTH_MORE), text)


def _daemons(count: int) -> str:
    return f"{count} daemon{'s' if count > 1 else ''}"


def _predicted(one: Prediction, measured: Costs) -> Answer:
    low, high = one.limit
    used = costs.needs(measured, high)
    text = (
        f"All CPUs: {number(one.all_cpus[0])} to {number(one.all_cpus[1])} round trips/s; Redis's"
        f" thread: {number(one.redis[0])} (the disk's wait as measured) to {number(one.redis[1])}"
        f" (its CPU alone). So at most {number(low)} to {number(high)}/s. The upper one takes"
        f" {number(used.daemons)} CPUs of daemons, {number(used.haproxy)} of HAProxy and"
        f" {number(used.redis)} of Redis, whose thread can't have more than 1."
    )
    if one.first == SAME:
        text += " Which of the two is full first depends on how many lines share an fsync."
    return Answer(f"What would be full first on {one.cpus} CPUs?", one.first, text)


def _c10k(held: Held) -> Answer:
    verdict = "yes" if held.connections >= C10K else f"not tried: {held.limited_by} set the number"
    text = (
        f"One daemon held {held.connections:,} connections, and answered each; {held.limited_by}"
        f" set the number. One costs {number(held.idle_bytes / 1e3)} kB of the daemon's memory"
        f" when it is silent, {number(held.busy_bytes / 1e3)} kB at the highest moment of a line every {held.interval_s:.1f} s; replies"
        f" then took {number(held.p50_ms)} ms (p50) and {number(held.p99_ms)} ms (p99). In a burst"
        f" {number(held.accepts_per_s)} connections were accepted a second, at"
        f" {number(held.accept_us)} µs of the daemon's CPU each."
    )
    return Answer(
        f"Does one daemon hold {C10K:,} connections?",
        verdict,
        text,
    )
