"""How every plot looks, and how it becomes a file (PNG, SVG) and a part of a page.

Colours are Okabe and Ito's, which those who can't tell red from green can tell; no plot says
anything by colour alone. What is not data is drawn in `INK`, which becomes `currentColor` in
the page, so that it is read on light and dark paper.
"""

from __future__ import annotations

import io
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

# Nearly black in the files; no data colour is this.
INK = "#16181b"

BLUE, ORANGE, GREEN, RED = "#0072b2", "#e69f00", "#009e73", "#d55e00"
SKY, PINK, GREY = "#56b4e9", "#cc79a7", "#8a9099"

# `g` turns to exponents here.
MILLION = 1e6

WIDTH_INCHES = 8.4
PNG_DPI = 160

_LOOK: dict[Any, Any] = {
    "svg.fonttype": "path",  # the same letters in every browser
    "svg.hashsalt": "echofleet",  # the same figures make the same file
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": INK,
    "grid.alpha": 0.14,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "hatch.color": INK,
    "hatch.linewidth": 0.6,
}


def canvas(height_inches: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure in the common look, and its axes side by side; call it within `look()`."""
    figure = Figure(figsize=(WIDTH_INCHES, height_inches), layout="constrained")
    return figure, list(figure.subplots(1, columns, squeeze=False)[0])


@contextmanager
def look() -> Iterator[None]:
    """The common look, as a context: `with plots.look(): …`."""
    with mpl.rc_context(_LOOK):
        yield


def save(figure: Figure, directory: Path, name: str, label: str) -> str:
    """Write `name`.png and `name`.svg, and return the SVG as a part of a page.

    Args:
        figure: Drawn within `look()`.
        directory: Where the files go.
        name: Of the files, without the suffix.
        label: What a reader hears who can't see it.
    """
    with look():
        figure.savefig(directory / f"{name}.png", dpi=PNG_DPI, facecolor="white")
        written = io.StringIO()
        figure.savefig(written, format="svg", transparent=True, metadata={"Date": None})
    text = written.getvalue()
    (directory / f"{name}.svg").write_text(text)
    return inline(text, label)


def inline(svg: str, label: str) -> str:
    """An SVG file's text → its <svg> element, in the page's colours, with a label."""
    begin = svg.index("<svg")
    element = re.sub(r"<metadata>.*?</metadata>", "", svg[begin:], flags=re.DOTALL)
    element = element.replace(INK, "currentColor")
    quoted = label.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return element.replace("<svg", f'<svg role="img" aria-label="{quoted}"', 1).strip()


def plain_numbers(*axes: Axis) -> None:
    """1, 2, 5, 10 on a logarithmic axis instead of powers of ten."""

    def text(value: float, _: object = None) -> str:
        return f"{value:,g}" if value < MILLION else f"{value:,.0f}"

    for axis in axes:
        axis.set_major_formatter(text)
        axis.set_minor_formatter(lambda value, _: text(value) if f"{value:e}"[0] in "25" else "")
