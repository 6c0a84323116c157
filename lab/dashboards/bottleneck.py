"""The third question: which part is the bottleneck? Daemons, Redis, HAProxy, or the load itself.

Also what watching costs, so that nobody takes a full load generator, or a busy Prometheus,
for a slow server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.models import units

from lab.dashboards.parts import Row, graph, page, quantiles, rate, total

if TYPE_CHECKING:
    from grafana_foundation_sdk.models.dashboard import Dashboard

# CPUs in use. The programs count it themselves, but two: Redis's is told by its exporter
# (whose own is under the job `redis`), and HAProxy only says which share of its threads'
# time was idle.
_PROCESSES = rate('process_cpu_seconds_total{job!="redis"}')
_EXPORTER = rate('process_cpu_seconds_total{job="redis"}')
_REDIS_CPU = f"{rate('redis_cpu_user_seconds_total')} + {rate('redis_cpu_sys_seconds_total')}"
# A Locust without workers plays its clients itself, and has none to tell of.
_WORKERS = rate("locust_worker_cpu_seconds_total")
_HAPROXY_CPU = "1 - haproxy_process_idle_time_percent / 100"

# Those that are bound to one CPU; Prometheus and Grafana use as many as there are.
_CPU_OF_ONE = rate('process_cpu_seconds_total{job=~"echod|locust"}')


def bottleneck() -> Dashboard:
    """Every part's share of the machine, and how near each is to its own limit."""
    return page(
        "fleet-bottleneck",
        "3 · Which part is the bottleneck?",
        "The part that is full while the others are not. If it is the load, the server's limit has"
        " not been seen.",
        [_CPU, _DAEMONS, _COMMITS, _REDIS, _HAPROXY, _LOAD, _WATCHING],
    )


_CPU = Row(
    "Who uses the CPUs?",
    [
        graph(
            "CPUs in use, by part",
            units.Short,
            "1 is a whole CPU. Their sum is bounded by the machine's: at that height everybody"
            " waits for everybody.",
            {
                "{{job}}": total(_PROCESSES, "job"),
                "locust's workers": f"sum({_WORKERS}) or vector(0)",
                "redis's exporter": total(_EXPORTER),
                "redis": total(_REDIS_CPU),
                "haproxy": f"sum(({_HAPROXY_CPU}) * haproxy_process_nbthread)",
            },
            stacked=True,
        ),
        graph(
            "Fullest process, by part",
            units.PercentUnit,
            "Of one CPU, which is all that a daemon, Redis or a Locust worker can use: near 100 %"
            " is the bottleneck. HAProxy: of all its threads.",
            {
                "{{job}}": f"max by (job) ({_CPU_OF_ONE})",
                "locust's workers": f"max({_WORKERS}) or vector(0)",
                "redis": f"max({_REDIS_CPU})",
                "haproxy": f"max({_HAPROXY_CPU})",
            },
        ),
        graph(
            "Memory, by part",
            units.BytesIEC,
            "Resident memory of the processes of each part. HAProxy does not tell its own.",
            {
                "{{job}}": total('process_resident_memory_bytes{job!="redis"}', "job"),
                "redis's exporter": total('process_resident_memory_bytes{job="redis"}'),
                "redis": total("redis_memory_used_rss_bytes"),
            },
            width=24,
            stacked=True,
        ),
    ],
)


_DAEMONS = Row(
    "Is it the daemons?",
    [
        graph(
            "Loop lag",
            units.Seconds,
            "How late the daemons' loops are: what every client waits beside its own work."
            " Late while no CPU is free: the daemons have too much to do, or get too little.",
            quantiles("echod_loop_lag_seconds"),
        ),
        graph(
            "CPU for a line",
            units.Seconds,
            "The daemons' CPU time divided by the lines that they answered. Falls under load:"
            " more lines share a batch.",
            {
                "CPU": (
                    'sum(rate(process_cpu_seconds_total{job="echod"}[$__rate_interval]))'
                    " / sum(rate(echod_lines_answered_total[$__rate_interval]))"
                )
            },
        ),
    ],
)


_COMMITS = Row(
    "Is it the way to Redis's disk?",
    [
        graph(
            "Commit time",
            units.Seconds,
            "One batch's round trip to Redis, its fsync included. Reply time is this and the"
            " wait for the batch before it.",
            quantiles("echod_commit_seconds"),
        ),
        graph(
            "Writes that share a batch",
            units.Short,
            "Group commit is greedy: 1 when there is little to do, and more the longer a"
            " commit takes.",
            {
                "mean": (
                    "sum(rate(echod_batch_writes_sum[$__rate_interval]))"
                    " / sum(rate(echod_batch_writes_count[$__rate_interval]))"
                ),
                "p99": (
                    "histogram_quantile(0.99, sum by (le)"
                    " (rate(echod_batch_writes_bucket[$__rate_interval])))"
                ),
            },
        ),
    ],
)


_REDIS = Row(
    "Is it Redis itself?",
    [
        graph(
            "Redis's commands",
            units.CountsPerSecond,
            "Commands that Redis ran, a second.",
            {"commands": total(rate("redis_commands_processed_total"))},
            width=8,
        ),
        graph(
            "Redis's memory",
            units.BytesIEC,
            "In use, and the limit at which it refuses writes. At the share that is called"
            " newcomers the daemons answer new clients `busy`, so that it never comes to that.",
            {
                "used": total("redis_memory_used_bytes"),
                "maxmemory": total("redis_memory_max_bytes"),
                "newcomers": (
                    'sum(redis_memory_max_bytes) * scalar(min(echod_limit{name="store_fill_max"}))'
                ),
                "as the daemons know": "sum(redis_memory_max_bytes) * scalar(max(echod_store_fill_ratio))",
            },
            width=8,
        ),
        graph(
            "Redis's append-only file",
            units.BytesIEC,
            "Its size. It is written anew, smaller, when it has doubled.",
            {"size": total("redis_aof_current_size_bytes")},
            width=8,
        ),
    ],
)


_HAPROXY = Row(
    "Is it HAProxy?",
    [
        graph(
            "Connections through HAProxy, and its limit",
            units.Short,
            "Above the limit new clients wait in the kernel's backlog, and nobody counts them.",
            {
                "connections": total("haproxy_process_current_connections"),
                "limit": total("haproxy_process_max_connections"),
            },
        ),
        graph(
            "Bytes through HAProxy",
            units.BytesPerSecondIEC,
            "From clients and to them, over all frontends.",
            {
                "from clients": total(rate("haproxy_frontend_bytes_in_total")),
                "to clients": total(rate("haproxy_frontend_bytes_out_total")),
            },
        ),
    ],
)


_LOAD = Row(
    "Is it the load itself?",
    [
        graph(
            "Users",
            units.Short,
            "Clients that Locust plays now. Fewer than asked for: it is still starting them,"
            " or can't. Its CPU stands at the top.",
            {"users": total("locust_users")},
        ),
        graph(
            "Locust's workers",
            units.Short,
            "Those that answer the master, and those that were asked for. A worker uses one"
            " CPU; a full one sends late, and measures its own lateness.",
            {
                "there": total("locust_workers"),
                "expected": total("locust_workers_expected"),
            },
        ),
    ],
)


_WATCHING = Row(
    "What does watching cost?",
    [
        graph(
            "Time of a scrape, by target",
            units.Seconds,
            "How long each target took to tell its metrics. A daemon answers nobody else"
            " meanwhile.",
            {"{{job}}": "max by (job) (scrape_duration_seconds)"},
            width=8,
        ),
        graph(
            "Samples taken",
            units.CountsPerSecond,
            "Values that Prometheus stores, a second.",
            {"samples": total(rate("prometheus_tsdb_head_samples_appended_total"))},
            width=8,
        ),
        graph(
            "Time of rules and queries",
            units.PercentUnit,
            "The share of one CPU's time that Prometheus spends on alert rules and on what"
            " pages like this one ask.",
            {
                "rules": total(rate("prometheus_rule_evaluation_duration_seconds_sum")),
                "queries and rules": total(
                    rate('prometheus_engine_query_duration_seconds_sum{slice="inner_eval"}')
                ),
            },
            width=8,
        ),
    ],
)
