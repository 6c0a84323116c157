"""A stream whose write never waits, and what becomes of what it can't get rid of."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING

import pytest

from echod.logs import QUEUED_BYTES_MAX, Outlet
from lab.wait import until

if TYPE_CHECKING:
    from collections.abc import Iterator

# Of a pipe, as Linux makes it; and what the writing thread has taken beside it.
PIPE_BYTES = 65_536
HOLE = rb"[-\d]+ [:\d]+ WARNING echod.logs (\d+) lines are missing here: nobody took them"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Both ends; who tests closes none."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def read_until(fd: int, last: bytes) -> bytes:
    """All that comes, up to `last`."""
    got = b""
    until_s = time.monotonic() + 10
    while not got.endswith(last) and time.monotonic() < until_s:
        got += os.read(fd, 65_536)
    return got


def read_lines(fd: int, count: int) -> Iterator[str | int]:
    """What comes in the place of `count` lines: each, or how many are missing there."""
    rest = b""
    while count > 0:
        *lines, rest = (rest + os.read(fd, 65_536)).split(b"\n")
        for line in lines:
            hole = re.fullmatch(HOLE, line)
            count -= int(hole[1]) if hole else 1
            yield int(hole[1]) if hole else line.decode() + "\n"
    assert (count, rest) == (0, b"")


def test_nobody_reads(pipe: tuple[int, int]) -> None:
    """Writing goes on; what is beyond the bound is dropped, counted, and told of in its place."""
    outlet = Outlet(pipe[1])
    lines = [f"line {number} {'x' * 100}\n" for number in range(30_000)]
    for line in lines:
        outlet.write(line)  # with a write that waits this is where the test would hang

    at = missing = 0
    for come in read_lines(pipe[0], len(lines)):
        if isinstance(come, int):
            at += come
            missing += come
        else:
            assert come == lines[at]
            at += 1
    assert missing == outlet.dropped > 0
    assert (len(lines) - missing) * len(lines[-1]) < QUEUED_BYTES_MAX + 2 * PIPE_BYTES

    outlet.write("and on\n")
    assert read_until(pipe[0], b"and on\n") == b"and on\n"


def test_each_hole_is_told_of_once(pipe: tuple[int, int]) -> None:
    """Two times of plenty: each time the missing ones are told, and not again."""
    outlet = Outlet(pipe[1])
    text = "x" * 9_999 + "\n"
    for _ in range(2):
        before = outlet.dropped
        for _ in range(300):
            outlet.write(text)
        told = sum(come for come in read_lines(pipe[0], 300) if isinstance(come, int))
        assert told == outlet.dropped - before > 0


def test_a_file_that_another_process_has_set_non_blocking(pipe: tuple[int, int]) -> None:
    """The file is left as it is; nothing is lost."""
    os.set_blocking(pipe[1], False)
    outlet = Outlet(pipe[1])
    lines = [f"{number} {'x' * 1000}\n" for number in range(500)]
    for line in lines:
        outlet.write(line)
    assert read_until(pipe[0], lines[-1].encode()).decode() == "".join(lines)
    assert not os.get_blocking(pipe[1])
    assert outlet.dropped == 0


def test_a_reader_that_has_gone() -> None:
    """What the file refuses is counted, and writing goes on."""
    reading, writing = os.pipe()
    os.close(reading)
    outlet = Outlet(writing)
    outlet.write("to nobody\n")
    until(lambda: outlet.dropped == 1, 5, "it to be counted")
    outlet.write("again\n")
    until(lambda: outlet.dropped == 2, 5, "that one too")
    os.close(writing)


def test_draining_is_bounded(pipe: tuple[int, int]) -> None:
    """It waits for what is taken, and not for who takes nothing."""
    outlet = Outlet(pipe[1])
    outlet.write("taken\n")
    outlet.drain(10)
    assert os.read(pipe[0], 100) == b"taken\n"
    for _ in range(2):
        outlet.write("x" * PIPE_BYTES)
    begin = time.monotonic()
    outlet.drain(0.1)
    # Generous: what it must not do is wait for a reader that never comes.
    assert time.monotonic() - begin < 5
    os.read(pipe[0], PIPE_BYTES)
