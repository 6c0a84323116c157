"""Locust with our users, run as people run it, against a server wrong in one way at a time.

Locust patches the process that imports it, so it runs in processes of its own; all of
them at once, because each mostly starts, waits and ends.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import urllib.error
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lab import web
from lab.fleet import ports, processes
from lab.wait import until
from tests.loadtest import loadtest_servers as servers
from tests.loadtest.loadtest_servers import Server

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lab.fleet.processes import Process

ROOT = Path(__file__).parents[2]
LOCUST = (sys.executable, "-m", "locust", "--locustfile", str(ROOT / "loadtest" / "locustfile.py"))

# A run takes under ten seconds, a busy machine several times that.
RUN_S_MAX = 90.0

CLIENTS, LOOPS = 2, 3
SMALL = ("--clients", str(CLIENTS), "--loops", str(LOOPS), "--pause-s", "0.01")
NEVER = ("--reply-s-max", "60")  # no reply takes so long, on any machine
SOON = ("--reply-s-max", "0.5")  # for a server that says nothing


@dataclass(frozen=True)
class Plan:
    """One run: the server's behaviour (none: a port that refuses) and Locust's arguments."""

    behaviour: str
    arguments: tuple[str, ...]
    shape: str = "article"


# The failure that Locust must report beside each: there is no other.
DEFECTS = {
    Plan("current_line_only", SMALL + NEVER): ("line", "WrongReply('not the bytes owed')"),
    Plan("one_reply_too_many", SMALL + NEVER): ("loop", "WrongReply('not the bytes owed')"),
    Plan("closes_within_a_reply", SMALL + NEVER): ("line", "EarlyClose('end of stream')"),
    Plan("resets", SMALL + NEVER): ("line", "EarlyClose('ECONNRESET')"),
    Plan("silent", SMALL + SOON): ("line", "ReplyTimeout('silence')"),
    Plan("half_a_reply", SMALL + SOON): ("line", "ReplyTimeout('part of a reply')"),
    Plan("busy", SMALL + NEVER): ("line", "ServerError('busy')"),
    Plan("", SMALL + NEVER): ("connect", "ConnectFailed('ECONNREFUSED')"),
}
RIGHT = Plan("right", SMALL + NEVER)
DISTRIBUTED = Plan("right", (*SMALL, *NEVER, "--processes", "2"))
STEADY = Plan(
    "right",
    ("SteadyUser", *NEVER, "-u", "5", "-r", "5", "-t", "4", "--lines-per-s", "20"),
    shape="",
)
STOPPED = Plan(
    "silent", ("ArticleUser", "SteadyUser", *NEVER, "-u", "4", "-r", "4", "-t", "6"), shape=""
)


@dataclass(frozen=True)
class Run:
    """What a Locust process left behind; the last three are its summary's."""

    status: int | None
    log: str
    requests: dict[str, dict[str, int]]
    failures: list[dict[str, Any]]
    exceptions: int


def start(directory: Path, host: str, plan: Plan, *more: str) -> Process:
    """Start Locust without its page."""
    return processes.start(
        [
            *LOCUST,
            *("--host", host, "--headless", "--only-summary", *plan.arguments, *more),
            *("--summary", str(directory / "summary.json")),
        ],
        log=directory / "log",
        env={"LOADTEST_SHAPE": plan.shape},
        expect_ready=False,
    )


def start_distributed(directory: Path, host: str, plan: Plan) -> Process:
    """As `start`, with a port for master and workers that nobody else has."""

    def attempt(numbers: Sequence[int]) -> Process:
        port = str(numbers[0])
        bind = ("--master-bind-host", ports.HOST, "--master-bind-port", port)
        process = start(directory, host, plan, *bind, "--master-port", port)
        process.await_sign(lambda: process.listens_on(numbers[0]), "Locust's master")
        return process

    return ports.start_on([0], attempt)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Plan, Run]]:
    """Every run of this file by its plan, all done at the same time."""
    with contextlib.ExitStack() as stack:
        started = {}
        for plan in [RIGHT, *DEFECTS, STEADY, STOPPED, DISTRIBUTED]:
            if plan.behaviour:
                host = stack.enter_context(Server(getattr(servers, plan.behaviour))).url
            else:
                bound = stack.enter_context(socket.socket())
                bound.bind((ports.HOST, 0))  # and does not listen
                host = f"tcp://{ports.HOST}:{bound.getsockname()[1]}"
            directory = tmp_path_factory.mktemp("locust")
            begin = start_distributed if plan is DISTRIBUTED else start
            started[plan] = stack.enter_context(begin(directory, host, plan))
        yield {plan: finish(process) for plan, process in started.items()}


def finish(process: Process) -> Run:
    """Wait for a run's end and read what it wrote."""
    assert process.wait(RUN_S_MAX), process.log_tail()
    summary = process.log.with_name("summary.json")
    log = process.log.read_text(encoding="utf-8")
    assert summary.exists(), log
    return Run(process.status, log, **json.loads(summary.read_text(encoding="utf-8")))


def counted(run: Run) -> dict[str, int]:
    """How many requests of each name there were."""
    return {name: entry["count"] for name, entry in run.requests.items()}


@pytest.mark.parametrize("plan", [RIGHT, DISTRIBUTED], ids=["one process", "two workers"])
def test_the_articles_run_ends_by_itself_and_counts_to_the_last_loop(
    runs: dict[Plan, Run], plan: Plan
) -> None:
    """Against a right server: no failure, exit 0, and exactly ten lines a loop, loops a client."""
    run = runs[plan]
    loops = CLIENTS * LOOPS
    assert (run.status, run.failures, run.exceptions) == (0, [], 0), run.log
    assert counted(run) == {"connect": loops, "line": 10 * loops, "loop": loops}


@pytest.mark.parametrize("plan", DEFECTS, ids=lambda plan: plan.behaviour or "refused")
def test_each_defect_is_one_failure_with_its_own_name(runs: dict[Plan, Run], plan: Plan) -> None:
    """Locust exits with 1, and its failures are one row: the request, the error, the count."""
    run, (name, error) = runs[plan], DEFECTS[plan]
    # Each conversation ends with its first failure.
    assert run.failures == [{"name": name, "error": error, "count": CLIENTS * LOOPS}], run.log
    assert (run.status, run.exceptions) == (1, 0)
    assert "Traceback" not in run.log


def test_a_wrong_reply_is_shown_in_the_log(runs: dict[Plan, Run]) -> None:
    """The statistics name it, the log says what differed."""
    (plan,) = (plan for plan in DEFECTS if plan.behaviour == "current_line_only")
    assert r"reply 2, byte 13: owed b'Hello World!:0\nHello World!:1\n'" in runs[plan].log


def test_steady_users_stay_connected(runs: dict[Plan, Run]) -> None:
    """One connection each, many lines on it, no failure."""
    run = runs[STEADY]
    assert (run.status, run.failures, run.exceptions) == (0, [], 0), run.log
    assert counted(run)["connect"] == 5
    assert counted(run)["line"] > 5 * 5


def test_a_user_stopped_in_the_middle_reports_nothing(runs: dict[Plan, Run]) -> None:
    """Users whose reply had not come when Locust stopped them: not a failure, not a line."""
    run = runs[STOPPED]
    assert (run.status, run.failures, run.exceptions) == (0, [], 0), run.log
    assert list(counted(run)) == ["connect"]
    assert "Traceback" not in run.log


@pytest.mark.parametrize(
    "arguments, env, words",
    [
        (["--host", "http://a:1"], {}, "--host=http://a:1: must be tcp://HOST:PORT"),
        (["--pause-s", "0"], {}, "--pause-s: '0': must be a number above 0"),
        (["--loops", "1.5"], {}, "--loops: '1.5': must be a whole number"),
        ([], {"LOADTEST_SHAPE": "circle"}, "LOADTEST_SHAPE=circle: must be article"),
        ([], {"LOADTEST_REPLY_S_MAX": "soon"}, "--reply-s-max: 'soon': must be a number"),
    ],
)
def test_what_cannot_be_run_is_refused_with_a_reason(
    tmp_path: Path, arguments: list[str], env: dict[str, str], words: str
) -> None:
    """A bad option ends Locust at once, not with 0, and says what it must be."""
    with processes.start(
        [*LOCUST, "--headless", "--only-summary", *arguments],
        log=tmp_path / "log",
        env=env,
        expect_ready=False,
    ) as process:
        assert process.wait(RUN_S_MAX)
    assert process.status
    assert words in process.log_tail()
    assert "Traceback" not in process.log_tail()


def ask_page(url: str, **form: object) -> tuple[int, str]:
    """Get a page, or send it a form; the answer's status and text."""
    body = urllib.parse.urlencode(form).encode() if form else None
    try:
        with web.page(url, body, RUN_S_MAX) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_the_page_changes_the_load(tmp_path: Path) -> None:
    """Our options are in it and checked by it; users that it sends away close their sockets."""

    def start_with_page(numbers: Sequence[int]) -> Process:
        page = ("--web-host", ports.HOST, "--web-port", str(numbers[0]), "--autostart")
        users = ("SteadyUser", *NEVER, "-u", "10", "-r", "10", "--host", server.url)
        process = processes.start(
            [*LOCUST, *users, *page], log=tmp_path / "log", expect_ready=False
        )
        process.await_sign(lambda: process.listens_on(numbers[0]), "Locust's page")
        process.ready = {"url": f"http://{ports.HOST}:{numbers[0]}"}
        return process

    with Server(servers.right) as server, ports.start_on([0], start_with_page) as process:
        url = process.ready["url"]
        assert '"lines_per_s"' in ask_page(url)[1]
        until(lambda: server.connected == 10, RUN_S_MAX, "ten users to connect")

        form = {"user_count": 3, "spawn_rate": 10, "host": server.url}
        status, text = ask_page(f"{url}/swarm", **form, lines_per_s=0)
        assert (status, text) == (500, "'0': must be a number above 0")

        status, _ = ask_page(f"{url}/swarm", **form, lines_per_s=20)
        assert status == 200
        until(lambda: server.connected == 3, RUN_S_MAX, "seven users to leave")
        assert json.loads(ask_page(f"{url}/stats/requests")[1])["errors"] == []
        assert process.terminate() == 0
