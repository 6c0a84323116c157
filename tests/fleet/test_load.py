"""The load on the whole fleet: sessions through HAProxy, picked in Locust's page, and a storm."""

from __future__ import annotations

import json
import urllib.parse
from typing import TYPE_CHECKING

from lab import web
from lab.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fleet.fleet_process import FleetUp

SEEN_S_MAX = 60.0


def get(url: str, **form: object) -> str:
    """A page, or the answer to a form."""
    body = urllib.parse.urlencode(form).encode() if form else None
    with web.page(url, body, SEEN_S_MAX) as answer:
        return str(answer.read().decode())


def test_a_storm_of_sessions_is_picked_in_the_page(fleet_up: Callable[..., FleetUp]) -> None:
    """On the ports that the fleet has: all resume, through HAProxy, and nobody fails."""
    fleet = fleet_up("--daemons=2")
    page = f"http://{fleet.ready['locust']['web']}"

    def rows() -> dict[str, dict[str, float]]:
        return {row["name"]: row for row in json.loads(get(f"{page}/stats/requests"))["stats"]}

    until(lambda: rows().get("line", {}).get("num_requests", 0) > 0, SEEN_S_MAX, "the first load")
    get(f"{page}/stop", now="yes")
    get(
        f"{page}/swarm",
        user_classes="SessionUser",
        shape_class="StormShape",
        user_count=50,
        spawn_rate=50,
        storm_every_s=1,
        lines_per_s=5,
    )
    until(lambda: rows().get("resume", {}).get("num_requests", 0) >= 50, SEEN_S_MAX, "a storm")
    table = rows()
    assert table["open"]["num_requests"] == 50
    assert table["session line"]["num_requests"] > 50
    assert sum(row["num_failures"] for row in table.values()) == 0
    metrics = get(f"{page}/metrics")
    assert 'locust_request_seconds_count{name="resume",type="session"}' in metrics
    get(f"{page}/stop", now="yes")
