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

from lab import web
from lab.browser import Browser
from lab.errors import LabError
from lab.fleet import prometheus_server
from lab.fleet.local import ROOT, Fleet, Plan
from lab.wait import until

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


def prometheus(address: str, name: str) -> str:
    """Where Prometheus has a page: versions, and Debian's build, differ in what is before it."""
    with web.page(f"http://{address}/") as first:
        return urljoin(first.url, name)


def main() -> None:
    """Bring a fleet up, take the pictures, and end it.

    Raises:
        LabError: A part is missing, did not come up, or did not show in time what it must.
    """
    if not prometheus_server.installed():
        raise NoPrometheusError("no prometheus on PATH (Debian: apt install prometheus)")
    with tempfile.TemporaryDirectory(prefix="echofleet-") as temporary:
        plan = Plan(Path(temporary), daemons=DAEMONS, load=True, prometheus=True)
        with Fleet(plan) as fleet, Browser(WIDTH, HEIGHT) as page:
            _locust(fleet.ready["locust"]["web"], page)
            _haproxy(fleet.ready["haproxy"]["stats"], page)
            os.kill(fleet.daemons[0].pid, signal.SIGKILL)
            _alert(fleet.ready["prometheus"]["web"], page)
    print(f"written: locust.png, haproxy.png, prometheus.png in {IMAGES}")


def _locust(address: str, page: Browser) -> None:
    def requests() -> int:
        rows = json.loads(web.read(f"http://{address}/stats/requests"))["stats"]
        return sum(row["num_requests"] for row in rows if row["name"] == "Aggregated")

    until(lambda: requests() > REQUESTS_SEEN, LOADED_S_MAX, f"{REQUESTS_SEEN} requests")
    page.open(f"http://{address}/")
    # The page asks for its figures once it is there: the table's last row is the sum of them.
    shown = ("Status RUNNING", "Aggregated")
    until(lambda: all(word in page.text() for word in shown), LOADED_S_MAX, "the figures")
    page.shoot(IMAGES / "locust.png")


def _haproxy(address: str, page: Browser) -> None:
    page.open(f"http://{address}/;norefresh")
    until(lambda: f"echod{DAEMONS}" in page.text(), LOADED_S_MAX, "the last daemon on the page")
    # Without the explanations, and the frontends above the daemons.
    page.run(
        "(() => { const first = document.querySelector('a[name=echod]').closest('table');"
        "while (first.previousSibling) first.previousSibling.remove() })()"
    )
    page.shoot(IMAGES / "haproxy.png", BACKENDS_HEIGHT)


def _alert(address: str, page: Browser) -> None:
    def alerts() -> set[tuple[str, str]]:
        found = json.loads(web.read(f"http://{address}/api/v1/alerts"))["data"]["alerts"]
        return {(one["labels"]["alertname"], one["state"]) for one in found}

    until(lambda: ("DaemonsMissing", "firing") in alerts(), ALERT_S_MAX, "the alert")
    page.open(prometheus(address, "alerts"))
    until(lambda: "(1 active)" in page.text(), ALERT_S_MAX, "the alert on its page")
    # Where the repository lies on this machine is not the picture's matter.
    page.run(f"document.body.innerHTML = document.body.innerHTML.replaceAll('{ROOT}/', '')")
    page.shoot(IMAGES / "prometheus.png")


if __name__ == "__main__":
    main()
