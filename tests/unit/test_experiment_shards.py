"""What `fleet experiment shards` concludes, from figures made up for it."""

from __future__ import annotations

import random
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab.measure.fanout.systems import Load
from lab.measure.shards import answers
from lab.measure.shards.measure import HOME, ONE, POSTS, REPLICA, SPREAD, SYSTEMS, Plan, load_name
from lab.report.answers import NO, SAME, YES, Answer

if TYPE_CHECKING:
    from lab.measure.samples import Row

PLAN = Plan(
    shards=4,
    connections=(1, 10, 100),
    posts=Load(50, 4, 400),
    seconds=0.6,
    warm_up_s=0.3,
    repeats=8,
    appendfsync="always",
    programs=Path(),
    data=Path(),
)

# µs of the daemon for a line on one Redis, by connections; a post's beside them.
COSTS = {1: 75.0, 10: 25.0, 100: 8.5, None: 200.0}
# How many times as much elsewhere, and how many times as long.
TIMES = {ONE: (1.0, 1.0), HOME: (1.01, 1.05), SPREAD: (1.6, 1.2), REPLICA: (1.05, 1.8)}


def run(seed: int = 1, repeats: int = 8) -> list[Row]:
    """Every system under every load, each repeat a little off."""
    rng = random.Random(seed)
    return [
        {
            "system": system.name,
            "load": load_name(connections),
            "repeat": repeat,
            "daemon_us": COSTS[connections] * times * rng.uniform(0.98, 1.02),
            "p50_us": 350 * longer * rng.uniform(0.98, 1.02),
        }
        for repeat in range(repeats)
        for system, (times, longer) in TIMES.items()
        for connections in PLAN.loads(system)
    ]


def concluded(rows: list[Row]) -> dict[str, Answer]:
    """The answers by their questions."""
    return {one.question: one for one in answers.answers(answers.summarise(rows))}


@pytest.mark.parametrize("load", ["1 connection", "10 connections", "100 connections", "Posts"])
def test_what_shards_and_replicas_cost(load: str) -> None:
    """At home as much as on one Redis; a replica costs time, and no CPU."""
    found = {
        question.removeprefix(f"{load}: "): answer
        for question, answer in concluded(run()).items()
        if question.startswith(load)
    }
    what = "a post" if load == "Posts" else "a line"
    at_home = found[
        f"does {what} on a cluster, of a session at home, take at least a quarter more of the daemon's"
        " CPU than on one Redis?"
    ]
    assert at_home.verdict == NO
    assert at_home.text.startswith(("1.00 (", "1.01 (", "1.02 ("))
    replica = "of the daemon's CPU if its answer waits for a replica?"
    assert found[f"does {what} take at least half again as much {replica}"].verdict == NO
    longer = found[
        f"does {what} take at least half again as long (p50) if its answer waits for a replica?"
    ]
    assert longer.verdict == YES
    assert "times as long: 0.6" in longer.text


def test_what_homes_save_is_asked_where_sessions_can_be_spread() -> None:
    """One session is on one shard, and a room where its name puts it."""
    spread = {
        question: answer for question, answer in concluded(run()).items() if "spread" in question
    }
    assert [question.partition(":")[0] for question in spread] == [
        "10 connections",
        "100 connections",
    ]
    assert {answer.verdict for answer in spread.values()} == {YES}


def test_the_lead_says_it_in_one_paragraph() -> None:
    """By load, of lines alone; and says so when there is nothing to compare."""
    lead = answers.lead(answers.summarise(run()))
    assert "spread over all shards, it takes 1.5" in lead
    assert "(10 connections), 1.5" in lead
    assert POSTS not in lead
    alone = [row for row in run() if row["system"] == ONE.name]
    assert answers.lead(answers.summarise(alone)).startswith("No two systems")
    assert not concluded(alone)


def test_few_repeats_decide_nothing() -> None:
    """As in every experiment."""
    assert {answer.verdict for answer in concluded(run(repeats=3)).values()} == {SAME}


def test_systems_share_a_store_where_they_can() -> None:
    """At home and spread are measured on the same servers; every load is counted."""
    assert [len(systems) for systems in PLAN.stores.values()] == [1, 2, 1]
    assert {stored.shards for stored in PLAN.stores} == {1, 4}
    assert {stored.replicas for stored in PLAN.stores} == {0, 1}
    assert list(chain.from_iterable(PLAN.stores.values())) == list(SYSTEMS)
    assert PLAN.measurements == 8 * (4 + 4 + 2 + 4)
