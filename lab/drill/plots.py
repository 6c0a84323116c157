"""The picture of a drill: what was answered, what broke, and who was without service, over time."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from lab.report import plots

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from lab.drill.judge.outcome import Outcome

HEIGHT_INCHES = 5.4
# Labels of steps that are nearer than this share of the picture are put on other heights.
LABEL_SHARE = 0.16
LABEL_ROWS = 3
# A picture of 20 s is 800 pixels wide: a quarter of that many columns can be told apart; and a
# drill of an hour is drawn no finer than one of a minute.
COLUMN_S_MIN = 0.1
COLUMNS_MAX = 600


def timeline(outcome: Outcome) -> Figure:
    """Two panels over one time, which is 0 when all clients are served."""
    figure = Figure(figsize=(plots.WIDTH_INCHES, HEIGHT_INCHES), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    figures = outcome.figures
    span_s = max(COLUMN_S_MIN, figures.end - outcome.began)
    columns = min(COLUMNS_MAX, math.ceil(span_s / COLUMN_S_MIN))
    width_s = span_s / columns

    def draw(
        axes: Axes,
        moments: Sequence[float],
        each: float,
        **look: Any,  # noqa: ANN401 — matplotlib's
    ) -> None:
        since = [t - outcome.began for t in moments]
        axes.hist(since, bins=columns, range=(0, span_s), weights=[each] * len(since), **look)

    line = {"histtype": "step", "linewidth": 1.4}
    draw(above, figures.answered_at, 1 / width_s, color=plots.BLUE, label="sessions", **line)
    draw(above, figures.plain_at, 1 / width_s, color=plots.GREEN, label="plain port",
         linestyle="--", **line)  # fmt: skip
    above.set_ylabel("lines answered a second")
    draw(below, figures.faults_at, 1, color=plots.RED, label="errors heard, connections cut")
    below.step(*_without(outcome), where="post", color=plots.INK, linewidth=1.4,
               label="clients without service")  # fmt: skip
    below.set_ylabel(f"in {width_s:.2g} s")
    below.set_xlabel("seconds since all clients were served")
    for panel in (above, below):
        panel.set_ylim(bottom=0)
    _mark(outcome, above, below)
    above.legend(loc="center right")
    below.legend(loc="upper right")
    return figure


def _without(outcome: Outcome) -> tuple[list[float], list[int]]:
    """Moments, and how many clients are without service from each on."""
    changes = [(0.0, 0), (outcome.figures.end - outcome.began, 0)]
    for one in outcome.figures.breaks:
        changes.append((one.begin - outcome.began, 1))
        if one.over:
            changes.append((one.answered - outcome.began, -1))
    changes.sort()
    moments, steps = zip(*changes, strict=True)
    return list(moments), list(itertools.accumulate(steps))


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
