"""The checker that Locust, drills and tests trust: right streams pass, wrong ones don't."""

from __future__ import annotations

import ast
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loadtest import plain
from loadtest.plain import ERR_BYTES_MAX, Difference, ErrorLine, Replies

# Lines that can be taken for an error, or for the beginning of one, beside any others.
TEXTS = st.one_of(
    st.binary(max_size=8).map(lambda text: text.replace(b"\n", b"")),
    st.sampled_from([b"", b"\r", b"E", b"ERR", b"ERR ", b"ERR busy", b"ERR busy try later"]),
)
LINES = st.lists(TEXTS.map(lambda text: text + b"\n"), min_size=1, max_size=6)
# Where a stream is cut, as shares of its length.
CUTS = st.lists(st.floats(0, 1), max_size=8)


def echo(lines: list[bytes]) -> bytes:
    """What a right server answers to these lines, by the letter of PROTOCOL §1.1."""
    return b"".join(previous + line for previous, line in pairwise([b"", *lines]))


def cut(stream: bytes, cuts: list[float]) -> list[bytes]:
    """The stream in pieces, some of them empty."""
    places = sorted(round(share * len(stream)) for share in cuts)
    return [stream[a:b] for a, b in pairwise([0, *places, len(stream)])]


def feed(lines: list[bytes], pieces: list[bytes]) -> tuple[int, Replies]:
    """Send all lines, receive all pieces; how many lines they answered, and the checker."""
    replies = Replies()
    for line in lines:
        replies.sent(line)
    return sum(replies.received(piece) for piece in pieces), replies


def verdict(answered: int, replies: Replies) -> tuple[object, ...]:
    """What must not depend on the cuts: all but the excerpts, which end where the data did."""
    fault = replies.fault
    if isinstance(fault, Difference):
        return answered, replies.owing, fault.line, fault.at
    return answered, replies.owing, replies.begun, fault


@given(LINES, CUTS)
def test_a_right_stream_answers_every_line_however_it_is_cut(
    lines: list[bytes], cuts: list[float]
) -> None:
    """No cut of the right bytes is a fault, and all lines are answered."""
    answered, replies = feed(lines, cut(echo(lines), cuts))
    assert (answered, replies.owing, replies.begun) == (len(lines), 0, False)
    assert replies.fault is None


@given(LINES, st.data())
def test_a_part_of_a_right_stream_answers_the_lines_whose_replies_are_whole(
    lines: list[bytes], data: st.DataObject
) -> None:
    """A reply counts with its last byte, not before."""
    stream = echo(lines)
    part = stream[: data.draw(st.integers(0, len(stream)))]
    answered, replies = feed(lines, [part])
    assert replies.fault is None
    assert len(echo(lines[:answered])) <= len(part)
    assert answered == len(lines) or len(part) < len(echo(lines[: answered + 1]))


@given(LINES, st.data(), CUTS)
def test_one_wrong_byte_is_never_taken_for_right(
    lines: list[bytes], data: st.DataObject, cuts: list[float]
) -> None:
    """A mutated stream is a fault, or waits for more; no reply from there on counts."""
    stream = bytearray(echo(lines))
    at = data.draw(st.integers(0, len(stream) - 1))
    stream[at] ^= data.draw(st.integers(1, 255))
    answered, replies = feed(lines, cut(bytes(stream), cuts))
    assert len(echo(lines[:answered])) <= at
    assert replies.owing == len(lines) - answered > 0
    assert replies.fault is not None or replies.begun


@given(LINES, st.binary(min_size=1, max_size=8), CUTS)
def test_what_comes_after_the_last_reply_is_noticed(
    lines: list[bytes], more: bytes, cuts: list[float]
) -> None:
    """All lines are answered, and a byte too many is a fault or the beginning of an ERR."""
    answered, replies = feed(lines, cut(echo(lines) + more, cuts))
    assert answered == len(lines)
    assert replies.begun or replies.fault is not None
    if not b"ERR ".startswith(more[:4]):
        assert isinstance(replies.fault, Difference)
        assert replies.fault.owed == b""


@given(LINES, st.binary(max_size=200), CUTS)
@example([b"ERR busy\n"], b"ERR busy \n", [])
@example([b"a\n"], b"ERR " + b"x" * 155 + b"\n", [])
@example([b"a\n"], b"ERR busy " + b"x" * 150 + b"\n", [])
@example([b"a\n"], b"ERR busy " + b"x" * 151 + b"\n", [])
def test_cuts_never_change_the_verdict(
    lines: list[bytes], stream: bytes, cuts: list[float]
) -> None:
    """Any bytes, right or wrong: whole, in pieces and byte by byte they say the same."""
    for data in (stream, echo(lines[:1]) + stream):
        whole = verdict(*feed(lines, [data]))
        assert verdict(*feed(lines, cut(data, cuts))) == whole
        assert verdict(*feed(lines, [data[i : i + 1] for i in range(len(data))])) == whole


@given(
    st.lists(st.sampled_from([b"a\n", b"\n", b"b c\n"]), min_size=1, max_size=5),
    st.sampled_from(sorted(plain.CODES)),
    CUTS,
    st.data(),
)
def test_an_err_between_replies_is_a_value(
    lines: list[bytes], code: str, cuts: list[float], data: st.DataObject
) -> None:
    """After any number of right replies, an ERR is its code and text, not a wrong reply."""
    before = data.draw(st.integers(0, len(lines)))
    stream = echo(lines[:before]) + f"ERR {code} come back later\n".encode()
    answered, replies = feed(lines, cut(stream, cuts))
    assert answered == before
    assert replies.fault == ErrorLine(code, "come back later")


def test_a_client_may_send_what_looks_like_an_error() -> None:
    """An echo of `ERR busy` is an echo, because it was sent (PROTOCOL §1.5)."""
    lines = [b"ERR busy try later\n", b"ERR draining\n"]
    answered, replies = feed(lines, [echo(lines)])
    assert (answered, replies.fault) == (2, None)


def test_an_err_is_told_from_an_echo_that_begins_like_it() -> None:
    """The error is recognised although its first bytes were owed anyway."""
    answered, replies = feed([b"ERR busy or not\n"], [b"ERR busy try later\n"])
    assert (answered, replies.fault) == (0, ErrorLine("busy", "try later"))


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(b"a\nb\nb\nc\n", id="echoes the current line only from the second on"),
        pytest.param(b"a\nb\na\nb\nc\n", id="replies out of order"),
        pytest.param(b"a\na\nb\na\nb\nb\nc\n", id="a reply twice"),
        pytest.param(b"a\r\na\r\nb\r\n", id="a line ending of its own"),
        pytest.param(b"a\na\nERR busy no\n", id="an error within a reply"),
        pytest.param(b"a\nERR taken-over no\n", id="an error of the session port"),
        pytest.param(b"a\nERR bush fire\n", id="an error that there is not"),
        pytest.param(b"a\nerr busy no\n", id="an error in lower case"),
        pytest.param(b"a\nERR busy" + b"!" * ERR_BYTES_MAX, id="an error without an end"),
    ],
)
def test_a_server_that_is_wrong_in_one_way_is_found(stream: bytes) -> None:
    """Each defect that a server was seen to have, or could have, is a Difference."""
    _, replies = feed([b"a\n", b"b\n", b"c\n"], [stream])
    assert isinstance(replies.fault, Difference)


def test_a_difference_says_which_byte_of_which_reply() -> None:
    """The text has the line's number, the place, and both sides from a little before it."""
    _, replies = feed([b"first\n", b"second\n"], [b"first\nfirst\nsecund\n"])
    assert replies.fault == Difference(2, 9, b"first\nsecond\n", b"first\nsecund\n")
    assert str(replies.fault) == (
        r"reply 2, byte 9: owed b'first\nsecond\n', got b'first\nsecund\n'"
    )


def test_a_difference_far_into_a_long_reply_is_shown_in_short() -> None:
    """An excerpt around the wrong byte, however long the line."""
    line = b"x" * 5_000 + b"\n"
    _, replies = feed([line], [b"x" * 4_000 + b"y" * 1_000 + b"\n"])
    assert isinstance(replies.fault, Difference)
    assert replies.fault.at == 4_000
    assert replies.fault.got.startswith(b"x" * 16 + b"y")
    assert len(str(replies.fault)) < 250


def test_after_a_fault_nothing_counts() -> None:
    """Right bytes that follow a wrong one answer nothing, and the first fault stays."""
    answered, replies = feed([b"a\n", b"b\n"], [b"x", b"a\n", echo([b"a\n", b"b\n"])])
    assert (answered, replies.owing) == (0, 2)
    assert isinstance(replies.fault, Difference)
    assert replies.fault.at == 0


def test_a_tail_is_echoed_without_an_lf() -> None:
    """An unterminated last line counts as a line (PROTOCOL §1.4), and nothing follows it."""
    answered, replies = feed([b"a\n", b"tail"], [b"a\n", b"a\ntail"])
    assert (answered, replies.owing, replies.fault) == (2, 0, None)
    with pytest.raises(ValueError, match="not a line"):
        replies.sent(b"b\n")


@pytest.mark.parametrize("line", [b"", b"a\nb\n", b"\n\n", b"a\nb"])
def test_only_one_line_can_be_sent_at_a_time(line: bytes) -> None:
    """A caller's mistake is an error at once, not a wrong reply later."""
    with pytest.raises(ValueError, match="not a line"):
        Replies().sent(line)


def test_the_checker_is_pure() -> None:
    """It imports nothing that can wait, read a clock or reach a network."""
    tree = ast.parse(Path(plain.__file__).read_text(encoding="utf-8"))
    imported = {
        name
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported == {"__future__", "collections", "dataclasses", "re"}
