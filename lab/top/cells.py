"""How figures are written: short, and with their unit. Pure."""

from __future__ import annotations

from typing import Final

# What is not known.
NOTHING: Final = "-"

# Eighths of a cell's height.
BARS: Final = " ▁▂▃▄▅▆▇█"


def count(value: float) -> str:
    """A whole number, thousands apart."""
    return f"{value:,.0f}"


def tenths(value: float) -> str:
    """A number where fractions matter."""
    return f"{value:,.1f}"


def rate(value: float) -> str:
    """A second's; what is rare keeps a digit."""
    return tenths(value) if 0 < value < 10 else count(value)  # noqa: PLR2004 — digits


def share(value: float) -> str:
    """Per cent."""
    return f"{100 * value:.0f} %"


def duration(value_s: float) -> str:
    """Three digits, in the unit that fits."""
    return _three_digits(value_s * 1e6, ("µs", "ms", "s"))


def size(value_bytes: float) -> str:
    """Three digits, in the unit that fits; bytes are whole."""
    return _three_digits(value_bytes, ("B", "kB", "MB", "GB"))


def trend(values: tuple[float, ...], width: int, top: float) -> str:
    """The last `width` values as bars, the newest to the right; `top` fills a bar."""
    bars = (BARS[max(1, min(8, round(8 * value / top)))] if value else BARS[0] for value in values)
    return "".join(bars)[-width:].rjust(width)


def _three_digits(value: float, units: tuple[str, ...]) -> str:
    """`value` in the first unit, or in one of the others, each 1,000 of the one before."""
    power = 0
    while value >= 999.5 and power < len(units) - 1:  # noqa: PLR2004 — rounds to a fourth digit
        value /= 1e3
        power += 1
    if units[power] == "B" or value >= 99.5:  # noqa: PLR2004 — rounds to three digits
        return f"{value:.0f} {units[power]}"
    return f"{value:.{1 if value >= 9.95 else 2}f} {units[power]}"  # noqa: PLR2004 — as above
