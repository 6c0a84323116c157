"""What the experiments conclude, from figures made up for it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from lab.measure.models import answers as models_answers
from lab.measure.models.clients import Workload
from lab.measure.models.measure import by_part
from lab.measure.samples import measurements
from lab.measure.scaling import answers as scaling_answers
from lab.measure.scaling import costs
from lab.measure.scaling.measure import SHAPES, Shape
from lab.report.answers import NO, SAME, YES, Answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab.measure.samples import Measurement, Row

ARTICLE = Workload(clients=100, lines=10, pause_s=0.1)
MIB = 1 << 20
SERIAL = "Is it at least 50 times slower to serve one client at a time?"

# A loop's time and CPU, and memory, of systems as they might be.
SYSTEMS = {
    "serial": (9.05, 0.01, 13),
    "threads": (0.93, 0.12, 30),
    "gevent_streamserver": (0.92, 0.05, 22),
    "asyncio_streams": (0.93, 0.08, 24),
    "asyncio_protocol": (0.92, 0.045, 24),
    "fleet_1": (0.95, 0.15, 90),
    "fleet_4": (0.95, 0.25, 210),
}


def run(seed: int, noise: float = 0.02, repeats: int = 9) -> list[Row]:
    """The systems, each repeat a little off."""
    rng = random.Random(seed)
    return [
        {
            **dict.fromkeys(by_part("cpu_s").values(), 0.01),
            "system": name,
            "repeat": repeat,
            "clients": 10 if name == "serial" else 100,
            "loop_s": loop_s * rng.uniform(1, 1 + noise),
            "unevenness": 0.01,
            "cpu_s": cpu_s * rng.uniform(1 - noise, 1 + noise),
            "most_bytes": mib * MIB,
            "load_busy": 0.1,
        }
        for repeat in range(1, repeats + 1)
        for name, (loop_s, cpu_s, mib) in SYSTEMS.items()
    ]


def concluded(rows: list[Row]) -> dict[str, Answer]:
    """The answers by their questions."""
    measured = models_answers.summarise(rows, ARTICLE)
    return {answer.question: answer for answer in models_answers.answers(measured, ARTICLE)}


def test_the_serial_server_is_fifty_times_slower_and_why() -> None:
    """Extrapolated from ten clients, openly, with the product that explains it."""
    answer = concluded(run(1))[SERIAL]
    assert answer.verdict == YES
    assert "100 clients x 9 pauses x 0.1 s = 90 s" in answer.text
    assert "Measured were 10 clients" in answer.text
    assert "x 100/10 is extrapolated" in answer.text


def slower(name: str, times: float) -> list[Row]:
    """The same, with one system's loops so many times as long."""
    return [
        {**row, "loop_s": row["loop_s"] * (times if row["system"] == name else 1)} for row in run(1)
    ]


def test_a_serial_server_that_is_not_so_slow() -> None:
    """Beside one of the others that is slow too, it is not fifty times slower than all."""
    assert concluded(slower("fleet_4", 2.5))[SERIAL].verdict == NO


def test_uneven_departures_are_not_extrapolated_silently() -> None:
    """If clients did not leave one by one, the report does not conclude."""
    answer = concluded([{**row, "unevenness": 0.5} for row in run(1)])[SERIAL]
    assert answer.verdict == SAME
    assert "may be wrong" in answer.text


def test_concurrent_servers_are_not_told_apart_by_time() -> None:
    """A few per cent are no difference; much more is."""
    question = "Does one kind of concurrency make its clients wait half as long again as another?"
    assert concluded(run(1))[question].verdict == NO
    answer = concluded(slower("threads", 1.7))[question]
    assert answer.verdict == YES
    assert "a thread per connection" in answer.text


def test_pairs_and_the_fleet() -> None:
    """What is asked of a pair is said, with the ratio; what is not measured is not asked."""
    answers = concluded(run(1))
    threads = answers["Do threads take at least a tenth more CPU than greenlets?"]
    assert threads.verdict == YES
    assert "2.4" in threads.text
    memory = answers["Do threads take at least a quarter more memory than greenlets?"]
    assert memory.verdict == YES
    state = "State in Redis, behind HAProxy: do"
    assert answers[f"{state} clients wait half as long again as for the bare server?"].verdict == NO
    assert answers[f"{state}es it take a quarter more CPU than the bare server?"].verdict == YES
    assert (
        answers[
            "Does one daemon take half as long again for the article's workload as more of them?"
        ].verdict
        == NO
    )
    assert not any("Node" in question for question in answers)


def test_a_slow_repeat_slows_both_sides() -> None:
    """Pairs are compared within a repeat: what doubles all of it changes no verdict."""
    stormy = [
        {
            **row,
            **{name: row[name] * (1 + row["repeat"] % 3) for name in ("loop_s", "cpu_s")},
        }
        for row in run(1)
    ]
    calm, storm = concluded(run(1)), concluded(stormy)
    assert {q: a.verdict for q, a in storm.items()} == {q: a.verdict for q, a in calm.items()}


def test_few_repeats_decide_no_comparison() -> None:
    """Nor do systems that share no repeat; nothing fails for it."""
    few = concluded(run(1, repeats=3))
    assert {answer.verdict for answer in few.values()} == {SAME}
    apart = [row for row in run(1) if row["repeat"] % 2 == (row["system"] == "threads")]
    answers = concluded(apart)
    assert "Do threads take at least a tenth more CPU than greenlets?" not in answers
    serial_alone = [row for row in run(1) if row["repeat"] % 2 == (row["system"] == "serial")]
    assert "no repeat in common" in models_answers.lead(
        models_answers.summarise(serial_alone, ARTICLE), ARTICLE
    )
    assert SERIAL not in concluded(serial_alone)


@pytest.mark.parametrize("busy,verdict", [(0.2, NO), (0.6, SAME), (0.9, YES)])
def test_a_busy_load_generator_is_told_of(busy: float, verdict: str) -> None:
    """It may be what was measured."""
    answers = concluded([{**row, "load_busy": busy} for row in run(1)])
    assert answers["Was the load generator itself the bottleneck?"].verdict == verdict


def test_two_runs_agree() -> None:
    """Same systems, other noise: every verdict is the same."""
    verdicts = [
        {q: answer.verdict for q, answer in concluded(run(seed)).items()} for seed in (1, 2)
    ]
    assert verdicts[0] == verdicts[1]


def test_the_lead_says_it_in_one_paragraph() -> None:
    """And says so when there is nothing to compare."""
    summaries = models_answers.summarise(run(1), ARTICLE)
    assert "times slower" in models_answers.lead(summaries, ARTICLE)
    assert "not both measured" in models_answers.lead({}, ARTICLE)
    assert not list(models_answers.answers({}, ARTICLE))


IDLE = {
    "daemons_busy": 0.2,
    "redis_thread_busy": 0.3,
    "haproxy_busy": 0.2,
    "load_busy": 0.2,
    "machine_busy": 1.0,
}


# On one shard of four what a line costs on one Redis; a half more on the daemon.
FOUR_SHARDS = {"4 shards, direct": {"stored": True, "proxied": False, "shards": 4}}
ON_SHARDS = {
    "daemons_us": 22.5,
    "servers_us": 32.5,
    "homes": "1, 1, 1, 1",
    "homes_apart": 0,
    "busiest_shard": 0.27,
}


def points(
    growth: float = 1.0, shapes: dict[str, Shape] = SHAPES, **busy: float
) -> Sequence[Measurement]:
    """Every shape on 1, 2, 4 daemons; `growth` times the rate for each doubling."""
    rng = random.Random(5)
    rows = [
        {
            "shape": shape,
            "daemons": daemons,
            "repeat": repeat,
            "shards": parts["shards"],
            "round_trips_per_s": 20_000 * growth**step * rng.uniform(0.98, 1.02),
            "daemons_us": 15.0 if parts["stored"] else 8.0,
            "redis_us": 10.0 if parts["stored"] else 0.0,
            "redis_disk_us": 5.0 if parts["stored"] else 0.0,
            "haproxy_us": 16.0 if parts["proxied"] else 0.0,
            "servers_us": (25.0 if parts["stored"] else 8.0) + (16.0 if parts["proxied"] else 0.0),
            **(ON_SHARDS if parts["shards"] > 1 else {}),
            **IDLE,
            **busy,
        }
        for repeat in range(8)
        for shape, parts in shapes.items()
        for step, daemons in enumerate((1, 2, 4))
    ]
    return measurements(rows, "shape", "daemons")


def test_cpus_that_ran_out_are_not_the_design() -> None:
    """On a full machine the lead says whose limit it was."""
    measured = points()
    assert "The 2 CPUs ran out" in scaling_answers.lead(measured, cpus=2)
    answers = {answer.question: answer for answer in scaling_answers.answers(points(), 2, None)}
    full = answers["Redis, HAProxy: what is full with 4 daemons?"]
    assert full.verdict == costs.CPUS
    assert "The 2 CPUs ran out" in full.text
    grown = answers["Redis, HAProxy: do 4 daemons carry at least 2 times what 1 does?"]
    assert grown.verdict == NO


def test_growth_and_its_limit_are_named() -> None:
    """Where a part is full, it is that part."""
    measured = points(growth=1.6, redis_thread_busy=0.95, machine_busy=0.5)
    lead = scaling_answers.lead(measured, cpus=16)
    assert "4 daemons carry at least 2 times what 1 does" in lead
    assert f"Full was {costs.REDIS}" in lead


def test_costs_and_predictions() -> None:
    """From the full fleet's medians: 41 µs a round trip, 10 of them Redis's."""
    answers = {answer.question: answer for answer in scaling_answers.answers(points(), 2, None)}
    store = answers["Does the store take at least a tenth more CPU?"]
    assert store.verdict == YES
    assert "25.0 µs with Redis, and 8.00 µs without" in store.text
    assert answers["Does HAProxy take at least a tenth more CPU?"].verdict == YES
    eight = answers["What would be full first on 8 CPUs with one Redis?"]
    assert "195,000" in eight.text
    assert "100,000" in eight.text
    many = answers["What would be full first on 64 CPUs with one Redis?"]
    assert many.verdict == costs.REDIS
    assert "With a store of 24 shards it is the CPUs" in many.text, "of 15 µs each, not measured"


def test_shards_take_the_place_of_one_redis() -> None:
    """48.5 µs a round trip; 64 CPUs make 1,320,000/s, a shard 66,700 with the disk, 100,000 without."""
    measured = points(shapes=SHAPES | FOUR_SHARDS)
    answers = {answer.question: answer for answer in scaling_answers.answers(measured, 2, None)}
    one = answers["What would be full first on 64 CPUs with one Redis?"]
    assert one.verdict == costs.REDIS
    assert "With a store of" not in one.text, "the answer below is the measured one"
    enough = answers["What would be full first on 64 CPUs with shards enough?"]
    assert enough.verdict == costs.PREDICTED_CPUS
    assert "with 14 shards if no shard waits" in enough.text
    assert "with 20 shards if each waits as it did here, where 4 shards wrote to one" in enough.text
    assert "The 4 shards that were measured would be full before, at 267,000" in enough.text
    few = answers["What would be full first on 8 CPUs with shards enough?"]
    assert "with 2 shards if no shard waits for its disk, with 3 shards if each" in few.text
    assert "that were measured would be full" not in few.text
    lead = scaling_answers.lead(measured, cpus=2)
    assert "On 64 CPUs one Redis is full first" in lead
    assert "with a store of 14 shards (none waits for its disk) to 20 (each waits" in lead
    assert "it is no longer Redis but the CPUs" in lead
    cost = answers[
        "4 shards: does a round trip take at least a quarter more CPU than on one Redis?"
    ]
    assert cost.verdict == YES
    assert "1.30 times" in cost.text


@pytest.mark.parametrize("apart, verdict", [(0, YES), (1, YES), (2, NO)])
def test_homes_are_told(apart: int, verdict: str) -> None:
    """Whether shards have even shares, and how the homes fell."""
    measured = points(shapes=SHAPES | FOUR_SHARDS, homes_apart=apart)
    answers = {answer.question: answer for answer in scaling_answers.answers(measured, 2, None)}
    homes = answers["Has each of 4 shards an even share of 4 daemons?"]
    assert homes.verdict == verdict
    assert "the most first: 1, 1, 1, 1." in homes.text
    assert "27.0 % of the store's CPU; an even share is 25.0 %" in homes.text


def test_c10k_is_not_claimed_by_fewer() -> None:
    """Ten thousand are ten thousand."""
    held = {
        "connections": 12_000,
        "interval_s": 3.0,
        "limited_by": "the open-file limit",
        "idle_bytes": 1000,
        "busy_bytes": 1500,
        "p50_ms": 1.0,
        "p99_ms": 5.0,
        "accepts_per_s": 10_000,
        "accept_us": 25.0,
    }
    question = "Does one daemon hold 10,000 connections?"

    def verdict(one: Row) -> str:
        answers = scaling_answers.answers(points(), 2, one)
        return next(answer.verdict for answer in answers if answer.question == question)

    assert verdict(held) == "yes"
    fewer = verdict({**held, "connections": 9_999})
    assert fewer.startswith("not tried: the open-file limit")
