"""The third question: which part is the bottleneck? Daemons, Redis, HAProxy, or the load itself.

Also what watching costs, so that nobody takes a full load generator, or a busy Prometheus,
for a slow server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.models import units

from lab.dashboards.parts import Query, Row, graph, page, quantiles

if TYPE_CHECKING:
    from grafana_foundation_sdk.models.dashboard import Dashboard

# CPUs in use. The programs count it themselves, but two: Redis's is told by its exporter
# (whose own is under the job `redis`), and HAProxy only says which share of its threads'
# time was idle.
_PROCESSES = 'rate(process_cpu_seconds_total{job!="redis"}[$__rate_interval])'
_EXPORTER = 'rate(process_cpu_seconds_total{job="redis"}[$__rate_interval])'
_REDIS = (
    "rate(redis_cpu_user_seconds_total[$__rate_interval])"
    " + rate(redis_cpu_sys_seconds_total[$__rate_interval])"
)
# A Locust without workers plays its clients itself, and has none to tell of.
_WORKERS = "rate(locust_worker_cpu_seconds_total[$__rate_interval])"
_HAPROXY = "1 - haproxy_process_idle_time_percent / 100"

# Those that are bound to one CPU; Prometheus and Grafana use as many as there are.
_CPU_OF_ONE = 'rate(process_cpu_seconds_total{job=~"echod|locust"}[$__rate_interval])'


def bottleneck() -> Dashboard:
    """Every part's share of the machine, and how near each is to its own limit."""
    return page(
        "fleet-bottleneck",
        "3 · Which part is the bottleneck?",
        "The part that is full while the others are not. If it is the load, the server's limit has"
        " not been seen.",
        [_cpu(), _daemons(), _commits(), _redis(), _haproxy(), _load(), _watching()],
    )


def _cpu() -> Row:
    return Row(
        "Who uses the CPUs?",
        [
            graph(
                "CPUs in use, by part",
                units.Short,
                "1 is a whole CPU. Their sum is bounded by the machine's: at that height everybody"
                " waits for everybody.",
                [
                    Query(f"sum by (job) ({_PROCESSES})", "{{job}}"),
                    Query(f"sum({_WORKERS}) or vector(0)", "locust's workers"),
                    Query(f"sum({_EXPORTER})", "redis's exporter"),
                    Query(f"sum({_REDIS})", "redis"),
                    Query(f"sum(({_HAPROXY}) * haproxy_process_nbthread)", "haproxy"),
                ],
                stacked=True,
            ),
            graph(
                "Fullest process, by part",
                units.PercentUnit,
                "Of one CPU, which is all that a daemon, Redis or a Locust worker can use: near 100 %"
                " is the bottleneck. HAProxy: of all its threads.",
                [
                    Query(f"max by (job) ({_CPU_OF_ONE})", "{{job}}"),
                    Query(f"max({_WORKERS}) or vector(0)", "locust's workers"),
                    Query(f"max({_REDIS})", "redis"),
                    Query(f"max({_HAPROXY})", "haproxy"),
                ],
            ),
            graph(
                "Memory, by part",
                units.BytesIEC,
                "Resident memory of the processes of each part. HAProxy does not tell its own.",
                [
                    Query('sum by (job) (process_resident_memory_bytes{job!="redis"})', "{{job}}"),
                    Query('sum(process_resident_memory_bytes{job="redis"})', "redis's exporter"),
                    Query("sum(redis_memory_used_rss_bytes)", "redis"),
                ],
                width=24,
                stacked=True,
            ),
        ],
    )


def _daemons() -> Row:
    return Row(
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
                [
                    Query(
                        'sum(rate(process_cpu_seconds_total{job="echod"}[$__rate_interval]))'
                        " / sum(rate(echod_lines_answered_total[$__rate_interval]))",
                        "CPU",
                    )
                ],
            ),
        ],
    )


def _commits() -> Row:
    return Row(
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
                [
                    Query(
                        "sum(rate(echod_batch_writes_sum[$__rate_interval]))"
                        " / sum(rate(echod_batch_writes_count[$__rate_interval]))",
                        "mean",
                    ),
                    Query(
                        "histogram_quantile(0.99, sum by (le)"
                        " (rate(echod_batch_writes_bucket[$__rate_interval])))",
                        "p99",
                    ),
                ],
            ),
        ],
    )


def _redis() -> Row:
    return Row(
        "Is it Redis itself?",
        [
            graph(
                "Redis's commands",
                units.CountsPerSecond,
                "Commands that Redis ran, a second.",
                [Query("sum(rate(redis_commands_processed_total[$__rate_interval]))", "commands")],
                width=8,
            ),
            graph(
                "Redis's memory",
                units.BytesIEC,
                "In use, and the limit at which it refuses writes. At the share that is called"
                " newcomers the daemons answer new clients `busy`, so that it never comes to that.",
                [
                    Query("sum(redis_memory_used_bytes)", "used"),
                    Query("sum(redis_memory_max_bytes)", "maxmemory"),
                    Query(
                        "sum(redis_memory_max_bytes) * scalar("
                        'min(echod_limit{name="store_fill_max"}))',
                        "newcomers",
                    ),
                    Query(
                        "sum(redis_memory_max_bytes) * scalar(max(echod_store_fill_ratio))",
                        "as the daemons know",
                    ),
                ],
                width=8,
            ),
            graph(
                "Redis's append-only file",
                units.BytesIEC,
                "Its size. It is written anew, smaller, when it has doubled.",
                [Query("sum(redis_aof_current_size_bytes)", "size")],
                width=8,
            ),
        ],
    )


def _haproxy() -> Row:
    return Row(
        "Is it HAProxy?",
        [
            graph(
                "Connections through HAProxy, and its limit",
                units.Short,
                "Above the limit new clients wait in the kernel's backlog, and nobody counts them.",
                [
                    Query("sum(haproxy_process_current_connections)", "connections"),
                    Query("sum(haproxy_process_max_connections)", "limit"),
                ],
            ),
            graph(
                "Bytes through HAProxy",
                units.BytesPerSecondIEC,
                "From clients and to them, over all frontends.",
                [
                    Query(
                        "sum(rate(haproxy_frontend_bytes_in_total[$__rate_interval]))",
                        "from clients",
                    ),
                    Query(
                        "sum(rate(haproxy_frontend_bytes_out_total[$__rate_interval]))",
                        "to clients",
                    ),
                ],
            ),
        ],
    )


def _load() -> Row:
    return Row(
        "Is it the load itself?",
        [
            graph(
                "Users",
                units.Short,
                "Clients that Locust plays now. Fewer than asked for: it is still starting them,"
                " or can't. Its CPU stands at the top.",
                [Query("sum(locust_users)", "users")],
            ),
            graph(
                "Locust's workers",
                units.Short,
                "Those that answer the master, and those that were asked for. A worker uses one"
                " CPU; a full one sends late, and measures its own lateness.",
                [
                    Query("sum(locust_workers)", "there"),
                    Query("sum(locust_workers_expected)", "expected"),
                ],
            ),
        ],
    )


def _watching() -> Row:
    return Row(
        "What does watching cost?",
        [
            graph(
                "Time of a scrape, by target",
                units.Seconds,
                "How long each target took to tell its metrics. A daemon answers nobody else"
                " meanwhile.",
                [Query("max by (job) (scrape_duration_seconds)", "{{job}}")],
                width=8,
            ),
            graph(
                "Samples taken",
                units.CountsPerSecond,
                "Values that Prometheus stores, a second.",
                [
                    Query(
                        "sum(rate(prometheus_tsdb_head_samples_appended_total[$__rate_interval]))",
                        "samples",
                    )
                ],
                width=8,
            ),
            graph(
                "Time of rules and queries",
                units.PercentUnit,
                "The share of one CPU's time that Prometheus spends on alert rules and on what"
                " pages like this one ask.",
                [
                    Query(
                        "sum(rate(prometheus_rule_evaluation_duration_seconds_sum"
                        "[$__rate_interval]))",
                        "rules",
                    ),
                    Query(
                        "sum(rate(prometheus_engine_query_duration_seconds_sum"
                        '{slice="inner_eval"}[$__rate_interval]))',
                        "queries and rules",
                    ),
                ],
                width=8,
            ),
        ],
    )
