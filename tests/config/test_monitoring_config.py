"""Prometheus's configuration and Grafana's dashboards: valid, and about metrics that exist.

HAProxy's and the exporter's metrics are compared in the stack test, where both run.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.config.checks import ROOT, check

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DASHBOARDS = sorted((ROOT / "monitoring" / "grafana" / "dashboards").glob("*.json"))


@pytest.fixture(params=DASHBOARDS, ids=lambda path: path.stem)
def panels(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """The panels of a dashboard."""
    found: list[dict[str, Any]] = json.loads(request.param.read_text())["panels"]
    return found


def expressions(panels: list[dict[str, Any]]) -> list[str]:
    """All queries, with Grafana's variables in PromQL's terms."""
    return [
        target["expr"].replace("$__rate_interval", "1m")
        for panel in panels
        for target in panel["targets"]
    ]


def test_prometheus(promtool: str) -> None:
    """Promtool accepts the configuration."""
    check([promtool, "check", "config", "monitoring/prometheus/prometheus.yml"])


def test_queries_parse(promtool: str, panels: list[dict[str, Any]], tmp_path: Path) -> None:
    """Every query of a dashboard is PromQL: promtool accepts it as a rule."""
    rules = [
        {"record": f"dashboard:query{number}", "expr": expr}
        for number, expr in enumerate(expressions(panels))
    ]
    assert rules
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    check([promtool, "check", "rules", str(path)])


def test_panels_explain_themselves(panels: list[dict[str, Any]]) -> None:
    """A panel has a title, a description, a unit, and the one source; none covers another."""
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["title"]
        assert len(panel["description"]) > len(panel["title"])
        assert panel["fieldConfig"]["defaults"]["unit"]
        for part in (panel, *panel["targets"]):
            assert part["datasource"] == {"type": "prometheus", "uid": "prometheus"}
        place = panel["gridPos"]
        own = {
            (place["x"] + column, place["y"] + row)
            for column in range(place["w"])
            for row in range(place["h"])
        }
        assert not own & cells
        cells |= own


def test_a_daemon_has_the_metrics(panels: list[dict[str, Any]], echod: Callable[..., Any]) -> None:
    """Every `echod_` metric that a dashboard asks for is one that a daemon serves."""
    families = re.findall(r"^# TYPE (\w+) ", echod().get("/metrics")[1], flags=re.MULTILINE)
    served = {
        name + suffix for name in families for suffix in ("", "_total", "_bucket", "_sum", "_count")
    }
    asked = {name for expr in expressions(panels) for name in re.findall(r"\bechod_\w+", expr)}
    assert asked
    assert asked <= served
