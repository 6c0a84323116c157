"""What `fleet experiment scaling` concludes, from the figures of its run alone. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.experiment import costs, usl
from lab.experiment.samples import LESS, MORE, SAME, Answer, compare, number, ranged, ratio, spread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lab.bench.summary import Spread
    from lab.experiment.c10k import Held
    from lab.experiment.costs import Busy, Costs, Prediction
    from lab.experiment.scaling import Point

PREDICTED_CPUS = (8, 64)

# The article's A12, by its name.
C10K = 10_000

FULL_FLEET = "Redis, HAProxy"


@dataclass(frozen=True, slots=True)
class Summary:
    """One shape with one number of daemons, over its repeats; µs are CPU for a round trip."""

    shape: str
    daemons: int
    rate: Spread
    p50_us: Spread
    p99_us: Spread
    daemons_us: Spread
    redis_us: Spread
    redis_disk_us: Spread
    haproxy_us: Spread
    load_us: Spread
    servers_us: Spread
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
    return [
        Summary(
            shape=shape,
            daemons=daemons,
            rate=spread(point.round_trips_per_s for point in group),
            p50_us=spread(point.p50_us for point in group),
            p99_us=spread(point.p99_us for point in group),
            daemons_us=spread(point.daemons_us for point in group),
            redis_us=spread(point.redis_us for point in group),
            redis_disk_us=spread(point.redis_disk_us for point in group),
            haproxy_us=spread(point.haproxy_us for point in group),
            load_us=spread(point.load_us for point in group),
            servers_us=spread(
                point.daemons_us + point.redis_us + point.haproxy_us for point in group
            ),
            busy=[point.busy for point in group],
        )
        for (shape, daemons), group in grouped.items()
    ]


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
        daemon=spread(one.daemons_us.median for one in fleet),
        redis=spread(one.redis_us.median for one in fleet),
        redis_disk=spread(one.redis_disk_us.median for one in fleet),
        haproxy=spread(one.haproxy_us.median for one in fleet),
    )


def answers(summaries: Sequence[Summary], cpus: int, held: Held | None) -> list[Answer]:
    """Every conclusion that these measurements allow."""
    shapes = by_shape(summaries)
    measured = fleet_costs(summaries)
    made = [
        *(_grows(shape, group, cpus) for shape, group in shapes.items() if len(group) > 1),
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
    grew = {
        MORE: f"{last.daemons} daemons carry more than {first.daemons}",
        LESS: f"{last.daemons} daemons carry less than {first.daemons}",
        SAME: f"{last.daemons} daemons can't be told from {first.daemons}",
    }[compare(last.rate, first.rate)]
    text = (
        f"With Redis and HAProxy, on {cpus} CPUs, {grew}: {ranged(last.rate, '/s')} against"
        f" {ranged(first.rate, '/s')} round trips, every reply on disk before it was sent."
    )
    full = last.saturated
    if full == costs.CPUS:
        text += (
            f" The {cpus} CPUs ran out: they are what was measured, not the design. What the"
            " design would do with more is predicted from the cost of each part, below."
        )
    elif full == SAME:
        text += f" What was full with {last.daemons} daemons can't be told for certain."
    elif full == costs.NOTHING:
        text += (
            f" Nothing was full with {last.daemons} daemons: replies waited in turn for daemon, Redis"
            " and disk, and more connections would find the limit."
        )
    else:
        text += f" Full was {full}."
    return text


def _grows(shape: str, group: Sequence[Summary], cpus: int) -> Answer:
    first, last = group[0], group[-1]
    verdict = compare(last.rate, first.rate)
    times = ratio(last.rate, first.rate)
    full = {one.daemons: one.saturated for one in group}
    parts = set(full.values())
    told = (
        f"with any number of them: {parts.pop()}"
        if len(parts) == 1
        else ", ".join(f"with {daemons}: {part}" for daemons, part in full.items())
    )
    runs_out = [daemons for daemons, part in full.items() if part == costs.CPUS]
    text = (
        f"{_daemons(last.daemons)} gave {ranged(times)} times the round trips of {first.daemons}"
        f" ({ranged(last.rate, '/s')} against {ranged(first.rate, '/s')}). Full was, {told}."
    )
    if runs_out:
        text += (
            f" From {_daemons(min(runs_out))} on, this machine's {cpus} CPUs had nothing left for"
            " more; the load generator takes its part of them too."
        )
    return Answer(
        f"{shape}: what do more daemons bring, and what is full?",
        f"{verdict}; full with {last.daemons}: {full[last.daemons]}",
        text,
    )


# The question; the shape with the part, the one without; what the part is called.
COSTS = (
    ("What does the store cost?", "Redis, direct", "no store, direct", "with Redis"),
    ("What does HAProxy cost?", "Redis, HAProxy", "Redis, direct", "through HAProxy"),
)


def _cost(
    shapes: Mapping[str, Sequence[Summary]], question: str, dear: str, cheap: str, what: str
) -> Answer | None:
    if dear not in shapes or cheap not in shapes:
        return None
    # With the fewest daemons: each more has smaller batches, which is another question.
    parts = shapes[dear][0]
    one, other = parts.servers_us, shapes[cheap][0].servers_us
    verdict = compare(one, other)
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
        f" {ranged(other, ' µs')} without, {ranged(times)} times as much, measured with"
        f" {_daemons(parts.daemons)} ({told})."
    )
    return Answer(question, verdict if verdict == SAME else f"{verdict} CPU", text)


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
