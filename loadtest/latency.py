"""Histograms of request times, gathered from the workers: what `/metrics` is made of.

    worker: request ──observe──▶ Book ──take──▶ its report ──▶ master: merge ──▶ samples

Locust's own statistics begin anew with every run and round to milliseconds; these only
grow, as Prometheus wants it. Pure.

Memory and traffic: a histogram for each kind of request (a dozen), 19 numbers each.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Any, Final

# 1, 2, 5 in each decade, seconds: from below what loopback takes to what nobody waits for.
BUCKETS_S: Final = (
    0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05,
    0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0,
)  # fmt: skip


class Histogram:
    """Counts by bucket, the last for what is longer than any; and the sum, in seconds."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.sum_s = 0.0

    def observe(self, took_s: float, count: int = 1) -> None:
        """Add one time, `count` times."""
        self.counts[bisect_left(BUCKETS_S, took_s)] += count
        self.sum_s += took_s * count

    def add(self, counts: list[int], sum_s: float) -> None:
        """Add another's numbers."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, counts, strict=True)]
        self.sum_s += sum_s

    def cumulative(self) -> list[tuple[str, float]]:
        """As Prometheus counts: each bucket with all below it."""
        total, rows = 0, []
        for limit_s, count in zip((*BUCKETS_S, float("inf")), self.counts, strict=True):
            total += count
            rows.append((f"{limit_s:g}".replace("inf", "+Inf"), float(total)))
        return rows


class Book:
    """Times and failures of all requests, by type and name.

    Attributes:
        times: a histogram for each (type, name): of those that did not fail.
        failures: how many of each (type, name, error), the error as its `repr`.
    """

    def __init__(self) -> None:
        self.times: dict[tuple[str, str], Histogram] = {}
        self.failures: dict[tuple[str, str, str], int] = {}

    def observe(self, kind: str, name: str, took_s: float, count: int = 1) -> None:
        """Note a request that went well."""
        histogram = self.times.get((kind, name))
        if histogram is None:
            histogram = self.times[kind, name] = Histogram()
        histogram.observe(took_s, count)

    def failed(self, kind: str, name: str, error: str, count: int = 1) -> None:
        """Note failures."""
        key = kind, name, error
        self.failures[key] = self.failures.get(key, 0) + count

    def take(self) -> dict[str, Any]:
        """What was noted since the last `take`, in a form that a message can carry."""
        taken = {
            "times": [[*key, one.counts, one.sum_s] for key, one in self.times.items()],
            "failures": [[*key, count] for key, count in self.failures.items()],
        }
        self.times, self.failures = {}, {}
        return taken

    def merge(self, taken: dict[str, Any]) -> None:
        """Add what another book's `take` gave."""
        for kind, name, counts, sum_s in taken["times"]:
            self.times.setdefault((kind, name), Histogram()).add(counts, sum_s)
        for kind, name, error, count in taken["failures"]:
            self.failed(kind, name, error, count)


def bucket_ms(took_ms: float) -> float:
    """The value that Locust's percentiles count a time as, in milliseconds.

    Locust's own rounds to 1 ms below 100 ms, where most of this fleet's answers are. Here
    it is 0.01 ms below 10 ms and 0.1 ms below 100 ms; above it is Locust's two digits. So
    at most 2,200 different values are kept, and sent, for a kind of request.
    """
    if took_ms < 10:  # noqa: PLR2004 — as the docstring says, here and below
        return round(took_ms, 2)
    if took_ms < 100:  # noqa: PLR2004
        return round(took_ms, 1)
    if took_ms < 1_000:  # noqa: PLR2004
        return round(took_ms, -1)
    return round(took_ms, -2 if took_ms < 10_000 else -3)  # noqa: PLR2004


def omitted_s(took_s: float, interval_s: float) -> list[float]:
    """Times of the requests that a closed loop did not send while it waited for one.

    A client that means to send every `interval_s`, and waits for its answer first, sends
    nothing while a server stands still: one slow time stands for all that were due. Those
    would have waited for the rest of it: `took_s` less one interval, less two, and so on.
    """
    return [took_s - n * interval_s for n in range(1, int(took_s / interval_s) + 1)]
