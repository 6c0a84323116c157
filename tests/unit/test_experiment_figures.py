"""The experiments' pure figures: ranges, the scaling law, what is full, predictions, steps."""

from __future__ import annotations

import math
import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.measure import serving
from lab.measure.models.clients import Visit, Workload, served, unevenness
from lab.measure.samples import (
    REPEATS_MIN,
    Interval,
    Measurement,
    Repeats,
    bounded,
    measurements,
    ranged,
    spread,
)
from lab.measure.scaling import costs, usl
from lab.report.answers import SAME, Answer, disagreements
from lab.report.words import number

POSITIVE = st.floats(0.01, 1e6)
IDLE = {
    "daemons": 0.1,
    "redis_thread": 0.1,
    "haproxy": 0.1,
    "load": 0.1,
    "machine": 0.3,
}


def exact(value: float) -> Repeats:
    """A figure that was the same in every repeat."""
    return Repeats(dict.fromkeys(range(1, 9), value))


@pytest.mark.parametrize(
    "value,text",
    [
        (0, "0"),
        (0.01234, "0.0123"),
        (0.9996, "1.00"),
        (4.5678, "4.57"),
        (78.94, "78.9"),
        (999.9, "1,000"),
        (123456, "123,000"),
        (-2.5, "-2.50"),
    ],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    """Never an exponent."""
    assert number(value) == text


def test_a_range_is_shown_only_if_there_is_one() -> None:
    """To three digits."""
    assert ranged(Repeats({1: 1.0, 2: 0.5, 3: 2.0}), " s") == "1.00 s (0.500-2.00)"
    assert ranged(Repeats({1: 1.0, 2: 0.9999, 3: 1.0001})) == "1.00"
    assert bounded(Interval(1.0, 0.5, 2.0)) == "1.00 (0.500-2.00)"
    assert bounded(Interval(1.0, -math.inf, math.inf)) == "1.00", "too few repeats"


def test_nothing_has_no_median() -> None:
    """No figure is made up of no repeats."""
    with pytest.raises(ValueError, match="no repeats"):
        Repeats({})


def test_disagreements_are_those_of_common_questions() -> None:
    """One that only one run asked is none; one that only one run decided is not a contradiction."""
    before = [Answer(name, "yes", "") for name in "ace"] + [Answer("b", SAME, "")]
    after = [Answer("a", "yes", "other figures"), Answer("b", "yes", ""), Answer("d", "no", "")]
    assert disagreements(before, [*after, Answer("e", "no", "")]) == (["e"], ["b"])


@given(st.floats(100, 1e6), st.floats(0, 0.9), st.floats(0, 0.1))
def test_the_law_is_found_again(rate: float, contention: float, crosstalk: float) -> None:
    """From exact points, its three numbers."""
    law = usl.Law(rate, contention, crosstalk, 0.0)
    found = usl.fit([(size, law.throughput(size)) for size in (1, 2, 4, 8)])
    assert found.rate == pytest.approx(rate, rel=1e-6)
    assert found.contention == pytest.approx(contention, abs=1e-6)
    assert found.crosstalk == pytest.approx(crosstalk, abs=1e-6)
    assert found.error < 1e-6


@given(st.lists(st.tuples(st.integers(1, 64), POSITIVE), min_size=3, max_size=20))
def test_a_law_is_never_impossible(points: list[tuple[int, float]]) -> None:
    """Whatever the points: nothing negative, and a positive throughput everywhere."""
    if len({size for size, _ in points}) < usl.SIZES_MIN:
        with pytest.raises(ValueError, match="needs 3"):
            usl.fit(points)
        return
    law = usl.fit(points)
    assert law.rate > 0
    assert law.contention >= 0
    assert law.crosstalk >= 0
    assert all(law.throughput(size) > 0 for size in (1, 2, 64, 1000))


def test_noise_moves_the_law_little() -> None:
    """Points that are 3 % off give the throughput between them within 10 %."""
    rng = random.Random(3)
    law = usl.Law(10_000, 0.05, 0.004, 0.0)
    points = [
        (size, law.throughput(size) * rng.uniform(0.97, 1.03))
        for size in (1, 2, 4, 8)
        for _ in range(4)
    ]
    found = usl.fit(points)
    for size in (3, 6):
        assert found.throughput(size) == pytest.approx(law.throughput(size), rel=0.1)
    assert found.error < 0.05


def test_the_peak_of_a_law() -> None:
    """Where one daemon more no longer helps; without crosstalk there is none."""
    law = usl.Law(1000, 0.04, 0.01, 0.0)
    assert law.peak == pytest.approx(math.sqrt(0.96 / 0.01))
    assert law.throughput(law.peak) > law.throughput(law.peak * 1.1)
    assert law.throughput(law.peak) > law.throughput(law.peak / 1.1)
    assert math.isinf(usl.Law(1000, 0.5, 0.0, 0.0).peak)


@pytest.mark.parametrize("points", [[(1, 1.0), (2, 2.0), (2, 2.1)], [(1, 1.0), (2, 0.0), (3, 1.0)]])
def test_the_law_needs_points(points: list[tuple[int, float]]) -> None:
    """Three sizes, and rates above 0."""
    with pytest.raises(ValueError, match=r"needs 3|above 0"):
        usl.fit(points)


@pytest.mark.parametrize(
    "repeats,part",
    [
        ([IDLE] * 8, costs.NOTHING),
        ([IDLE | {"daemons": 0.95}, IDLE | {"daemons": 0.9}] * 4, costs.DAEMONS),
        ([IDLE | {"daemons": 0.95}] * 8 + [IDLE | {"daemons": 0.82}], costs.DAEMONS),
        ([IDLE | {"daemons": 0.95}, IDLE | {"daemons": 0.81}] * 4, SAME),
        ([IDLE | {"redis_thread": 0.95}] * 8, costs.REDIS),
        ([IDLE | {"haproxy": 0.99}] * 8, costs.HAPROXY),
        ([IDLE | {"load": 0.99}] * 8, costs.LOAD),
        ([IDLE | {"machine": 0.99}] * 8, costs.CPUS),
        ([IDLE | {"machine": 0.99}] * (REPEATS_MIN - 1), SAME),
        ([IDLE | {"daemons": 0.97, "machine": 1.0}] * 8, costs.DAEMONS),
        ([IDLE | {"daemons": 0.84, "machine": 1.0}] * 8, SAME),
        ([IDLE | {"machine": 0.85}] * 8, SAME),
    ],
)
def test_what_is_full(repeats: list[dict[str, float]], part: str) -> None:
    """A part's own limit before the machine's, and no verdict from what is nearly full."""
    rows = [
        {"repeat": at, **{f"{name}_busy": share for name, share in busy.items()}}
        for at, busy in enumerate(repeats)
    ]
    on_one = [{**row, "shards": 1} for row in rows]
    assert costs.saturated(Measurement(on_one)) == part
    on_four = [{**row, "shards": 4} for row in rows]
    assert costs.saturated(Measurement(on_four)) == (costs.SHARD if part == costs.REDIS else part)


def test_repeats_of_a_measurement_are_gathered() -> None:
    """By their keys, in the order of their first; what is not there is 0."""
    rows = [
        {"system": name, "repeat": repeat, "a": 2.0 * repeat, "b": None if name == "x" else 1.0}
        for repeat in (1, 2)
        for name in ("y", "x")
    ]
    y, x = measurements(rows, "system")
    assert (y["system"], x["system"]) == ("y", "x")
    assert x.of("a").by_repeat == {1: 2.0, 2: 4.0}
    assert y.of("b").by_repeat == {1: 1.0, 2: 1.0}
    assert x.of("b").by_repeat == {1: 0.0, 2: 0.0}
    assert y.all("a") == [2.0, 4.0]


def test_predictions_follow_their_formulas() -> None:
    """20 + 10 + 10 µs: 8 CPUs give 200,000/s, Redis's thread 100,000, or 50,000 with the disk."""
    measured = {"daemons_us": exact(20), "haproxy_us": exact(10)}
    measured |= {"redis_us": exact(10), "redis_disk_us": exact(10)}
    few, many = costs.predict(measured, 1), costs.predict(measured, 8)
    assert few.all_cpus == pytest.approx((25_000, 25_000))
    assert few.redis == pytest.approx((50_000, 100_000))
    assert few.first == costs.PREDICTED_CPUS
    assert few.limit == pytest.approx((25_000, 25_000))
    assert many.first == costs.REDIS
    assert many.limit == pytest.approx((50_000, 100_000))
    assert costs.predict(measured, 3).first == SAME


@given(st.lists(st.sampled_from("abcd"), max_size=12))
def test_in_turns_the_first_few_have_different_homes(homes: list[str]) -> None:
    """None is lost, and any first few are spread as evenly as those that there are allow."""
    ordered = serving.in_turns(list(enumerate(homes)), homes)
    assert sorted(ordered) == list(enumerate(homes))
    for count in range(1, len(homes) + 1):
        used = Counter(home for _, home in ordered[:count])
        left = Counter(home for _, home in ordered[count:])
        assert all(used[home] >= max(used.values()) - 1 for home in left)


@given(st.lists(st.sampled_from("abcd"), max_size=12), st.integers(4, 6))
def test_homes_are_counted_by_shard(homes: list[str], shards: int) -> None:
    """A shard without a daemon counts too; the most come first."""
    counts = serving.by_shard(homes, shards)
    assert len(counts) == shards
    assert sum(counts) == len(homes)
    assert counts == sorted(counts, reverse=True)


COSTS = st.fixed_dictionaries({
    name: st.lists(POSITIVE, min_size=1, max_size=4).map(spread)
    for name in ("daemons_us", "haproxy_us", "redis_us", "redis_disk_us")
})  # fmt: skip


@given(COSTS, st.integers(1, 128))
def test_shards_enough_are_not_full_first(measured: costs.Costs, cpus: int) -> None:
    """With so many threads the CPUs are; with one fewer a thread may be before them."""
    one = costs.predict(measured, cpus)
    few, enough = one.shards
    assert 1 <= few <= enough
    assert one.on(enough).first == costs.PREDICTED_CPUS
    assert one.on(enough).limit == pytest.approx(one.all_cpus)
    assert enough == 1 or one.on(enough - 1).first != costs.PREDICTED_CPUS
    assert few == 1 or one.on(few - 1).redis[1] < one.all_cpus[1]


def visit(client: int, first_reply_s: float, ended_s: float, fault: str = "") -> Visit:
    """A visit with these times."""
    return Visit(0, client, 0.0, first_reply_s, ended_s, [first_reply_s], fault)


@given(st.lists(st.tuples(POSITIVE, POSITIVE), max_size=30))
def test_served_counts_each_visit_once(times: list[tuple[float, float]]) -> None:
    """The steps rise in time, never below 0 nor above all, and end at 0."""
    visits = [visit(at, begin, begin + length) for at, (begin, length) in enumerate(times)]
    steps = served(visits)
    assert [at for at, _ in steps] == sorted({at for at, _ in steps})
    assert all(0 <= count <= len(times) for _, count in steps)
    assert steps[-1][1] == 0
    area = sum(count * (after - at) for (at, count), (after, _) in pairwise(steps))
    assert area == pytest.approx(sum(length for _, length in times), rel=1e-6, abs=1e-6)


def test_served_leaves_faults_out() -> None:
    """A visit that failed was not served."""
    assert served([visit(0, 1, 2), visit(1, 1, 2, "closed early")]) == [(0, 0), (1, 1), (2, 0)]


def test_even_departures_may_be_extrapolated() -> None:
    """k-th of n at k/n is even; all at the end is not."""
    assert unevenness([visit(at, 0, at + 1) for at in range(10)]) == pytest.approx(0)
    assert unevenness([visit(at, 0, 10) for at in range(10)]) == pytest.approx(0.9)


def test_a_visit_lasts_its_pauses() -> None:
    """Ten lines have nine pauses between them."""
    assert Workload(100, 10, 0.1).visit_s == pytest.approx(0.9)
