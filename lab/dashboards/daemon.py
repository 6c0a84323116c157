"""The fourth question: what does one daemon do? The one that is chosen above the panels."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import QueryVariable
from grafana_foundation_sdk.models import dashboard, units

from lab.dashboards.parts import (
    Alarm,
    Number,
    Panels,
    Row,
    amounts,
    per_second,
    seconds,
    shares,
    sizes,
    traffic,
)
from lab.dashboards.promql import or_none, quantiles, rate, total

CHOSEN = (
    QueryVariable("daemon")
    .label("Daemon")
    .description("By its address, as Prometheus found it.")
    .query({"query": "label_values(echod_build_info, instance)", "refId": "daemons"})
    .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
    .sort(dashboard.VariableSort.NUMERICAL_ASC)
)

# The chosen daemon's series.
ONE = '{job="echod", instance="$daemon"}'

_CLOSED = rate(f"echod_connections_closed_total{ONE}")
_ERRORS = rate(f"echod_store_errors_total{ONE}")
_COMMITTING = rate(f"echod_shard_commit_seconds_sum{ONE}")
_COMMITS = rate(f"echod_shard_commit_seconds_count{ONE}")
_BATCHED, _BATCHES = rate(f"echod_batch_writes_sum{ONE}"), rate(f"echod_batch_writes_count{ONE}")


def _of_limit(expr: str, limit: str) -> str:
    return f'{expr} / on (job, instance) echod_limit{{name="{limit}"}}'


PANELS: Panels = {
    "How is it?": Row(6),
    "Degraded": Alarm(
        "1: all shards of its store are away or late, and HAProxy sends it next to nobody new.",
        f"echod_degraded{ONE}",
    ),
    "Deaf": Alarm(
        "1: what is published in rooms of a shard does not arrive here. If no other shard serves,"
        " HAProxy sends it next to nobody new.",
        f"echod_deaf{ONE}",
    ),
    "Draining": Alarm(
        "1: it was told to leave, and lets its clients finish.", f"echod_draining{ONE}"
    ),
    "Uptime": Number(
        "Since the process started. A small one tells of a restart.",
        f"time() - process_start_time_seconds{ONE}",
        unit=units.Seconds,
    ),
    "Connections to the store": Number(
        "Made since the start: more than one for each shard means that one broke.",
        total(f"echod_store_connections_total{ONE}"),
    ),
    "Generation of the store": Number(
        "The fleet's count of losses of data, as this daemon knows it; all show the same.",
        f"echod_store_generation{ONE}",
    ),
    "What does it do for its clients?": Row(3),
    "Connections, by port": amounts(
        "Its clients now; HAProxy's health checks are not counted.",
        {"{{port}}": total(f"echod_connections{ONE}", "port")},
        stacked=True,
    ),
    "Lines received and answered": per_second(
        "A second. What was received and not answered waits for the store.",
        {
            "received": rate(f"echod_lines_received_total{ONE}"),
            "answered": rate(f"echod_lines_answered_total{ONE}"),
        },
    ),
    "Bytes from clients and to them": traffic(
        "As the kernel gave and took them.",
        {
            "from": rate(f"echod_received_bytes_total{ONE}"),
            "to": rate(f"echod_sent_bytes_total{ONE}"),
        },
    ),
    "How do its clients fare?": Row(),
    "Reply time": seconds(
        "From a line's arrival to its reply's leaving, the wait for the store included.",
        quantiles("echod_reply_seconds", ONE),
    ),
    "Connections that end, by reason": per_second(
        "`client` left, `reset` broke off; every other reason is the code that the daemon closed"
        " with (docs/protocol.md §4).",
        {"{{port}} {{reason}}": or_none(total(_CLOSED, "port, reason"), "reason")},
    ),
    "How does its store answer?": Row(3),
    "Commit time": seconds(
        "A batch's round trip to the store, its fsync included.",
        quantiles("echod_commit_seconds", ONE),
    ),
    "Writes that share a batch": amounts(
        "What group commit gains: each batch is one round trip, however many share it.",
        {"mean": f"{_BATCHED} / {_BATCHES}"},
    ),
    "Errors of the store, by kind": per_second(
        "What the store did not do (docs/metrics.md). `none` is well.",
        {"{{kind}}": or_none(total(_ERRORS, "kind"), "kind")},
    ),
    "How does each shard serve it?": Row(3),
    "Shards that serve": amounts(
        "1 while a new session would be well there. By the daemon's own number for the shard, and"
        " its master.",
        {"{{shard}} {{master}}": f"echod_shard_serves{ONE}"},
    ),
    "Commit time, by shard": seconds(
        "The mean of its batches' round trips there.",
        {"{{shard}} {{master}}": f"{_COMMITTING} / {_COMMITS}"},
    ),
    "Connections made, by shard": amounts(
        "Since the start. A step is a link that broke, or a failover.",
        {"{{shard}}": f"echod_store_connections_total{ONE}"},
    ),
    "What does it take of the machine?": Row(3),
    "CPU": shares("Of the one that it can use.", {"CPU": rate(f"process_cpu_seconds_total{ONE}")}),
    "Loop lag": seconds(
        "How late its loop is: what everyone waits beside their own work.",
        quantiles("echod_loop_lag_seconds", ONE),
    ),
    "Memory": sizes(
        "Resident. About 40 MB, and some kilobytes for each connection.",
        {"resident": f"process_resident_memory_bytes{ONE}"},
    ),
    "How near is it to its limits?": Row(3),
    "Connections and open files, of their limit": shares(
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
    ),
    "Replies that wait for the store": sizes(
        "At pending_bytes_max the daemon reads nobody.", {"held": f"echod_held_bytes{ONE}"}
    ),
    "What waits for clients to take it": sizes(
        "In the outboxes of all its clients and the kernel's buffers behind them. At"
        " unsent_bytes_max those who are furthest behind are closed.",
        {"unsent": f"echod_unsent_bytes{ONE}"},
    ),
}
