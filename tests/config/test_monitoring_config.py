"""Prometheus's and Alertmanager's configurations: valid, and about metrics that exist.

What Redis's exporter and Locust tell is compared in the stack test, where they run; here
with the lists of `tests/monitored.py`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from lab import web
from lab.fleet import haproxy_server
from lab.fleet.haproxy_server import Daemon
from tests.config.checks import ROOT, check
from tests.monitored import (
    DASHBOARDS,
    ELSEWHERE,
    PROMETHEUS,
    RULES,
    alerts,
    families,
    metrics,
    queries,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONFIG = ROOT / "monitoring" / "prometheus" / "prometheus.yml"
ALERTMANAGER = ROOT / "monitoring" / "alertmanager" / "alertmanager.yml"


def test_prometheus(promtool: str) -> None:
    """Promtool accepts the configuration, and the rules with it."""
    said = check([promtool, "check", "config", str(CONFIG.relative_to(ROOT))])
    for path in RULES:
        assert f"rules/{path.name}" in said


def test_an_alert_is_known_within_half_a_minute() -> None:
    """Scraped, its timeout, evaluated, and twice the evaluation as `for`: below 30 s."""
    intervals = yaml.safe_load(CONFIG.read_text())["global"]
    scrape_s, timeout_s, evaluation_s = (
        int(intervals[name].removesuffix("s"))
        for name in ("scrape_interval", "scrape_timeout", "evaluation_interval")
    )
    urgent = {
        name: rule for name, rule in alerts().items() if name in ("DaemonsMissing", "NoBackend")
    }
    assert len(urgent) == 2
    for name, rule in urgent.items():
        for_s = int(rule["for"].removesuffix("s"))
        assert scrape_s + timeout_s + evaluation_s + for_s < 30, name


def test_alertmanager_is_told_of_real_alerts() -> None:
    """What it holds back, and for what, are alerts that exist; every route has its receiver."""
    config = yaml.safe_load(ALERTMANAGER.read_text())
    assert config["route"]["receiver"] in {one["name"] for one in config["receivers"]}
    named = {
        name
        for rule in config["inhibit_rules"]
        for matcher in rule["source_matchers"] + rule["target_matchers"]
        for name in re.findall(r"[A-Z]\w+", matcher.partition("=")[2])
    }
    assert named
    assert named <= set(alerts())


@pytest.fixture
def served(tmp_path: Path, echod: Callable[..., Any]) -> set[str]:
    """The names of everything that a daemon, HAProxy and the others serve."""
    daemon = echod(proxy_protocol=True)
    place = Daemon.of(daemon.process.ready)
    with haproxy_server.start(tmp_path, ROOT / "haproxy" / "haproxy.cfg", [place]) as haproxy:
        url = f"http://{haproxy.ready['stats']}/metrics"
        with web.page(url, timeout=10) as answer:
            balance = answer.read().decode()
    return families(daemon.get("/metrics")[1]) | families(balance) | ELSEWHERE | PROMETHEUS


def test_what_is_asked_for_exists(served: set[str]) -> None:
    """Every metric that an alert or a dashboard names is one that somebody serves."""
    rules = {rule.get("alert", rule.get("record")): rule["expr"] for rule in all_rules()}
    recorded = {rule["record"] for rule in all_rules() if "record" in rule}
    asked = rules | {f"{path.stem}: {expr}": expr for path in DASHBOARDS for expr in queries(path)}
    for name, expr in asked.items():
        assert metrics(expr), name
        assert metrics(expr) <= served | recorded, name


def test_names_are_found_in_promql() -> None:
    """What tells a metric from a function, a label, a word, a text and a time."""
    expr = (
        'sum by (job, le) (rate(a_total{b="c_total"}[5m])) / on (job) group_left d'
        ' or label_replace(vector(0), "e", "f", "", "") unless (x:y:z offset 1m > 0.5)'
    )
    assert metrics(expr) == {"a_total", "d", "x:y:z"}


def all_rules() -> list[dict[str, Any]]:
    """All rules of all files."""
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]
