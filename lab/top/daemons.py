"""A daemon's figures, and those of all daemons together. Pure.

A figure that can't be known yet is None: the first look has no rates, and a part that is
down has none at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.top.figures import mean, new_values, percentile, rate
from lab.top.parts import Part, State, state_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lab.fleet.metrics import Buckets, Reading

# Ends that the client brought about; every other reason is an ERR that it was told.
CLIENTS_REASONS = frozenset({"client", "reset", "quit"})


@dataclass(frozen=True, slots=True)
class DaemonRow:
    """A daemon's figures; rates are a second's."""

    name: str
    state: State
    where: str
    echo: float | None = None
    """Connections of the plain port."""
    session: float | None = None
    lines: float | None = None
    reply_p50_s: float | None = None
    reply_p99_s: float | None = None
    commit_p99_s: float | None = None
    batch: float | None = None
    """Connections that shared a batch, on average."""
    waiting: float | None = None
    """Lines whose reply waits for the store."""
    errors: float | None = None
    """Clients that were told ERR and closed."""
    lag_p99_s: float | None = None
    """How late its loop came."""
    memory_bytes: float | None = None
    cpu: float | None = None
    """Of one CPU: 1.0 is all of it."""
    balance: str | None = None
    """What HAProxy thinks of it."""
    trend: tuple[float, ...] = ()
    """Lines a second of the last looks, the newest last."""


@dataclass(frozen=True, slots=True)
class FleetRow:
    """All daemons together."""

    up: int
    daemons: int
    echo: float | None
    session: float | None
    lines: float | None
    reply_p50_s: float | None
    reply_p99_s: float | None
    commit_p99_s: float | None
    errors: float | None
    cpu: float | None


@dataclass(frozen=True, slots=True)
class Histograms:
    """What a daemon timed between two readings, so that all of them can be added."""

    reply: Buckets = ()
    commit: Buckets = ()
    lag: Buckets = ()

    @classmethod
    def between(cls, before: Reading, now: Reading) -> Histograms:
        """From the two readings."""
        names = ("echod_reply_seconds", "echod_commit_seconds", "echod_loop_lag_seconds")
        return cls(*(new_values(before, now, name) for name in names))


def daemon_row(
    part: Part, before: Reading | None, now: Reading | None, timed: Histograms
) -> DaemonRow:
    """The figures of one, `timed` between its two readings."""
    samples = now.samples if now else None
    row_state = state_of(part.life, samples)
    if now is None or samples is None:
        return DaemonRow(part.name, row_state, part.where)

    def rate_of(name: str) -> float | None:
        return rate(before, now, name) if before else None

    return DaemonRow(
        name=part.name,
        state=row_state,
        where=part.where,
        echo=samples.get("echod_connections", port="echo"),
        session=samples.get("echod_connections", port="session"),
        lines=rate_of("echod_lines_answered_total"),
        reply_p50_s=percentile(timed.reply, 0.5),
        reply_p99_s=percentile(timed.reply, 0.99),
        commit_p99_s=percentile(timed.commit, 0.99),
        batch=mean(before, now, "echod_batch_writes") if before else None,
        waiting=samples.get("echod_lines_waiting"),
        errors=_errors(before, now) if before else None,
        lag_p99_s=percentile(timed.lag, 0.99),
        memory_bytes=samples.get("process_resident_memory_bytes"),
        cpu=rate_of("process_cpu_seconds_total"),
    )


def fleet_row(rows: Sequence[DaemonRow], timed: Histograms) -> FleetRow:
    """The sums, and percentiles of what all of them `timed`."""
    return FleetRow(
        up=sum(row.state in (State.UP, State.DEGRADED) for row in rows),
        daemons=len(rows),
        echo=total(row.echo for row in rows),
        session=total(row.session for row in rows),
        lines=total(row.lines for row in rows),
        reply_p50_s=percentile(timed.reply, 0.5),
        reply_p99_s=percentile(timed.reply, 0.99),
        commit_p99_s=percentile(timed.commit, 0.99),
        errors=total(row.errors for row in rows),
        cpu=total(row.cpu for row in rows),
    )


def total(values: Iterable[float | None]) -> float | None:
    """The sum of those that are known; None if none is."""
    known = [value for value in values if value is not None]
    return math.fsum(known) if known else None


def _errors(before: Reading, now: Reading) -> float | None:
    reasons = now.samples.by_label("echod_connections_closed_total", "reason")
    return total(
        rate(before, now, "echod_connections_closed_total", reason=reason) or 0.0
        for reason in {"none", *reasons} - CLIENTS_REASONS
    )
