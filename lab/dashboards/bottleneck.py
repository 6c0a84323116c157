"""The third question: which part is the bottleneck? Daemons, Redis, HAProxy, or the load itself.

Also what watching costs, so that nobody takes a full load generator, or a busy Prometheus,
for a slow server.
"""

from __future__ import annotations

from lab.dashboards.parts import Panels, Row, amounts, per_second, seconds, shares, sizes, traffic
from lab.dashboards.promql import quantile, quantiles, rate, total

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
_DAEMONS = rate('process_cpu_seconds_total{job="echod"}')

_BATCHED, _BATCHES = rate("echod_batch_writes_sum"), rate("echod_batch_writes_count")

# At this share of its memory the daemons take no newcomers.
_NEWCOMERS = 'min(echod_limit{name="store_fill_max"})'

# By shard, called by its master; each daemon tells of each.
_COMMITTING = total(rate("echod_shard_commit_seconds_sum"), "master")
_COMMITS = total(rate("echod_shard_commit_seconds_count"), "master")

_ANSWERING = rate('prometheus_engine_query_duration_seconds_sum{slice="inner_eval"}')

PANELS: Panels = {
    "Who uses the CPUs?": Row(),
    "CPUs in use, by part": amounts(
        "1 is a whole CPU. Their sum is bounded by the machine's: at that height everybody waits"
        " for everybody.",
        {
            "{{job}}": total(_PROCESSES, "job"),
            "locust's workers": f"sum({_WORKERS}) or vector(0)",
            "redis's exporter": total(_EXPORTER),
            "redis": total(_REDIS_CPU),
            "haproxy": f"sum(({_HAPROXY_CPU}) * haproxy_process_nbthread)",
        },
        stacked=True,
    ),
    "Fullest process, by part": shares(
        "Of one CPU, which is all that a daemon, Redis or a Locust worker can use: near 100 % is"
        " the bottleneck. HAProxy: of all its threads.",
        {
            "{{job}}": f"max by (job) ({_CPU_OF_ONE})",
            "locust's workers": f"max({_WORKERS}) or vector(0)",
            "redis": f"max({_REDIS_CPU})",
            "haproxy": f"max({_HAPROXY_CPU})",
        },
    ),
    "Memory, by part": sizes(
        "Resident memory of the processes of each part. HAProxy does not tell its own.",
        {
            "{{job}}": total('process_resident_memory_bytes{job!="redis"}', "job"),
            "redis's exporter": total('process_resident_memory_bytes{job="redis"}'),
            "redis": total("redis_memory_used_rss_bytes"),
        },
        stacked=True,
        wide=True,
    ),
    "Is it the daemons?": Row(),
    "Loop lag": seconds(
        "How late the daemons' loops are: what every client waits beside its own work. Late while"
        " no CPU is free: the daemons have too much to do, or get too little.",
        quantiles("echod_loop_lag_seconds"),
    ),
    "CPU for a line": seconds(
        "The daemons' CPU time divided by the lines that they answered. Falls under load: more"
        " lines share a batch.",
        {"CPU": f"{total(_DAEMONS)} / {total(rate('echod_lines_answered_total'))}"},
    ),
    "Is it the way to Redis's disk?": Row(),
    "Commit time": seconds(
        "One batch's round trip to Redis, its fsync included. Reply time is this and the wait for"
        " the batch before it.",
        quantiles("echod_commit_seconds"),
    ),
    "Writes that share a batch": amounts(
        "Group commit is greedy: 1 when there is little to do, and more the longer a commit takes.",
        {
            "mean": f"{total(_BATCHED)} / {total(_BATCHES)}",
            "p99": quantile(0.99, "echod_batch_writes_bucket"),
        },
    ),
    "Is it Redis itself?": Row(3),
    "Redis's commands": per_second(
        "Commands that Redis ran, a second.",
        {"commands": total(rate("redis_commands_processed_total"))},
    ),
    "Redis's memory": sizes(
        "In use, and the limit at which it refuses writes. At the share that is called newcomers"
        " the daemons answer new clients `busy`, so that it never comes to that.",
        {
            "used": total("redis_memory_used_bytes"),
            "maxmemory": total("redis_memory_max_bytes"),
            "newcomers": f"sum(redis_memory_max_bytes) * scalar({_NEWCOMERS})",
        },
    ),
    "Redis's append-only file": sizes(
        "Its size. It is written anew, smaller, when it has doubled.",
        {"size": total("redis_aof_current_size_bytes")},
    ),
    "Which shard is it?": Row(3),
    "Redis's CPU, by node": shares(
        "Of the one that its thread can use. One node near 100 % while others are not: slots, or a"
        " room, belong elsewhere.",
        {"{{instance}}": _REDIS_CPU},
    ),
    "Commit time, by shard": seconds(
        "The mean of what daemons wait for a batch there. A shard is called by its master.",
        {"{{master}}": f"{_COMMITTING} / {_COMMITS}"},
    ),
    "How full, by shard": shares(
        "Of its maxmemory. From the share that is called newcomers on, daemons that are at home"
        " there answer new clients `busy`.",
        {
            "{{master}}": "max by (master) (echod_store_fill_ratio)",
            "newcomers": _NEWCOMERS,
        },
    ),
    "Is it HAProxy?": Row(),
    "Connections through HAProxy, and its limit": amounts(
        "Above the limit new clients wait in the kernel's backlog, and nobody counts them.",
        {
            "connections": total("haproxy_process_current_connections"),
            "limit": total("haproxy_process_max_connections"),
        },
    ),
    "Bytes through HAProxy": traffic(
        "From clients and to them, over all frontends.",
        {
            "from clients": total(rate("haproxy_frontend_bytes_in_total")),
            "to clients": total(rate("haproxy_frontend_bytes_out_total")),
        },
    ),
    "Is it the load itself?": Row(),
    "Users": amounts(
        "Clients that Locust plays now. Fewer than asked for: it is still starting them, or"
        " can't. Its CPU stands at the top.",
        {"users": total("locust_users")},
    ),
    "Locust's workers": amounts(
        "Those that answer the master, and those that were asked for. A worker uses one CPU; a"
        " full one sends late, and measures its own lateness.",
        {"there": total("locust_workers"), "expected": total("locust_workers_expected")},
    ),
    "What does watching cost?": Row(3),
    "Time of a scrape, by target": seconds(
        "How long each target took to tell its metrics. A daemon answers nobody else meanwhile.",
        {"{{job}}": "max by (job) (scrape_duration_seconds)"},
    ),
    "Samples taken": per_second(
        "Values that Prometheus stores, a second.",
        {"samples": total(rate("prometheus_tsdb_head_samples_appended_total"))},
    ),
    "Time of rules and queries": shares(
        "The share of one CPU's time that Prometheus spends on alert rules and on what pages like"
        " this one ask.",
        {
            "rules": total(rate("prometheus_rule_evaluation_duration_seconds_sum")),
            "queries and rules": total(_ANSWERING),
        },
    ),
}
