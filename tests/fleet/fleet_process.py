"""`fleet up` as a process, and the pages of its parts, as the fleet's tests see them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from lab import web
from lab.fleet import control
from lab.fleet.control import ControlError
from lab.wait import until

if TYPE_CHECKING:
    from lab.fleet.processes import Process

# From the start to everything up, and from a signal to nothing left, on a busy machine.
UP_S_MAX = 90.0
GONE_S_MAX = 60.0

# Twice what is promised of an alert, so that a late one is told as late.
ALERT_S_MAX = 60.0

FREE = ("--port=0", "--session-port=0", "--stats-port=0", "--locust-port=0", "--prometheus-port=0")


class FleetUp:
    """A running `fleet up`, its ready line, and every process under it."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.ready = process.ready
        self.below = psutil.Process(process.pid).children(recursive=True)
        host, port = self.ready["echo"].split(":")
        self.address = host, int(port)

    def pid_of(self, name: str) -> int:
        """The process id of `haproxy`, a daemon or a node of Redis, as the ready line has it."""
        for part in (*self.ready["daemons"], *self.ready["redis"]["nodes"]):
            if part["name"] == name:
                return int(part["pid"])
        return int(self.ready[name]["pid"])

    def says(self, text: str) -> bool:
        """Whether it has printed `text`."""
        return text in self.process.log.read_text()

    def end(self, signum: int) -> int:
        """Send a signal, wait for the end, see that nothing is left; the exit status."""
        self.process.signal(signum)
        assert self.process.wait(GONE_S_MAX), "fleet did not end"
        until(lambda: not self.left(), GONE_S_MAX, f"the end of {self.left()}")
        assert self.process.status is not None
        return self.process.status

    def left(self) -> list[psutil.Process]:
        """Those below it that still run."""
        return [process for process in self.below if process.is_running()]


def controlled(fleet: FleetUp) -> FleetUp:
    """The same, when its control socket answers: it opens that after its ready line."""

    def answers() -> bool:
        with contextlib.suppress(ControlError):
            return bool(control.find(Path(fleet.ready["directory"])))
        return False

    until(answers, UP_S_MAX, "its control socket")
    return fleet


def get(address: str, path: str) -> str:
    """The body of a page that must answer 200."""
    with web.page(f"http://{address}{path}", timeout=10) as answer:
        body: bytes = answer.read()
        return body.decode()


def get_json(address: str, path: str) -> Any:  # noqa: ANN401 — as json.loads
    """As `get`, parsed."""
    return json.loads(get(address, path))


def firing(fleet: FleetUp) -> set[str]:
    """The alerts that fire, by name."""
    found = get_json(fleet.ready["prometheus"]["web"], "/api/v1/alerts")["data"]["alerts"]
    return {alert["labels"]["alertname"] for alert in found if alert["state"] == "firing"}


def kill_one(fleet: FleetUp) -> float:
    """Kill a daemon; returns after how many seconds its alert fired."""
    os.kill(fleet.pid_of("echod1"), signal.SIGKILL)
    killed = time.monotonic()
    until(lambda: "DaemonsMissing" in firing(fleet), ALERT_S_MAX, "the alert")
    return time.monotonic() - killed
