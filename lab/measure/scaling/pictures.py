"""The four pictures of `fleet experiment scaling`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.measure.samples import whiskers
from lab.measure.scaling import costs
from lab.measure.scaling.answers import daemons
from lab.report import plots
from lab.report.plots import Part

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lab.measure.scaling.costs import Costs
    from lab.measure.scaling.summary import Summary
    from lab.measure.scaling.usl import Law

SERIES = {
    "no store, direct": (plots.GREY, "s", "-"),
    "no store, HAProxy": (plots.SKY, "D", "--"),
    "Redis, direct": (plots.ORANGE, "^", "-"),
    "Redis, HAProxy": (plots.BLUE, "o", "-"),
}
PARTS = (
    ("daemons", "daemons_us", plots.BLUE, ""),
    ("Redis", "redis_us", plots.ORANGE, "//"),
    ("HAProxy", "haproxy_us", plots.GREEN, "xx"),
    ("load generator", "load_us", plots.GREY, ""),
)
CURVE_STEPS = 60
PREDICTED_CPUS_MAX = 128


def throughput(
    shapes: Mapping[str, Sequence[Summary]], laws: Mapping[str, Law], cpus: int
) -> Figure:
    """Round trips/s by daemons, with ranges, the fitted curve, and where the CPUs end."""
    figure, (axes,) = plots.canvas(4.2)
    most = max(one.daemons for group in shapes.values() for one in group)
    for shape, group in shapes.items():
        colour, marker, dashes = SERIES[shape]
        medians = [one.rate.median for one in group]
        axes.errorbar(
            [one.daemons for one in group], medians,
            yerr=whiskers([one.rate for one in group]),
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
    axes.set_xticks(sorted({one.daemons for group in shapes.values() for one in group}))
    axes.set_xlabel("daemons")
    axes.set_ylabel("round trips a second")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    figure.legend(loc="outside upper right", ncols=len(SERIES))
    return figure


def latency(shapes: Mapping[str, Sequence[Summary]]) -> Figure:
    """p50 and p99 by daemons, side by side."""
    figure, both = plots.canvas(3.4, columns=2)
    for axes, figure_name, title in zip(
        both, ("p50_us", "p99_us"), ("half of all replies (p50)", "99 of 100 (p99)"), strict=True
    ):
        for shape, group in shapes.items():
            colour, marker, dashes = SERIES[shape]
            axes.plot(
                [one.daemons for one in group],
                [getattr(one, figure_name).median / 1e3 for one in group],
                dashes, marker=marker, color=colour, label=shape if axes is both[0] else "_",
            )  # fmt: skip
        axes.set_title(title, fontsize=10)
        axes.set_xticks(sorted({one.daemons for group in shapes.values() for one in group}))
        axes.set_xlabel("daemons")
        axes.set_ylim(bottom=0)
    both[0].set_ylabel("milliseconds")
    figure.legend(loc="outside upper right", ncols=len(SERIES))
    return figure


def cpu(summaries: Sequence[Summary]) -> Figure:
    """CPU µs for a round trip by part, stacked, a bar for each measurement."""
    shown = list(summaries)[::-1]
    figure, (axes,) = plots.canvas(0.29 * len(shown) + 1.2)
    parts = [
        Part(name, colour, hatch, [getattr(one, figure).median for one in shown])
        for name, figure, colour, hatch in PARTS
    ]
    plots.stacked(axes, parts, [f"{one.shape}, {daemons(one.daemons)}" for one in shown])
    axes.set_xlabel("CPU µs for a round trip, median")
    figure.legend(loc="outside upper right", ncols=len(PARTS))
    return figure


def prediction(measured: Costs) -> Figure:
    """The limits by CPUs: all of them, Redis's thread, and the lower of the two."""
    figure, (axes,) = plots.canvas(3.8)
    sizes = range(2, PREDICTED_CPUS_MAX + 1)
    predicted = [costs.predict(measured, size) for size in sizes]
    _band(axes, sizes, [one.all_cpus for one in predicted], plots.BLUE, "all CPUs")
    _band(axes, sizes, [one.redis for one in predicted], plots.ORANGE, "Redis's single thread")
    axes.plot(
        sizes, [one.limit[1] for one in predicted],
        color=plots.INK, linewidth=2, linestyle="--", label="the lower of the two, at best",
    )  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks([2, 4, 8, 16, 32, 64, PREDICTED_CPUS_MAX])
    axes.set_xlabel("CPUs of the machine, logarithmic")
    axes.set_ylabel("round trips a second,\nlogarithmic")
    plots.plain_numbers(axes.xaxis, axes.yaxis)
    figure.legend(loc="outside upper right", ncols=3)
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
