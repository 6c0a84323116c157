"""How figures are written: short, with their unit, and `-` for what is not known. Pure."""

from __future__ import annotations

from typing import Final

NOTHING: Final = "-"

# Eighths of a cell's height.
BARS: Final = " ▁▂▃▄▅▆▇█"


def count(value: float | None) -> str:
    """A whole number, thousands apart."""
    return NOTHING if value is None else f"{value:,.0f}"


def tenths(value: float | None) -> str:
    """A number where fractions matter."""
    return NOTHING if value is None else f"{value:,.1f}"


def rate(value: float | None) -> str:
    """A second's; what is rare keeps a digit."""
    if value is None:
        return NOTHING
    return f"{value:,.1f}" if 0 < value < 10 else f"{value:,.0f}"  # noqa: PLR2004 — digits


def duration(value_s: float | None) -> str:
    """Three digits, in the unit that fits."""
    if value_s is None:
        return NOTHING
    for unit, factor in (("µs", 1e6), ("ms", 1e3)):
        value = value_s * factor
        if value < 999.5:  # noqa: PLR2004 — rounds to a fourth digit
            return f"{_digits(value)} {unit}"
    return f"{_digits(value_s)} s"


def size(value_bytes: float | None) -> str:
    """Three digits, in the unit that fits, by 1,000."""
    if value_bytes is None:
        return NOTHING
    for unit, factor in (("B", 1.0), ("kB", 1e3), ("MB", 1e6)):
        value = value_bytes / factor
        if value < 999.5:  # noqa: PLR2004 — rounds to a fourth digit
            return f"{value:.0f} {unit}" if unit == "B" else f"{_digits(value)} {unit}"
    return f"{_digits(value_bytes / 1e9)} GB"


def share(value: float | None) -> str:
    """Per cent."""
    return NOTHING if value is None else f"{100 * value:.0f} %"


def trend(values: tuple[float, ...], width: int, top: float) -> str:
    """The last `width` values as bars, the newest to the right; `top` fills a bar."""
    shown = values[-width:]
    bars = (
        BARS[0] if top <= 0 or value <= 0 else BARS[max(1, min(8, round(8 * value / top)))]
        for value in shown
    )
    return "".join(bars).rjust(width)


def _digits(value: float) -> str:
    """Three digits of a number below 1,000."""
    if value >= 99.5:  # noqa: PLR2004 — rounds to three digits before the point
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 9.95 else f"{value:.2f}"  # noqa: PLR2004 — as above
