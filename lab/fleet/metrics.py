"""Samples as a part of the fleet exposes them, by name and labels.

Three ways lead here: a part's page, its text, and what Prometheus has kept of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from prometheus_client.parser import text_string_to_metric_families

from lab import web

if TYPE_CHECKING:
    from collections.abc import Iterable

# A page of a daemon that is well; one that is not is waited for no longer.
PAGE_S_MAX = 2.0
# A daemon's has 20 kB, HAProxy's 200 kB for 32 slots.
PAGE_BYTES_MAX = 16 << 20
PAGE = "/metrics"

Buckets = tuple[tuple[float, float], ...]
"""(upper bound, how many values up to it), by rising bound; the last bound is +Inf."""

_Row = tuple[str, Mapping[str, str], float]


@dataclass(frozen=True, slots=True)
class Samples:
    """What one part said at one moment; made by the functions below."""

    by_name: Mapping[str, tuple[tuple[Mapping[str, str], float], ...]] = field(default_factory=dict)

    def get(self, name: str, **labels: str) -> float | None:
        """The sum over all samples of that name that have these labels; None if there is none."""
        values = [
            value for own, value in self.by_name.get(name, ()) if labels.items() <= own.items()
        ]
        return math.fsum(values) if values else None

    def by_label(self, name: str, label: str, **labels: str) -> dict[str, float]:
        """The values of one name by one of its labels, summed over the others."""
        sums: dict[str, float] = {}
        for own, value in self.by_name.get(name, ()):
            if label in own and labels.items() <= own.items():
                sums[own[label]] = sums.get(own[label], 0.0) + value
        return sums

    def buckets(self, name: str) -> Buckets:
        """A histogram's cumulative buckets; empty if there is no such histogram."""
        sums = self.by_label(f"{name}_bucket", "le")
        return tuple(sorted((float(bound), count) for bound, count in sums.items()))


@dataclass(frozen=True, slots=True)
class Reading:
    """Samples, and when they were true (Unix time)."""

    at_s: float
    samples: Samples


def read(address: str, wait_s: float = PAGE_S_MAX, page: str = PAGE) -> Samples:
    """What a part says now; `address` is host:port.

    Raises:
        OSError: It does not answer in time.
        ValueError: It says something else.
    """
    return from_text(web.read(f"http://{address}{page}", wait_s, PAGE_BYTES_MAX).decode())


def from_text(text: str) -> Samples:
    """What a `/metrics` page says.

    Raises:
        ValueError: It is no such page.
    """
    families = text_string_to_metric_families(text)
    return _collect(
        (sample.name, sample.labels, sample.value)
        for family in families
        for sample in family.samples
    )


def from_matrix(result: Iterable[Mapping[str, Any]]) -> dict[str, list[Reading]]:
    """Prometheus's answer to a range selector: what each instance said, scrape by scrape.

    The samples of one scrape share their time; the last scrape comes last.
    """
    rows: dict[str, dict[float, list[_Row]]] = {}
    for series in result:
        labels = dict(series["metric"])
        name, instance = labels.pop("__name__"), labels.pop("instance", "")
        for at_s, value in series["values"]:
            scrape = rows.setdefault(instance, {}).setdefault(float(at_s), [])
            scrape.append((name, labels, float(value)))
    return {
        instance: [Reading(at_s, _collect(scrapes[at_s])) for at_s in sorted(scrapes)]
        for instance, scrapes in rows.items()
    }


def _collect(rows: Iterable[_Row]) -> Samples:
    by_name: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    for name, labels, value in rows:
        if not math.isnan(value):
            by_name.setdefault(name, []).append((labels, value))
    return Samples({name: tuple(found) for name, found in by_name.items()})
