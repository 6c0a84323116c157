"""What tests of several layers share: a real Redis, and daemons on free ports."""

from __future__ import annotations

import contextlib
import functools
import sys
import urllib.error
from typing import TYPE_CHECKING, Any, cast

import pytest
import redis as redis_py
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from lab import web
from lab.fleet import processes, redis_cluster, redis_server
from lab.wait import until
from tests import haproxies, images, redises

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lab.fleet.processes import Process
    from lab.fleet.redis_cluster import RedisCluster
    from lab.fleet.redis_server import RedisServer

# How long an example may take says something of the machine, and nothing of what is tested.
settings.register_profile("echofleet", deadline=None)
settings.load_profile("echofleet")


class Heavy(LoadScopeScheduling):  # type: ignore[misc]  # it ships no types
    """Gives tests to workers: the containers' stay together, for they share a fleet; so do the soak's."""

    def _split_scope(self, nodeid: str) -> str:
        together = ("tests/stack/", "tests/fleet/test_soak.py")
        return next((part for part in together if nodeid.startswith(part)), nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Heavy | None:  # noqa: ANN401 — xdist's
    """For `--dist loadscope`, which `make test` asks for with the heavy ones."""
    return Heavy(config, log) if config.getvalue("dist") == "loadscope" else None


class Echod:
    """A daemon under test."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.host, port = process.ready["echo"].rsplit(":", 1)
        self.port = int(port)
        self.session_port = int(process.ready["session"].rsplit(":", 1)[1])
        self.name: str = process.ready["name"]

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a page on the admin port."""
        url = f"http://{self.process.ready['admin']}{path}"
        try:
            with web.page(url, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metrics(self) -> dict[str, float]:
        """All samples, by name and labels as they are printed."""
        lines = self.get("/metrics")[1].splitlines()
        rows = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in rows}

    def closed(self, reason: str, port: str = "echo") -> float:
        """How many clients of a port were closed for `reason`."""
        name = f'echod_connections_closed_total{{port="{port}",reason="{reason}"}}'
        return self.metrics().get(name, 0.0)

    def log(self) -> str:
        """Everything it has printed."""
        return self.process.log.read_text()

    def assert_healthy(self) -> None:
        """It runs, and has logged no bug."""
        assert self.process.alive
        assert "Traceback" not in self.log()


@pytest.fixture(scope="session")
def haproxy_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The HAProxy of one of `haproxies.PLACES`, made once; `NotHereError` if there is none."""

    @functools.cache
    def program(place: str) -> Path:
        return haproxies.program(place, tmp_path_factory.mktemp("haproxy"))

    return program


@pytest.fixture(scope="session", params=haproxies.PLACES)
def haproxy_program(request: pytest.FixtureRequest, haproxy_of: Callable[[str], Path]) -> Path:
    """Each HAProxy that users have."""
    try:
        return haproxy_of(request.param)
    except haproxies.NotHereError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session", params=redises.PLACES)
def redis_program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each Redis that users have."""
    try:
        return redises.program(request.param, tmp_path_factory.mktemp("redis-program"))
    except images.NotHereError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis for tests that don't disturb it."""
    with redis_server.start(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session", name="redis_cluster")
def whole_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """Three shards, each with a replica, for tests that leave them whole."""
    directory = tmp_path_factory.mktemp("cluster")
    with redis_cluster.start(directory, shards=3, replicas=1) as cluster:
        yield cluster


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that this test may freeze, kill or empty."""
    with redis_server.start(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def own_replica(own_redis: RedisServer, tmp_path: Path) -> Iterator[RedisServer]:
    """That Redis's only replica, in step at first."""
    more = {"replicaof": f"127.0.0.1 {own_redis.port}", "repl-diskless-sync-delay": "0"}
    with redis_server.start(tmp_path / "replica", more=more) as server:
        with redis_py.Redis.from_url(server.url) as asked:
            until(
                lambda: cast("Any", asked.info("replication"))["master_link_status"] == "up",
                20,
                "the replica to be in step",
            )
        yield server


@pytest.fixture
def echod(tmp_path: Path) -> Iterator[Callable[..., Echod]]:
    """Start daemons: `echod(store=url, line_bytes_max=100, …)`; each setting is a flag.

    At the end each is ended, and must not have logged a bug.
    """
    with contextlib.ExitStack() as stack:
        daemons: list[Echod] = []

        def start(program: tuple[str, ...] = ("-m", "echod"), **settings: Any) -> Echod:  # noqa: ANN401
            settings = {
                "echo_port": 0,
                "session_port": 0,
                "admin_port": 0,
                "agent_port": 0,
                **settings,
            }
            flags = [
                f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}")
                for name, value in settings.items()
            ]
            log = tmp_path / f"echod-{len(daemons)}.log"
            process = processes.start([sys.executable, *program, *flags], log=log)
            stack.callback(process.kill)
            daemons.append(Echod(process))
            return daemons[-1]

        yield start
        for daemon in daemons:
            assert "Traceback" not in daemon.log()
