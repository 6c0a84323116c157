"""A connection's life: nothing goes back, the first reason counts, and every state ends."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.client.life import (
    ABANDONED,
    CLOSED,
    DOUBTED,
    ENDING,
    HALF_CLOSED,
    PAUSED,
    READING,
    SUSPENDED,
    TABLE,
    Event,
    Life,
    after,
)

EVENTS = st.lists(st.sampled_from(Event), max_size=20)


def lived(events: list[Event]) -> list[Life]:
    """The states of a connection to which these happen, its first one included."""
    states = [READING]
    for event in events:
        states.append(after(states[-1], event))
    return states


@given(EVENTS)
def test_nothing_goes_back(events: list[Event]) -> None:
    """Once no line is taken none is again; once nothing is answered nothing is; closed is closed."""
    states = lived(events)
    for before, now in pairwise(states):
        assert now >= before or before in {SUSPENDED, PAUSED}
        assert before < HALF_CLOSED or now >= before
    if CLOSED in states:
        assert set(states[states.index(CLOSED) :]) == {CLOSED}


@given(EVENTS)
def test_the_first_reason_counts(events: list[Event]) -> None:
    """Of two ends that both wait for replies, and of two that wait for none, the first stands."""
    states = lived(events)
    if ENDING in states:
        assert HALF_CLOSED not in states
    if ABANDONED in states:
        later = states[states.index(ABANDONED) :]
        assert set(later) <= {ABANDONED, CLOSED}


@given(EVENTS)
def test_a_line_that_takes_its_time_is_waited_for(events: list[Event]) -> None:
    """Nothing but its answer lets lines be taken again; then the connection is paused first."""
    states = lived(events)
    for before, event, now in zip(states, events, states[1:], strict=False):
        if before is SUSPENDED and now < HALF_CLOSED:
            assert now is (PAUSED if event is Event.GO_ON else SUSPENDED)
        if now is READING:
            assert before is READING or (before is PAUSED and event is Event.RESUME)


@given(EVENTS)
def test_who_waits_for_the_store_hears_it(events: list[Event]) -> None:
    """While the store is asked who the owner is, only an end without replies comes of it."""
    states = lived(events)
    if DOUBTED in states:
        assert set(states[states.index(DOUBTED) :]) <= {DOUBTED, ABANDONED, CLOSED}


@pytest.mark.parametrize("life", Life)
def test_every_state_ends(life: Life) -> None:
    """It can be closed at any time, and abandoned as long as something may be sent."""
    assert after(life, Event.CLOSE) is CLOSED
    assert after(life, Event.ABANDON) is max(life, ABANDONED)
    assert after(life, Event.DOUBT) is max(life, DOUBTED)


def test_the_table_is_whole() -> None:
    """Each state has a row, which changes it; each event does something somewhere."""
    assert set(TABLE) == set(Life)
    assert all(now is not before for before, row in TABLE.items() for now in row.values())
    assert {event for row in TABLE.values() for event in row} == set(Event)
