"""What the experiments conclude, from figures made up for it."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from lab.measure.experiment import costs, models_answers, models_summary, scaling_answers
from lab.measure.experiment.c10k import Held
from lab.measure.experiment.costs import Busy
from lab.measure.experiment.models import Measured
from lab.measure.experiment.scaling import Point
from lab.measure.experiment.stack import SHAPES
from lab.measure.experiment.workload import Workload
from lab.report.answers import NO, SAME, YES, Answer

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


def run(seed: int, noise: float = 0.02, repeats: int = 9) -> list[Measured]:
    """The systems, each repeat a little off."""
    rng = random.Random(seed)
    return [
        Measured(
            system=name,
            repeat=repeat,
            clients=10 if name == "serial" else 100,
            loop_s=loop_s * rng.uniform(1, 1 + noise),
            served_at_once=1 if name == "serial" else 100,
            unevenness=0.01,
            cpu_s_by_part={"servers": cpu_s * rng.uniform(1 - noise, 1 + noise)},
            idle_bytes_by_part={"servers": 10 * MIB},
            most_bytes_by_part={"servers": mib * MIB},
            load_cpu_s=0.1,
            load_busy=0.1,
            reply_p50_s=0.001,
            reply_p99_s=0.01,
        )
        for repeat in range(1, repeats + 1)
        for name, (loop_s, cpu_s, mib) in SYSTEMS.items()
    ]


def concluded(measured: list[Measured]) -> dict[str, Answer]:
    """The answers by their questions."""
    summaries = models_summary.summarise(measured, ARTICLE)
    return {answer.question: answer for answer in models_answers.answers(summaries, ARTICLE)}


def test_the_serial_server_is_fifty_times_slower_and_why() -> None:
    """Extrapolated from ten clients, openly, with the product that explains it."""
    answer = concluded(run(1))[SERIAL]
    assert answer.verdict == YES
    assert "100 clients x 9 pauses x 0.1 s = 90 s" in answer.text
    assert "Measured were 10 clients" in answer.text
    assert "x 100/10 is extrapolated" in answer.text


def test_a_serial_server_that_is_not_so_slow() -> None:
    """Beside one of the others that is slow too, it is not fifty times slower than all."""
    slow = [
        replace(one, loop_s=2.5 * one.loop_s) if one.system == "fleet_4" else one for one in run(1)
    ]
    assert concluded(slow)[SERIAL].verdict == NO


def test_uneven_departures_are_not_extrapolated_silently() -> None:
    """If clients did not leave one by one, the report does not conclude."""
    uneven = [replace(one, unevenness=0.5) for one in run(1)]
    answer = concluded(uneven)[SERIAL]
    assert answer.verdict == SAME
    assert "may be wrong" in answer.text


def test_concurrent_servers_are_not_told_apart_by_time() -> None:
    """A few per cent are no difference; much more is."""
    question = "Does one kind of concurrency make its clients wait half as long again as another?"
    assert concluded(run(1))[question].verdict == NO
    slower = [
        replace(one, loop_s=1.7 * one.loop_s) if one.system == "threads" else one for one in run(1)
    ]
    answer = concluded(slower)[question]
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
        replace(
            one,
            loop_s=one.loop_s * (1 + one.repeat % 3),
            cpu_s_by_part={"servers": one.cpu_s_by_part["servers"] * (1 + one.repeat % 3)},
        )
        for one in run(1)
    ]
    calm, storm = concluded(run(1)), concluded(stormy)
    assert {q: a.verdict for q, a in storm.items()} == {q: a.verdict for q, a in calm.items()}


def test_few_repeats_decide_no_comparison() -> None:
    """Nor do systems that share no repeat; nothing fails for it."""
    few = concluded(run(1, repeats=3))
    assert {answer.verdict for answer in few.values()} == {SAME}
    apart = [one for one in run(1) if one.repeat % 2 == (one.system == "threads")]
    answers = concluded(apart)
    assert "Do threads take at least a tenth more CPU than greenlets?" not in answers
    serial_alone = [one for one in run(1) if one.repeat % 2 == (one.system == "serial")]
    assert "no repeat in common" in models_answers.lead(
        models_summary.summarise(serial_alone, ARTICLE), ARTICLE
    )
    assert SERIAL not in concluded(serial_alone)


@pytest.mark.parametrize("busy,verdict", [(0.2, NO), (0.6, SAME), (0.9, YES)])
def test_a_busy_load_generator_is_told_of(busy: float, verdict: str) -> None:
    """It may be what was measured."""
    answers = concluded([replace(one, load_busy=busy) for one in run(1)])
    assert answers["Was the load generator itself the bottleneck?"].verdict == verdict


def test_two_runs_agree() -> None:
    """Same systems, other noise: every verdict is the same."""
    verdicts = [
        {q: answer.verdict for q, answer in concluded(run(seed)).items()} for seed in (1, 2)
    ]
    assert verdicts[0] == verdicts[1]


def test_the_lead_says_it_in_one_paragraph() -> None:
    """And says so when there is nothing to compare."""
    summaries = models_summary.summarise(run(1), ARTICLE)
    assert "times slower" in models_answers.lead(summaries, ARTICLE)
    assert "not both measured" in models_answers.lead({}, ARTICLE)
    assert models_answers.answers({}, ARTICLE) == []


IDLE = Busy(daemons=0.2, redis=0.2, redis_disk=0.1, haproxy=0.2, load=0.2, machine=1.0)


def points(busy: Busy = IDLE, growth: float = 1.0, repeats: int = 8) -> list[Point]:
    """Every shape on 1, 2, 4 daemons; `growth` times the rate for each doubling."""
    rng = random.Random(5)
    return [
        Point(
            shape=shape,
            daemons=daemons,
            repeat=repeat,
            round_trips_per_s=20_000 * growth**step * rng.uniform(0.98, 1.02),
            p50_us=900,
            p99_us=2_000,
            daemons_us=15.0 if shape.stored else 8.0,
            redis_us=10.0 if shape.stored else 0.0,
            redis_disk_us=5.0 if shape.stored else 0.0,
            haproxy_us=16.0 if shape.proxied else 0.0,
            load_us=7.0,
            busy=busy,
        )
        for repeat in range(repeats)
        for shape in SHAPES
        for step, daemons in enumerate((1, 2, 4))
    ]


def test_cpus_that_ran_out_are_not_the_design() -> None:
    """On a full machine the lead says whose limit it was."""
    summaries = scaling_answers.summarise(points())
    assert "The 2 CPUs ran out" in scaling_answers.lead(summaries, cpus=2)
    answers = {answer.question: answer for answer in scaling_answers.answers(summaries, 2, None)}
    full = answers["Redis, HAProxy: what is full with 4 daemons?"]
    assert full.verdict == costs.CPUS
    assert "The 2 CPUs ran out" in full.text
    grown = answers["Redis, HAProxy: do 4 daemons carry at least 2 times what 1 does?"]
    assert grown.verdict == NO


def test_growth_and_its_limit_are_named() -> None:
    """Where a part is full, it is that part."""
    busy = replace(IDLE, redis=0.8, redis_disk=0.15, machine=0.5)
    summaries = scaling_answers.summarise(points(busy, growth=1.6))
    lead = scaling_answers.lead(summaries, cpus=16)
    assert "4 daemons carry at least 2 times what 1 does" in lead
    assert f"Full was {costs.REDIS}" in lead


def test_costs_and_predictions() -> None:
    """From the full fleet's medians: 41 µs a round trip, 10 of them Redis's."""
    summaries = scaling_answers.summarise(points())
    answers = {answer.question: answer for answer in scaling_answers.answers(summaries, 2, None)}
    store = answers["Does the store take at least a tenth more CPU?"]
    assert store.verdict == YES
    assert "25.0 µs with Redis, and 8.00 µs without" in store.text
    assert answers["Does HAProxy take at least a tenth more CPU?"].verdict == YES
    eight = answers["What would be full first on 8 CPUs?"]
    assert "195,000" in eight.text
    assert "100,000" in eight.text
    assert answers["What would be full first on 64 CPUs?"].verdict == costs.REDIS


def test_laws_need_three_sizes() -> None:
    """One for each shape; none from two numbers of daemons."""
    assert set(scaling_answers.laws(points())) == {shape.name for shape in SHAPES}
    assert not scaling_answers.laws([point for point in points() if point.daemons < 4])


def test_c10k_is_not_claimed_by_fewer() -> None:
    """Ten thousand are ten thousand."""
    held = Held(12_000, 3.0, "the open-file limit", 1000, 1500, 1.0, 5.0, 10_000, 25.0)
    question = "Does one daemon hold 10,000 connections?"

    def verdict(one: Held) -> str:
        answers = scaling_answers.answers(scaling_answers.summarise(points()), 2, one)
        return next(answer.verdict for answer in answers if answer.question == question)

    assert verdict(held) == "yes"
    assert verdict(replace(held, connections=9_999)).startswith("not tried: the open-file limit")
