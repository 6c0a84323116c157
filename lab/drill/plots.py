"""The picture of a drill: what was answered, what broke, and who was without service, over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from lab.drill.judge.figures import BIN_S
from lab.report import plots

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from lab.drill.judge.outcome import Outcome

HEIGHT_INCHES = 5.4
# Labels of steps that are nearer than this share of the picture are put on other heights.
LABEL_SHARE = 0.16
LABEL_ROWS = 3
# Columns: a drill of an hour is drawn no finer than one of a minute.
COLUMNS_MAX = 600


def timeline(outcome: Outcome) -> Figure:
    """Two panels over one time, which is 0 when all clients are served."""
    figure = Figure(figsize=(plots.WIDTH_INCHES, HEIGHT_INCHES), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    times, width_s, counts = _bins(outcome)
    above.step(
        times, [count / width_s for count in counts["answered"]], where="post", color=plots.BLUE,
        linewidth=1.4, label="sessions",
    )  # fmt: skip
    above.step(
        times, [count / width_s for count in counts["plain"]], where="post", color=plots.GREEN,
        linewidth=1.2, linestyle="--", label="plain port",
    )  # fmt: skip
    above.set_ylabel("lines answered a second")
    above.set_ylim(bottom=0)
    below.bar(
        times, counts["faults"], width=width_s, align="edge", color=plots.RED,
        label="errors heard, connections cut",
    )  # fmt: skip
    below.step(
        times, counts["without"], where="post", color=plots.INK,
        linewidth=1.4, label="clients without service",
    )  # fmt: skip
    below.set_ylabel(f"in {width_s:g} s")
    below.set_xlabel("seconds since all clients were served")
    below.set_ylim(bottom=0)
    _mark(outcome, above, below)
    above.legend(loc="center right")
    below.legend(loc="upper right")
    return figure


def _bins(outcome: Outcome) -> tuple[list[float], float, dict[str, list[float]]]:
    """Beginnings of the columns, their width in seconds, and what is counted in each."""
    made = outcome.figures.timeline
    if made is None:
        nothing = [0.0]
        return nothing, BIN_S, dict.fromkeys(("answered", "plain", "faults", "without"), nothing)
    first, last = made.bin(outcome.began), made.bin(outcome.figures.end)
    each = max(1, -(-(last - first + 1) // COLUMNS_MAX))
    columns = -(-(last - first + 1) // each)
    counts = {}
    for name in ("answered", "plain", "faults"):
        column = [0.0] * columns
        for at, count in getattr(made, name).items():
            if first <= at <= last:
                column[(at - first) // each] += count
        counts[name] = column
    width_s = each * BIN_S
    times = [column * width_s for column in range(columns)]
    counts["without"] = [0.0] * columns
    for one in outcome.figures.breaks:
        end_s = (one.answered if one.over else outcome.figures.end) - outcome.began
        begin_s = one.begin - outcome.began
        for at, time_s in enumerate(times):
            counts["without"][at] += time_s < end_s and time_s + width_s > begin_s
    return times, width_s, counts


def _mark(outcome: Outcome, *panels: Axes) -> None:
    """A line for each step, solid where a fault begins, dashed where one is healed."""
    span_s = max(1.0, outcome.figures.end - outcome.began)
    rows = [-1e9] * LABEL_ROWS
    many = len(outcome.marks) > 12  # noqa: PLR2004 — labels would lie on each other
    for mark in outcome.marks:
        at_s = mark.t - outcome.began
        for panel in panels:
            panel.axvline(
                at_s, color=plots.INK if mark.heals else plots.RED,
                linestyle=":" if mark.heals else "-", linewidth=1,
            )  # fmt: skip
        if many:
            continue
        row = next((n for n, end in enumerate(rows) if at_s - end > LABEL_SHARE * span_s), 0)
        rows[row] = at_s
        panels[0].annotate(
            mark.text, (at_s, 1), xycoords=("data", "axes fraction"),
            xytext=(3, 4 + 12 * row), textcoords="offset points", fontsize=8.5,
        )  # fmt: skip
