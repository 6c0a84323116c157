"""The dashboards' queries and the metrics that PromQL names; shared by tests of several layers."""

from __future__ import annotations

import contextlib
import http
import json
import math
import re
import urllib.error
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import yaml

from lab import web
from lab.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[1]
DASHBOARDS = sorted((ROOT / "monitoring" / "grafana" / "dashboards").glob("*.json"))

RULES = sorted((ROOT / "monitoring" / "prometheus" / "rules").glob("*.yml"))

# What Grafana makes of $__rate_interval at least: four scrapes.
RATE_INTERVAL = "20s"

# A family's name and what its samples have beyond it.
SUFFIXES = ("", "_total", "_info", "_bucket", "_sum", "_count")

# What those serve that only run in containers, where the stack test asks them: Redis's
# exporter, and Locust's master (loadtest/).
ELSEWHERE = frozenset(
    {
        *("redis_up", "redis_memory_used_bytes", "redis_memory_max_bytes"),
        *("redis_memory_used_rss_bytes", "redis_commands_processed_total"),
        *("redis_cpu_user_seconds_total", "redis_cpu_sys_seconds_total"),
        "redis_aof_current_size_bytes",
        *("redis_latency_spike_last", "redis_cluster_slots_ok", "redis_master_link_up"),
        *("locust_users", "locust_workers", "locust_workers_expected"),
        *("locust_request_seconds_bucket", "locust_failures_total"),
        *("locust_worker_cpu_seconds_total", "locust_room_messages_total"),
    }
)

# What Prometheus makes itself, or serves of itself; and what start.sh has it make.
PROMETHEUS = frozenset(
    {
        *("up", "ALERTS", "scrape_duration_seconds", "fleet:daemons:expected"),
        *("prometheus_tsdb_head_samples_appended_total",),
        *("prometheus_rule_evaluation_duration_seconds_sum",),
        *("prometheus_engine_query_duration_seconds_sum",),
    }
)

# What stands in PromQL like a metric, and is none.
WORDS = frozenset(
    [
        "and",
        "or",
        "unless",
        "on",
        "by",
        "ignoring",
        "without",
        "offset",
        "bool",
        "group_left",
        "group_right",
    ]
)


def panels(path: Path) -> list[dict[str, Any]]:
    """The panels of a dashboard, without the rows between them."""
    found = json.loads(path.read_text())["panels"]
    return [panel for panel in found if panel["type"] != "row"]


def queries(path: Path, daemon: str = "127.0.0.1:8080") -> Iterator[str]:
    """Everything that a dashboard asks, with Grafana's variables in PromQL's terms."""
    page = json.loads(path.read_text())
    asked = [target["expr"] for panel in panels(path) for target in panel["targets"]]
    notes = [note["expr"] for note in page["annotations"]["list"] if "expr" in note]
    for expr in asked + notes:
        yield expr.replace("$__rate_interval", RATE_INTERVAL).replace("$daemon", daemon)


def alerts() -> dict[str, dict[str, Any]]:
    """Every alert, by name, as its file has it."""
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    rules = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    found = {rule["alert"]: rule for rule in rules}
    assert len(found) == len(rules), "two alerts have one name"
    return found


def metrics(expr: str) -> set[str]:
    """The metrics that PromQL asks for."""
    bare = re.sub(r'"[^"]*"', "", expr)
    bare = re.sub(r"\b(by|without|on|ignoring)\s*\([^)]*\)|\{[^}]*\}|\[[^]]*\]", " ", bare)
    names = re.findall(r"(?<![\w.])[a-zA-Z_][\w:]*\b(?!\s*\()", bare)
    return {name for name in names if name not in WORDS}


def families(text: str) -> set[str]:
    """The names of all samples that a /metrics page can have."""
    named = re.findall(r"^# TYPE (\w+) ", text, flags=re.MULTILINE)
    return {name + suffix for name in named for suffix in SUFFIXES}


def ask(prometheus: str, expr: str) -> list[dict[str, Any]]:
    """The result vector of a query, now; `prometheus` is host:port.

    Empty while it starts, which it answers with 503.
    """
    url = f"http://{prometheus}/api/v1/query?query={quote(expr)}"
    try:
        with web.page(url, timeout=10) as answer:
            result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
            return result
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.SERVICE_UNAVAILABLE:
            raise
        return []


def assert_all_data(
    prometheus: str, deadline_s: float, besides: Callable[[str], bool] = lambda _: False
) -> None:
    """Every query of every dashboard has data within the time, `besides` those that it names."""
    daemons = until(lambda: ask(prometheus, 'up{job="echod"} == 1'), deadline_s, "a daemon")
    daemon = daemons[0]["metric"]["instance"]

    def empty() -> dict[str, set[str]]:
        return {name: left for name, left in _empty(prometheus, daemon, besides).items() if left}

    with contextlib.suppress(TimeoutError):
        until(lambda: not empty(), deadline_s, "data for every panel")
    left = empty()
    assert not left, left


def _empty(prometheus: str, daemon: str, besides: Callable[[str], bool]) -> dict[str, set[str]]:
    """Dashboard → its queries that have no data now.

    The alerts' marks are left out: that there is none is what one hopes for.
    """
    return {
        path.stem: {
            expr
            for expr in queries(path, daemon)
            if not expr.startswith("ALERTS") and not besides(expr)
            if not _has_data(ask(prometheus, expr))
        }
        for path in DASHBOARDS
    }


def _has_data(result: list[dict[str, Any]]) -> bool:
    return any(not math.isnan(float(row["value"][1])) for row in result)
