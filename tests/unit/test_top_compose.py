"""What Docker and Prometheus say of a container, put together."""

from __future__ import annotations

import pytest

from lab.fleet.metrics import Reading, Samples
from lab.top.model import State
from lab.top.sources import READING_S_MAX, part_of

READINGS = [Reading(at_s, Samples()) for at_s in (10.0, 15.0, 20.0)]


def container(status: str) -> dict[str, object]:
    """As `docker container inspect` describes it."""
    return {"State": {"Status": status}, "Id": "0123456789abcdef" * 4}


@pytest.mark.parametrize(
    "status,state",
    [
        ("running", State.UP),
        ("paused", State.FROZEN),
        ("exited", State.DOWN),
        ("restarting", State.DOWN),
        ("created", State.DOWN),
    ],
)
def test_dockers_word_is_ours(status: str, state: State) -> None:
    """Whatever does not run is down."""
    part = part_of("server-1", container(status), [], 20.0)
    assert (part.state, part.where) == (state, "0123456789ab")


@pytest.mark.parametrize(
    "age_s,readings", [(1.0, READINGS[-2:]), (READING_S_MAX, READINGS[-2:]), (15.1, [])]
)
def test_an_old_answer_is_none(age_s: float, readings: list[Reading]) -> None:
    """Prometheus keeps what a silent container said; the last two scrapes are enough."""
    part = part_of("server-1", container("running"), READINGS, 20.0 + age_s)
    assert list(part.readings) == readings
