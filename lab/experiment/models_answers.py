"""What `fleet experiment models` concludes, from the figures of its run alone. Pure.

Each question is fixed, its verdict is chosen by the ranges of the repeats (samples.py), and
its text has the figures. `summarise` comes first: one `Summary` for each system.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.experiment import systems
from lab.experiment.samples import (
    LESS,
    MORE,
    SAME,
    Answer,
    compare,
    number,
    ranged,
    ratio,
    scaled,
    spread,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lab.bench.summary import Spread
    from lab.experiment.models import Measured
    from lab.experiment.workload import Workload

# Steps for "at least so many times slower". The first is what issue and article expect.
SLOWER_STEPS = (50, 20, 10, 5, 2)

# The departures of a serial server's clients may be so uneven; above it nothing is
# extrapolated without saying that it may be wrong.
UNEVENNESS_MAX = 0.15

# Of one CPU: below, the load generator had time to spare; above the second, it may have
# been what was measured. Between them nobody can say.
LOAD_BUSY_FREE, LOAD_BUSY_FULL = 0.5, 0.8


@dataclass(frozen=True, slots=True)
class Summary:
    """One system over its repeats."""

    system: str
    clients: int
    """Measured; fewer than the workload's for the serial server."""
    loop_s: Spread
    """For the workload's clients: extrapolated if fewer were measured."""
    measured_loop_s: Spread
    served_at_once: int
    unevenness: float
    cpu_s: Spread
    """Of all its parts, a loop."""
    cpu_s_by_part: dict[str, Spread]
    idle_bytes: Spread
    most_bytes: Spread
    most_bytes_by_part: dict[str, Spread]
    load_busy: Spread
    reply_p50_s: Spread
    reply_p99_s: Spread

    @property
    def extrapolated(self) -> bool:
        """Whether `loop_s` was not measured."""
        return self.loop_s != self.measured_loop_s


# Who is compared with whom: the question, the one, the other, which figure, its name.
PAIRS: tuple[tuple[str, str, str, Callable[[Summary], Spread], str], ...] = (
    (
        "Do threads cost more CPU than greenlets?",
        *("threads", "gevent_streamserver", lambda s: s.cpu_s, "CPU"),
    ),
    (
        "Do threads cost more memory than greenlets?",
        *("threads", "gevent_streamserver", lambda s: s.most_bytes, "memory"),
    ),
    (
        "Does asyncio with streams cost more CPU than gevent?",
        *("asyncio_streams", "gevent_streamserver", lambda s: s.cpu_s, "CPU"),
    ),
    (
        "Are asyncio's streams dearer than its callbacks?",
        *("asyncio_streams", "asyncio_protocol", lambda s: s.cpu_s, "CPU"),
    ),
    (
        "Does async/await cost Node.js more CPU than callbacks?",
        *("node_async", "node_callbacks", lambda s: s.cpu_s, "CPU"),
    ),
    (
        "Does Node.js need more memory than gevent?",
        *("node_async", "gevent_streamserver", lambda s: s.most_bytes, "memory"),
    ),
)


def summarise(measured: Sequence[Measured], workload: Workload) -> dict[str, Summary]:
    """By system, in the order of their first repeat."""
    grouped: dict[str, list[Measured]] = {}
    for one in measured:
        grouped.setdefault(one.system, []).append(one)
    return {name: _summary(group, workload) for name, group in grouped.items()}


def answers(summaries: Mapping[str, Summary], workload: Workload) -> list[Answer]:
    """Every conclusion that these systems allow."""
    made = [
        _serial(summaries, workload),
        _concurrent(summaries, workload),
        *(_pair(summaries, *pair) for pair in PAIRS),
        _state(summaries),
        _daemons(summaries, workload),
        _load(summaries),
    ]
    return [answer for answer in made if answer]


def lead(summaries: Mapping[str, Summary], workload: Workload) -> str:
    """What the article's reader should take away, in one paragraph."""
    serial, others = summaries.get(systems.SERIAL), _concurrent_ones(summaries)
    if not serial or not others:
        return "Serial and concurrent servers were not both measured: see the answers below."
    slower = ratio(serial.loop_s, _together([one.loop_s for one in others]))
    text = (
        f"A loop of {workload.clients} clients takes the serial server"
        f" {number(serial.loop_s.median)} s"
        f"{' (extrapolated)' if serial.extrapolated else ''}, and every server that can wait for many clients"
        f" at once {number(min(one.loop_s.median for one in others))} to"
        f" {number(max(one.loop_s.median for one in others))} s: the serial one is"
        f" {number(slower.min)} to {number(slower.max)} times slower."
    )
    same = _slowest_against_fastest(others) == SAME
    return text + (
        " Which of the ways to wait one chooses makes no difference to it that could be told"
        " from chance."
        if same
        else " Among the ways to wait there are differences too: see below."
    )


def _serial(summaries: Mapping[str, Summary], workload: Workload) -> Answer | None:
    serial, others = summaries.get(systems.SERIAL), _concurrent_ones(summaries)
    if not serial or not others:
        return None
    slower = ratio(serial.loop_s, _together([one.loop_s for one in others]))
    step = next((step for step in SLOWER_STEPS if slower.min >= step), None)
    verdict = f"serial is at least {step} times slower" if step else SAME
    text = (
        f"Serving one client at a time is {number(slower.min)} to {number(slower.max)} times"
        f" slower than any of the others. Each client waits for all before it, and a client"
        f" mostly pauses: {workload.clients} clients x {workload.lines - 1} pauses x"
        f" {workload.pause_s:g} s ="
        f" {workload.clients * workload.visit_s:g} s, however fast the server is."
    )
    if serial.extrapolated:
        text += (
            f" Measured were {serial.clients} clients, {ranged(serial.measured_loop_s, ' s')};"
            f" x {workload.clients}/{serial.clients} is extrapolated."
        )
        even = serial.unevenness <= UNEVENNESS_MAX
        text += (
            f" They left one after the other in even steps (within"
            f" {number(100 * serial.unevenness)} % of the loop), which is what allows that."
            if even
            else f" They did not leave in even steps ({number(100 * serial.unevenness)} % off):"
            " the extrapolation may be wrong."
        )
        if not even:
            verdict = SAME
    return Answer("What does it cost to serve one client at a time?", verdict, text)


def _concurrent(summaries: Mapping[str, Summary], workload: Workload) -> Answer | None:
    others = _concurrent_ones(summaries)
    if len(others) < 2:  # noqa: PLR2004 — a comparison
        return None
    verdict = _slowest_against_fastest(others)
    by_time = sorted(others, key=lambda one: one.loop_s.median)
    low, high = by_time[0], by_time[-1]
    bound = f"The clients' own pauses make {workload.visit_s:g} s of every loop"
    if verdict == SAME:
        text = (
            f"{bound}; from {number(low.loop_s.median)} s ({_title(low)}) to"
            f" {number(high.loop_s.median)} s ({_title(high)}) is not a difference beside the"
            " spread. Clients that mostly wait need a server that can wait for all of them;"
            " how it does so shows in CPU and memory."
        )
        return Answer("Does the kind of concurrency matter to the clients?", verdict, text)
    text = (
        f"{bound}. Slowest is {_title(high)}, {ranged(high.loop_s, ' s')}; fastest is"
        f" {_title(low)}, {ranged(low.loop_s, ' s')}."
    )
    return Answer("Does the kind of concurrency matter to the clients?", "yes", text)


def _pair(  # noqa: PLR0913, PLR0917 — the columns of PAIRS
    summaries: Mapping[str, Summary],
    question: str,
    name: str,
    other_name: str,
    figure: Callable[[Summary], Spread],
    what: str,
) -> Answer | None:
    one, other = summaries.get(name), summaries.get(other_name)
    if not one or not other or figure(other).min <= 0:
        return None
    verdict = compare(figure(one), figure(other))
    times = ratio(figure(one), figure(other))
    end = "; the ranges are not apart by enough to say" if verdict == SAME else ""
    text = f"Here {_title(one)} takes {ranged(times)} times the {what} of {_title(other)}{end}."
    return Answer(question, {MORE: "yes", LESS: "no, less", SAME: SAME}[verdict], text)


def _state(summaries: Mapping[str, Summary]) -> Answer | None:
    fleet, bare = summaries.get("fleet_1"), summaries.get("gevent_streamserver")
    if not fleet or not bare:
        return None
    time, cpu = compare(fleet.loop_s, bare.loop_s), compare(fleet.cpu_s, bare.cpu_s)
    times = ratio(fleet.cpu_s, bare.cpu_s)
    parts = ", ".join(
        f"{part} {number(1e3 * used.median)} ms" for part, used in fleet.cpu_s_by_part.items()
    )
    in_time = {
        MORE: f"A loop takes longer, {ranged(fleet.loop_s, ' s')} against"
        f" {ranged(bare.loop_s, ' s')}",
        LESS: f"A loop is even shorter, {ranged(fleet.loop_s, ' s')} against"
        f" {ranged(bare.loop_s, ' s')}",
        SAME: "In the clients' time it is not distinguishable from the bare server",
    }[time]
    text = (
        f"{in_time}; in CPU it takes {ranged(times)} times as much ({parts} a loop; health"
        " checks go on meanwhile). For that, every reply is on disk before it is sent."
    )
    return Answer(
        "What does it cost to keep the state in Redis, behind HAProxy?",
        f"time: {time}; CPU: {cpu}",
        text,
    )


def _daemons(summaries: Mapping[str, Summary], workload: Workload) -> Answer | None:
    fleets = [one for name, one in summaries.items() if name.startswith("fleet_")]
    if len(fleets) < 2:  # noqa: PLR2004 — a comparison
        return None
    verdict = compare(fleets[-1].loop_s, fleets[0].loop_s)
    used = fleets[0].cpu_s_by_part[systems.SERVERS].median / fleets[0].loop_s.median
    rate = workload.clients / workload.pause_s if workload.pause_s else 0.0
    text = {
        SAME: f"The {_title(fleets[0])} and the {_title(fleets[-1])} are not distinguishable in time:"
        f" the whole workload is {number(rate)} lines a second at most, for which one daemon used"
        f" {number(100 * used)} % of a CPU.",
        MORE: f"More daemons were slower: {ranged(fleets[0].loop_s, ' s')} became"
        f" {ranged(fleets[-1].loop_s, ' s')}.",
        LESS: f"More daemons were faster: {ranged(fleets[0].loop_s, ' s')} became"
        f" {ranged(fleets[-1].loop_s, ' s')}.",
    }[verdict]
    return Answer(
        "Do more daemons make the article's workload faster?",
        {MORE: "no, slower", LESS: "yes", SAME: SAME}[verdict],
        f"{text} What daemons bring under a load that fills them is the question of"
        " `fleet experiment scaling`.",
    )


def _load(summaries: Mapping[str, Summary]) -> Answer | None:
    if not summaries:
        return None
    busiest = max(summaries.values(), key=lambda one: one.load_busy.max)
    busy = busiest.load_busy.max
    verdict = "no" if busy < LOAD_BUSY_FREE else "yes" if busy > LOAD_BUSY_FULL else SAME
    text = {
        "no": "No.",
        "yes": "Yes: times are those of the load generator at least as much as the servers'.",
        SAME: "Not distinguishable: it was busy enough to have delayed some replies.",
    }[verdict]
    return Answer(
        "Was the load generator itself the bottleneck?",
        verdict,
        f"{text} It used at most {number(100 * busy)} % of one CPU (with {_title(busiest)}).",
    )


def _title(one: Summary) -> str:
    return systems.TITLES[one.system]


def _concurrent_ones(summaries: Mapping[str, Summary]) -> list[Summary]:
    return [one for name, one in summaries.items() if name != systems.SERIAL]


def _slowest_against_fastest(summaries: Sequence[Summary]) -> str:
    by_time = sorted(summaries, key=lambda one: one.loop_s.median)
    return compare(by_time[-1].loop_s, by_time[0].loop_s)


def _together(spreads: Sequence[Spread]) -> Spread:
    """One range over several systems."""
    return spread(value for one in spreads for value in (one.min, one.median, one.max))


def _summary(group: Sequence[Measured], workload: Workload) -> Summary:
    first = group[0]
    measured_loop_s = spread(one.loop_s for one in group)
    parts = list(first.cpu_s_by_part)
    return Summary(
        system=first.system,
        clients=first.clients,
        loop_s=scaled(measured_loop_s, workload.clients / first.clients)
        if first.clients < workload.clients
        else measured_loop_s,
        measured_loop_s=measured_loop_s,
        served_at_once=max(one.served_at_once for one in group),
        unevenness=max(one.unevenness for one in group),
        cpu_s=spread(sum(one.cpu_s_by_part.values()) for one in group),
        cpu_s_by_part={part: spread(one.cpu_s_by_part[part] for one in group) for part in parts},
        idle_bytes=spread(sum(one.idle_bytes_by_part.values()) for one in group),
        most_bytes=spread(sum(one.most_bytes_by_part.values()) for one in group),
        most_bytes_by_part={
            part: spread(one.most_bytes_by_part[part] for one in group) for part in parts
        },
        load_busy=spread(one.load_busy for one in group),
        reply_p50_s=spread(one.reply_p50_s for one in group),
        reply_p99_s=spread(one.reply_p99_s for one in group),
    )
