"""The fourth question: what does one daemon do? The one that is chosen above the panels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.builders.dashboard import QueryVariable
from grafana_foundation_sdk.models import dashboard, units

from lab.dashboards.parts import SOURCE, Row, graph, number, or_none, page, quantiles, rate, total

if TYPE_CHECKING:
    from grafana_foundation_sdk.models.dashboard import Dashboard

# The chosen daemon's series.
ONE = '{job="echod", instance="$daemon"}'


def _of_limit(expr: str, limit: str) -> str:
    return f'{expr} / on (job, instance) echod_limit{{name="{limit}"}}'


def daemon() -> Dashboard:
    """One daemon by itself, against its own limits."""
    chosen = (
        QueryVariable("daemon")
        .label("Daemon")
        .description("By its address, as Prometheus found it.")
        .datasource(SOURCE)
        .query({"query": "label_values(echod_build_info, instance)", "refId": "daemons"})
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.NUMERICAL_ASC)
    )
    return page(
        "fleet-daemon",
        "4 · What does one daemon do?",
        "One gevent process, one CPU (docs/metrics.md lists what it tells).",
        [_STATE, _WORK, _REPLIES, _STORE, _MACHINE, _LIMITS],
        variables=[chosen],
    )


_STATE = Row(
    "How is it?",
    [
        number(
            "Degraded",
            units.Short,
            "1: its store is away or late, and HAProxy sends it next to nobody new.",
            f"echod_degraded{ONE}",
            bad_from=1,
        ),
        number(
            "Deaf",
            units.Short,
            "1: what is published in rooms does not arrive here, and HAProxy sends it next to"
            " nobody new.",
            f"echod_deaf{ONE}",
            bad_from=1,
        ),
        number(
            "Draining",
            units.Short,
            "1: it was told to leave, and lets its clients finish.",
            f"echod_draining{ONE}",
            bad_from=1,
        ),
        number(
            "Uptime",
            units.Seconds,
            "Since the process started. A small one tells of a restart.",
            f"time() - process_start_time_seconds{ONE}",
        ),
        number(
            "Connections to the store",
            units.Short,
            "Made since the start: more than one means that one broke.",
            f"echod_store_connections_total{ONE}",
        ),
        number(
            "Generation of the store",
            units.Short,
            "The fleet's count of losses of data, as this daemon knows it; all show the same.",
            f"echod_store_generation{ONE}",
        ),
    ],
)


_WORK = Row(
    "What does it do for its clients?",
    [
        graph(
            "Connections, by port",
            units.Short,
            "Its clients now; HAProxy's health checks are not counted.",
            {"{{port}}": total(f"echod_connections{ONE}", "port")},
            width=8,
            stacked=True,
        ),
        graph(
            "Lines received and answered",
            units.CountsPerSecond,
            "A second. What was received and not answered waits for the store.",
            {
                "received": rate(f"echod_lines_received_total{ONE}"),
                "answered": rate(f"echod_lines_answered_total{ONE}"),
            },
            width=8,
        ),
        graph(
            "Bytes from clients and to them",
            units.BytesPerSecondIEC,
            "As the kernel gave and took them.",
            {
                "from": rate(f"echod_received_bytes_total{ONE}"),
                "to": rate(f"echod_sent_bytes_total{ONE}"),
            },
            width=8,
        ),
    ],
)


_REPLIES = Row(
    "How do its clients fare?",
    [
        graph(
            "Reply time",
            units.Seconds,
            "From a line's arrival to its reply's leaving, the wait for the store included.",
            quantiles("echod_reply_seconds", ONE),
        ),
        graph(
            "Connections that end, by reason",
            units.CountsPerSecond,
            "`client` left, `reset` broke off; every other reason is the code that the daemon"
            " closed with (docs/protocol.md §4).",
            {
                "{{port}} {{reason}}": (
                    or_none(
                        "sum by (port, reason)"
                        f" (rate(echod_connections_closed_total{ONE}[$__rate_interval]))",
                        "reason",
                    )
                )
            },
        ),
    ],
)


_STORE = Row(
    "How does its store answer?",
    [
        graph(
            "Commit time",
            units.Seconds,
            "A batch's round trip to the store, its fsync included.",
            quantiles("echod_commit_seconds", ONE),
            width=8,
        ),
        graph(
            "Writes that share a batch",
            units.Short,
            "What group commit gains: each batch is one round trip, however many share it.",
            {
                "mean": (
                    f"rate(echod_batch_writes_sum{ONE}[$__rate_interval])"
                    f" / rate(echod_batch_writes_count{ONE}[$__rate_interval])"
                )
            },
            width=8,
        ),
        graph(
            "Errors of the store, by kind",
            units.CountsPerSecond,
            "What the store did not do (docs/metrics.md). `none` is well.",
            {
                "{{kind}}": (
                    or_none(
                        f"sum by (kind) (rate(echod_store_errors_total{ONE}[$__rate_interval]))",
                        "kind",
                    )
                )
            },
            width=8,
        ),
    ],
)


_MACHINE = Row(
    "What does it take of the machine?",
    [
        graph(
            "CPU",
            units.PercentUnit,
            "Of the one that it can use.",
            {"CPU": rate(f"process_cpu_seconds_total{ONE}")},
            width=8,
        ),
        graph(
            "Loop lag",
            units.Seconds,
            "How late its loop is: what everyone waits beside their own work.",
            quantiles("echod_loop_lag_seconds", ONE),
            width=8,
        ),
        graph(
            "Memory",
            units.BytesIEC,
            "Resident. About 40 MB, and some kilobytes for each connection.",
            {"resident": f"process_resident_memory_bytes{ONE}"},
            width=8,
        ),
    ],
)


_LIMITS = Row(
    "How near is it to its limits?",
    [
        graph(
            "Connections and open files, of their limit",
            units.PercentUnit,
            "The share in use. An alert fires above 80 % (docs/alerts.md).",
            {
                "connections": _of_limit(
                    total(f"echod_connections{ONE}", "job, instance"), "connections_max"
                ),
                "open files": f"process_open_fds{ONE} / process_max_fds{ONE}",
                "unsent bytes": _of_limit(f"echod_unsent_bytes{ONE}", "unsent_bytes_max"),
                "bytes for the store": _of_limit(f"echod_held_bytes{ONE}", "pending_bytes_max"),
                "rooms": _of_limit(f"echod_rooms{ONE}", "rooms_max"),
                "memberships": _of_limit(f"echod_room_members{ONE}", "memberships_max"),
            },
            width=8,
        ),
        graph(
            "Replies that wait for the store",
            units.BytesIEC,
            "At pending_bytes_max the daemon reads nobody.",
            {"held": f"echod_held_bytes{ONE}"},
            width=8,
        ),
        graph(
            "What waits for clients to take it",
            units.BytesIEC,
            "In the outboxes of all its clients and the kernel's buffers behind them. At"
            " unsent_bytes_max those who are furthest behind are closed.",
            {"unsent": f"echod_unsent_bytes{ONE}"},
            width=8,
        ),
    ],
)
