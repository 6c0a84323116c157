"""What watches the containers: every target up, every query with data, an alert that is seen.

The tests share one fleet with the other stack tests, and leave it as they found it.
"""

from __future__ import annotations

import json
import subprocess
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from lab.wait import until
from tests.monitored import assert_all_data
from tests.stack.fleet import DAEMONS, DEADLINE_S

if TYPE_CHECKING:
    from tests.stack.fleet import Fleet

pytestmark = pytest.mark.heavy

# The figure: a stopped daemon's alert fires within it.
ALERT_S_MAX = 30.0


def firing(fleet: Fleet) -> set[str]:
    """The alerts that Alertmanager shows, by name: what a person sees."""
    alerts = json.loads(fleet.page("alertmanager", 9093, "/api/v2/alerts?active=true"))
    return {alert["labels"]["alertname"] for alert in alerts}


def test_every_target_is_up(fleet: Fleet) -> None:
    """Every daemon, and one of everything else, answers Prometheus."""
    expected = {"echod": DAEMONS}
    others = ("haproxy", "redis", "redis-exporter", "locust", "prometheus", "alertmanager")
    expected |= dict.fromkeys(others, 1)
    if fleet.with_grafana:
        expected["grafana"] = 1

    def up() -> dict[str, int]:
        result = fleet.prometheus("query?query=" + quote("count by (job) (up == 1)"))["result"]
        return {row["metric"]["job"]: int(row["value"][1]) for row in result}

    until(lambda: up() == expected, DEADLINE_S, f"scrapes of {expected}")


def test_the_expected_number_is_the_one_asked_for(fleet: Fleet) -> None:
    """ECHOD_REPLICAS reaches the rule that an alert compares with."""

    def expected() -> list[str]:
        result = fleet.prometheus("query?query=fleet:daemons:expected")["result"]
        return [row["value"][1] for row in result]

    until(lambda: expected() == [str(DAEMONS)], DEADLINE_S, f"{DAEMONS} expected daemons")


def test_every_dashboard_query_has_data(fleet: Fleet) -> None:
    """Under the load that starts by itself, no panel is empty."""
    more = fleet.load().count("line") + 1000
    until(lambda: fleet.load().count("line") >= more, DEADLINE_S, "some load")

    assert_all_data(f"127.0.0.1:{fleet.port('prometheus', 9090)}", DEADLINE_S)


def test_no_alert_fires(fleet: Fleet) -> None:
    """A fleet that is well troubles nobody."""
    until(lambda: not firing(fleet), DEADLINE_S, "the end of every alert")


def test_a_stopped_daemon_is_seen(fleet: Fleet) -> None:
    """A daemon stopped: its alert is on Alertmanager's page within 30 s, and gone after."""
    (victim, *_) = fleet.containers("server")
    subprocess.run(["docker", "stop", victim["Id"]], check=True, capture_output=True)
    stopped = time.monotonic()
    until(lambda: "DaemonsMissing" in firing(fleet), DEADLINE_S, "the alert")
    assert time.monotonic() - stopped <= ALERT_S_MAX
    subprocess.run(["docker", "start", victim["Id"]], check=True, capture_output=True)
    until(lambda: not firing(fleet), 2 * DEADLINE_S, "the end of the alert")
