"""The report of `fleet experiment shards`: raw data, pictures, the table, words."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lab.measure import calm
from lab.measure.samples import cell, shares, whiskers
from lab.measure.shards import answers
from lab.measure.shards.answers import CPU, P50
from lab.measure.shards.measure import POSTS, REPEATS_OF_A_START, SYSTEMS
from lab.report import plots, results
from lab.report.page import Report, Table, paragraphs
from lab.report.plots import plot

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure

    from lab.measure.samples import Measurement, Row
    from lab.measure.shards.answers import Measured
    from lab.measure.shards.measure import Plan
    from lab.report.page import Plot

METHOD = Path(__file__).with_name("method.jinja")
LOOKS = dict(
    zip(
        (system.name for system in SYSTEMS),
        ((plots.ORANGE, "//"), (plots.BLUE, ""), (plots.RED, "xx"), (plots.GREEN, "..")),
        strict=True,
    )
)
BAR = 0.19


def write(directory: Path, plan: Plan, rows: Sequence[Row]) -> Report:
    """Write the raw figures and the plots into `directory`, and put everything together."""
    results.write_csv(directory / "points.csv", rows)
    measured = answers.summarise(rows)
    counts = ", ".join(map(str, plan.connections))
    return Report(
        title="What a store of shards costs a daemon",
        question=f"One daemon with {counts} connections, on one Redis and on a cluster of {plan.shards}"
        " shards: what does a line cost it, what do homes save, and what does a replica cost that"
        " every answer waits for?",
        lead=answers.lead(measured),
        answers=list(answers.answers(measured)),
        plots=_plots(directory, measured) if measured else [],
        tables=[_table(measured)],
        method=[
            *paragraphs(METHOD, plan=plan, repeats_of_a_start=REPEATS_OF_A_START),
            *calm.method(),
        ],
        files=[("points.csv", "every measurement: rate, latency, CPU of the daemon and the store")],
    )


def _plots(directory: Path, measured: Measured) -> list[Plot]:
    return [
        plot(
            directory,
            "cpu",
            "The daemon's CPU for a line, and for a post",
            "Medians with their range. The more lines share a batch, the less each costs: so all are"
            " lower with more connections, and lines that are spread over shards share less.",
            partial(_bars, measured, CPU, 1.0, "CPU µs of the daemon, logarithmic"),
        ),
        plot(
            directory,
            "latency",
            "Time to a reply, and from a post to a delivery",
            "Half of them took no longer. With more connections a line waits for the batch before"
            " its own: compare the systems with each other, not the loads.",
            partial(_bars, measured, P50, 1e-3, "p50, milliseconds, logarithmic"),
        ),
    ]


def _bars(measured: Measured, column: str, factor: float, axis: str) -> Figure:
    """A group of bars for each load, one for each system in it."""
    figure, (axes,) = plots.canvas(3.6)
    loads = answers.loads(measured)
    for at, (system, (colour, hatch)) in enumerate(LOOKS.items()):
        found: Mapping[int, Measurement] = {
            group: measured[system, load]
            for group, load in enumerate(loads)
            if (system, load) in measured
        }
        figures = [one.of(column).times(factor) for one in found.values()]
        axes.bar(
            [group + (at - (len(LOOKS) - 1) / 2) * BAR for group in found],
            [one.median for one in figures],
            yerr=whiskers(figures), capsize=2, width=BAR, color=colour, hatch=hatch, label=system,
        )  # fmt: skip
    axes.set_yscale("log")
    axes.set_xticks(range(len(loads)), loads)
    axes.grid(visible=False, axis="x")
    axes.set_ylabel(axis)
    plots.plain_numbers(axes.yaxis)
    figure.legend(loc="outside upper right", ncols=len(LOOKS))
    return figure


def _table(measured: Measured) -> Table:
    return Table.of(
        "Every system under every load",
        "Medians of the repeats, in brackets their range. µs are CPU for a line, or for a post with"
        " its deliveries: of the daemon under load, and of all nodes of the store. Shards: on how many"
        " of them the sessions were.",
        [
            measured[key]
            for key in sorted(measured, key=lambda key: answers.loads(measured).index(key[1]))
        ],
        {
            "load": lambda one: one["load"],
            "store": lambda one: one["system"],
            "shards": lambda one: "-" if one["load"] == POSTS else _counts(one.all("shards_used")),
            "a second": cell("per_s"),
            "daemon, µs": cell("daemon_us"),
            "store, µs": cell("store_us"),
            "p50, ms": cell("p50_us", 1e-3),
            "p99, ms": cell("p99_us", 1e-3),
            "daemon busy": shares("daemon_busy"),
            "generator": shares("load_busy"),
            "machine": shares("machine_busy"),
        },
    )


def _counts(values: Sequence[int]) -> str:
    least, most = min(values), max(values)
    return str(least) if least == most else f"{least}-{most}"
