"""What `fleet experiment models` concludes, from the figures of its run alone. Pure.

Each question is fixed and names a factor, its verdict is chosen by the interval of the repeats
(samples.py), and its text has the figures. `summarise` comes first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.measure.models import systems
from lab.measure.models.measure import by_part
from lab.measure.samples import (
    A_QUARTER_MORE,
    A_TENTH_MORE,
    HALF_AGAIN,
    TWICE,
    at_least,
    beside,
    bounded,
    interval,
    measurements,
    ranged,
)
from lab.measure.serving import SERVERS
from lab.report.answers import NO, SAME, YES, Answer
from lab.report.words import number

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from lab.measure.models.clients import Workload
    from lab.measure.samples import Interval, Measurement, Row

    # The systems by their names.
    Measured = Mapping[str, Measurement]

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

# The columns of CPU for a loop, by part.
CPU = by_part("cpu_s")

# Who is compared with whom: the question, the one, the other, which figure, its name, and the
# factor asked for. Each lies far from every ratio that was ever measured (samples.py, distance).
PAIRS = (
    (
        "Do threads take at least a tenth more CPU than greenlets?",
        *("threads", "gevent_streamserver", "cpu_s", "CPU", A_TENTH_MORE),
    ),
    (
        "Do threads take at least a quarter more memory than greenlets?",
        *("threads", "gevent_streamserver", "most_bytes", "memory", A_QUARTER_MORE),
    ),
    (
        "Does asyncio with streams take at least a tenth more CPU than gevent?",
        *("asyncio_streams", "gevent_streamserver", "cpu_s", "CPU", A_TENTH_MORE),
    ),
    (
        "Do asyncio's streams take at least a tenth more CPU than its callbacks?",
        *("asyncio_streams", "asyncio_protocol", "cpu_s", "CPU", A_TENTH_MORE),
    ),
    (
        "Does async/await take Node.js twice the CPU of callbacks?",
        *("node_async", "node_callbacks", "cpu_s", "CPU", TWICE),
    ),
    (
        "Does Node.js take twice the memory of gevent?",
        *("node_async", "gevent_streamserver", "most_bytes", "memory", TWICE),
    ),
)


def summarise(rows: Iterable[Row], workload: Workload) -> dict[str, Measurement]:
    """By system, in the order of their first repeat.

    Each row gets `all_s`, the time of a loop of all clients: of a system that was given fewer it
    is `extrapolated`.
    """
    extended = [
        {
            **row,
            "all_s": row["loop_s"] * (workload.clients / row["clients"]),
            "extrapolated": row["clients"] < workload.clients,
        }
        for row in rows
    ]
    return {one["system"]: one for one in measurements(extended, "system")}


def answers(measured: Measured, workload: Workload) -> Iterator[Answer]:
    """Every conclusion that these systems allow."""
    yield from _serial(measured, workload)
    yield from _concurrent(measured, workload)
    for question, name, other_name, column, what, factor in PAIRS:
        if pair := beside(measured.get(name), measured.get(other_name), column):
            one, other, times = pair
            text = f"Here {_title(one)} takes {bounded(times)} times the {what} of {_title(other)}."
            yield Answer(question, at_least(times, factor), text)
    yield from _state(measured)
    yield from _daemons(measured, workload)
    yield from _load(measured)


def lead(measured: Measured, workload: Workload) -> str:
    """What the article's reader should take away, in one paragraph."""
    serial, others = measured.get(systems.SERIAL), _concurrent_ones(measured)
    if not serial or not others:
        return "Serial and concurrent servers were not both measured: see the answers below."
    slower = _times_slower(serial, others)
    if not slower:
        return "Serial and concurrent servers have no repeat in common: see the answers below."
    text = (
        f"A loop of {workload.clients} clients takes the serial server"
        f" {number(serial.of('all_s').median)} s"
        f"{' (extrapolated)' if serial['extrapolated'] else ''}, and every server that can wait"
        f" for many clients at once {_loop(others[0])} to {_loop(others[-1])} s: the serial one is"
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


def _serial(measured: Measured, workload: Workload) -> Iterator[Answer]:
    serial = measured.get(systems.SERIAL)
    slower = _times_slower(serial, _concurrent_ones(measured))
    if not serial or not slower:
        return
    factor = SLOWER_BY_CLIENTS * workload.clients
    verdicts = {at_least(one, factor) for one in slower}
    verdict = NO if NO in verdicts else SAME if SAME in verdicts else YES
    text = (
        f"Serving one client at a time is {_from_to(slower)} times slower than the others. Each"
        " client waits for all before it, and a client mostly pauses:"
        f" {workload.clients} clients x {workload.lines - 1} pauses x {workload.pause_s:g} s ="
        f" {workload.clients * workload.visit_s:g} s, however fast the server is."
    )
    if serial["extrapolated"]:
        clients, uneven = serial["clients"], max(serial.all("unevenness"))
        text += (
            f" Measured were {clients} clients, {ranged(serial.of('loop_s'), ' s')};"
            f" x {workload.clients}/{clients} is extrapolated."
        )
        if uneven <= UNEVENNESS_MAX:
            text += (
                " They left one after the other in even steps (within"
                f" {number(100 * uneven)} % of the loop), which is what allows that."
            )
        else:
            verdict = SAME
            text += (
                f" They did not leave in even steps ({number(100 * uneven)} % off):"
                " the extrapolation may be wrong."
            )
    question = f"Is it at least {factor:g} times slower to serve one client at a time?"
    yield Answer(question, verdict, text)


def _concurrent(measured: Measured, workload: Workload) -> Iterator[Answer]:
    others = _concurrent_ones(measured)
    if len(others) < 2:  # noqa: PLR2004 — a comparison
        return
    fastest, slowest = others[0], others[-1]
    text = f"The clients' own pauses make {workload.visit_s:g} s of every loop."
    verdict = _slowest_against_fastest(others)
    if verdict == YES:
        text += (
            f" Fastest is {_title(fastest)}, {ranged(fastest.of('all_s'), ' s')}; slowest is"
            f" {_title(slowest)}, {ranged(slowest.of('all_s'), ' s')}."
        )
    else:  # then which of them is the slowest is chance, and not named
        text += f" The medians of the servers lie between {_loop(fastest)} and {_loop(slowest)} s."
    if verdict == NO:
        text += (
            " Clients that mostly wait need a server that can wait for all of them; how it does so"
            " shows in CPU and memory."
        )
    question = "Does one kind of concurrency make its clients wait half as long again as another?"
    yield Answer(question, verdict, text)


def _state(measured: Measured) -> Iterator[Answer]:
    """What state in Redis and HAProxy in front cost."""
    pair = measured.get("fleet_1"), measured.get("gevent_streamserver")
    if found := beside(*pair, "all_s"):
        fleet, bare, times = found
        yield Answer(
            "State in Redis, behind HAProxy: do clients wait half as long again as for the bare"
            " server?",
            at_least(times, HALF_AGAIN),
            f"A loop takes {ranged(fleet.of('all_s'), ' s')} against"
            f" {ranged(bare.of('all_s'), ' s')}, {bounded(times)} times as long. Every reply is on"
            " disk before it is sent.",
        )
    if found := beside(*pair, "cpu_s"):
        fleet, bare, times = found
        parts = ", ".join(
            f"{part} {number(1e3 * fleet.of(column).median)} ms" for part, column in CPU.items()
        )
        yield Answer(
            "State in Redis, behind HAProxy: does it take a quarter more CPU than the bare server?",
            at_least(times, A_QUARTER_MORE),
            f"It takes {bounded(times)} times the CPU of {_title(bare)} ({parts} a loop; health"
            " checks go on meanwhile). For that, a reply is safe from the end of any process.",
        )


def _daemons(measured: Measured, workload: Workload) -> Iterator[Answer]:
    fleets = [one for name, one in measured.items() if name.startswith("fleet_")]
    if len(fleets) < 2:  # noqa: PLR2004 — a comparison
        return
    if found := beside(fleets[0], fleets[-1], "all_s"):
        few, many, times = found
        used = few.of(CPU[SERVERS]).median / few.of("all_s").median
        rate = workload.clients / workload.pause_s if workload.pause_s else 0.0
        yield Answer(
            "Does one daemon take half as long again for the article's workload as more of them?",
            at_least(times, HALF_AGAIN),
            f"The {_title(few)} takes {bounded(times)} times as long as the {_title(many)}. The"
            f" whole workload is {number(rate)} lines a second at most, for which one daemon used"
            f" {number(100 * used)} % of a CPU. What daemons bring under a load that fills them is"
            " the question of `fleet experiment scaling`.",
        )


def _load(measured: Measured) -> Iterator[Answer]:
    if not measured:
        return
    busiest = max((one.of("load_busy") for one in measured.values()), key=lambda one: one.median)
    busy = interval(busiest.by_repeat.values())
    verdict = YES if busy.low >= LOAD_BUSY_FULL else NO if busy.high < LOAD_BUSY_FREE else SAME
    text = {
        NO: "No.",
        YES: "Yes: times are those of the load generator at least as much as the servers'.",
        SAME: "It was busy enough to have delayed some replies, or was seen too seldom to say.",
    }[verdict]
    yield Answer(
        "Was the load generator itself the bottleneck?",
        verdict,
        f"{text} With the server that gave it the most to do it used"
        f" {ranged(busiest.times(100), ' %')} of one CPU.",
    )


def _title(one: Measurement) -> str:
    return systems.TITLES[one["system"]]


def _loop(one: Measurement) -> str:
    return number(one.of("all_s").median)


def _concurrent_ones(measured: Measured) -> list[Measurement]:
    """The fastest first."""
    found = [one for name, one in measured.items() if name != systems.SERIAL]
    return sorted(found, key=lambda one: one.of("all_s").median)


def _slowest_against_fastest(others: Sequence[Measurement]) -> str:
    found = beside(others[-1], others[0], "all_s")
    return at_least(found[2], HALF_AGAIN) if found else SAME


def _times_slower(serial: Measurement | None, others: Iterable[Measurement]) -> list[Interval]:
    """Than each of the others that it was measured beside."""
    pairs = (beside(serial, one, "all_s") for one in others)
    return [times for _, _, times in filter(None, pairs)]


def _from_to(intervals: Sequence[Interval]) -> str:
    low, high = (f(one.middle for one in intervals) for f in (min, max))
    return f"{number(low)} to {number(high)}"
