"""The report of `fleet experiment fanout`: raw data, pictures, tables, words."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.ticker import MaxNLocator

from lab.measure import calm
from lab.measure.fanout import answers
from lab.measure.fanout.answers import BUSY_MAX, NAMES, short, under
from lab.measure.fanout.systems import (
    BROADCAST,
    COMPARED_SERVERS,
    DIRECTED,
    ROOM,
    ROUTES,
    SLOW_PEERS,
    Load,
    daemons,
)
from lab.measure.samples import cell, shares, whiskers
from lab.report import plots, results
from lab.report.page import Report, Table, paragraphs
from lab.report.plots import plot
from lab.report.words import number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from matplotlib.figure import Figure

    from lab.measure.fanout.systems import Loads, Plan
    from lab.measure.samples import Measurement, Row
    from lab.report.page import Plot

METHOD = Path(__file__).with_name("method.jinja")

SERIES = {
    BROADCAST: (plots.ORANGE, "^", "--"),
    ROOM: (plots.BLUE, "o", "-"),
    DIRECTED: (plots.GREEN, "s", ":"),
}


def write(directory: Path, plan: Plan, rows: Sequence[Row]) -> Report:
    """Write the raw figures and the plots into `directory`, and put everything together."""
    results.write_csv(directory / "points.csv", rows)
    measured, loads = answers.summarise(rows), plan.loads
    titles = {step.system.name: step.system.title for step in plan.steps}
    return Report(
        title="How a post reaches the members of a room on other servers",
        question="How should a posted message be pushed to all active users of a room when they are"
        " connected to different servers? By one channel that every server listens to, by a channel"
        " for each room, or to the servers where members are known to be: what does each cost, what"
        " is in vain, and where does each stop?",
        lead=answers.lead(measured, loads.grid),
        answers=list(answers.answers(measured, loads, answers.promises(loads))),
        plots=_plots(directory, measured, loads, titles) if measured else [],
        tables=_tables(measured, titles),
        method=[*paragraphs(METHOD, plan=plan), *calm.method()],
        files=[("points.csv", "every measurement: rate, latency, CPU by part, copies, losses")],
    )


def _plots(
    directory: Path,
    measured: Sequence[Measurement],
    loads: Loads,
    titles: Mapping[str, str],
) -> list[Plot]:
    compared = _compared(measured, [loads.large, loads.fast, loads.some], titles)
    drawn = [
        plot(
            directory,
            "ways",
            "What a delivery costs, by route and number of daemons",
            "Daemons and Redis together; points are medians with their range. Where the lines lie"
            " together, every daemon has members of every room; where they part, one of them"
            " works for nobody.",
            partial(_ways, measured, loads.grid),
        )
    ]
    if compared:
        drawn.append(
            plot(
                directory,
                "systems",
                f"What a CPU second brings, {COMPARED_SERVERS} servers of each",
                "Longer is better. echod stores every post and gives it one place in one order"
                " for all members; of the others, only the streams adapter stores, and none"
                " orders.",
                partial(_systems, compared, titles),
            )
        )
    return drawn


def _compared(
    measured: Sequence[Measurement], loads: Sequence[Load], names: Iterable[str]
) -> dict[str, dict[str, Measurement]]:
    """By load, then by system: the peers, and daemons by the default route. Empty without peers.

    A peer that gets a part of the posts (`SLOW_PEERS`) stands with those that get them all.
    """
    shown = set(names) - {daemons(route).name for route in ROUTES if route != ROOM}
    columns = {
        short(load): {
            name: one
            for name in shown
            for one in under(measured, name, load.times(SLOW_PEERS.get(name, 1.0)))
            if one["servers"] == COMPARED_SERVERS
        }
        for load in loads
    }
    known = {name for column in columns.values() for name in column}
    return columns if any(not name.startswith("echod") for name in known) else {}


def _ways(measured: Sequence[Measurement], grid: Sequence[Load]) -> Figure:
    """CPU for a delivery by servers, a picture for each load, a line for each route."""
    figure, every = plots.canvas(3.3, columns=len(grid))
    for axes, load in zip(every, grid, strict=True):
        for route, (colour, marker, dashes) in SERIES.items():
            found = under(measured, daemons(route).name, load)
            if not found:
                continue
            servers = [one["servers"] for one in found]
            costs = [one.of("total_us") for one in found]
            axes.errorbar(
                servers, [cost.median for cost in costs], yerr=whiskers(costs),
                fmt=marker, linestyle=dashes, color=colour, capsize=3, markersize=6,
                label=NAMES[route] if axes is every[0] else "_",
            )  # fmt: skip
            axes.set_xticks(servers)
        axes.set_title(short(load), fontsize=10)
        axes.set_xlabel("daemons")
        axes.set_ylim(bottom=0)
    every[0].set_ylabel("CPU µs for a delivery")
    figure.legend(loc="outside upper right", ncols=len(SERIES))
    return figure


def _systems(
    compared: Mapping[str, Mapping[str, Measurement]], titles: Mapping[str, str]
) -> Figure:
    """Deliveries for a CPU second: a picture for each load, a bar for each system.

    Args:
        compared: By load's label, then by system's name.
        titles: Of the systems, in the order in which they are shown.
    """
    names = [name for name in titles if any(name in column for column in compared.values())][::-1]
    figure, every = plots.canvas(0.36 * len(names) + 1.1, columns=len(compared))
    for axes, (label, column) in zip(every, compared.items(), strict=True):
        shown = [(row, column[name]) for row, name in enumerate(names) if name in column]
        found = [one.of("per_cpu_s") for _, one in shown]
        axes.barh(
            [row for row, _ in shown], [one.median for one in found], height=0.62,
            xerr=whiskers(found),
            color=[plots.GREY if one.of("copies").max == 0 else plots.BLUE for _, one in shown],
            error_kw={"ecolor": plots.INK, "capsize": 3, "linewidth": 1},
        )  # fmt: skip
        axes.set_title(label, fontsize=9)
        axes.set_ylim(-0.6, len(names) - 0.4)
        axes.set_yticks(
            range(len(names)),
            [titles[name] for name in names] if axes is every[0] else [],
            fontsize=8,
        )
        axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.tick_params(axis="x", labelsize=8)
        axes.grid(visible=False, axis="y")
    figure.supxlabel(
        "deliveries for a CPU second of servers and Redis, median and range", fontsize=9
    )
    return figure


def _tables(measured: Sequence[Measurement], titles: Mapping[str, str]) -> list[Table]:
    named: dict[str, Callable[[Measurement], str]] = {
        "system": lambda one: titles[one["system"]],
        "servers": lambda one: str(one["servers"]),
        "rooms": lambda one: short(Load.of(one)),
    }
    costs = Table.of(
        "Rates, latencies, costs",
        "Medians of the repeats, in brackets their range. µs are CPU for a delivery, of all servers"
        " and of Redis. A copy is a publication that reached a daemon, for a post; in vain are those"
        " that found no member there. Lost are deliveries missing, repeated or wrong, reordered"
        " those behind a later post, in all repeats.",
        measured,
        {
            **named,
            "deliveries/s": cell("deliveries_per_s"),
            "p50, ms": cell("p50_ms"),
            "p99, ms": cell("p99_ms"),
            "servers, µs": cell("servers_us"),
            "Redis, µs": cell("redis_us"),
            "deliveries/CPU s": cell("per_cpu_s"),
            "copies": lambda one: number(one.of("copies").median) if one.of("copies").max else "-",
            "in vain": lambda one: f"{one.of('vain').median:.0%}" if one.of("copies").max else "-",
            "lost": lambda one: f"{sum(one.all('lost')):,}",
            "reordered": lambda one: f"{sum(one.all('reordered')):,}",
        },
    )
    busyness = Table.of(
        "How busy each part was",
        "The least to the most of the repeats. A server process, Redis's thread and the load"
        f" generator can have one CPU each; machine is all CPUs together. Above {BUSY_MAX:.0%} of a"
        " server or of the machine, latencies are those of a queue.",
        measured,
        {
            **named,
            "busiest server": shares("server_busy"),
            "Redis": shares("redis_busy"),
            "load": shares("load_busy"),
            "machine": shares("machine_busy"),
        },
    )
    return [costs, busyness]
