"""The pages as a person sees them: a real browser on Locust's, HAProxy's and Prometheus's."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
from typing import TYPE_CHECKING

import pytest

from lab import browser
from lab.browser import Browser
from lab.fleet import pages
from lab.wait import until
from tests.fleet.fleet_process import firing, kill_one
from tests.monitored import ask

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fleet.fleet_process import FleetUp

pytestmark = pytest.mark.skipif(not browser.find(), reason="no chromium on PATH")

# A page has loaded, a click has been taken, a scrape has come.
SHOWN_S_MAX = 90.0

# Prometheus's pages show one moment: so long after it they are loaded again.
AGED_S = 3.0


def requests(page: Browser) -> int:
    """The number of requests that Locust's page shows in its last row."""
    found = re.search(r"Aggregated (\d+)", page.text())
    return int(found[1]) if found else 0


def test_locust_starts_a_run_and_shows_it_grow(fleet_up: Callable[..., FleetUp]) -> None:
    """Stopped and started again by its buttons, with another number of users; nothing fails."""
    fleet = fleet_up("--daemons=2")
    with Browser() as page:
        page.open(f"http://{fleet.ready['locust']['web']}/")
        until(lambda: "Status RUNNING" in page.text(), SHOWN_S_MAX, "the run that starts by itself")
        until(lambda: page.click("Stop"), SHOWN_S_MAX, "a button to stop")
        until(lambda: page.click("New"), SHOWN_S_MAX, "a button for a new run")
        until(lambda: page.fill("userCount", "7"), SHOWN_S_MAX, "the form")
        assert page.fill("spawnRate", "7")
        assert page.click("Start")
        until(lambda: "Users 7 " in page.text(), SHOWN_S_MAX, "seven users")
        before = requests(page)
        until(lambda: requests(page) > before + 7, SHOWN_S_MAX, "more requests")
        assert "Failures 0%" in page.text()
    assert fleet.end(signal.SIGTERM) == 0


def test_haproxy_shows_every_daemon(fleet_up: Callable[..., FleetUp]) -> None:
    """Both backends, with each daemon up."""
    fleet = fleet_up("--daemons=3", "--no-load")
    with Browser() as page:
        page.open(f"http://{fleet.ready['haproxy']['stats']}/")

        def up() -> int:
            page.open(f"http://{fleet.ready['haproxy']['stats']}/")
            return len(re.findall(r"\bechod[123] .*?\bUP\b", page.text()))

        until(lambda: up() >= 2 * 3, SHOWN_S_MAX, "three daemons in two backends")
    assert fleet.end(signal.SIGTERM) == 0


@pytest.mark.skipif(not shutil.which("prometheus"), reason="no prometheus on PATH")
def test_prometheus_shows_targets_and_the_alert(fleet_up: Callable[..., FleetUp]) -> None:
    """All targets up and no alert firing; a daemon is killed, and its alert is seen."""
    fleet = fleet_up("--daemons=2", "--no-load")
    web = fleet.ready["prometheus"]["web"]
    until(lambda: len(ask(web, "up == 1")) == 4, SHOWN_S_MAX, "the first scrapes")

    def shows(page: Browser, name: str, *parts: str) -> None:
        def has_all() -> bool:
            return all(part in page.text() for part in parts)

        def opened() -> bool:
            page.open(pages.prometheus(web, name))
            with contextlib.suppress(TimeoutError):
                return until(has_all, AGED_S, "this load of the page")
            return False  # it may be of an earlier evaluation

        until(opened, SHOWN_S_MAX, f"{parts} on {name}")

    with Browser() as page:
        ups = ("echod (2/2 up)", "haproxy (1/1 up)", "prometheus (1/1 up)")
        shows(page, "targets", *ups)
        shows(page, "alerts", "Firing (0)", "DaemonsMissing (0 active)")
        assert firing(fleet) == set()
        kill_one(fleet)
        shows(page, "targets", "echod (1/2 up)")
        shows(page, "alerts", "Firing (1)", "DaemonsMissing (1 active)")
    assert fleet.end(signal.SIGTERM) == 0
