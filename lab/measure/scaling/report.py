"""The report of `fleet experiment scaling`: raw data, plots, tables, words."""

from __future__ import annotations

import math
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from lab.measure import calm
from lab.measure.samples import ranged
from lab.measure.scaling import answers, costs, pictures, summary
from lab.measure.scaling.measure import REPEATS_OF_A_START
from lab.report import results
from lab.report.page import Report, Table
from lab.report.plots import plot
from lab.report.words import number, percent, span

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from lab.measure.samples import Repeats
    from lab.measure.scaling.c10k import Held
    from lab.measure.scaling.measure import Plan, Point
    from lab.measure.scaling.summary import Summary
    from lab.measure.scaling.usl import Law
    from lab.report.page import Plot


def write(
    directory: Path, plan: Plan, points: Sequence[Point], held: Held | None, cpus: int
) -> Report:
    """Write the raw figures and the plots into `directory`, and put everything together."""
    results.write_csv(directory / "points.csv", [_flat(point) for point in points])
    if held:
        results.write_csv(directory / "c10k.csv", [asdict(held)])
    summaries = summary.summarise(points)
    laws = summary.laws(points)
    counts = ", ".join(map(str, plan.daemons))
    return Report(
        title="How the fleet scales",
        question=f"The same {plan.connections} connections, each with one line in flight, on"
        f" {counts} daemons: how many round trips do they get, what does each part of the fleet"
        " pay for one, which part is full, and what would more CPUs bring?",
        lead=answers.lead(summaries, cpus),
        answers=answers.answers(summaries, cpus, held),
        plots=_plots(directory, summaries, laws, cpus) if summaries else [],
        tables=[_table(summaries), _busy(summaries), _laws(laws)],
        method=_method(plan),
        files=[
            ("points.csv", "every measurement: rate, latency, CPU and busyness by part"),
            ("c10k.csv", "what one daemon held"),
        ],
    )


def _plots(
    directory: Path, summaries: Sequence[Summary], laws: Mapping[str, Law], cpus: int
) -> list[Plot]:
    shapes = summary.by_shape(summaries)
    measured = summary.fleet_costs(summaries)
    drawn = [
        plot(
            directory,
            "throughput",
            "Round trips by daemons",
            "Points are medians with their range, curves the fitted law (figures below). A"
            " curve that rises in a straight line scales; one that lies flat has met a limit."
            " Right of the dotted line there are more daemons than CPUs.",
            partial(pictures.throughput, shapes, laws, cpus),
        ),
        plot(
            directory,
            "cpu",
            "What each part pays for a round trip",
            "CPU time, so it shows what a part costs, not how long a client waits. It is what"
            " the prediction below is made from.",
            partial(pictures.cpu, summaries),
        ),
        plot(
            directory,
            "latency",
            "Time to a reply",
            "Every connection asks again as soon as it is answered, so these times follow from"
            " the rates: compare them with each other, not with a fleet at rest.",
            partial(pictures.latency, shapes),
        ),
    ]
    if measured:
        drawn.append(
            plot(
                directory,
                "prediction",
                "What the costs predict for more CPUs",
                "All CPUs: CPUs / (daemon + HAProxy + Redis). Redis's thread: 1 / (Redis +"
                " its wait for the disk), between the wait as measured and none. The fleet"
                " can't be above the lower of the two; where the bands cross, more CPUs stop"
                " helping one Redis. The load generator is taken to be elsewhere.",
                partial(pictures.prediction, measured),
            )
        )
    return drawn


def _table(summaries: Sequence[Summary]) -> Table:
    def cost(part: Callable[[Summary], Repeats]) -> Callable[[Summary], str]:
        return lambda one: ranged(part(one)) if part(one).max else "-"

    return Table.of(
        "Rates, latencies, costs",
        "Medians of the repeats, in brackets their range. µs are CPU for a round trip: of all"
        " daemons, of Redis, of HAProxy, of the load generator.",
        summaries,
        {
            "parts": lambda one: one.shape,
            "daemons": lambda one: str(one.daemons),
            "round trips/s": lambda one: ranged(one.rate),
            "p50, ms": lambda one: ranged(one.p50_us.times(1e-3)),
            "p99, ms": lambda one: ranged(one.p99_us.times(1e-3)),
            "daemons, µs": cost(lambda one: one.daemons_us),
            "Redis, µs": cost(lambda one: one.redis_us),
            "HAProxy, µs": cost(lambda one: one.haproxy_us),
            "load, µs": cost(lambda one: one.load_us),
        },
    )


def _busy(summaries: Sequence[Summary]) -> Table:
    return Table.of(
        "How busy each part was",
        "The least to the most of the repeats. A daemon, Redis's thread and a load process can"
        " have one CPU each, HAProxy as many as there are; disk is Redis's thread waiting for"
        " it, seen by looking at the thread's state; machine is all CPUs together.",
        summaries,
        {
            "parts": lambda one: one.shape,
            "daemons": lambda one: str(one.daemons),
            "each daemon": lambda one: span(busy.daemons for busy in one.busy),
            "Redis: CPU": lambda one: span(busy.redis for busy in one.busy),
            "disk": lambda one: span(busy.redis_disk for busy in one.busy),
            "HAProxy": lambda one: span(busy.haproxy for busy in one.busy),
            "load": lambda one: span(busy.load for busy in one.busy),
            "machine": lambda one: span(busy.machine for busy in one.busy),
        },
    )


def _laws(laws: Mapping[str, Law]) -> Table:
    return Table.of(
        "The Universal Scalability Law, fitted",
        "X(N) = rate · N / (1 + contention · (N - 1) + crosstalk · N · (N - 1)). Where the"
        " machine's CPUs or a single part ran out, contention says that, and nothing of the"
        " daemons. The fit's error is relative, root mean square.",
        laws,
        {
            "parts": str,
            "rate of one, /s": lambda shape: number(laws[shape].rate),
            "contention": lambda shape: number(laws[shape].contention),
            "crosstalk": lambda shape: number(laws[shape].crosstalk),
            "peak at": lambda shape: (
                "no peak" if math.isinf(laws[shape].peak) else f"{number(laws[shape].peak)} daemons"
            ),
            "error": lambda shape: f"{laws[shape].error:.1%}",
        },
    )


def _method(plan: Plan) -> list[str]:
    return [
        (
            f"{plan.connections} connections in closed loop (one line of 64 bytes in flight each, the"
            " next sent when the reply has come; every byte is compared) for"
            f" {plan.seconds:g} s after {plan.warm_up_s:g} s of warm-up, {plan.repeats} times in"
            " turns, with rising and with falling numbers of daemons, which are started afresh for"
            f" every {REPEATS_OF_A_START} turns. What is compared is compared within a turn."
            " The load generator is C, one process for each daemon. Redis has appendfsync"
            f" {plan.appendfsync}, the daemons durability commit; without store it is none."
        ),
        (
            "CPU is the kernel's count for each process in the measured seconds. A process that sends"
            " over loopback also does the receiver's part of TCP, so each part is charged for some of"
            " its neighbour's. Everything shares this machine's CPUs and nothing is pinned."
        ),
        (
            f"A part counts as full when it used {percent(costs.FULL)} or more of what it can have, and as"
            f" free below {percent(costs.FREE)}, if the whole interval of its repeats lies there; in between"
            " the report does not decide. A part's own limit is named before the machine's."
        ),
        calm.METHOD,
    ]


def _flat(point: Point) -> dict[str, Any]:
    row = asdict(point)
    shape, busy = row.pop("shape"), row.pop("busy")
    return {**shape, **row, **{f"{name}_busy": value for name, value in busy.items()}}
