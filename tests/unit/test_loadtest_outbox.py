"""What a session's client sends next: within its limits, in order, QUIT at the end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from loadtest.session_events import Answered, Welcome
from loadtest.session_memory import Memory
from loadtest.session_outbox import KEEP_ALIVE, Outbox
from loadtest.session_requests import Echo, Ping, Quit, Request
from loadtest.session_retry import Patience

TOKEN = b"abcdefghij.234567abcdefghijklmnopqrstuv"
PATIENCE = Patience(lines_in_flight_max=5, bytes_in_flight_max=100)
TEXTS = st.lists(st.integers(0, 60).map(lambda size: b"x" * size), max_size=20)


def outbox(*texts: bytes) -> tuple[Memory, Outbox]:
    """Of a new session, with these lines to be sent."""
    memory = Memory()
    memory.welcomed(Welcome(TOKEN, 1, 0, 300, None))
    for text in texts:
        memory.add(text)
    return memory, Outbox(memory, PATIENCE)


@given(TEXTS, st.data(), st.booleans())
def test_all_lines_go_out_in_order_and_never_too_many(
    texts: list[bytes],
    data: st.DataObject,
    quits: bool,  # noqa: FBT001 — drawn
) -> None:
    """However answers come: the window holds, each line goes once, and QUIT after the last."""
    memory, out = outbox(*texts)
    if quits:
        out.ask(Quit())
    flying: list[Echo] = []
    sent: list[Request] = []
    while memory.waiting or (quits and not out.quit_sent):
        batch = out.batch(len(flying), sum(len(line.text) for line in flying), 1.0)
        sent += batch
        flying += [request for request in batch if isinstance(request, Echo)]
        assert len(flying) <= 5
        # Begun while there was room, so at most the last line is over.
        assert sum(len(line.text) for line in flying[:-1]) < 100
        assert flying or out.quit_sent or not memory.waiting
        for _ in range(data.draw(st.integers(min(1, len(flying)), len(flying)))):
            line = flying.pop(0)
            memory.answered(Answered(line.n, None, line.text))
    lines = [Echo(n, text) for n, text in enumerate(texts, 1)]
    assert sent == [*lines, Quit()] if quits else sent == lines


def test_what_was_not_answered_is_asked_again_in_its_order() -> None:
    """After a cut, before what was not asked yet; but for the client's own pings."""
    _, out = outbox()
    first, second, third = Ping(b"1"), Ping(b"2"), Ping(b"3")
    out.ask(first)
    out.ask(second)
    assert out.batch(0, 0, 1.0) == [first, second]
    out.keep_alive()
    assert out.batch(0, 0, 1.0) == [KEEP_ALIVE]
    assert out.answered() is first
    out.ask(third)
    out.cut()
    assert out.batch(0, 0, 2.0) == [second, third]


def test_a_ping_to_keep_alive_is_not_piled_up() -> None:
    """One that waits is enough, and so is anything else that waits."""
    _, out = outbox()
    out.keep_alive()
    out.keep_alive()
    assert out.batch(0, 0, 1.0) == [KEEP_ALIVE]
    out.ask(Ping(b"x"))
    out.keep_alive()
    assert out.batch(0, 0, 1.0) == [Ping(b"x")]


def test_quit_is_unanswered_until_it_is_answered() -> None:
    """Over a cut too: then an unknown session is its answer."""
    _, out = outbox()
    out.ask(Quit())
    assert not out.quit_sent
    out.batch(0, 0, 1.0)
    assert out.quit_sent
    out.cut()
    assert (out.quit_sent, out.empty) == (True, False)
    out.batch(0, 0, 2.0)
    out.answered()
    assert (out.quit_sent, out.empty) == (False, True)
