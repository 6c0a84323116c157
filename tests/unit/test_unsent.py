"""unsent.py: the sum is what is held, whatever is shared, taken, dropped or shed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.limits.unsent import HEAD_BYTES, HOLDER_BYTES, LOW, PIECE_BYTES, Outbox, Unsent

if TYPE_CHECKING:
    from collections.abc import Callable

BEHIND_BYTES = 1000


class Client:
    """A client's outbox, what it was sent and has taken, and the line that it has begun."""

    def __init__(self, unsent: Unsent) -> None:
        self.unsent = unsent
        self.outbox: Outbox | None = None
        self.line = 0
        self.sent = self.taken = b""
        self.gone = False

    def push(self, piece: bytes) -> None:
        """It is sent something and takes nothing."""
        if not self.gone:
            self.outbox = self.outbox or Outbox(self.unsent)
            self.outbox.add(piece)
            self.sent += piece

    def take(self, count: int) -> None:
        """It takes a part of what it is offered."""
        if self.outbox is not None:
            head = bytes(self.outbox.head())[:count]
            self.outbox.take(len(head))
            self.taken += head
            if not self.outbox.size:
                self.outbox.drop()
                self.outbox = None

    def begin(self, line: int) -> None:
        """Of a line so many bytes have come."""
        if not self.gone:
            self.unsent.keep(line - self.line)
            self.line = line

    def waiting_bytes(self) -> int:
        """See `unsent.Client`."""
        return self.line + (0 if self.outbox is None else self.outbox.size)

    def shed(self) -> None:
        """It goes."""
        self.begin(0)
        if self.outbox is not None:
            self.outbox.drop()
            self.outbox = None
        self.gone = True


def held(clients: list[Client]) -> int:
    """The sum, reckoned anew from everything that is held."""
    boxes = [client.outbox for client in clients if client.outbox is not None]
    pieces = [piece for box in boxes for piece in box._pieces]  # noqa: SLF001 — the other way to know
    own = {id(piece): len(piece) + PIECE_BYTES for piece in pieces}
    lines = sum(client.line for client in clients)
    return sum(own.values()) + HOLDER_BYTES * len(pieces) + BEHIND_BYTES * len(boxes) + lines


def play(clients: list[Client], kind: str, value: bytes | int, chosen: int) -> None:
    """One step of those whose bit is set in `chosen`."""
    # Made here, so that no two posts are one object.
    piece = bytes(value) if isinstance(value, int) else bytes(bytearray(value))
    for number, client in enumerate(clients):
        if not chosen >> number & 1:
            continue
        if kind in ("post", "long"):
            client.push(piece)
        elif kind == "take":
            client.take(len(piece))
        elif kind == "line":
            client.begin(len(piece))
        else:
            client.shed()
        assert client.sent.startswith(client.taken)


STEPS = st.lists(
    st.one_of(
        # A post: one piece for some of them.
        st.tuples(st.just("post"), st.binary(min_size=1, max_size=300), st.integers(1, 63)),
        st.tuples(st.just("long"), st.integers(1, 3 * HEAD_BYTES), st.integers(1, 63)),
        st.tuples(st.just("take"), st.integers(0, 2 * HEAD_BYTES), st.integers(1, 63)),
        st.tuples(st.just("line"), st.integers(0, 8192), st.integers(1, 63)),
        st.tuples(st.just("gone"), st.just(0), st.integers(1, 63)),
    ),
    max_size=60,
)


@given(STEPS, st.integers(2_000, 400_000))
def test_the_sum_is_what_is_held(steps: list[tuple[str, bytes | int, int]], most: int) -> None:
    """After every step; what is taken is what was sent; above the bound it falls to `LOW`."""
    later: list[Callable[[], None]] = []
    clients: list[Client] = []
    unsent = Unsent(most, BEHIND_BYTES, later.append, lambda: clients)
    clients += [Client(unsent) for _ in range(6)]
    for kind, value, chosen in steps:
        play(clients, kind, value, chosen)
        assert unsent.bytes == held(clients)
        assert (unsent.bytes > most) <= bool(later), "nobody is to be shed"
        before = unsent.bytes
        waited = {client: client.waiting_bytes() for client in clients if not client.gone}
        while later:
            later.pop()()
        if before > most:
            assert unsent.bytes <= LOW * most
            stay = [size for client, size in waited.items() if not client.gone]
            went = [size for client, size in waited.items() if client.gone]
            assert max(stay, default=0) <= min(went), "not who was furthest behind"
        assert unsent.bytes == held(clients)
    for client in clients:
        while client.outbox is not None:
            client.take(HEAD_BYTES)
        client.begin(0)
        assert client.gone or client.taken == client.sent
    assert unsent.bytes == 0


@pytest.mark.parametrize("pieces", [[b"a"], [b"abc", b"d"], [b"x" * HEAD_BYTES, b"y"]])
def test_a_head_is_bounded(pieces: list[bytes]) -> None:
    """What is offered to the kernel is a part of what waits, joined only as far as it can take."""
    outbox = Outbox(Unsent(1 << 20, 0, lambda _: None, tuple))
    for piece in pieces:
        outbox.add(piece)
    head = bytes(outbox.head())
    assert b"".join(pieces).startswith(head)
    assert len(pieces[0]) <= len(head) <= HEAD_BYTES
