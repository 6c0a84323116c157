"""The plots of `fleet experiment fanout`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.ticker import MaxNLocator

from lab.measure.fanout.answers import NAMES, short
from lab.measure.fanout.systems import BROADCAST, DIRECTED, ROOM, daemons
from lab.measure.samples import whiskers
from lab.report import plots

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lab.measure.fanout.plan import Load
    from lab.measure.fanout.summary import Summary

SERIES = {
    BROADCAST: (plots.ORANGE, "^", "--"),
    ROOM: (plots.BLUE, "o", "-"),
    DIRECTED: (plots.GREEN, "s", ":"),
}


def ways(summaries: Sequence[Summary], grid: Sequence[Load]) -> Figure:
    """CPU for a delivery by servers, a picture for each load, a line for each route."""
    figure, every = plots.canvas(3.3, columns=len(grid))
    for axes, load in zip(every, grid, strict=True):
        for route in SERIES:
            name = daemons(route).name
            found = sorted(
                (one for one in summaries if one.system == name and one.load == load),
                key=lambda one: one.servers,
            )
            if found:
                _line(axes, found, route, NAMES[route] if axes is every[0] else "_")
        axes.set_title(short(load), fontsize=10)
        axes.set_xlabel("daemons")
        axes.set_ylim(bottom=0)
    every[0].set_ylabel("CPU µs for a delivery")
    figure.legend(loc="outside upper right", ncols=len(SERIES))
    return figure


def _line(axes: Axes, found: Sequence[Summary], route: str, label: str) -> None:
    colour, marker, dashes = SERIES[route]
    medians = [one.total_us.median for one in found]
    axes.errorbar(
        [one.servers for one in found], medians,
        yerr=whiskers([one.total_us for one in found]),
        fmt=marker, linestyle=dashes, color=colour, capsize=3, markersize=6, label=label,
    )  # fmt: skip
    axes.set_xticks([one.servers for one in found])


def systems(compared: Mapping[str, Mapping[str, Summary]], titles: Mapping[str, str]) -> Figure:
    """Deliveries for a CPU second: a picture for each load, a bar for each system.

    Args:
        compared: By load's label, then by system's name.
        titles: Of the systems, in the order in which they are shown.
    """
    names = [name for name in titles if any(name in column for column in compared.values())][::-1]
    figure, every = plots.canvas(0.36 * len(names) + 1.1, columns=len(compared))
    for axes, (label, column) in zip(every, compared.items(), strict=True):
        shown = [(row, column[name]) for row, name in enumerate(names) if name in column]
        medians = [one.per_cpu_s.median for _, one in shown]
        axes.barh(
            [row for row, _ in shown], medians, height=0.62,
            xerr=whiskers([one.per_cpu_s for _, one in shown]),
            color=[plots.GREY if one.copies.max == 0 else plots.BLUE for _, one in shown],
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
