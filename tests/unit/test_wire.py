"""Bytes to lines, for any bytes and any cuts."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from echod.protocol.wire import LF, split_lines

# Small alphabets find the edges: LF, CR, NUL, invalid UTF-8.
STREAMS = st.text(alphabet="\n\r\0aÿ", max_size=60).map(lambda text: text.encode("latin-1"))


@given(STREAMS, st.integers(1, 70))
def test_nothing_is_lost(data: bytes, lines_max: int) -> None:
    """Lines and rest joined are the data, and each line is one."""
    lines, rest, too_long = split_lines(data, lines_max, 100)
    assert b"".join(lines) + rest == data
    assert all(line.endswith(LF) and line.count(LF) == 1 for line in lines)
    assert len(lines) == min(lines_max, data.count(LF))
    assert not too_long


@given(STREAMS, st.lists(st.integers(0, 60)), st.integers(1, 5), st.integers(1, 12))
def test_cuts_change_nothing(
    data: bytes, cuts: list[int], lines_max: int, line_bytes_max: int
) -> None:
    """Fed in pieces, a few lines at a time, the same lines come out, and the same verdict."""
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    found, rest, too_long = [], b"", False
    for begin, end in itertools.pairwise(edges):
        rest += data[begin:end]
        lines = [b""]
        while lines and not too_long:
            lines, rest, too_long = split_lines(rest, lines_max, line_bytes_max)
            found += lines
        if too_long:
            break
    assert (found, rest, too_long) == split_lines(data, len(data) + 1, line_bytes_max)


@given(st.integers(1, 20), st.integers(0, 30), st.booleans())
def test_too_long(line_bytes_max: int, size: int, ended: bool) -> None:  # noqa: FBT001 — hypothesis gives it
    """A line counts with its LF: it is too long as soon as no LF can come in time."""
    data = b"x" * size + (LF if ended else b"")
    lines, rest, too_long = split_lines(data, 10, line_bytes_max)
    assert too_long == (len(data) > line_bytes_max if ended else size >= line_bytes_max)
    assert not too_long or (lines, rest) == ([], b"")
