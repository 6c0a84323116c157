"""The report of `fleet experiment scaling`: raw data, pictures, tables, words."""

from __future__ import annotations

import itertools
import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lab.measure import calm
from lab.measure.samples import cell, measurements, shares, whiskers
from lab.measure.scaling import answers, costs, usl
from lab.measure.scaling.answers import FULL_FLEET, RATE, by_shape, daemons
from lab.measure.scaling.measure import REPEATS_OF_A_START
from lab.report import plots, results
from lab.report.page import Report, Table, paragraphs
from lab.report.plots import Part, plot
from lab.report.words import number, percent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lab.measure.samples import Measurement, Row
    from lab.measure.scaling.measure import Plan
    from lab.measure.scaling.usl import Law
    from lab.report.page import Plot

    # Each shape's measurements, by rising number of daemons.
    Shapes = Mapping[str, Sequence[Measurement]]

SERIES = {
    "no store, direct": (plots.GREY, "s", "-"),
    "no store, HAProxy": (plots.SKY, "D", "--"),
    "Redis, direct": (plots.ORANGE, "^", "-"),
    "Redis, HAProxy": (plots.BLUE, "o", "-"),
}
# Of the store with more shards than one, in their order.
SHARDED = ((plots.GREEN, "v", "-"), (plots.RED, "P", "-"), (plots.SKY, "X", ":"))
BARS = (
    ("daemons", "daemons_us", plots.BLUE, ""),
    ("Redis", "redis_us", plots.ORANGE, "//"),
    ("HAProxy", "haproxy_us", plots.GREEN, "xx"),
    ("load generator", "load_us", plots.GREY, ""),
)
CURVE_STEPS = 60
PREDICTED_CPUS_MAX = 128
METHOD = Path(__file__).with_name("method.jinja")


def write(directory: Path, plan: Plan, rows: Sequence[Row], held: Row | None, cpus: int) -> Report:
    """Write the raw figures and the plots into `directory`, and put everything together."""
    results.write_csv(directory / "points.csv", rows)
    if held:
        results.write_csv(directory / "c10k.csv", [held])
    measured = measurements(rows, "shape", "daemons")
    laws = {}
    for one in measurements(rows, "shape"):
        pairs = list(zip(one.all("daemons"), one.all(RATE), strict=True))
        if len(set(one.all("daemons"))) >= usl.SIZES_MIN:
            laws[one["shape"]] = usl.fit(pairs)
    counts = ", ".join(map(str, plan.daemons))
    bounds = {"full": percent(costs.FULL), "free": percent(costs.FREE)}
    method = paragraphs(METHOD, plan=plan, repeats_of_a_start=REPEATS_OF_A_START, **bounds)
    return Report(
        title="How the fleet scales",
        question=f"The same {plan.connections} connections, each with one line in flight, on"
        f" {counts} daemons: how many round trips do they get, what does each part of the fleet"
        " pay for one, which part is full, and what would more CPUs bring?",
        lead=answers.lead(measured, cpus),
        answers=list(answers.answers(measured, cpus, held)),
        plots=_plots(directory, measured, laws, cpus) if measured else [],
        tables=[*_tables(measured), _laws(laws)],
        method=[*method, *calm.method()],
        files=[
            ("points.csv", "every measurement: rate, latency, CPU and busyness by part"),
            ("c10k.csv", "what one daemon held"),
        ],
    )


def _plots(
    directory: Path, measured: Sequence[Measurement], laws: Mapping[str, Law], cpus: int
) -> list[Plot]:
    shapes = by_shape(measured)
    drawn = [
        plot(
            directory,
            "throughput",
            "Round trips by daemons",
            "Points are medians with their range, curves the fitted law (figures below). A"
            " curve that rises in a straight line scales; one that lies flat has met a limit."
            " Right of the dotted line there are more daemons than CPUs.",
            partial(_throughput, shapes, laws, cpus),
        ),
        plot(
            directory,
            "cpu",
            "What each part pays for a round trip",
            "CPU time, so it shows what a part costs, not how long a client waits. It is what"
            " the prediction below is made from.",
            partial(_cpu, measured),
        ),
        plot(
            directory,
            "latency",
            "Time to a reply",
            "Every connection asks again as soon as it is answered, so these times follow from"
            " the rates: compare them with each other, not with a fleet at rest.",
            partial(_latency, shapes),
        ),
    ]
    if FULL_FLEET in shapes:
        drawn.append(
            plot(
                directory,
                "prediction",
                "What the costs predict for more CPUs",
                "All CPUs: CPUs / (daemon + HAProxy + Redis). Redis's thread: 1 / (Redis +"
                " its wait for the disk), between the wait as measured and none. The fleet"
                " can't be above the lower of the two; where the bands cross, more CPUs stop"
                f" helping one Redis.{_with_shards(shapes)} The load generator is taken to be elsewhere.",
                partial(_prediction, shapes),
            )
        )
    return drawn


def _series(shapes: Shapes) -> dict[str, tuple[str, str, str]]:
    """How each is drawn."""
    sharded = [shape for shape in shapes if shape not in SERIES]
    return {**SERIES, **dict(zip(sharded, itertools.cycle(SHARDED), strict=False))}


def _throughput(shapes: Shapes, laws: Mapping[str, Law], cpus: int) -> Figure:
    """Round trips/s by daemons, with ranges, the fitted curve, and where the CPUs end."""
    figure, (axes,) = plots.canvas(4.2)
    most = max(one["daemons"] for group in shapes.values() for one in group)
    for shape, group in shapes.items():
        colour, marker, dashes = _series(shapes)[shape]
        medians = [one.of(RATE).median for one in group]
        axes.errorbar(
            [one["daemons"] for one in group], medians,
            yerr=whiskers([one.of(RATE) for one in group]),
            fmt=marker, color=colour, capsize=3, markersize=6.5, label=shape,
        )  # fmt: skip
        if shape in laws:
            sizes = [1 + (most - 1) * step / CURVE_STEPS for step in range(CURVE_STEPS + 1)]
            axes.plot(
                sizes, [laws[shape].throughput(size) for size in sizes],
                dashes, color=colour, linewidth=1.4,
            )  # fmt: skip
    if cpus <= most:
        axes.axvline(cpus, color=plots.INK, linewidth=1, linestyle=":")
        axes.annotate(
            f"this machine: {cpus} CPUs", (cpus, 0), xycoords=("data", "axes fraction"),
            xytext=(5, 4), textcoords="offset points", va="bottom", fontsize=9,
        )  # fmt: skip
    axes.set_ylim(bottom=0)
    axes.set_xticks(sorted({one["daemons"] for group in shapes.values() for one in group}))
    axes.set_xlabel("daemons")
    axes.set_ylabel("round trips a second")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    figure.legend(loc="outside upper right", ncols=min(4, len(shapes)))
    return figure


def _latency(shapes: Shapes) -> Figure:
    """p50 and p99 by daemons, side by side."""
    figure, both = plots.canvas(3.4, columns=2)
    for axes, column, title in zip(
        both, ("p50_us", "p99_us"), ("half of all replies (p50)", "99 of 100 (p99)"), strict=True
    ):
        for shape, group in shapes.items():
            colour, marker, dashes = _series(shapes)[shape]
            axes.plot(
                [one["daemons"] for one in group],
                [one.of(column).median / 1e3 for one in group],
                dashes, marker=marker, color=colour, label=shape if axes is both[0] else "_",
            )  # fmt: skip
        axes.set_title(title, fontsize=10)
        axes.set_xticks(sorted({one["daemons"] for group in shapes.values() for one in group}))
        axes.set_xlabel("daemons")
        axes.set_ylim(bottom=0)
    both[0].set_ylabel("milliseconds")
    figure.legend(loc="outside upper right", ncols=min(4, len(shapes)))
    return figure


def _cpu(measured: Sequence[Measurement]) -> Figure:
    """CPU µs for a round trip by part, stacked, a bar for each measurement."""
    shown = measured[::-1]
    figure, (axes,) = plots.canvas(0.29 * len(shown) + 1.2)
    parts = [
        Part(name, colour, hatch, [one.of(column).median for one in shown])
        for name, column, colour, hatch in BARS
    ]
    plots.stacked(axes, parts, [f"{one['shape']}, {daemons(one)}" for one in shown])
    axes.set_xlabel("CPU µs for a round trip, median")
    figure.legend(loc="outside upper right", ncols=len(BARS))
    return figure


def _with_shards(shapes: Shapes) -> str:
    """What the prediction's plot shows of a store of shards, if one was measured."""
    found = answers.sharded(shapes)
    if not found:
        return ""
    return (
        f" The green band is {_enough(shapes, found[-1])} shards, each with a thread of its own: so many"
        f" that no thread is full before {answers.PREDICTED_CPUS[-1]} CPUs are, by what a line costs on"
        " shards."
    )


def _enough(shapes: Shapes, sharded: Sequence[Measurement]) -> int:
    """How many shards are enough for the largest machine that is asked about."""
    measured = costs.costs_on_shards(shapes[FULL_FLEET], sharded)
    return costs.predict(measured, answers.PREDICTED_CPUS[-1]).shards[1]


def _prediction(shapes: Shapes) -> Figure:
    """The limits by CPUs: all of them, Redis's thread, the lower of the two; and shards enough."""
    figure, (axes,) = plots.canvas(3.8)
    sizes = range(2, PREDICTED_CPUS_MAX + 1)
    fleet = costs.costs(shapes[FULL_FLEET])
    predicted = [costs.predict(fleet, size) for size in sizes]
    _band(axes, sizes, [one.all_cpus for one in predicted], plots.BLUE, "all CPUs")
    _band(axes, sizes, [one.redis for one in predicted], plots.ORANGE, "one Redis's thread")
    if found := answers.sharded(shapes):
        enough = _enough(shapes, found[-1])
        on_shards = costs.costs_on_shards(shapes[FULL_FLEET], found[-1])
        threads = [costs.predict(on_shards, size).on(enough).redis for size in sizes]
        _band(axes, sizes, threads, plots.GREEN, f"the threads of {enough} shards")
    axes.plot(
        sizes, [one.limit[1] for one in predicted],
        color=plots.INK, linewidth=2, linestyle="--", label="one Redis: the lower of the two, at best",
    )  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks([2, 4, 8, 16, 32, 64, PREDICTED_CPUS_MAX])
    axes.set_xlabel("CPUs of the machine, logarithmic")
    axes.set_ylabel("round trips a second,\nlogarithmic")
    plots.plain_numbers(axes.xaxis, axes.yaxis)
    figure.legend(loc="outside upper right", ncols=2 if found else 3)
    return figure


def _band(
    axes: Axes,
    sizes: Sequence[float],
    limits: Sequence[tuple[float, float]],
    colour: str,
    label: str,
) -> None:
    low, high = zip(*limits, strict=True)
    axes.fill_between(sizes, low, high, color=colour, alpha=0.35, linewidth=0, label=label)
    axes.plot(sizes, high, color=colour, linewidth=1.2)


def _tables(measured: Sequence[Measurement]) -> list[Table]:
    named: dict[str, Callable[[Measurement], str]] = {
        "parts": lambda one: one["shape"],
        "daemons": lambda one: str(one["daemons"]),
    }
    costs_of_each = Table.of(
        "Rates, latencies, costs",
        "Medians of the repeats, in brackets their range. µs are CPU for a round trip: of all"
        " daemons, of Redis, of HAProxy, of the load generator.",
        measured,
        {
            **named,
            "round trips/s": cell(RATE),
            "p50, ms": cell("p50_us", 1e-3),
            "p99, ms": cell("p99_us", 1e-3),
            "daemons, µs": cell("daemons_us"),
            "Redis, µs": cell("redis_us"),
            "HAProxy, µs": cell("haproxy_us"),
            "load, µs": cell("load_us"),
        },
    )
    busy = Table.of(
        "How busy each part was",
        "The least to the most of the repeats. A daemon, Redis's thread and a load process can"
        " have one CPU each, HAProxy as many as there are; disk is Redis's thread waiting for"
        " it, seen by looking at the thread's state. With several shards both are the busiest"
        " one's, and `busiest shard` is its share of the CPU of all of them. Machine is all CPUs"
        " together.",
        measured,
        {
            **named,
            "each daemon": shares("daemons_busy"),
            "Redis: CPU": shares("redis_busy"),
            "disk": shares("redis_disk_busy"),
            "busiest shard": _busiest,
            "HAProxy": shares("haproxy_busy"),
            "load": shares("load_busy"),
            "machine": shares("machine_busy"),
        },
    )
    return [costs_of_each, busy]


def _busiest(one: Measurement) -> str:
    """The busiest shard's share of the store's CPU."""
    return shares("busiest_shard")(one) if one["shards"] > 1 else "-"


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
