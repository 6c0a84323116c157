"""PromQL as the dashboards ask it."""

from __future__ import annotations

from collections.abc import Mapping

Queries = Mapping[str, str]
"""PromQL, by the name of each series that it gives."""

QUANTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}


def rate(counter: str) -> str:
    """A counter's growth a second."""
    return f"rate({counter}[$__rate_interval])"


def total(expr: str, by: str = "") -> str:
    """The sum over all series, or over those that have the same labels `by`."""
    return f"sum by ({by}) ({expr})" if by else f"sum({expr})"


def quantiles(histogram: str, selector: str = "") -> Queries:
    """The usual ones of a histogram, over all that match."""
    return {
        name: quantile(share, f"{histogram}_bucket{selector}") for name, share in QUANTILES.items()
    }


def quantile(share: float, buckets: str, by: str = "") -> str:
    """What `share` of a histogram's values do not exceed, over all that have the same labels `by`."""
    return f"histogram_quantile({share}, {total(rate(buckets), f'{by}, le' if by else 'le')})"


def or_none(expr: str, label: str) -> str:
    """`expr`, or a 0 called `none`: a series that is born with its first event has no data yet."""
    return f'{expr} or on() label_replace(vector(0), "{label}", "none", "", "")'
