"""PROTOCOL §1.1: the previous line and this one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from echod.protocol.plain import answer

LINES = st.lists(st.binary(max_size=5).map(lambda body: body + b"\n"), min_size=1, max_size=8)


def test_the_article() -> None:
    """The dialogue that PROTOCOL §1.1 shows."""
    assert answer(b"", [b"Hello World!:0\n"])[0] == b"Hello World!:0\n"
    assert answer(b"Hello World!:0\n", [b"Hello World!:1\n"])[0] == (
        b"Hello World!:0\nHello World!:1\n"
    )


@given(st.binary(max_size=5), LINES)
def test_many_at_once_are_many_one_by_one(last: bytes, lines: list[bytes]) -> None:
    """How many lines share a call changes nothing."""
    replies, pair = answer(last, lines)
    one_by_one = b""
    for line in lines:
        reply, pair_of_one = answer(last, [line])
        one_by_one += reply
        last = line
    assert (replies, pair) == (one_by_one, pair_of_one)
