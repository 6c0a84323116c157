"""Names, keys and the stored form of a state."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.protocol.state import State
from echod.store.keys import PlainSession, decode_state, encode_state


@given(st.integers(0), st.binary(max_size=20), st.binary(max_size=20))
def test_state_survives(seq: int, previous: bytes, last: bytes) -> None:
    """What is encoded is decoded, whatever bytes the lines hold."""
    value = encode_state(seq, len(previous), previous + last)
    assert decode_state(value) == State(seq, previous, last)


@pytest.mark.parametrize("value", [b"", b"1 2", b"1 5 abc", b"1 -1 abc", b"x 0 abc"])
def test_foreign_values_are_refused(value: bytes) -> None:
    """A value that was not made here is an error, not a wrong state."""
    with pytest.raises(ValueError):  # noqa: PT011 — its kinds are many, and none is told apart
        decode_state(value)


def test_keys() -> None:
    """The keys are those of ADR 2, and no two sessions share one."""
    sessions = [PlainSession(()) for _ in range(100)]
    for session in sessions:
        assert re.fullmatch(rb"[a-z2-7]{10}", session.name)
        assert re.fullmatch(rb"s:\{%b\}:1:[0-9a-f]{10}" % session.name, session.state_key)
        assert session.record_key == b"r:{%b}" % session.name
    assert len({session.state_key for session in sessions}) == 100
