"""How every plot looks, and how it becomes a file (PNG, SVG) and a part of a page.

Colours are Okabe and Ito's, which those who can't tell red from green can tell; no plot says
anything by colour alone. What is not data is drawn in `INK`, which becomes `currentColor` in
the page, so that it is read on light and dark paper.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

from lab.report.page import Plot

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

# Nearly black in the files; no data colour is this.
INK = "#16181b"

BLUE, ORANGE, GREEN, RED = "#0072b2", "#e69f00", "#009e73", "#d55e00"
SKY, GREY = "#56b4e9", "#8a9099"

WIDTH_INCHES = 8.4
PNG_DPI = 160

_LOOK: dict[Any, Any] = {
    "svg.fonttype": "path",  # the same letters in every browser
    "svg.hashsalt": "echofleet",  # the same figures make the same file
    "font.size": 10,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color"), INK),
    **dict.fromkeys(("ytick.color", "grid.color", "legend.labelcolor", "hatch.color"), INK),
    "grid.alpha": 0.14,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
}


@dataclass(frozen=True, slots=True)
class Part:
    """One part of every bar, with its look."""

    name: str
    colour: str
    hatch: str
    widths: Sequence[float]


def canvas(height_inches: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure in the common look, and its axes side by side; call it within `look()`."""
    figure = Figure(figsize=(WIDTH_INCHES, height_inches), layout="constrained")
    return figure, list(figure.subplots(1, columns, squeeze=False)[0])


def look() -> AbstractContextManager[None]:
    """The common look, as a context: `with plots.look(): …`."""
    return mpl.rc_context(_LOOK)


def plot(directory: Path, name: str, title: str, caption: str, draw: Callable[[], Figure]) -> Plot:
    """What `draw` returns, in the common look, as files in `directory` and a part of a page."""
    with look():
        figure = draw()
    return Plot(name, title, caption, save(figure, directory, name, f"{title}. {caption}"))


def stacked(axes: Axes, parts: Sequence[Part], names: Sequence[str]) -> list[float]:
    """A bar for each name, from below, of its parts one after the other; returns their lengths."""
    behind = [0.0] * len(names)
    for part in parts:
        if any(part.widths):
            axes.barh(
                range(len(names)), part.widths, left=behind, height=0.64,
                color=part.colour, hatch=part.hatch, label=part.name,
            )  # fmt: skip
        behind = [left + width for left, width in zip(behind, part.widths, strict=True)]
    axes.set_yticks(range(len(names)), names)
    axes.grid(visible=False, axis="y")
    return behind


def save(figure: Figure, directory: Path, name: str, label: str) -> str:
    """Write `name`.png and `name`.svg of what was drawn within `look()`.

    Returns the SVG as a part of a page, in its colours; who can't see it hears the `label`.
    """
    file = directory / f"{name}.svg"
    with look():
        figure.savefig(directory / f"{name}.png", dpi=PNG_DPI, facecolor="white")
        figure.savefig(file, transparent=True, metadata={"Date": None})
    _, begin, element = file.read_text().partition("<svg")
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    element = element.replace(INK, "currentColor").strip()
    quoted = label.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return f'{begin} role="img" aria-label="{quoted}"{element}'


def plain_numbers(*axes: Axis) -> None:
    """1, 2, 5, 10 on a logarithmic axis instead of powers of ten."""

    def text(value: float, _: object = None) -> str:
        return f"{value:,.10g}"

    for axis in axes:
        axis.set_major_formatter(text)
        axis.set_minor_formatter(lambda value, _: text(value) if f"{value:e}"[0] in "25" else "")
