"""What `fleet experiment models` concludes, from the figures of its run alone. Pure.

Each question is fixed and names a factor, its verdict is chosen by the interval of the repeats
(samples.py), and its text has the figures. `models_summary.py` comes first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.measure.experiment import systems
from lab.measure.experiment.samples import (
    A_QUARTER_MORE,
    A_TENTH_MORE,
    HALF_AGAIN,
    TWICE,
    Interval,
    Repeats,
    at_least,
    bounded,
    comparable,
    interval,
    ranged,
    ratio,
)
from lab.report.answers import NO, SAME, YES, Answer
from lab.report.words import number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lab.measure.experiment.models_summary import Summary
    from lab.measure.experiment.workload import Workload

# So many times slower than the others is asked of the serial server, by the clients: alone it
# serves them one after the other, so it is as many times slower but for what is no pause. For the
# article's hundred clients that is fifty.
SLOWER_BY_CLIENTS = 0.5

# The departures of a serial server's clients may be so uneven; above it nothing is
# extrapolated without saying that it may be wrong.
UNEVENNESS_MAX = 0.15

# Of one CPU: below, the load generator had time to spare; above the second, it may have
# been what was measured. Between them nobody can say.
LOAD_BUSY_FREE, LOAD_BUSY_FULL = 0.5, 0.8


# Who is compared with whom: the question, the one, the other, which figure, its name, and the
# factor asked for. Each lies far from every ratio that was ever measured (samples.py, distance).
PAIRS: tuple[tuple[str, str, str, Callable[[Summary], Repeats], str, float], ...] = (
    (
        "Do threads take at least a tenth more CPU than greenlets?",
        *("threads", "gevent_streamserver", lambda s: s.cpu_s, "CPU", A_TENTH_MORE),
    ),
    (
        "Do threads take at least a quarter more memory than greenlets?",
        *("threads", "gevent_streamserver", lambda s: s.most_bytes, "memory", A_QUARTER_MORE),
    ),
    (
        "Does asyncio with streams take at least a tenth more CPU than gevent?",
        *("asyncio_streams", "gevent_streamserver", lambda s: s.cpu_s, "CPU", A_TENTH_MORE),
    ),
    (
        "Do asyncio's streams take at least a tenth more CPU than its callbacks?",
        *("asyncio_streams", "asyncio_protocol", lambda s: s.cpu_s, "CPU", A_TENTH_MORE),
    ),
    (
        "Does async/await take Node.js twice the CPU of callbacks?",
        *("node_async", "node_callbacks", lambda s: s.cpu_s, "CPU", TWICE),
    ),
    (
        "Does Node.js take twice the memory of gevent?",
        *("node_async", "gevent_streamserver", lambda s: s.most_bytes, "memory", TWICE),
    ),
)


def answers(summaries: Mapping[str, Summary], workload: Workload) -> list[Answer]:
    """Every conclusion that these systems allow."""
    made = [
        _serial(summaries, workload),
        _concurrent(summaries, workload),
        *(_pair(summaries, *pair) for pair in PAIRS),
        _state_time(summaries),
        _state_cpu(summaries),
        _daemons(summaries, workload),
        _load(summaries),
    ]
    return [answer for answer in made if answer]


def lead(summaries: Mapping[str, Summary], workload: Workload) -> str:
    """What the article's reader should take away, in one paragraph."""
    serial, others = summaries.get(systems.SERIAL), _concurrent_ones(summaries)
    if not serial or not others:
        return "Serial and concurrent servers were not both measured: see the answers below."
    slower = _times_slower(serial, others)
    if not slower:
        return "Serial and concurrent servers have no repeat in common: see the answers below."
    text = (
        f"A loop of {workload.clients} clients takes the serial server"
        f" {number(serial.loop_s.median)} s"
        f"{' (extrapolated)' if serial.extrapolated else ''}, and every server that can wait for"
        f" many clients at once {number(min(one.loop_s.median for one in others))} to"
        f" {number(max(one.loop_s.median for one in others))} s: the serial one is"
        f" {_from_to(slower)} times slower."
    )
    return (
        text
        + {
            NO: " Which of the ways to wait one chooses makes no difference of a half to that.",
            YES: " Among the ways to wait there are differences too: see below.",
            SAME: " Whether it matters which of the ways to wait one chooses is left open here.",
        }[_slowest_against_fastest(others)]
    )


def _serial(summaries: Mapping[str, Summary], workload: Workload) -> Answer | None:
    serial, others = summaries.get(systems.SERIAL), _concurrent_ones(summaries)
    if not serial or not others:
        return None
    slower = _times_slower(serial, others)
    if not slower:
        return None
    factor = SLOWER_BY_CLIENTS * workload.clients
    verdicts = {at_least(one, factor) for one in slower}
    verdict = NO if NO in verdicts else SAME if SAME in verdicts else YES
    text = (
        f"Serving one client at a time is {_from_to(slower)} times slower than the others. Each"
        " client waits for all before it, and a client mostly pauses:"
        f" {workload.clients} clients x {workload.lines - 1} pauses x {workload.pause_s:g} s ="
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
    question = f"Is it at least {factor:g} times slower to serve one client at a time?"
    return Answer(question, verdict, text)


def _concurrent(summaries: Mapping[str, Summary], workload: Workload) -> Answer | None:
    others = _concurrent_ones(summaries)
    if len(others) < 2:  # noqa: PLR2004 — a comparison
        return None
    fastest, slowest = _extremes(others)
    text = f"The clients' own pauses make {workload.visit_s:g} s of every loop."
    verdict = _slowest_against_fastest(others)
    if verdict == YES:
        text += (
            f" Fastest is {_title(fastest)}, {ranged(fastest.loop_s, ' s')}; slowest is"
            f" {_title(slowest)}, {ranged(slowest.loop_s, ' s')}."
        )
    else:  # then which of them is the slowest is chance, and not named
        text += (
            f" The medians of the servers lie between {number(fastest.loop_s.median)} and"
            f" {number(slowest.loop_s.median)} s."
        )
    if verdict == NO:
        text += (
            " Clients that mostly wait need a server that can wait for all of them; how it does so"
            " shows in CPU and memory."
        )
    question = "Does one kind of concurrency make its clients wait half as long again as another?"
    return Answer(question, verdict, text)


def _pair(  # noqa: PLR0913, PLR0917 — the columns of PAIRS
    summaries: Mapping[str, Summary],
    question: str,
    name: str,
    other_name: str,
    figure: Callable[[Summary], Repeats],
    what: str,
    factor: float,
) -> Answer | None:
    one, other = summaries.get(name), summaries.get(other_name)
    if not one or not other or not comparable(figure(one), figure(other)):
        return None
    times = ratio(figure(one), figure(other))
    text = f"Here {_title(one)} takes {bounded(times)} times the {what} of {_title(other)}."
    return Answer(question, at_least(times, factor), text)


def _fleet_and_bare(
    summaries: Mapping[str, Summary], figure: Callable[[Summary], Repeats]
) -> tuple[Summary, Summary, Interval] | None:
    fleet, bare = summaries.get("fleet_1"), summaries.get("gevent_streamserver")
    if not fleet or not bare or not comparable(figure(fleet), figure(bare)):
        return None
    return fleet, bare, ratio(figure(fleet), figure(bare))


def _state_time(summaries: Mapping[str, Summary]) -> Answer | None:
    found = _fleet_and_bare(summaries, lambda one: one.loop_s)
    if not found:
        return None
    fleet, bare, times = found
    return Answer(
        "State in Redis, behind HAProxy: do clients wait half as long again as for the bare server?",
        at_least(times, HALF_AGAIN),
        f"A loop takes {ranged(fleet.loop_s, ' s')} against {ranged(bare.loop_s, ' s')},"
        f" {bounded(times)} times as long. Every reply is on disk before it is sent.",
    )


def _state_cpu(summaries: Mapping[str, Summary]) -> Answer | None:
    found = _fleet_and_bare(summaries, lambda one: one.cpu_s)
    if not found:
        return None
    fleet, bare, times = found
    parts = ", ".join(
        f"{part} {number(1e3 * used.median)} ms" for part, used in fleet.cpu_s_by_part.items()
    )
    return Answer(
        "State in Redis, behind HAProxy: does it take a quarter more CPU than the bare server?",
        at_least(times, A_QUARTER_MORE),
        f"It takes {bounded(times)} times the CPU of {_title(bare)} ({parts} a loop; health checks"
        " go on meanwhile). For that, a reply is safe from the end of any process.",
    )


def _daemons(summaries: Mapping[str, Summary], workload: Workload) -> Answer | None:
    fleets = [one for name, one in summaries.items() if name.startswith("fleet_")]
    if len(fleets) < 2 or not comparable(fleets[0].loop_s, fleets[-1].loop_s):  # noqa: PLR2004
        return None
    few, many = fleets[0], fleets[-1]
    times = ratio(few.loop_s, many.loop_s)
    used = few.cpu_s_by_part[systems.SERVERS].median / few.loop_s.median
    rate = workload.clients / workload.pause_s if workload.pause_s else 0.0
    text = (
        f"The {_title(few)} takes {bounded(times)} times as long as the {_title(many)}. The whole"
        f" workload is {number(rate)} lines a second at most, for which one daemon used"
        f" {number(100 * used)} % of a CPU. What daemons bring under a load that fills them is the"
        " question of `fleet experiment scaling`."
    )
    return Answer(
        "Does one daemon take half as long again for the article's workload as more of them?",
        at_least(times, HALF_AGAIN),
        text,
    )


def _load(summaries: Mapping[str, Summary]) -> Answer | None:
    if not summaries:
        return None
    busiest = max(summaries.values(), key=lambda one: one.load_busy.median)
    busy = interval(busiest.load_busy.by_repeat.values())
    verdict = YES if busy.low >= LOAD_BUSY_FULL else NO if busy.high < LOAD_BUSY_FREE else SAME
    text = {
        NO: "No.",
        YES: "Yes: times are those of the load generator at least as much as the servers'.",
        SAME: "It was busy enough to have delayed some replies, or was seen too seldom to say.",
    }[verdict]
    return Answer(
        "Was the load generator itself the bottleneck?",
        verdict,
        f"{text} With the server that gave it the most to do it used"
        f" {ranged(busiest.load_busy.times(100), ' %')} of one CPU.",
    )


def _title(one: Summary) -> str:
    return systems.TITLES[one.system]


def _concurrent_ones(summaries: Mapping[str, Summary]) -> list[Summary]:
    return [one for name, one in summaries.items() if name != systems.SERIAL]


def _extremes(summaries: Sequence[Summary]) -> tuple[Summary, Summary]:
    by_time = sorted(summaries, key=lambda one: one.loop_s.median)
    return by_time[0], by_time[-1]


def _slowest_against_fastest(summaries: Sequence[Summary]) -> str:
    fastest, slowest = _extremes(summaries)
    if not comparable(slowest.loop_s, fastest.loop_s):
        return SAME
    return at_least(ratio(slowest.loop_s, fastest.loop_s), HALF_AGAIN)


def _times_slower(serial: Summary, others: Sequence[Summary]) -> list[Interval]:
    """Than each of the others that it was measured beside."""
    return [
        ratio(serial.loop_s, one.loop_s) for one in others if comparable(serial.loop_s, one.loop_s)
    ]


def _from_to(intervals: Sequence[Interval]) -> str:
    low, high = (f(one.middle for one in intervals) for f in (min, max))
    return f"{number(low)} to {number(high)}"
