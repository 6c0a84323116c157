"""Samples: what a page or Prometheus says is what is found again."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from lab.fleet.metrics import Samples, from_matrix, from_text

numbers = st.floats(min_value=0, max_value=1e15)


@given(st.dictionaries(st.text(min_size=1), numbers, min_size=1, max_size=5), numbers)
def test_a_page_is_read_as_it_was_meant(by_reason: dict[str, float], plain: float) -> None:
    """Names, labels of any text and values come back; a name's labels add up."""
    registry = CollectorRegistry()
    gauge = Gauge("plain", "One value.", registry=registry)
    gauge.set(plain)
    counter = Counter("closed", "By reason.", ["reason"], registry=registry)
    for reason, value in by_reason.items():
        counter.labels(reason).inc(value)

    samples = from_text(generate_latest(registry).decode())

    assert samples.get("plain") == plain
    assert samples.by_label("closed_total", "reason") == by_reason
    assert samples.get("closed_total") == math.fsum(by_reason.values())
    for reason, value in by_reason.items():
        assert samples.get("closed_total", reason=reason) == value


@given(st.lists(st.floats(min_value=0, max_value=10), max_size=50))
def test_buckets_are_cumulative_and_sorted(values: list[float]) -> None:
    """As many values up to each bound as there are, +Inf last."""
    registry = CollectorRegistry()
    histogram = Histogram("h", "Values.", registry=registry, buckets=(0.5, 1, 10, math.inf))
    for value in values:
        histogram.observe(value)

    buckets = from_text(generate_latest(registry).decode()).buckets("h")

    assert [bound for bound, _ in buckets] == [0.5, 1, 10, math.inf]
    assert [n for _, n in buckets] == [
        sum(value <= bound for value in values) for bound, _ in buckets
    ]


def test_what_is_not_there_is_none() -> None:
    """No name, no label, no number: None, not 0."""
    samples = from_text('# TYPE a gauge\na{x="1"} 2\n# TYPE b gauge\nb NaN\n')

    assert samples.get("a", x="1") == 2
    assert samples.get("a", x="2") is None
    assert samples.get("b") is None
    assert samples.get("c") is None
    assert samples.by_label("a", "y") == {}
    assert samples.buckets("a") == ()
    assert Samples().get("a") is None


def test_a_matrix_is_taken_apart_by_instance_and_scrape() -> None:
    """Samples of one time are one reading; the last comes last, gaps are gaps."""
    result = [
        {
            "metric": {"__name__": "a", "instance": "one:1", "job": "j"},
            "values": [[10.5, "1"], [15.5, "2"]],
        },
        {"metric": {"__name__": "b", "instance": "one:1", "job": "j"}, "values": [[15.5, "7"]]},
        {"metric": {"__name__": "a", "instance": "two:1", "job": "j"}, "values": [[11, "+Inf"]]},
    ]

    found = from_matrix(result)

    assert [reading.at_s for reading in found["one:1"]] == [10.5, 15.5]
    first, last = (reading.samples for reading in found["one:1"])
    assert (first.get("a"), first.get("b")) == (1, None)
    assert (last.get("a", job="j"), last.get("b")) == (2, 7)
    assert found["two:1"][0].samples.get("a") == math.inf
