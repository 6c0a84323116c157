"""The local fleet's Prometheus: every panel has data under load, and a killed daemon is seen."""

from __future__ import annotations

import shutil
import signal
from typing import TYPE_CHECKING

import pytest

from tests.fleet.fleet_process import firing, kill_one
from tests.monitored import ask, assert_all_data

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fleet.fleet_process import FleetUp

pytestmark = pytest.mark.skipif(not shutil.which("prometheus"), reason="no prometheus on PATH")

# A few scrapes after the load has begun.
DATA_S_MAX = 120.0

# The figure: a stopped daemon's alert fires within it.
ALERT_S_MAX = 30.0


def of_redis_itself(expr: str) -> bool:
    """What only Redis's exporter tells, which a local fleet has not."""
    return "redis_" in expr or 'job="redis"' in expr


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
