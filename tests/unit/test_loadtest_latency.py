"""Histograms that workers send and a master adds up; and what a closed loop leaves out."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.latency import BUCKETS_S, Book, Histogram, bucket_ms, omitted_s

TIMES = st.lists(st.floats(0, 100, allow_subnormal=False), max_size=20)


@given(st.lists(TIMES, min_size=1, max_size=4))
def test_a_master_knows_what_its_workers_saw(workers: list[list[float]]) -> None:
    """However it was divided, and through a message: the same as in one process."""
    master, alone = Book(), Book()
    for times in workers:
        book = Book()
        for took_s in times:
            book.observe("tcp", "line", took_s)
            alone.observe("tcp", "line", took_s)
            book.failed("tcp", "line", "EarlyClose('end of stream')")
        master.merge(json.loads(json.dumps(book.take())))
        assert book.take() == {"times": [], "failures": []}
    count = sum(map(len, workers))
    if count:
        merged, one = master.times["tcp", "line"], alone.times["tcp", "line"]
        assert merged.counts == one.counts
        assert merged.sum_s == pytest.approx(one.sum_s)
        assert sum(master.failures.values()) == count


@given(TIMES)
def test_buckets_are_cumulative_and_the_last_has_all(times: list[float]) -> None:
    """As Prometheus wants a histogram: `le` is inclusive."""
    histogram = Histogram()
    for took_s in times:
        histogram.observe(took_s)
    rows = histogram.cumulative()
    assert [row[0] for row in rows] == [*(f"{limit:g}" for limit in BUCKETS_S), "+Inf"]
    for limit_s, (_, count) in zip((*BUCKETS_S, float("inf")), rows, strict=True):
        assert count == sum(took_s <= limit_s for took_s in times)


@given(st.floats(0, 1e6))
def test_percentiles_are_finer_than_a_millisecond(took_ms: float) -> None:
    """Within 0.005 ms below 10 ms, 0.05 ms below 100 ms, and two digits above."""
    allowed = 0.0051 if took_ms < 10 else 0.051 if took_ms < 100 else took_ms * 0.051
    assert abs(bucket_ms(took_ms) - took_ms) <= allowed


def test_so_many_values_are_kept() -> None:
    """The bound that the docstring gives."""
    values = {bucket_ms(n / 1_000) for n in range(100_000)}
    values |= {bucket_ms(n / 10) for n in range(1_000, 1_000_000)}
    assert len(values) <= 2_200


@pytest.mark.parametrize(
    "took_s, expected",
    [
        (0.1, []),
        (0.99, []),
        (3.25, [2.25, 1.25, 0.25]),
        (2.0, [1.0, 0.0]),
    ],
)
def test_what_a_closed_loop_did_not_send(took_s: float, expected: list[float]) -> None:
    """A line that took 3.25 s at one a second stands for three that would have waited."""
    assert omitted_s(took_s, 1.0) == expected
