"""`fleet up` with real HAProxy and Redis: it serves, survives a death, and ends cleanly."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from lab.wait import until
from loadtest.client import EarlyClose, PlainClient
from tests.fleet.fleet_process import FREE, GONE_S_MAX, get, get_json
from tests.monitored import ask

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fleet.fleet_process import FleetUp

# The figure: how soon the others serve after a daemon's death.
SERVING_S_MAX = 2.0
# Beyond it, of a machine that runs other tests beside.
LATE_S_MAX = 3.0

# For a report, a page or a check to show what has happened.
SEEN_S_MAX = 30.0


def test_the_article_goes_through(
    fleet_up: Callable[..., FleetUp], programs: dict[str, str]
) -> None:
    """The article's dialogue, byte for byte, with every daemon taking part."""
    fleet = fleet_up("--daemons=3", "--no-load", env=programs)

    for _ in range(6):
        with PlainClient(*fleet.address) as client:
            for number in range(10):
                client.ask(b"Hello World!:%d\n" % number)
            assert client.finish() == 0

    for daemon in fleet.ready["daemons"]:
        metrics = get(daemon["admin"], "/metrics")
        assert 'echod_connections_accepted_total{port="echo"} ' in metrics
        assert 'echod_connections_accepted_total{port="echo"} 0.0' not in metrics
    assert get(fleet.ready["haproxy"]["stats"], "/readyz")
    assert "haproxy_backend_active_servers" in get(fleet.ready["haproxy"]["stats"], "/metrics")
    assert fleet.end(signal.SIGTERM) == 0


def test_haproxy_warns_of_nothing(
    fleet_up: Callable[..., FleetUp], programs: dict[str, str]
) -> None:
    """Neither the check of the configuration nor the start prints a warning."""
    fleet = fleet_up("--daemons=1", "--no-load", env=programs)

    until(lambda: servers_up(fleet) == {"echod1"}, SEEN_S_MAX, "HAProxy's first checks")

    for name in ("haproxy-check.log", "haproxy.log"):
        text = (Path(fleet.ready["directory"]) / name).read_text()
        assert "WARNING" not in text
        assert "ALERT" not in text


def test_a_killed_daemon_leaves_the_others_serving(
    fleet_up: Callable[..., FleetUp], programs: dict[str, str]
) -> None:
    """After a `kill -9` every new connection is served, and none waits for 2 s.

    But one: HAProxy ends what is connecting to a daemon at the moment in which it marks
    it down (on-marked-down shutdown-sessions), a retry to another one included.
    """
    fleet = fleet_up("--daemons=3", "--no-load", env=programs)
    until(lambda: len(servers_up(fleet)) == 3, SEEN_S_MAX, "HAProxy's first checks")
    killed = psutil.Process(fleet.pid_of("echod2"))

    killed.kill()
    until(lambda: not killed.is_running() or killed.status() == "zombie", SEEN_S_MAX, "its death")

    closed = 0
    deadline = time.monotonic() + SERVING_S_MAX
    while time.monotonic() < deadline:
        patience_s = SERVING_S_MAX + LATE_S_MAX
        with PlainClient(
            *fleet.address, connect_s_max=patience_s, reply_s_max=patience_s
        ) as client:
            try:
                client.ask(b"still there?\n")
            except EarlyClose:
                closed += 1
    assert closed <= 1
    until(lambda: servers_up(fleet) == {"echod1", "echod3"}, SEEN_S_MAX, "HAProxy to say so")
    until(lambda: fleet.says("echod2 (pid"), SEEN_S_MAX, "the report of its death")
    assert fleet.says("was ended by SIGKILL")
    assert fleet.end(signal.SIGTERM) == 0


def test_locust_shows_no_failure(fleet_up: Callable[..., FleetUp]) -> None:
    """The article's clients start by themselves; the page counts them, and no failure."""
    fleet = fleet_up("--daemons=2")
    page = fleet.ready["locust"]["web"]

    assert "<title>Locust</title>" in get(page, "/")
    until(lambda: requests(page)["num_requests"] >= 300, SEEN_S_MAX, "300 requests")

    until(lambda: get_json(page, "/stats/requests")["user_count"] == 100, SEEN_S_MAX, "100 users")
    assert requests(page)["num_failures"] == 0
    assert fleet.end(signal.SIGINT) == 0


@pytest.mark.skipif(not shutil.which("prometheus"), reason="no prometheus on PATH")
def test_prometheus_sees_every_part(fleet_up: Callable[..., FleetUp]) -> None:
    """Each daemon, HAProxy and Prometheus itself is a target that is up."""
    fleet = fleet_up("--daemons=2", "--no-load")
    wanted = {daemon["admin"] for daemon in fleet.ready["daemons"]}
    wanted.add(fleet.ready["haproxy"]["stats"])
    wanted.add(fleet.ready["prometheus"]["web"])

    def up() -> set[str]:
        found = ask(fleet.ready["prometheus"]["web"], "up == 1")
        return {target["metric"]["instance"] for target in found}

    until(lambda: up() == wanted, 2 * SEEN_S_MAX, "the first scrapes")


def test_the_ready_line_is_all_of_stdout(tmp_path: Path) -> None:
    """One JSON line, and nothing after it up to the end."""
    with (tmp_path / "stderr").open("wb") as stderr:
        fleet = subprocess.Popen(
            [sys.executable, "-m", "lab.cli", "up", *FREE, "--daemons=1", "--no-load"],
            stdout=subprocess.PIPE,
            stderr=stderr,
        )
    assert fleet.stdout is not None
    with fleet:
        ready = json.loads(fleet.stdout.readline())
        os.kill(ready["pid"], signal.SIGTERM)
        rest = fleet.stdout.read()

    assert ready["event"] == "ready"
    assert ready["pid"] == fleet.pid
    assert rest == b""
    assert fleet.returncode == 0


def test_nobody_need_listen(tmp_path: Path) -> None:
    """A terminal that has gone (closed stderr) keeps nothing from being ended in order."""
    command = [sys.executable, "-m", "lab.cli", "up", *FREE, "--daemons=1", "--no-load"]
    with subprocess.Popen(
        [*command, f"--dir={tmp_path}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Under nohup it is ignored, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # noqa: PLW1509 — no thread runs
    ) as fleet:
        assert fleet.stdout is not None
        assert fleet.stderr is not None
        assert fleet.stdout.readline(), fleet.stderr.read().decode()  # why it did not come up
        fleet.stderr.close()
        os.kill(fleet.pid, signal.SIGHUP)

    assert fleet.returncode == 0
    assert "stopped" in (tmp_path / "echod1.log").read_text()


def test_a_clean_end_leaves_no_file(fleet_up: Callable[..., FleetUp], tmp_path: Path) -> None:
    """Without --dir, data and logs are temporary."""
    fleet = fleet_up("--daemons=1", "--no-load")
    assert list((tmp_path / "temporary").iterdir())

    assert fleet.end(signal.SIGTERM) == 0

    assert not list((tmp_path / "temporary").iterdir())


def test_deaths_are_told_of_and_the_logs_kept(
    fleet_up: Callable[..., FleetUp], tmp_path: Path
) -> None:
    """HAProxy or Redis may die: the fleet says so, goes on, and keeps the logs."""
    fleet = fleet_up("--daemons=1", "--no-load")

    for name in ("haproxy", "redis"):
        os.kill(fleet.pid_of(name), signal.SIGKILL)
        report = f"{name} (pid {fleet.pid_of(name)}) was ended by SIGKILL; its log: "
        until(lambda: fleet.says(report), SEEN_S_MAX, report)  # noqa: B023 — called within the turn

    assert fleet.process.alive
    assert fleet.end(signal.SIGTERM) == 0
    assert fleet.says(f"logs and data are in {fleet.ready['directory']}")
    assert list((tmp_path / "temporary").glob("*/echod1.log"))


def test_a_second_signal_kills_at_once(fleet_up: Callable[..., FleetUp]) -> None:
    """Who does not want to wait for the drain signals once more."""
    slow = {"ECHOD_DRAIN_S": "60", "ECHOD_AGENT_INTERVAL_S": "20"}
    fleet = fleet_up("--daemons=1", "--no-load", env=slow)
    log = Path(fleet.ready["directory"]) / "echod1.log"

    fleet.process.signal(signal.SIGINT)
    until(lambda: "draining" in log.read_text(), GONE_S_MAX, "the drain")
    began = time.monotonic()

    assert fleet.end(signal.SIGINT) == 0
    assert time.monotonic() - began < SEEN_S_MAX


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has PDEATHSIG")
def test_a_killed_fleet_takes_everything_along(fleet_up: Callable[..., FleetUp]) -> None:
    """SIGKILL to `fleet` itself leaves no process either."""
    fleet = fleet_up("--daemons=2")
    assert len(fleet.below) >= 5

    assert fleet.end(signal.SIGKILL) == -signal.SIGKILL


def test_a_directory_is_one_fleets(fleet_up: Callable[..., FleetUp], tmp_path: Path) -> None:
    """Two fleets on one append-only file would destroy it: the second is refused."""
    directory = tmp_path / "a fleet's"
    fleet = fleet_up("--daemons=1", "--no-load", f"--dir={directory}")

    second = subprocess.run(
        [sys.executable, "-m", "lab.cli", "up", *FREE, f"--dir={directory}"],
        capture_output=True,
        timeout=GONE_S_MAX,
        check=False,
        text=True,
    )

    assert second.returncode == 1
    assert f"fleet: {directory}: another fleet is using it" in second.stderr
    with PlainClient(*fleet.address) as client:
        client.ask(b"unharmed\n")
    assert fleet.end(signal.SIGTERM) == 0
    assert (directory / "redis" / "redis.log").exists()


def requests(page: str) -> dict[str, int]:
    """Locust's totals."""
    stats = get_json(page, "/stats/requests")["stats"]
    totals: dict[str, int] = next(row for row in stats if row["name"] == "Aggregated")
    return totals


def servers_up(fleet: FleetUp) -> set[str]:
    """The daemons that HAProxy's checks have found well."""
    page = get(fleet.ready["haproxy"]["stats"], "/;csv").removeprefix("# ")
    return {
        row["svname"]
        for row in csv.DictReader(io.StringIO(page))
        if row["pxname"] == "echod"
        and row["status"].startswith("UP")
        and row["check_status"] == "L7OK"
    }
