"""The containers: Docker says what runs, Prometheus what each part said when it was scraped.

The daemons' ports are published nowhere, so that nobody but HAProxy reaches them; Prometheus
sees them all, and is published. Its samples carry the time of their scrape, and the last two
scrapes of each part are taken: rates and percentiles are exact, a few seconds old.
"""

from __future__ import annotations

import json
import time
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from lab import web
from lab.fleet import metrics
from lab.fleet.docker import DockerError, docker
from lab.top.parts import Life, Look, Part
from lab.top.source import at_once

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lab.fleet.metrics import Reading

# Far enough back for two scrapes, even if one failed.
WINDOW_S = 30

# A part whose last scrape is older did not answer the last ones.
READING_S_MAX = 15.0

# Of a container's id, as `docker ps` shows it.
ID_LENGTH = 12

# Docker's answers take 50 ms, on a busy machine more.
DOCKER_S_MAX = 10.0
PROMETHEUS_S_MAX = 3.0

# Of a job's samples, those that are shown. HAProxy's others are thousands.
WANTED = {
    "echod": "echod_.*|process_.*",
    "haproxy": "haproxy_process_idle_time_percent|haproxy_frontend_.*_connections_total"
    "|haproxy_frontend_connections_total|haproxy_backend_.*|haproxy_server_status",
    "redis": "redis_up|redis_connected_clients|redis_memory_.*|redis_aof_.*|redis_cpu_.*"
    "|redis_commands_processed_total",
}

# What `docker` is told to do, and how it is said when it is done.
COMMANDS = {
    "drain": (["kill", "--signal", "TERM"], "draining"),
    "kill": (["kill"], "killed"),
    "freeze": (["pause"], "frozen"),
    "thaw": (["unpause"], "thawed"),
    "start": (["start"], "started"),
}

# Docker's words for a container, in ours.
LIVES = {"running": Life.RUNS, "paused": Life.FROZEN}


class ComposeSource:
    """The containers of a Compose project.

    Raises (`look` and `act`):
        DockerError: Docker does not answer, or refuses.
    """

    def __init__(self, project: str, prometheus: str) -> None:
        self._project = project
        self._prometheus = prometheus.rstrip("/")

    def look(self) -> Look:
        """See `source.Source`. Without Prometheus every part is silent."""
        asks: list[Callable[[], Any]] = [self._containers]
        asks += [partial(self._job, job) for job in WANTED]
        containers, echod, haproxy, redis = at_once(asks)
        names = sorted(
            (name for name, one in containers.items() if _service(one) == "server"),
            key=lambda name: (len(name), name),
        )
        if not names:
            raise DockerError(f"no containers of a project {self._project}: docker compose up")
        now_s = time.time()
        return Look(
            at_s=now_s,
            fleet=f"containers, project {self._project}, as Prometheus saw them",
            daemons=tuple(
                part_of(name, containers[name], _of_address(echod, containers[name]), now_s)
                for name in names
            ),
            haproxy=_single("haproxy", containers, haproxy, now_s),
            # The exporter speaks for it, from another address.
            redis=_single("redis", containers, redis, now_s, by_address=False),
        )

    def act(self, action: str, daemon: str) -> str:
        """See `source.Source`."""
        command, done = COMMANDS[action]
        docker(*command, daemon, wait_s=DOCKER_S_MAX)
        return f"{daemon}: {done}"

    def _containers(self) -> dict[str, Any]:
        """What Docker says of each container, those that have ended too, by name."""
        ids = docker(
            *("ps", "--all", "--quiet", "--no-trunc"),
            *("--filter", f"label=com.docker.compose.project={self._project}"),
            wait_s=DOCKER_S_MAX,
        ).split()
        if not ids:
            return {}
        described = json.loads(docker("container", "inspect", *ids, wait_s=DOCKER_S_MAX))
        return {one["Name"].removeprefix("/"): one for one in described}

    def _job(self, job: str) -> dict[str, list[Reading]]:
        """What Prometheus has of a job, by instance; nothing if it does not answer."""
        query = f'{{job="{job}",__name__=~"{WANTED[job]}"}}[{WINDOW_S}s]'
        try:
            url = f"{self._prometheus}/api/v1/query?query={quote(query)}"
            answer = json.loads(web.read(url, PROMETHEUS_S_MAX, metrics.PAGE_BYTES_MAX))
            return metrics.from_matrix(answer["data"]["result"])
        except (OSError, ValueError, KeyError):
            return {}


def _service(container: Mapping[str, Any]) -> str:
    return str(container["Config"]["Labels"].get("com.docker.compose.service", ""))


def _of_address(job: Mapping[str, list[Reading]], container: Mapping[str, Any]) -> list[Reading]:
    """The readings of the instance that has one of the container's addresses."""
    networks = container["NetworkSettings"]["Networks"].values()
    addresses = {network["IPAddress"] for network in networks} - {""}
    for instance, readings in job.items():
        if instance.rpartition(":")[0] in addresses:
            return readings
    return []


def _single(
    service: str,
    containers: Mapping[str, Any],
    job: Mapping[str, list[Reading]],
    now_s: float,
    *,
    by_address: bool = True,
) -> Part:
    """A part that there is one of."""
    for name, container in containers.items():
        if _service(container) == service:
            any_ = next(iter(job.values()), [])
            readings = _of_address(job, container) if by_address else any_
            return part_of(name, container, readings, now_s)
    return Part(service, Life.DOWN)


def part_of(name: str, container: Mapping[str, Any], readings: list[Reading], now_s: float) -> Part:
    """A container with its last two readings, or none if the last one is old. Pure."""
    life = LIVES.get(container["State"]["Status"], Life.DOWN)
    answers = bool(readings) and now_s - readings[-1].at_s <= READING_S_MAX
    return Part(name, life, tuple(readings[-2:]) if answers else (), container["Id"][:ID_LENGTH])
