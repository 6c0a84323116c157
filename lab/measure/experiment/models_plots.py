"""The four pictures of `fleet experiment models`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.measure.experiment import systems
from lab.measure.experiment.workload import served
from lab.report import plots
from lab.report.words import number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from matplotlib.figure import Figure

    from lab.measure.experiment.models_summary import Summary
    from lab.measure.experiment.samples import Repeats
    from lab.measure.experiment.workload import Visit, Workload

PART_LOOKS = {
    systems.SERVERS: (plots.BLUE, ""),
    systems.REDIS: (plots.ORANGE, "//"),
    systems.HAPROXY: (plots.GREEN, "xx"),
}
MIB = 1024 * 1024


def loop_times(summaries: Mapping[str, Summary]) -> Figure:
    """A dot and its range for each system, on a logarithmic scale."""
    names = list(summaries)[::-1]
    figure, (axes,) = plots.canvas(0.36 * len(names) + 1.0)
    for row, name in enumerate(names):
        one = summaries[name]
        colour = plots.RED if name == systems.SERIAL else plots.BLUE
        axes.plot([one.loop_s.min, one.loop_s.max], [row, row], color=colour, linewidth=3)
        axes.plot(
            [one.loop_s.median], [row], "o",
            color=colour, markersize=9, markerfacecolor="white" if one.extrapolated else colour,
        )  # fmt: skip
        unit = " s, extrapolated" if one.extrapolated else " s"
        axes.annotate(
            f"{number(one.loop_s.median)}{unit}", (one.loop_s.max, row),
            xytext=(9, 0), textcoords="offset points", va="center", fontsize=9,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.margins(x=0.16, y=0.06)
    axes.set_yticks(range(len(names)), [systems.TITLES[name] for name in names])
    axes.set_xlabel("seconds for a loop, logarithmic")
    plots.plain_numbers(axes.xaxis)
    return figure


def served_at_once(visits: Mapping[str, Sequence[Visit]], workload: Workload) -> Figure:
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


def cpu(summaries: Mapping[str, Summary]) -> Figure:
    """CPU milliseconds of a loop by part, stacked."""
    return _stacked(
        summaries, lambda one: one.cpu_s_by_part, 1e3, "CPU milliseconds for a loop, median"
    )


def memory(summaries: Mapping[str, Summary]) -> Figure:
    """The most resident memory by part, stacked."""
    return _stacked(
        summaries, lambda one: one.most_bytes_by_part, 1 / MIB,
        "MiB resident at most, median",
    )  # fmt: skip


def _stacked(
    summaries: Mapping[str, Summary],
    of: Callable[[Summary], Mapping[str, Repeats]],
    factor: float,
    axis: str,
) -> Figure:
    names = list(summaries)[::-1]
    figure, (axes,) = plots.canvas(0.36 * len(names) + 1.2)
    behind = [0.0] * len(names)
    for part, (colour, hatch) in PART_LOOKS.items():
        widths = [
            factor * parts[part].median if part in (parts := of(summaries[name])) else 0.0
            for name in names
        ]
        if any(widths):
            axes.barh(
                range(len(names)), widths, left=behind,
                color=colour, hatch=hatch, label=part, height=0.62,
            )  # fmt: skip
        behind = [left + width for left, width in zip(behind, widths, strict=True)]
    for row, total in enumerate(behind):
        axes.annotate(
            f"{total:.3g}", (total, row),
            xytext=(5, 0), textcoords="offset points", va="center", fontsize=9,
        )  # fmt: skip
    axes.set_yticks(range(len(names)), [_with_clients(summaries[name]) for name in names])
    axes.set_xlabel(axis)
    axes.margins(x=0.09)
    axes.grid(visible=False, axis="y")
    figure.legend(loc="outside upper right", ncols=len(PART_LOOKS))
    return figure


def _with_clients(one: Summary) -> str:
    return systems.TITLES[one.system] + (f", {one.clients} clients" if one.extrapolated else "")
