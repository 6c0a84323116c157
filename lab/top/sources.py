"""Where a fleet is looked at, and acted on: the local one, and the containers.

docs/top.md says how either is found. Of the containers the last two scrapes of each part are
taken, with their own times: rates and percentiles are exact, a few seconds old.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import quote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from lab import web
from lab.fleet import control, metrics
from lab.fleet.docker import DockerError, docker
from lab.fleet.metrics import Reading, Samples
from lab.top.model import LAG, Look, Node, Part, State

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# One page: a part that takes longer is silent for this look. Shorter than a look's interval,
# so that a frozen part slows nobody down.
ANSWER_S_MAX = 0.8

# Parts asked at once; more wait their turn.
ASKED_AT_ONCE_MAX = 16

# Of HAProxy's /metrics, what is used: the listeners are left out.
HAPROXY_PAGE = "/metrics?scope=global&scope=frontend&scope=backend&scope=server"

# The exporter's names, and where INFO has the same.
INFO_NAMES: Final = {
    "redis_connected_clients": "connected_clients",
    "redis_memory_used_bytes": "used_memory",
    "redis_memory_max_bytes": "maxmemory",
    "redis_commands_processed_total": "total_commands_processed",
    "redis_aof_current_size_bytes": "aof_current_size",
    "redis_aof_delayed_fsync": "aof_delayed_fsync",
    "redis_cpu_sys_seconds_total": "used_cpu_sys",
    "redis_cpu_user_seconds_total": "used_cpu_user",
}

# Far enough back for two scrapes, even if one failed.
WINDOW_S = 30

# A part whose last scrape is older did not answer the last ones.
READING_S_MAX = 15.0

# Of a container's id, as `docker ps` shows it.
ID_LENGTH = 12

# Docker's answers take 50 ms, on a busy machine more.
DOCKER_S_MAX = 10.0
PROMETHEUS_S_MAX = 3.0

# Prometheus's by the services of Compose.
JOBS = {"server": "echod", "haproxy": "haproxy", "redis": "redis"}
# What is shown of the jobs' samples. HAProxy's others are thousands.
WANTED = (
    "echod_.*|process_.*"
    "|haproxy_(process_idle_time_percent|frontend_.*connections_total|backend_.*|server_status)"
    "|redis_(up|connected_clients|memory_.*|aof_.*|cpu_.*|commands_processed_total"
    "|instance_info|connected_slave_lag_seconds)"
)
# Redis's exporter speaks for it: as itself, or as the node that it was asked for (prometheus.yml).
EXPORTER = "redis-exporter"
# The services of Redis: the one, or a cluster's nodes (`lab.fleet.store.node_name`).
REDIS_SERVICE = re.compile(r"redis(?:-(\d+)-\d+)?")
REDIS_PORT = 6379

# What `docker` is told to do, and how it is said when it is done.
COMMANDS = {
    "drain": (["kill", "--signal", "TERM"], "draining"),
    "kill": (["kill"], "killed"),
    "freeze": (["pause"], "frozen"),
    "thaw": (["unpause"], "thawed"),
    "start": (["start"], "started"),
}

# Docker's words for a container, in ours.
STATES = {"running": State.UP, "paused": State.FROZEN}

Container = Mapping[str, Any]
"""As `docker container inspect` describes it."""


class Source(Protocol):
    """A fleet that can be looked at and acted on: the two below."""

    def look(self) -> Look:
        """Everything as it is now; never waits for longer than a few seconds.

        Raises:
            LabError: `fleet up` has ended, or Docker does not answer.
        """

    def act(self, action: str, part: str) -> str:
        """Do one of `lab.fleet.control.ACTIONS` to a daemon or node; what was done, in words.

        Raises:
            LabError: It can't be done.
        """


class LocalSource:
    """A running `fleet up`, by its control socket."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._redis: dict[str, redis.Redis] = {}
        """By the nodes' addresses."""

    def look(self) -> Look:
        """See `Source`."""
        answer = control.ask(self._path, {"do": "look"})
        ready, lives = answer["fleet"], answer["lives"]
        store = ready["redis"]
        own = {one["name"]: one for one in (*ready["daemons"], *store["nodes"])}
        own |= {"haproxy": ready["haproxy"]}

        def part(name: str) -> Part:
            state = State.UP if lives[name] == "runs" else State(lives[name])
            readings: tuple[Reading, ...] = ()
            if state is State.UP:
                # Who does not answer is silent; the next look asks again.
                with contextlib.suppress(OSError, ValueError, redis.RedisError):
                    readings = (Reading(time.time(), self._ask(own[name], store)),)
            return Part(name, state, readings, f"pid {own[name]['pid']}")

        with ThreadPoolExecutor(ASKED_AT_ONCE_MAX) as pool:
            parts = dict(zip(own, pool.map(part, own), strict=True))
        return Look(
            at_s=time.time(),
            fleet=f"fleet up, pid {ready['pid']}, {ready['directory']}",
            daemons=tuple(parts[one["name"]] for one in ready["daemons"]),
            haproxy=parts["haproxy"],
            nodes=tuple(
                node_of(parts[one["name"]], one["address"], one["shard"], one["role"])
                for one in store["nodes"]
            ),
        )

    def act(self, action: str, part: str) -> str:
        """See `Source`."""
        return str(control.ask(self._path, {"do": action, "part": part})["done"])

    def _ask(self, own: Mapping[str, str], store: Mapping[str, str]) -> Samples:
        """What a part says, asked where its ready line has it."""
        if "admin" in own:
            return metrics.read(own["admin"], ANSWER_S_MAX)
        if "stats" in own:
            return metrics.read(own["stats"], ANSWER_S_MAX, HAPROXY_PAGE)
        address = own["address"]
        if address not in self._redis:
            password_file = store["password_file"]
            self._redis[address] = redis.Redis.from_url(
                f"redis://{address}",
                username=urlsplit(store["url"]).username,
                password=Path(password_file).read_text().strip() if password_file else None,
                socket_timeout=ANSWER_S_MAX,
                socket_connect_timeout=ANSWER_S_MAX,
                retry=Retry(NoBackoff(), 0),
            )
        return from_info(self._redis[address].info())


def from_info(info: Mapping[str, object]) -> Samples:
    """The exporter's samples, as far as they are used here, of Redis's INFO."""
    values = {name: info.get(field) for name, field in INFO_NAMES.items()}
    values["redis_aof_last_write_status"] = info.get("aof_last_write_status") == "ok"
    known = {
        name: float(value) for name, value in values.items() if isinstance(value, (int, float))
    }
    samples: dict[str, tuple[tuple[Mapping[str, str], float], ...]] = {
        name: (({}, value),) for name, value in known.items()
    }
    replicas = [
        one for name, one in info.items() if name.startswith("slave") and isinstance(one, Mapping)
    ]
    samples[LAG] = tuple(
        (
            {f"slave_{label}": str(one[label]) for label in ("ip", "port", "state")},
            float(one.get("lag", 0)),
        )
        for one in replicas
    )
    return Samples(samples)


def node_of(part: Part, address: str = "", shard: int = 0, role: str | None = "master") -> Node:
    """A part that is a Redis."""
    return Node(part.name, part.state, part.readings, part.where, address, shard, role)


def role_of(readings: Sequence[Reading]) -> str | None:
    """What a node's exporter says that it is; None without one. Pure."""
    if not readings:
        return None
    roles = readings[-1].samples.by_label("redis_instance_info", "role")
    return {"master": "master", "slave": "replica"}.get(next(iter(roles), ""))


class ComposeSource:
    """The containers of a Compose project."""

    def __init__(self, project: str, prometheus: str) -> None:
        self._project = project
        self._prometheus = prometheus.rstrip("/")

    def look(self) -> Look:
        """See `Source`. Without Prometheus every part is silent."""
        containers, said = self._containers(), self._said()
        now_s = time.time()

        def parts(service: str) -> tuple[Part, ...]:
            """The service's containers with what its job has of their addresses."""
            return tuple(
                part_of(name, one, _of_host(said[JOBS[service]], _addresses(one)), now_s)
                for name, one in containers.items()
                if _service(one) == service
            )

        def nodes() -> Iterator[Node]:
            for name, one in containers.items():
                service = _service(one)
                if of := REDIS_SERVICE.fullmatch(service):
                    hosts = {service, EXPORTER} if service == "redis" else {service}
                    part = part_of(name, one, _of_host(said["redis"], hosts), now_s)
                    yield node_of(
                        part,
                        next((f"{host}:{REDIS_PORT}" for host in sorted(_addresses(one))), ""),
                        int(of[1] or 0),
                        role_of(part.readings) if of[1] else "master",
                    )

        daemons = parts("server")
        if not daemons:
            raise DockerError(f"no containers of a project {self._project}: docker compose up")
        return Look(
            at_s=now_s,
            fleet=f"containers, project {self._project}, as Prometheus saw them",
            daemons=daemons,
            haproxy=next(iter(parts("haproxy")), Part("haproxy", State.DOWN)),
            nodes=tuple(nodes()) or (Node("redis", State.DOWN),),
        )

    def act(self, action: str, part: str) -> str:
        """See `Source`."""
        if action not in COMMANDS:
            raise DockerError(f"{action}: of containers, what can be done is {', '.join(COMMANDS)}")
        command, done = COMMANDS[action]
        docker(*command, part, wait_s=DOCKER_S_MAX)
        return f"{part}: {done}"

    def _containers(self) -> dict[str, Container]:
        """Each container by name, those that have ended too; 9 stands before 10."""
        ids = docker(
            *("ps", "--all", "--quiet", "--no-trunc"),
            *("--filter", f"label=com.docker.compose.project={self._project}"),
            wait_s=DOCKER_S_MAX,
        ).split()
        if not ids:
            return {}
        described = json.loads(docker("container", "inspect", *ids, wait_s=DOCKER_S_MAX))
        named = {one["Name"].removeprefix("/"): one for one in described}
        return {name: named[name] for name in sorted(named, key=lambda name: (len(name), name))}

    def _said(self) -> dict[str, dict[str, list[Reading]]]:
        """What Prometheus has, by job and instance; nothing if it does not answer."""
        query = f'{{job=~"{"|".join(JOBS.values())}",__name__=~"{WANTED}"}}[{WINDOW_S}s]'
        try:
            url = f"{self._prometheus}/api/v1/query?query={quote(query)}"
            answer = json.loads(web.read(url, PROMETHEUS_S_MAX, metrics.PAGE_BYTES_MAX))
            found = answer["data"]["result"]
            return {
                job: metrics.from_matrix(one for one in found if one["metric"]["job"] == job)
                for job in JOBS.values()
            }
        except (OSError, ValueError, KeyError):
            return {job: {} for job in JOBS.values()}


def _service(container: Container) -> str:
    """Its name in the Compose file; empty if it has none."""
    return str(container["Config"]["Labels"].get("com.docker.compose.service", ""))


def _addresses(container: Container) -> set[str]:
    networks = container["NetworkSettings"]["Networks"].values()
    return {network["IPAddress"] for network in networks} - {""}


def _of_host(said: Mapping[str, list[Reading]], hosts: set[str]) -> list[Reading]:
    """The readings of the instance that runs at one of the hosts."""
    found = (own for instance, own in said.items() if instance.rpartition(":")[0] in hosts)
    return next(found, [])


def part_of(name: str, container: Container, readings: list[Reading], now_s: float) -> Part:
    """A container with its last two readings, or none if the last one is old. Pure."""
    state = STATES.get(container["State"]["Status"], State.DOWN)
    answers = bool(readings) and now_s - readings[-1].at_s <= READING_S_MAX
    return Part(name, state, tuple(readings[-2:]) if answers else (), container["Id"][:ID_LENGTH])
