"""The report of `fleet experiment models`: raw data, pictures, the table, words."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lab.measure import calm
from lab.measure.models import answers, systems
from lab.measure.models.answers import CPU
from lab.measure.models.clients import served
from lab.measure.models.measure import by_part
from lab.measure.samples import cell, ranged
from lab.measure.serving import HAPROXY, REDIS, SERVERS
from lab.report import plots, results
from lab.report.page import Report, Table, paragraphs
from lab.report.plots import Part, plot
from lab.report.words import number

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from matplotlib.figure import Figure

    from lab.measure.models.clients import Visit, Workload
    from lab.measure.models.measure import Plan, Visits
    from lab.measure.samples import Measurement, Row
    from lab.report.page import Plot

LOOKS = {SERVERS: (plots.BLUE, ""), REDIS: (plots.ORANGE, "//"), HAPROXY: (plots.GREEN, "xx")}
METHOD = Path(__file__).with_name("method.jinja")
MIB = 1 / (1024 * 1024)


def write(directory: Path, plan: Plan, rows: Sequence[Row], visits: Visits) -> Report:
    """Write the raw figures and the plots into `directory`, and put everything together."""
    results.write_csv(directory / "runs.csv", rows)
    connections = []
    for (system, repeat), of_one in visits.items():
        for visit in of_one:
            row = {"system": system, "repeat": repeat, **asdict(visit)}
            row["slowest_reply_s"] = max(row.pop("replies_s"), default="")
            connections.append(row)
    results.write_csv(directory / "visits.csv", connections)
    work = plan.workload
    measured = answers.summarise(rows, work)
    return Report(
        title="The article's servers, compared",
        question=f"The article's workload is {work.clients} clients at once, {work.lines} lines"
        f" each, a pause of {work.pause_s:g} s between two lines (the article: 1 s). What"
        " does each way to serve it cost, from one client at a time to a fleet?",
        lead=answers.lead(measured, work),
        answers=list(answers.answers(measured, work)),
        plots=_plots(directory, plan, visits, measured) if measured else [],
        tables=[_table(measured.values())],
        method=[*paragraphs(METHOD, plan=plan, work=work), *calm.method()],
        files=[
            ("runs.csv", "every repeat of every system: times, CPU and memory by part"),
            ("visits.csv", "every connection: when it was made, first answered, ended"),
        ],
    )


def _plots(
    directory: Path, plan: Plan, visits: Visits, measured: Mapping[str, Measurement]
) -> list[Plot]:
    first: dict[str, list[Visit]] = {}
    for (system, _), of_one in visits.items():
        if system in measured:
            first.setdefault(system, [visit for visit in of_one if visit.loop == 0])
    from_below = list(measured.values())[::-1]
    return [
        plot(
            directory,
            "loop-times",
            "Time for a loop",
            "A dot is the median, its bar the range of the repeats, hollow means extrapolated."
            " Look at the distance between the first row and all the others: from one"
            " vertical line to the next is a factor of ten.",
            partial(_loop_times, from_below),
        ),
        plot(
            directory,
            "served-at-once",
            "Connections served at once",
            "From its first reply to its end a connection counts as served. The serial server"
            " walks along 1 until the last client has gone; the others rise to all clients at"
            " once, stay while these pause, and are done after one client's time.",
            partial(_served_at_once, first, plan.workload),
        ),
        plot(
            directory,
            "cpu",
            "CPU time for a loop",
            "What the servers, Redis and HAProxy used. HAProxy's health checks and the daemons'"
            " own clocks go on while the clients pause: with so small a load they are a good"
            " part of the fleets' bars.",
            partial(_stacked, from_below, CPU, 1e3, "CPU milliseconds for a loop, median"),
        ),
        plot(
            directory,
            "memory",
            "Memory",
            "The highest resident memory of each process, summed. Pages that processes share"
            " are counted in each of them, so a fleet looks larger than it is.",
            partial(
                _stacked, from_below, by_part("most_bytes"), MIB, "MiB resident at most, median"
            ),
        ),
    ]


def _loop_times(shown: Sequence[Measurement]) -> Figure:
    """A dot and its range for each system, on a logarithmic scale."""
    figure, (axes,) = plots.canvas(0.36 * len(shown) + 1.0)
    for row, one in enumerate(shown):
        colour = plots.RED if one["system"] == systems.SERIAL else plots.BLUE
        loop_s, extrapolated = one.of("all_s"), one["extrapolated"]
        axes.plot([loop_s.min, loop_s.max], [row, row], color=colour, linewidth=3)
        axes.plot(
            [loop_s.median], [row], "o",
            color=colour, markersize=9, markerfacecolor="white" if extrapolated else colour,
        )  # fmt: skip
        axes.annotate(
            f"{number(loop_s.median)} s{', extrapolated' if extrapolated else ''}", (loop_s.max, row),
            xytext=(9, 0), textcoords="offset points", va="center", fontsize=9,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.margins(x=0.16, y=0.06)
    axes.set_yticks(range(len(shown)), [systems.TITLES[one["system"]] for one in shown])
    axes.set_xlabel("seconds for a loop, logarithmic")
    plots.plain_numbers(axes.xaxis)
    return figure


def _served_at_once(visits: Mapping[str, Sequence[Visit]], workload: Workload) -> Figure:
    """Steps over time: how many connections were being served. `visits` is of one loop each."""
    figure, (axes,) = plots.canvas(3.6)
    # Those that serve everybody lie on each other: which is the point. One is named for all.
    others = [name for name in visits if name != systems.SERIAL]
    for name, of_one in visits.items():
        times, counts = zip(*served(of_one), strict=True)
        serial = name == systems.SERIAL
        label = "each of the others" if others and name == others[0] else "_"
        axes.step(
            times, counts, where="post",
            color=plots.RED if serial else plots.BLUE,
            linewidth=2.2 if serial else 1.3, alpha=1 if serial else 0.55,
            label=f"{systems.TITLES[name]}, {len(of_one)} clients" if serial else label,
        )  # fmt: skip
    axes.set_yscale("log")
    axes.set_ylim(0.8, workload.clients * 1.6)
    axes.set_xlim(left=0)
    axes.set_xlabel("seconds since the loop began")
    axes.set_ylabel("connections served at once,\nlogarithmic")
    plots.plain_numbers(axes.yaxis)
    axes.legend(loc="upper right")
    return figure


def _stacked(
    shown: Sequence[Measurement], columns: Mapping[str, str], factor: float, axis: str
) -> Figure:
    """A bar for each system, of its parts' medians times `factor`."""
    figure, (axes,) = plots.canvas(0.36 * len(shown) + 1.2)
    parts = [
        Part(part, *LOOKS[part], [factor * one.of(column).median for one in shown])
        for part, column in columns.items()
    ]
    for row, total in enumerate(plots.stacked(axes, parts, [_with_clients(one) for one in shown])):
        axes.annotate(
            f"{total:.3g}", (total, row),
            xytext=(5, 0), textcoords="offset points", va="center", fontsize=9,
        )  # fmt: skip
    axes.set_xlabel(axis)
    axes.margins(x=0.09)
    figure.legend(loc="outside upper right", ncols=len(LOOKS))
    return figure


def _with_clients(one: Measurement) -> str:
    clients = f", {one['clients']} clients" if one["extrapolated"] else ""
    return systems.TITLES[one["system"]] + clients


def _table(measured: Iterable[Measurement]) -> Table:
    return Table.of(
        "Every system",
        "Medians of the repeats, in brackets their range. The serial server's loop is"
        " extrapolated to all clients; its other figures are those of the clients it was given.",
        measured,
        {
            "server": lambda one: systems.TITLES[one["system"]],
            "loop, s": lambda one: (
                ranged(one.of("all_s")) + (" extrapolated" if one["extrapolated"] else "")
            ),
            "served at once": lambda one: f"{max(one.all('served_at_once'))} of {one['clients']}",
            "CPU a loop, ms": cell("cpu_s", 1e3),
            "memory at most, MiB": cell("most_bytes", MIB),
            "MiB before clients": lambda one: number(one.of("idle_bytes").median * MIB),
            "reply p50, ms": lambda one: number(one.of("reply_p50_s").median * 1e3),
            "p99, ms": lambda one: number(one.of("reply_p99_s").median * 1e3),
            "load busy": lambda one: f"{one.of('load_busy').max:.0%}",
        },
    )
