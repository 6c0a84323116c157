"""What the fan-out's report concludes, from figures made up for it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from lab.measure.fanout import answers as fanout_answers
from lab.measure.fanout.answers import DAEMONS_FIRST, REDIS_FIRST, Promise, promises, summarise
from lab.measure.fanout.systems import BROADCAST, DIRECTED, LOADS, ROOM, TICK_S, Load, daemons
from lab.report.answers import NO, SAME, YES, Answer
from tests.unit.test_fanout_summary import point

if TYPE_CHECKING:
    from lab.measure.samples import Row

REPEATS = 8
GRID, FAST = LOADS.grid, LOADS.fast
LARGE, SOME, SMALL = GRID


def copies(route: str, servers: int, load: Load) -> float:
    """How many daemons a post reaches."""
    return float(servers if route == BROADCAST else min(servers, load.members))


def run(seed: int = 1, noise: float = 0.03, dear: float = 100.0) -> list[Row]:
    """Every route on 1, 4 and 8 daemons, the tick and two peers, by a law with some noise."""
    rng = random.Random(seed)
    points = []
    for repeat in range(1, REPEATS + 1):
        for route in (BROADCAST, ROOM, DIRECTED):
            for servers in (1, 4, 8):
                for load in (*GRID, FAST):
                    many = copies(route, servers, load)
                    lookup = 40.0 if route == DIRECTED else 0.0
                    points.append(
                        point(
                            daemons(route).name, servers, load, repeat,
                            copies=many,
                            vain=1 - min(servers, load.members) / many,
                            servers_us=5 + (100 + dear * many) / load.members * rng.gauss(1, noise),
                            redis_us=(100 + lookup + 10 * many) / load.members * rng.gauss(1, noise),
                        )
                    )  # fmt: skip
        points.append(
            point(daemons(ROOM, TICK_S).name, 4, FAST, repeat, servers_us=3.0 * rng.gauss(1, noise),
                  redis_us=0.2, p50_ms=12.0)
        )  # fmt: skip
        for peer, us in (("socketio-redis", 18.0), ("python-socketio", 40.0)):
            for load in (LARGE, SOME, FAST):
                points.append(  # noqa: PERF401 — three loops deep, a comprehension hides them
                    point(peer, 4, load, repeat, servers_us=us * rng.gauss(1, noise), redis_us=0.2,
                          p99_ms=6.0, copies=0.0)
                )  # fmt: skip
    return points


def answers(points: list[Row]) -> dict[str, Answer]:
    """By their questions."""
    found = fanout_answers.answers(summarise(points), LOADS, promises(LOADS))
    return {answer.question: answer for answer in found}


def the(found: dict[str, Answer], *words: str) -> Answer:
    """The only answer whose question has all these words."""
    (answer,) = (one for question, one in found.items() if all(word in question for word in words))
    return answer


def test_the_article_is_answered() -> None:
    """Broadcast costs more where rooms are small, and nothing where they are large."""
    found = answers(run())
    assert the(found, "500 rooms of 2", "a delivery by one channel for all take").verdict == YES
    assert the(found, "One room of 1,000", "a delivery by one channel for all take").verdict == NO
    assert the(found, "500 rooms of 2", "in vain").verdict == YES
    assert "75%" in the(found, "500 rooms of 2", "in vain").text
    assert the(found, "One room of 1,000", "in vain").verdict == NO
    text = fanout_answers.lead(summarise(run()), GRID)
    assert "In rooms of 2, a delivery by one channel for all takes" in text
    assert "64 servers with one Redis would stop, in rooms of 2, at" in text


def test_where_each_stops() -> None:
    """By one channel it is every daemon, as its law says; by rooms it is Redis."""
    found = answers(run(noise=0.001, dear=2_000.0))
    broadcast = the(found, "64 servers, one channel for all")
    assert broadcast.verdict == DAEMONS_FIRST
    assert "is full with that at 500 posts/s" in broadcast.text
    room = the(found, "64 servers, a channel for each room")
    assert room.verdict == REDIS_FIRST
    assert "full at 8,330 posts/s" in room.text


def test_the_tick_and_the_promises() -> None:
    """Kept, missed, and the latency of each."""
    found = answers(run())
    assert the(found, "gathered for 20 ms cost").verdict == YES
    assert the(found, "1,000 at 40", "1.6 times Socket.IO").verdict == YES
    assert the(found, "1,000 at 40", "3 times python-socketio").verdict == YES
    assert the(found, "1,000 at 100", "3 times Socket.IO").verdict == YES
    assert the(found, "50 rooms of 20", "1.3 times Socket.IO").verdict == NO
    assert the(found, "One room", "p99", "no worse than Socket.IO").verdict == YES


def test_what_was_not_measured_is_not_answered() -> None:
    """Without peers no promise; without any point no answer and no crash."""
    own = [one for one in run() if one["system"].startswith("echod")]
    assert not any("Socket.IO" in question for question in answers(own))
    assert answers([]) == {}
    assert fanout_answers.lead([], GRID) == "The routes were not compared: see below."


def test_too_few_repeats_decide_nothing() -> None:
    """Of one repeat every comparison is left open."""
    found = answers([one for one in run() if one["repeat"] == 1])
    assert the(found, "500 rooms of 2", "a delivery by one channel for all take").verdict == SAME
    assert the(found, "1.6 times Socket.IO").verdict == SAME


def test_a_full_machine_and_losses_are_told() -> None:
    """Beside the verdict, where it was so."""
    full = {"server_busy": 0.95, "machine_busy": 0.99, "lost": 7}
    points = [{**one, **full} if one["system"] == "socketio-redis" else one for one in run()]
    text = the(answers(points), "1,000 at 40", "1.6 times Socket.IO").text
    assert "nothing to spare" in text
    assert f"lost {7 * REPEATS} deliveries" in text


@pytest.mark.parametrize("seed", range(20))
def test_runs_do_not_contradict_each_other(seed: int) -> None:
    """Two runs of the same never say yes and no."""
    one, other = answers(run(seed)), answers(run(seed + 1_000, noise=0.1))
    for question, answer in one.items():
        assert {answer.verdict, other[question].verdict} != {YES, NO}, question


def test_a_promise_needs_its_load() -> None:
    """A peer that was measured under another load is not held against it."""
    promise = Promise("channels", "Channels", LARGE, 0.0, 2.0)
    points = [*run(), point("channels", 4, LARGE.times(0.1), 1)]
    found = fanout_answers.answers(summarise(points), LOADS, [promise])
    assert not any("Channels" in answer.question for answer in found)
