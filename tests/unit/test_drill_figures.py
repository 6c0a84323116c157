"""What a history says in figures: lines, their fates, and the parts of a break."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.drill.judge.figures import Figures, rank
from tests.unit.drill_model import Model

if TYPE_CHECKING:
    from collections.abc import Callable

    from loadtest.history import Event


def seen(*events: dict[str, Any], patient: Callable[[str], bool] = bool) -> Figures:
    """The figures of a client's history, an event a second."""
    figures = Figures(patient)
    for t, event in enumerate(events):
        figures.feed(cast("Event", {"t": float(t), "c": "s1", "k": 1, **event}))
    figures.finish()
    return figures


CONNECT = {"e": "connect", "to": "there"}
CONNECTED = {"e": "connected"}
HELLO = {"e": "hello", "name": "n", "acked": 1}


def welcome(epoch: int, seq: int, text: str | None = None) -> dict[str, Any]:
    """A WELCOME."""
    return {"e": "welcome", "name": "n", "epoch": epoch, "seq": seq, "text": text}


def sent(n: int) -> dict[str, Any]:
    """Line n goes out."""
    return {"e": "sent", "n": n, "text": f"t{n}"}


def answered(n: int) -> dict[str, Any]:
    """Line n's reply."""
    return {"e": "answered", "n": n, "previous": None, "text": f"t{n}"}


def closed(how: str = "end of stream") -> dict[str, Any]:
    """The end of a connection."""
    return {"e": "closed", "how": how}


BEGIN = (CONNECT, CONNECTED, HELLO, welcome(1, 0))


def test_the_parts_of_a_break() -> None:
    """From the first line that waits to the first answer, attempts that failed included."""
    figures = seen(
        *BEGIN, sent(1), answered(1),
        sent(2), sent(3), closed(),  # 6, 7, 8
        CONNECT, closed("ECONNREFUSED"),
        CONNECT, CONNECTED, HELLO, welcome(2, 2, "t2"),  # 11, 12, 13, 14
        sent(3), answered(3),
    )  # fmt: skip

    (one,) = figures.breaks
    assert (one.begin, one.closed, one.connected, one.welcomed, one.answered) == (6, 8, 12, 14, 16)
    assert one.parts_s == (2, 4, 2, 2)
    assert sum(one.parts_s) == one.took_s == 10
    assert one.why == "end of stream"
    assert (figures.sent, figures.answered, figures.told, figures.repeated) == (3, 2, 1, 1)
    assert (figures.withdrawn, figures.unknown, figures.resumes) == (1, 0, 1)


def test_a_welcome_that_tells_all_ends_a_break() -> None:
    """The client waits for nothing any more: it has been served."""
    figures = seen(*BEGIN, sent(1), closed(), CONNECT, CONNECTED, HELLO, welcome(2, 1, "t1"))

    assert figures.breaks[0].took_s == 5
    assert (figures.told, figures.unknown) == (1, 0)


def test_a_break_that_lasts() -> None:
    """It is one, without an end; its lines have no fate."""
    figures = seen(*BEGIN, sent(1), closed("timeout"), CONNECT)

    assert not figures.breaks[0].over
    assert math.isnan(figures.breaks[0].took_s)
    assert figures.unknown == 1


def test_who_leaves_is_not_cut() -> None:
    """A client that closes with nothing under way, or has said QUIT."""
    assert not seen(*BEGIN, sent(1), answered(1), closed("by client")).breaks
    assert not seen(*BEGIN, {"e": "quit"}, {"e": "bye"}, closed()).breaks


def test_who_obeys_drain() -> None:
    """A break by the client's own will, named as that."""
    figures = seen(
        *BEGIN, sent(1), answered(1), {"e": "drain", "ms": 100}, closed("by client"),
        CONNECT, CONNECTED, HELLO, welcome(2, 1, "t1"), sent(2), answered(2),
    )  # fmt: skip

    assert figures.breaks[0].why == "DRAIN"


@pytest.mark.parametrize("code", ["rolled-back", "unknown-session"])
def test_lines_of_a_lost_session(code: str) -> None:
    """They have a fate: what the client does with their texts is another session's, or history's."""
    figures = seen(*BEGIN, sent(1), sent(2), {"e": "error", "code": code, "text": ""}, closed())

    assert (figures.lost, figures.unknown) == (2, 0)


def test_another_claimants_lines() -> None:
    """A WELCOME with another's text tells nothing of the lines that waited."""
    figures = seen(*BEGIN, sent(1), closed(), CONNECT, CONNECTED, HELLO, welcome(3, 1, "theirs"))

    assert (figures.told, figures.withdrawn) == (0, 1)


def test_the_impatient_have_no_breaks() -> None:
    """Who is there to disturb may end as it likes."""
    figures = seen(*BEGIN, sent(1), closed(), patient=lambda name: name != "s1")

    assert not figures.breaks
    assert figures.unknown == 0


@given(st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_the_sums(seed: int) -> None:
    """Of every line that was sent the fate is known, or it waits; none is counted twice."""
    figures = Figures()
    for event in Model(random.Random(seed), clients=1).run(600):
        if event["c"] != "claimant":
            figures.feed(event)
    figures.finish()

    assert figures.answered + figures.told <= figures.sent
    assert len(figures.answered_at) == figures.answered


@pytest.mark.parametrize("share, value", [(0.5, 2), (0.99, 4), (0.25, 1), (1, 4)])
def test_ranks(share: float, value: float) -> None:
    """The least value that so many are not above."""
    assert rank([3, 1, 4, 2], share) == value
    assert math.isnan(rank([], share))
