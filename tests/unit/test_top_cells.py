"""How figures are written: short, right, and alike in width."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.top import cells

FACTORS = {"µs": 1e-6, "ms": 1e-3, "s": 1.0, "B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9}


@given(st.floats(min_value=1e-6, max_value=999))
def test_a_duration_reads_back(value_s: float) -> None:
    """Within half of the third digit, and never wider than its column."""
    number, unit = cells.duration(value_s).split(" ")

    assert float(number) * FACTORS[unit] == pytest.approx(value_s, rel=0.0051)
    assert len(cells.duration(value_s)) <= len("99.5 ms")


@given(st.floats(min_value=1, max_value=999e9))
def test_a_size_reads_back(value_bytes: float) -> None:
    """As a duration; bytes are whole."""
    number, unit = cells.size(value_bytes).split(" ")

    tolerance = 0.5 if unit == "B" else value_bytes * 0.0051
    assert float(number) * FACTORS[unit] == pytest.approx(value_bytes, abs=tolerance)
    assert len(cells.size(value_bytes)) <= len("99.5 MB")


@pytest.mark.parametrize(
    "write,value,text",
    [
        (cells.count, 12345.0, "12,345"),
        (cells.tenths, 1.25, "1.2"),
        (cells.rate, 0.0, "0"),
        (cells.rate, 3.25, "3.2"),
        (cells.rate, 98_765.4, "98,765"),
        (cells.share, 0.126, "13 %"),
        (cells.duration, 0.0, "0.00 µs"),
    ],
)
def test_known_figures(write: object, value: float, text: str) -> None:
    """Thousands are apart, what is rare keeps a digit."""
    assert callable(write)
    assert write(value) == text


@given(
    st.lists(st.floats(0, 1e6, allow_subnormal=False), max_size=30).map(tuple),
    st.integers(min_value=1, max_value=25),
)
def test_a_trend_fills_its_width(values: tuple[float, ...], width: int) -> None:
    """One bar a value, the newest at the right; 0 is empty and anything above it is seen."""
    text = cells.trend(values, width, max(values, default=0.0))

    assert len(text) == width
    shown = values[-width:]
    for value, bar in zip(shown, text[width - len(shown) :], strict=True):
        assert (bar == " ") is (value == 0)
        assert bar != "█" or value > max(values) * 0.9
