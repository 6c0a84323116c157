"""The report of `fleet experiment scaling`: raw data, plots, tables, words."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lab.measure.experiment import calm, costs, scaling, scaling_answers, scaling_plots
from lab.measure.experiment.samples import READING, ranged
from lab.report import plots, results
from lab.report.page import Plot, Report, Table
from lab.report.words import number, percent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from lab.measure.experiment.c10k import Held
    from lab.measure.experiment.costs import Busy
    from lab.measure.experiment.scaling import Plan, Point
    from lab.measure.experiment.scaling_answers import Summary
    from lab.measure.experiment.usl import Law
    from lab.report.machine import Machine

HEADERS = (
    *("parts", "daemons", "round trips/s", "p50, ms", "p99, ms"),
    *("daemons, µs", "Redis, µs", "HAProxy, µs", "load, µs"),
)
BUSY_HEADERS = (
    "parts",
    "daemons",
    "each daemon",
    "Redis: CPU",
    "disk",
    "HAProxy",
    "load",
    "machine",
)


def write_raw(directory: Path, points: Sequence[Point], held: Held | None) -> None:
    """`points.csv`, a line for each measurement; `c10k.csv`, one line."""
    results.write_csv(directory / "points.csv", [_flat(point) for point in points])
    if held:
        results.write_csv(directory / "c10k.csv", [asdict(held)])


def report(  # noqa: PLR0913 — each is one thing that the report tells of
    directory: Path,
    plan: Plan,
    points: Sequence[Point],
    held: Held | None,
    *,
    machine: Machine,
    command: str,
    date: str,
    warnings: Sequence[str],
) -> Report:
    """Draw the plots into `directory` and put everything together."""
    summaries = scaling_answers.summarise(points)
    laws = scaling_answers.laws(points)
    counts = ", ".join(map(str, plan.daemons))
    return Report(
        title="How the fleet scales",
        question=f"The same {plan.connections} connections, each with one line in flight, on"
        f" {counts} daemons: how many round trips do they get, what does each part of the fleet"
        " pay for one, which part is full, and what would more CPUs bring?",
        lead=scaling_answers.lead(summaries, machine.cpus),
        answers=scaling_answers.answers(summaries, machine.cpus, held),
        plots=_plots(directory, summaries, laws, machine.cpus) if summaries else [],
        tables=[_table(summaries), _busy(summaries), _laws(laws)],
        method=_method(plan),
        machine=machine.rows,
        commands=["make setup", f".venv/bin/{command}"],
        files=[
            ("points.csv", "every measurement: rate, latency, CPU and busyness by part"),
            ("c10k.csv", "what one daemon held"),
            ("*.svg, *.png", "the plots"),
            ("run.json", "the answers, for the index and the next run"),
        ],
        date=date,
        reading=READING,
        warnings=warnings,
    )


def _plots(
    directory: Path, summaries: Sequence[Summary], laws: Mapping[str, Law], cpus: int
) -> list[Plot]:
    shapes = scaling_answers.by_shape(summaries)
    measured = scaling_answers.fleet_costs(summaries)
    with plots.look():
        drawn: list[tuple[str, str, str, Figure]] = [
            (
                "throughput",
                "Round trips by daemons",
                (
                    "Points are medians with their range, curves the fitted law (figures below). A"
                    " curve that rises in a straight line scales; one that lies flat has met a limit."
                    " Right of the dotted line there are more daemons than CPUs."
                ),
                scaling_plots.throughput(shapes, laws, cpus),
            ),
            (
                "cpu",
                "What each part pays for a round trip",
                (
                    "CPU time, so it shows what a part costs, not how long a client waits. It is what"
                    " the prediction below is made from."
                ),
                scaling_plots.cpu(summaries),
            ),
            (
                "latency",
                "Time to a reply",
                (
                    "Every connection asks again as soon as it is answered, so these times follow from"
                    " the rates: compare them with each other, not with a fleet at rest."
                ),
                scaling_plots.latency(shapes),
            ),
        ]
        if measured:
            drawn.append(
                (
                    "prediction",
                    "What the costs predict for more CPUs",
                    (
                        "All CPUs: CPUs / (daemon + HAProxy + Redis). Redis's thread: 1 / (Redis +"
                        " its wait for the disk), between the wait as measured and none. The fleet"
                        " can't be above the lower of the two; where the bands cross, more CPUs stop"
                        " helping one Redis. The load generator is taken to be elsewhere."
                    ),
                    scaling_plots.prediction(measured),
                )
            )
    return [
        Plot(name, title, caption, plots.save(figure, directory, name, f"{title}. {caption}"))
        for name, title, caption, figure in drawn
    ]


def _table(summaries: Sequence[Summary]) -> Table:
    return Table(
        "Rates, latencies, costs",
        "Medians of the repeats, in brackets their range. µs are CPU for a round trip: of all"
        " daemons, of Redis, of HAProxy, of the load generator.",
        HEADERS,
        [
            [
                one.shape,
                str(one.daemons),
                ranged(one.rate),
                ranged(one.p50_us.times(1e-3)),
                ranged(one.p99_us.times(1e-3)),
                *(
                    ranged(part) if part.max else "-"
                    for part in (one.daemons_us, one.redis_us, one.haproxy_us, one.load_us)
                ),
            ]
            for one in summaries
        ],
    )


def _busy(summaries: Sequence[Summary]) -> Table:
    return Table(
        "How busy each part was",
        "The least to the most of the repeats. A daemon, Redis's thread and a load process can"
        " have one CPU each, HAProxy as many as there are; disk is Redis's thread waiting for"
        " it, seen by looking at the thread's state; machine is all CPUs together.",
        BUSY_HEADERS,
        [
            [one.shape, str(one.daemons), *(_percent(one.busy, name) for name in _BUSY)]
            for one in summaries
        ],
    )


_BUSY = ("daemons", "redis", "redis_disk", "haproxy", "load", "machine")


def _percent(repeats: Sequence[Busy], name: str) -> str:
    values = [getattr(one, name) for one in repeats]
    low, high = f"{min(values):.0%}", f"{max(values):.0%}"
    return low if low == high else f"{low}-{high}"


def _laws(laws: Mapping[str, Law]) -> Table:
    return Table(
        "The Universal Scalability Law, fitted",
        "X(N) = rate · N / (1 + contention · (N - 1) + crosstalk · N · (N - 1)). Where the"
        " machine's CPUs or a single part ran out, contention says that, and nothing of the"
        " daemons. The fit's error is relative, root mean square.",
        ("parts", "rate of one, /s", "contention", "crosstalk", "peak at", "error"),
        [
            [
                shape,
                number(law.rate),
                number(law.contention),
                number(law.crosstalk),
                "no peak" if math.isinf(law.peak) else f"{number(law.peak)} daemons",
                f"{law.error:.1%}",
            ]
            for shape, law in laws.items()
        ],
    )


def _method(plan: Plan) -> list[str]:
    return [
        (
            f"{plan.connections} connections in closed loop (one line of 64 bytes in flight each, the"
            " next sent when the reply has come; every byte is compared) for"
            f" {plan.seconds:g} s after {plan.warm_up_s:g} s of warm-up, {plan.repeats} times in"
            " turns, with rising and with falling numbers of daemons, which are started afresh for"
            f" every {scaling.REPEATS_OF_A_START} turns. What is compared is compared within a turn."
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
