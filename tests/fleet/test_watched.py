"""The local fleet's Prometheus: every panel has data under load, and a killed daemon is seen."""

from __future__ import annotations

import os
import shutil
import signal
import time
import urllib.request
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import pytest

from lab.wait import until
from tests import browser
from tests.fleet.fleet_process import get_json
from tests.monitored import ask, assert_all_data

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fleet.fleet_process import FleetUp

pytestmark = pytest.mark.skipif(not shutil.which("prometheus"), reason="no prometheus on PATH")

# A few scrapes after the load has begun.
DATA_S_MAX = 60.0

# The figure: a stopped daemon's alert fires within it.
ALERT_S_MAX = 30.0


def of_redis_itself(expr: str) -> bool:
    """What only Redis's exporter tells, which a local fleet has not."""
    return "redis_" in expr or 'job="redis"' in expr


def firing(fleet: FleetUp) -> set[str]:
    """The alerts that fire."""
    found = get_json(fleet.ready["prometheus"]["web"], "/api/v1/alerts")["data"]["alerts"]
    return {alert["labels"]["alertname"] for alert in found if alert["state"] == "firing"}


def kill_one(fleet: FleetUp) -> float:
    """Kill a daemon; returns after how many seconds the alert fired."""
    os.kill(fleet.pid_of("echod1"), signal.SIGKILL)
    killed = time.monotonic()
    until(lambda: "DaemonsMissing" in firing(fleet), 2 * ALERT_S_MAX, "the alert")
    return time.monotonic() - killed


def pages(fleet: FleetUp) -> str:
    """Where Prometheus's pages are: its versions, and Debian's build, differ in it."""
    with urllib.request.urlopen(f"http://{fleet.ready['prometheus']['web']}/", timeout=10) as first:
        url: str = first.url
    return url


def test_dashboards_and_alerts(fleet_up: Callable[..., FleetUp]) -> None:
    """Under load no panel is empty and no alert fires; of two daemons one is killed: one does."""
    fleet = fleet_up("--daemons=2")
    web = fleet.ready["prometheus"]["web"]

    assert_all_data(web, DATA_S_MAX, besides=of_redis_itself)
    assert ask(web, "fleet:daemons:expected")[0]["value"][1] == "2"
    assert ask(web, "up == 0") == []
    assert firing(fleet) == set()

    assert kill_one(fleet) <= ALERT_S_MAX
    assert fleet.end(signal.SIGTERM) == 0


def test_prometheus_in_a_browser(fleet_up: Callable[..., FleetUp]) -> None:
    """Its pages show all targets up and no alert firing; a daemon is killed, and the alert seen."""
    browser.chromium()
    fleet = fleet_up("--daemons=2", "--no-load")
    web = fleet.ready["prometheus"]["web"]
    until(lambda: len(ask(web, "up == 1")) == 4, DATA_S_MAX, "the first scrapes")

    targets = browser.read(urljoin(pages(fleet), "targets"))
    for part in ("echod (2/2 up)", "haproxy (1/1 up)", "prometheus (1/1 up)"):
        assert part in targets
    alerts = browser.read(urljoin(pages(fleet), "alerts"))
    assert "Firing (0)" in alerts
    assert "DaemonsMissing (0 active)" in alerts

    kill_one(fleet)
    assert "echod (1/2 up)" in browser.read(urljoin(pages(fleet), "targets"))
    assert "DaemonsMissing (1 active)" in browser.read(urljoin(pages(fleet), "alerts"))
    assert fleet.end(signal.SIGTERM) == 0
