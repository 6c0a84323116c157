"""What `fleet experiment scaling` concludes, from the figures of its run alone. Pure.

A `Measurement` (samples.py) is one shape with one number of daemons here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.measure.samples import A_QUARTER_MORE, A_TENTH_MORE, at_least, beside, bounded, ranged
from lab.measure.scaling import costs
from lab.report.answers import NO, SAME, YES, Answer
from lab.report.words import number

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lab.measure.samples import Measurement, Row

    # Each shape's measurements, by rising number of daemons.
    Shapes = Mapping[str, Sequence[Measurement]]

FULL_FLEET = "Redis, HAProxy"
ONE_REDIS = "Redis, direct"

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


def sharded(shapes: Shapes) -> list[Sequence[Measurement]]:
    """The groups on a store of several shards, the fewest shards first."""
    groups = [group for group in shapes.values() if group[0]["shards"] > 1]
    return sorted(groups, key=lambda group: int(group[0]["shards"]))


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
    yield from _on_shards(shapes)
    yield from _predictions(shapes)
    if held:
        yield _c10k(held)


def lead(measured: Sequence[Measurement], cpus: int) -> str:
    """The answer in one paragraph."""
    shapes = by_shape(measured)
    fleet = shapes.get(FULL_FLEET, [])
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
        f"With one Redis and HAProxy, on {cpus} CPUs, {grew}: {ranged(last.of(RATE), '/s')} against"
        f" {ranged(first.of(RATE), '/s')} round trips, every reply on disk before it was sent."
        f" {_explained(last, cpus)}{_more_cpus(shapes)} What the design would do with more CPUs is"
        " predicted from the cost of each part, below."
    )


def _more_cpus(shapes: Shapes) -> str:
    """What the largest machine would be full of, with one Redis and with shards enough."""
    found = sharded(shapes)
    if not found:
        return ""
    cpus = PREDICTED_CPUS[-1]
    one = costs.predict(costs.costs(shapes[FULL_FLEET]), cpus)
    many = costs.predict(costs.costs_on_shards(shapes[FULL_FLEET], found[-1]), cpus)
    few, enough = many.shards
    told = shards(enough)
    if few < enough:
        told = f"{few} shards (none waits for its disk) to {enough} (each waits as here)"
    if one.first == costs.PREDICTED_CPUS:
        return f" On {cpus} CPUs one Redis would do: the CPUs would be full before it."
    full = "is full first" if one.first == costs.REDIS else "may be full first"
    return f" On {cpus} CPUs one Redis {full}; with a store of {told} it is no longer Redis but the CPUs, with daemons and HAProxy."


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


def _on_shards(shapes: Shapes) -> Iterator[Answer]:
    for group in sharded(shapes):
        if ONE_REDIS in shapes:
            # With the most daemons: each has a home, and the homes are spread.
            yield from _shards_cost(group[-1], shapes[ONE_REDIS][-1])
        yield _homes(group[-1])


def _predictions(shapes: Shapes) -> Iterator[Answer]:
    if FULL_FLEET in shapes:
        fleet, on_shards = shapes[FULL_FLEET], sharded(shapes)
        for count in PREDICTED_CPUS:
            yield _predicted(costs.costs(fleet), count, alone=not on_shards)
            if on_shards:
                yield _predicted_on_shards(fleet, on_shards[-1], count)


def _shards_cost(many: Measurement, one: Measurement) -> Iterator[Answer]:
    if found := beside(many, one, "servers_us"):
        shards = many["shards"]
        yield Answer(
            f"{shards} shards: does a round trip take at least a quarter more CPU than on one Redis?",
            at_least(found[2], A_QUARTER_MORE),
            f"{bounded(found[2])} times as much with {daemons(many)}, daemons and store together:"
            f" {ranged(many.of('servers_us'), ' µs')} against {ranged(one.of('servers_us'), ' µs')}."
            f" Of the daemons it takes {ranged(many.of('daemons_us'), ' µs')} against"
            f" {ranged(one.of('daemons_us'), ' µs')}.",
        )


def _homes(one: Measurement) -> Answer:
    shards, apart = one["shards"], one.of("homes_apart")
    fell = "; ".join(sorted(set(one.all("homes"))))
    return Answer(
        f"Has each of {shards} shards an even share of {daemons(one)}?",
        YES if apart.max <= 1 else NO if apart.min > 1 else SAME,
        f"Daemons that had their home on each shard, the most first: {fell}. The busiest shard"
        f" took {ranged(one.of('busiest_shard').times(100), ' %')} of the store's CPU; an even share"
        f" is {number(100 / shards)} %.",
    )


def _predicted(measured: costs.Costs, cpus: int, *, alone: bool) -> Answer:
    """With one Redis. `alone`: several shards were not measured, and are only spoken of."""
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
    if alone and one.first != costs.PREDICTED_CPUS:
        low, high = one.all_cpus
        text += (
            f" With a store of {shards(one.shards[1])} it is the CPUs: {number(low)} to"
            f" {number(high)}/s, as far as a line costs there what it costs on one Redis (--shards"
            " measures that)."
        )
    return Answer(f"What would be full first on {cpus} CPUs with one Redis?", one.first, text)


def _predicted_on_shards(
    fleet: Sequence[Measurement], group: Sequence[Measurement], cpus: int
) -> Answer:
    one = costs.predict(costs.costs_on_shards(fleet, group), cpus)
    (low, high), (few, enough) = one.all_cpus, one.shards
    measured = group[0]["shards"]
    text = (
        f"The CPUs, at {number(low)} to {number(high)} round trips/s: with {shards(few)} if no shard"
        f" waits for its disk, with {shards(enough)} if each waits as it did here, where {measured}"
        " shards wrote to one disk."
        if few < enough
        else f"With {shards(enough)} the CPUs, at {number(low)} to {number(high)} round trips/s."
    )
    if measured < enough:
        least, most = one.on(measured).redis
        text += (
            f" The {measured} shards that were measured would be full before, at {number(least)}"
            f" (the disk's wait as measured) to {number(most)}/s (their CPU alone)."
        )
    text += (
        f" A line's cost on the daemon and on a shard is what was measured on {measured} shards,"
        " that of HAProxy what was measured with one Redis."
    )
    return Answer(
        f"What would be full first on {cpus} CPUs with shards enough?", one.on(enough).first, text
    )


def shards(count: int) -> str:
    """`1 shard`, `4 shards`."""
    return f"{count} shard{'s' if count > 1 else ''}"


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
