"""Figures and tables as text: the same digits in a sentence, a cell and a terminal. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def number(value: float) -> str:
    """Three significant digits, without an exponent: 0.0123, 4.56, 78.9, 12,300."""
    if value == 0:
        return "0"
    shown = float(f"{value:.3g}")
    size = abs(shown)
    digits = 0
    while size < 100 and digits < 6:  # noqa: PLR2004 — three digits
        size *= 10
        digits += 1
    return f"{shown:,.{digits}f}"


def percent(share: float) -> str:
    """0.153 → `15 %`."""
    return f"{100 * share:.0f} %"


def span(shares: Iterable[float]) -> str:
    """From the least to the most: `12%-15%`, or `12%` if there is nothing between them."""
    known = list(shares)
    low, high = f"{min(known):.0%}", f"{max(known):.0%}"
    return low if low == high else f"{low}-{high}"


def align(lines: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
