"""Which stores there are, and who speaks the plain port here; each is started once.

A test that asks for `stores` runs on each of `stores.KINDS`.

A test that asks for `server` runs against the article's eight servers and echod in its
kinds; marked `@pytest.mark.behaviour("name")` it is a column of the table that pytest
prints at its end: the table of who does what.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from lab.fleet import processes
from tests import images, redises
from tests.contract import stores as all_stores
from tests.contract.stores import KINDS, Kind, Stores

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from lab.fleet.processes import Process
    from lab.fleet.redis_server import RedisServer

VARIANTS = Path(__file__).parents[2] / "server" / "variants"
NODE_MAJOR_MIN = 18

# Flags beside echod's addresses; "{redis}" is the URL of a Redis of the test run's.
ECHOD: dict[str, list[str]] = {
    "echod commit": ["--store={redis}", "--durability=commit"],
    "echod async": ["--store={redis}", "--durability=async"],
    "echod none": ["--store={redis}", "--durability=none"],
    "echod memory": ["--store=memory://"],
    "echod greenlet": ["--store={redis}", "--durability=commit", "--reader=greenlet"],
}
SERVERS = [
    "serial",
    "threads",
    "gevent_group",
    "gevent_streamserver",
    "asyncio_streams",
    "asyncio_protocol",
    "node_callbacks",
    "node_async",
    *ECHOD,
]

OUTCOMES = pytest.StashKey["Outcomes"]()
CELLS = {"passed": "ok", "failed": "FAILED", "skipped": "—"}


@pytest.fixture(scope="session", params=KINDS, ids=lambda kind: kind.id)
def stores_of_kind(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stores]:
    """Each in turn."""
    kind: Kind = request.param
    if kind.what == "memory":
        yield Stores("memory://")
        return
    directory = tmp_path_factory.mktemp(kind.what)
    try:
        program = redises.program(kind.place, directory)
    except images.NotHereError as error:
        pytest.skip(str(error))
    with all_stores.start(kind.what, program, directory / "data") as made:
        yield made


@pytest.fixture
def stores(stores_of_kind: Stores) -> Iterator[Stores]:
    """Each in turn, empty."""
    yield stores_of_kind
    stores_of_kind.empty()


@dataclass(frozen=True)
class Server:
    """A server of the plain port that runs."""

    name: str
    process: Process

    @property
    def port(self) -> int:
        """Where it listens, on 127.0.0.1."""
        return int(self.process.ready["echo"].rsplit(":", 1)[1])

    @property
    def serial(self) -> bool:
        """Whether it serves one client after the other."""
        return self.name == "serial"


def no_node() -> str:
    """Why the Node.js servers can't run here; "" if they can."""
    if not shutil.which("node"):
        return "no node on PATH"
    done = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
    if int(re.findall(r"\d+", done.stdout)[0]) < NODE_MAJOR_MIN:
        return f"node {done.stdout.strip()} is older than {NODE_MAJOR_MIN}"
    return ""


def command(name: str, idle_s_max: float, request: pytest.FixtureRequest) -> list[str]:
    """How a server is started."""
    if name in ECHOD:
        flags = ECHOD[name]
        if "--store={redis}" in flags:
            redis: RedisServer = request.getfixturevalue("redis")
            flags = [flag.format(redis=redis.url) for flag in flags]
        flags = [*flags, "--echo-port=0", "--session-port=0", "--admin-port=0", "--agent-port=0"]
        flags += ["--agent-interval-s=0.1", "--drain-s=0.3"]  # no HAProxy has to notice
        return [sys.executable, "-m", "echod", *flags, f"--echo-idle-s-max={idle_s_max}"]
    flags = ["--port=0", f"--idle-s-max={idle_s_max}"]
    if name.startswith("node_"):
        if reason := no_node():
            pytest.skip(reason)
        return ["node", str(VARIANTS / f"{name}.mjs"), *flags]
    return [sys.executable, str(VARIANTS / f"{name}.py"), *flags]


@pytest.fixture(scope="session")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Server]:
    """Start a server by its name; each writes to a log of its own."""

    def start(name: str, request: pytest.FixtureRequest, idle_s_max: float = 5.0) -> Server:
        log = tmp_path_factory.mktemp("server") / "log"
        return Server(name, processes.start(command(name, idle_s_max, request), log=log))

    return start


@pytest.fixture(scope="session", params=SERVERS)
def server(request: pytest.FixtureRequest, starter: Callable[..., Server]) -> Iterator[Server]:
    """Each server in turn; at its end it must still run, and have complained of nothing."""
    running = starter(request.param, request)
    with running.process:
        yield running
        assert running.process.alive
        log = running.process.log.read_text()
        assert "Traceback" not in log
        assert "    at " not in log  # as Node.js prints a stack


@pytest.fixture
def own_server(
    request: pytest.FixtureRequest, server: Server, starter: Callable[..., Server]
) -> Iterator[Callable[[float], Server]]:
    """Start another of the same kind, for a test with its own `idle_s_max`, or that ends it."""
    started: list[Server] = []

    def start(idle_s_max: float) -> Server:
        started.append(starter(server.name, request, idle_s_max))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()


def pytest_configure(config: pytest.Config) -> None:
    """Make room for the table."""
    config.addinivalue_line("markers", "behaviour(name): a column of the table of servers")
    config.stash[OUTCOMES] = Outcomes()
    config.pluginmanager.register(config.stash[OUTCOMES])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Write behaviour and server into the report, which may go to another process."""
    report = yield
    marker = item.get_closest_marker("behaviour")
    if marker is not None and isinstance(item, pytest.Function):
        cell = marker.args[0], str(item.callspec.params["server"])
        report.user_properties = [("cell", cell)]
    return report


class Outcomes:
    """Hears of every report, in the process that prints the summary."""

    def __init__(self) -> None:
        self._columns: dict[str, dict[str, str]] = {}
        self._lines: dict[str, int] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what became of a behaviour: the worst of all its tests' set-ups, calls and ends."""
        for key, cell in report.user_properties:
            if key == "cell":
                behaviour, name = cast("tuple[str, str]", cell)
                self._lines[behaviour] = report.location[1] or 0
                column = self._columns.setdefault(behaviour, {})
                if column.get(name, "passed") == "passed":
                    column[name] = report.outcome

    def in_order(self) -> dict[str, dict[str, str]]:
        """What became of each test: behaviour → server → outcome, as the tests stand in the file."""
        return {
            name: self._columns[name] for name in sorted(self._columns, key=self._lines.__getitem__)
        }


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the table: rows are servers, columns behaviours."""
    outcomes = config.stash[OUTCOMES].in_order()
    if not outcomes:
        return
    widths = {name: max(len(name), len(CELLS["failed"])) for name in outcomes}
    first = max(map(len, SERVERS))
    head = " ".join(f"{name:<{width}}" for name, width in widths.items())
    terminalreporter.write_sep("=", "PROTOCOL §1, server by server")
    terminalreporter.write_line(f"{'':<{first}} {head}".rstrip())
    for server_name in SERVERS:
        cells = {
            name: CELLS.get(column.get(server_name, ""), "") for name, column in outcomes.items()
        }
        if any(cells.values()):
            row = " ".join(f"{cells[name]:<{width}}" for name, width in widths.items())
            terminalreporter.write_line(f"{server_name:<{first}} {row}".rstrip())
