"""The fourth question: what does one daemon do? The one that is chosen above the panels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.builders.dashboard import QueryVariable
from grafana_foundation_sdk.models import dashboard, units

from lab.dashboards.parts import SOURCE, Query, Row, graph, number, or_none, page, quantiles

if TYPE_CHECKING:
    from grafana_foundation_sdk.models.dashboard import Dashboard

# The chosen daemon's series.
ONE = '{job="echod", instance="$daemon"}'


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
        [_state(), _work(), _replies(), _store(), _machine(), _limits()],
        variables=[chosen],
    )


def _state() -> Row:
    return Row(
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


def _work() -> Row:
    return Row(
        "What does it do for its clients?",
        [
            graph(
                "Connections, by port",
                units.Short,
                "Its clients now; HAProxy's health checks are not counted.",
                [Query(f"sum by (port) (echod_connections{ONE})", "{{port}}")],
                width=8,
                stacked=True,
            ),
            graph(
                "Lines received and answered",
                units.CountsPerSecond,
                "A second. What was received and not answered waits for the store.",
                [
                    Query(f"rate(echod_lines_received_total{ONE}[$__rate_interval])", "received"),
                    Query(f"rate(echod_lines_answered_total{ONE}[$__rate_interval])", "answered"),
                ],
                width=8,
            ),
            graph(
                "Bytes from clients and to them",
                units.BytesPerSecondIEC,
                "As the kernel gave and took them.",
                [
                    Query(f"rate(echod_received_bytes_total{ONE}[$__rate_interval])", "from"),
                    Query(f"rate(echod_sent_bytes_total{ONE}[$__rate_interval])", "to"),
                ],
                width=8,
            ),
        ],
    )


def _replies() -> Row:
    return Row(
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
                [
                    Query(
                        or_none(
                            "sum by (port, reason)"
                            f" (rate(echod_connections_closed_total{ONE}[$__rate_interval]))",
                            "reason",
                        ),
                        "{{port}} {{reason}}",
                    )
                ],
            ),
        ],
    )


def _store() -> Row:
    return Row(
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
                [
                    Query(
                        f"rate(echod_batch_writes_sum{ONE}[$__rate_interval])"
                        f" / rate(echod_batch_writes_count{ONE}[$__rate_interval])",
                        "mean",
                    )
                ],
                width=8,
            ),
            graph(
                "Errors of the store, by kind",
                units.CountsPerSecond,
                "What the store did not do (docs/metrics.md). `none` is well.",
                [
                    Query(
                        or_none(
                            "sum by (kind)"
                            f" (rate(echod_store_errors_total{ONE}[$__rate_interval]))",
                            "kind",
                        ),
                        "{{kind}}",
                    )
                ],
                width=8,
            ),
        ],
    )


def _machine() -> Row:
    return Row(
        "What does it take of the machine?",
        [
            graph(
                "CPU",
                units.PercentUnit,
                "Of the one that it can use.",
                [Query(f"rate(process_cpu_seconds_total{ONE}[$__rate_interval])", "CPU")],
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
                [Query(f"process_resident_memory_bytes{ONE}", "resident")],
                width=8,
            ),
        ],
    )


def _limits() -> Row:
    return Row(
        "How near is it to its limits?",
        [
            graph(
                "Connections and open files, of their limit",
                units.PercentUnit,
                "The share in use. An alert fires above 80 % (docs/alerts.md).",
                [
                    Query(
                        f"sum by (job, instance) (echod_connections{ONE})"
                        ' / on (job, instance) echod_limit{name="connections_max"}',
                        "connections",
                    ),
                    Query(f"process_open_fds{ONE} / process_max_fds{ONE}", "open files"),
                    *(
                        Query(
                            f"echod_{gauge}{ONE}"
                            f' / on (job, instance) echod_limit{{name="{limit}"}}',
                            text,
                        )
                        for gauge, limit, text in (
                            ("unsent_bytes", "unsent_bytes_max", "unsent bytes"),
                            ("held_bytes", "pending_bytes_max", "bytes for the store"),
                            ("rooms", "rooms_max", "rooms"),
                            ("room_members", "memberships_max", "memberships"),
                        )
                    ),
                ],
                width=8,
            ),
            graph(
                "Replies that wait for the store",
                units.BytesIEC,
                "At pending_bytes_max the daemon reads nobody.",
                [Query(f"echod_held_bytes{ONE}", "held")],
                width=8,
            ),
            graph(
                "What waits for clients to take it",
                units.BytesIEC,
                "In the outboxes of all its clients and the kernel's buffers behind them. At"
                " unsent_bytes_max those who are furthest behind are closed.",
                [Query(f"echod_unsent_bytes{ONE}", "unsent")],
                width=8,
            ),
        ],
    )
