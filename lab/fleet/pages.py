"""The README's pictures of the pages, from a fleet that runs while they are taken.

    python -m lab.fleet.pages      about a minute; writes docs/images/*.png

Every time anew, so that they are of this version: Locust's page under load, HAProxy's with
every daemon, and Prometheus's alerts after one daemon was killed.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
from pathlib import Path
from urllib.parse import urljoin

from lab.browser import Browser
from lab.errors import LabError
from lab.fleet import prometheus_server
from lab.fleet.local import ROOT, Fleet, Plan
from lab.wait import until
from lab.web import page as ask
from lab.web import read

IMAGES = ROOT / "docs" / "images"
WIDTH, HEIGHT = 1100, 620
BACKENDS_HEIGHT = 265  # HAProxy's two that are in use
DAEMONS = 4

# The load has been seen for a while; an alert that is due has fired.
LOADED_S_MAX = 60.0
ALERT_S_MAX = 60.0
REQUESTS_SEEN = 3000


class NoPrometheusError(LabError):
    """There is no Prometheus on PATH to take a picture of."""


def prometheus(web: str, name: str) -> str:
    """Where Prometheus has a page: versions, and Debian's build, differ in what is before it."""
    with ask(f"http://{web}/", timeout=10) as first:
        url: str = first.url
    return urljoin(url, name)


def take(directory: Path = IMAGES) -> list[Path]:
    """Bring a fleet up, take the pictures, and end it; returns the files.

    Raises:
        LabError: A part is missing, did not come up, or did not show in time what it must.
    """
    if not prometheus_server.installed():
        raise NoPrometheusError("no prometheus on PATH (Debian: apt install prometheus)")
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="echofleet-") as temporary:
        plan = Plan(Path(temporary), daemons=DAEMONS, load=True, prometheus=True)
        with Fleet(plan) as fleet, Browser(WIDTH, HEIGHT) as page:
            return [
                _locust(fleet, page, directory / "locust.png"),
                _haproxy(fleet, page, directory / "haproxy.png"),
                _alert(fleet, page, directory / "prometheus.png"),
            ]


def _locust(fleet: Fleet, page: Browser, path: Path) -> Path:
    web = fleet.ready["locust"]["web"]
    until(lambda: _requests(web) > REQUESTS_SEEN, LOADED_S_MAX, f"{REQUESTS_SEEN} requests")
    page.open(f"http://{web}/")
    # The page asks for its figures once it is there: the table's last row is the sum of them.
    shown = ("Status RUNNING", "Aggregated")
    until(lambda: all(word in page.text() for word in shown), LOADED_S_MAX, "the figures")
    page.shoot(path)
    return path


def _haproxy(fleet: Fleet, page: Browser, path: Path) -> Path:
    page.open(f"http://{fleet.ready['haproxy']['stats']}/;norefresh")
    until(lambda: f"echod{DAEMONS}" in page.text(), LOADED_S_MAX, "the last daemon on the page")
    # Without the explanations, and the frontends above the daemons.
    page.run(
        "(() => { const first = document.querySelector('a[name=echod]').closest('table');"
        "while (first.previousSibling) first.previousSibling.remove() })()"
    )
    page.shoot(path, BACKENDS_HEIGHT)
    return path


def _alert(fleet: Fleet, page: Browser, path: Path) -> Path:
    web = fleet.ready["prometheus"]["web"]
    os.kill(fleet.daemons[0].pid, signal.SIGKILL)
    until(lambda: "firing" in _alerts(web), ALERT_S_MAX, "the alert")
    page.open(prometheus(web, "alerts"))
    until(lambda: "(1 active)" in page.text(), ALERT_S_MAX, "the alert on its page")
    # Where the repository lies on this machine is not the picture's matter.
    page.run(f"document.body.innerHTML = document.body.innerHTML.replaceAll('{ROOT}/', '')")
    page.shoot(path)
    return path


def _requests(web: str) -> int:
    rows = json.loads(_get(f"http://{web}/stats/requests"))["stats"]
    return sum(row["num_requests"] for row in rows if row["name"] == "Aggregated")


def _alerts(web: str) -> set[str]:
    alerts = json.loads(_get(f"http://{web}/api/v1/alerts"))["data"]["alerts"]
    return {alert["state"] for alert in alerts if alert["labels"]["alertname"] == "DaemonsMissing"}


def _get(url: str) -> bytes:
    return read(url)


if __name__ == "__main__":
    for written in take():
        print(written)
