"""rooms/position.py by property: whatever is lost, repeated or trimmed, no silent hole."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from echod.metrics import Counts
from echod.rooms.position import Heard, Position
from echod.store.operations import Page

if TYPE_CHECKING:
    from collections.abc import Sequence

LINE = re.compile(rb"(MSG r (\d+) s (\d+)|GAP r (\d+) (\d+)|JOINED r (\w+) (\d+) lost)\n")


class Stream:
    """The room at the store: appended to, and trimmed from the front."""

    def __init__(self) -> None:
        self.epoch = b"e0"
        self.last = 0
        self.kept: list[tuple[int, bytes]] = []

    def post(self) -> None:
        """One more message; its text is its epoch's number and its offset."""
        self.last += 1
        self.kept.append((self.last, b"s %d" % (int(self.epoch[1:]) * 10_000 + self.last)))

    def page(self, first: int, size: int) -> Page:
        """What read.lua returns."""
        messages = [message for message in self.kept if message[0] >= first][:size]
        return Page(self.epoch, self.last, messages)


def sent(data: bytes) -> list[tuple[str, int, int]]:
    """The lines of `data` as (kind, first, last), messages with their text as `first`."""
    found, at = [], 0
    for match in LINE.finditer(data):
        assert match.start() == at
        at = match.end()
        if match[2]:
            assert int(match[3]) % 10_000 == int(match[2])
            found.append(("msg", int(match[2]), int(match[2])))
        elif match[4]:
            found.append(("gap", int(match[4]), int(match[5])))
        else:
            found.append(("lost", int(match[7]), int(match[7])))
    assert at == len(data)
    return found


STEPS = st.lists(
    st.one_of(
        st.just("post"),
        st.just("post"),
        st.just("hear"),
        st.just("repeat"),
        st.just("lose"),
        st.just("anew"),
        st.tuples(st.just("trim"), st.integers(1, 20)),
        st.tuples(st.just("read"), st.integers(1, 5)),
    ),
    max_size=80,
)


@settings(max_examples=400)
@given(STEPS)
def test_no_silent_hole(steps: Sequence[str | tuple[str, int]]) -> None:  # noqa: C901 — a case for each step
    """Order, once, complete: for any mixture of losses, repetitions, trims and new histories."""
    stream, counts = Stream(), Counts()
    position = Position(b"r")
    position.read(stream.page(1, 1), counts)
    on_the_way: list[tuple[bytes, int]] = []
    told = b""
    for step in steps:
        match step:
            case "post":
                stream.post()
                on_the_way.append((stream.epoch, stream.last))
            case "hear" | "repeat" if on_the_way:
                epoch, offset = on_the_way[0] if step == "repeat" else on_the_way.pop(0)
                text = int(epoch[1:]) * 10_000 + offset
                if position.hear(epoch, offset, b"s %d" % text) is Heard.NEXT:
                    told += b"MSG r %d s %d\n" % (offset, text)
            case "lose" if on_the_way:
                on_the_way.pop(0)
            case "anew":
                stream.epoch = b"e%d" % (int(stream.epoch[1:]) + 1)
                stream.last, stream.kept = 0, []
            case ("trim", int(count)):
                del stream.kept[:count]
            case ("read", int(size)):
                data, _ = position.read(stream.page(position.offset + 1, size), counts)
                told += data
    at_end = False
    while not at_end:
        data, at_end = position.read(stream.page(position.offset + 1, 3), counts)
        told += data
    assert (position.epoch, position.offset) == (stream.epoch, stream.last)
    expected = 0
    for kind, first, last in sent(told):
        if kind == "lost":
            expected = last
            continue
        assert first == expected + 1
        assert last >= first
        expected = last
    assert expected == stream.last
    assert counts.missing == sum(
        last - first + 1 for kind, first, last in sent(told) if kind == "gap"
    )


def test_another_history_is_told_once() -> None:
    """Members hear `lost` with the new position; what is said of the old one is read anew."""
    position = Position(b"r", b"e1", 5)
    assert position.hear(b"e2", 6, b"s x") is Heard.HOLE
    data, at_end = position.read(Page(b"e2", 2, [(1, b"s a"), (2, b"s b")]), Counts())
    assert (data, at_end) == (b"JOINED r e2 2 lost\n", True)
    assert position.hear(b"e1", 6, b"s x") is Heard.HOLE
    assert position.hear(b"e2", 3, b"s x") is Heard.NEXT
