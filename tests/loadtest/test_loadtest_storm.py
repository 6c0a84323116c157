"""Locust's session user and its storm, run as people run them, against a service in this process."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lab.fleet import ports, processes
from lab.wait import until
from tests.loadtest.loadtest_servers import Server, busy
from tests.loadtest.session_servers import Fault, Service

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lab.fleet.processes import Process

ROOT = Path(__file__).parents[2]
LOCUST = (sys.executable, "-m", "locust", "--locustfile", str(ROOT / "loadtest" / "locustfile.py"))
RUN_S_MAX = 90.0
USERS = 6
USUAL = ("-u", str(USERS), "-r", str(USERS), "--lines-per-s", "20", "--reply-s-max", "30")
STORM = (*USUAL, "--storm-every-s", "1", "--storms", "2")


def start(directory: Path, server: Server, *arguments: str, shape: str = "") -> Process:
    """Start Locust without its page."""
    return processes.start(
        [
            *LOCUST,
            *("--host", server.url, "--headless", "--only-summary", *arguments),
            *("--summary", str(directory / "summary.json")),
        ],
        log=directory / "log",
        env={"LOADTEST_SHAPE": shape},
        expect_ready=False,
    )


def start_workers(directory: Path, server: Server, *arguments: str, shape: str) -> Process:
    """As `start`, two workers and a master on a port that nobody else has."""

    def attempt(numbers: Sequence[int]) -> Process:
        port = str(numbers[0])
        master = ("--processes", "2", "--master-bind-host", ports.HOST, "--master-bind-port", port)
        process = start(directory, server, *arguments, *master, "--master-port", port, shape=shape)
        process.await_sign(lambda: process.listens_on(numbers[0]), "Locust's master")
        return process

    return ports.start_on([0], attempt)


def finish(process: Process) -> tuple[int | None, dict[str, Any], str]:
    """Wait for a run's end: status, summary, log."""
    assert process.wait(RUN_S_MAX), process.log_tail()
    log = process.log.read_text(encoding="utf-8")
    summary = process.log.with_name("summary.json")
    assert summary.exists(), log
    return process.status, json.loads(summary.read_text(encoding="utf-8")), log


def counts(summary: dict[str, Any]) -> dict[str, int]:
    """How many requests of each name."""
    return {name: entry["count"] for name, entry in summary["requests"].items()}


def lines(service: Service) -> int:
    """How many are committed."""
    return sum(len(session.texts) for session in tuple(service.sessions.values()))


@pytest.mark.parametrize("begin", [start, start_workers], ids=["one process", "two workers"])
def test_a_storm_cuts_every_client_and_loses_nothing(
    tmp_path: Path, begin: Callable[..., Process]
) -> None:
    """Each of two storms is a resume of every client, no failure, and the run ends by itself."""
    service = Service()
    with Server(service) as server, begin(tmp_path, server, *STORM, shape="storm") as process:
        status, summary, log = finish(process)
        until(
            lambda: all(session.ended for session in service.sessions.values()),
            RUN_S_MAX,
            "a QUIT of every user that has left",
        )
    assert (status, summary["failures"], summary["exceptions"]) == (0, [], 0), log
    counted = counts(summary)
    assert (counted["open"], counted["resume"]) == (USERS, 2 * USERS), log
    stored = lines(service)
    # What was in flight at the end is committed, and its answer was not waited for.
    assert counted["session line"] <= stored <= counted["session line"] + 10 * USERS
    for session in service.sessions.values():
        numbers = [int(text.rpartition(b":")[2]) for text in session.texts]
        assert numbers == list(range(1, len(numbers) + 1))


def test_faults_are_in_the_times_and_not_in_the_failures(tmp_path: Path) -> None:
    """Cuts, `unavailable` and `busy`, survived: resumes, and no failure."""
    says = [b"", b"ERR unavailable the store is away\n", b"ERR draining good night\n"]
    faults = [Fault(5, answered=3, says=says[i % 3], reset=i % 2 == 0) for i in range(12)]
    service = Service([*faults, Fault(0, says=b"ERR busy later\n")])
    with Server(service) as server, start(tmp_path, server, "SessionUser", *USUAL) as process:
        # Each opens, 12 resume, and one of those is sent away once.
        until(lambda: len(service.hellos) == USERS + 12 + 1, RUN_S_MAX, "every fault")
        more = lines(service) + 100
        until(lambda: lines(service) > more, RUN_S_MAX, "all to go on")
        process.signal(signal.SIGTERM)
        status, summary, log = finish(process)
    assert (status, summary["failures"], summary["exceptions"]) == (0, [], 0), log
    assert counts(summary)["resume"] == 12
    assert counts(summary)["session line"] > 100


def test_without_service_each_failure_has_its_name(tmp_path: Path) -> None:
    """After `--give-up-s` it is said, by the latest error."""
    arguments = ("SessionUser", *USUAL, "-t", "5", "--give-up-s", "0.5")
    with Server(busy) as server, start(tmp_path, server, *arguments) as process:
        status, summary, log = finish(process)
    assert status == 1
    assert {(row["name"], row["error"]) for row in summary["failures"]} == {
        ("open", "ServerError('busy')")
    }, log


def test_a_session_that_is_lost_is_a_failure_and_another_begins(tmp_path: Path) -> None:
    """Sessions forgotten behind the clients' backs."""
    # Nobody is cut before all have begun: 50 lines take two seconds and more.
    service = Service([Fault(50) for _ in range(USERS)])
    with Server(service) as server, start(tmp_path, server, "SessionUser", *USUAL) as process:
        until(lambda: len(service.hellos) >= USERS, RUN_S_MAX, "all to begin")
        service.sessions.clear()
        # Each resumes in vain, and opens another.
        until(lambda: len(service.sessions) == USERS, RUN_S_MAX, "all to begin anew")
        process.signal(signal.SIGTERM)
        _, summary, _ = finish(process)
    assert {(row["name"], row["error"]) for row in summary["failures"]} == {
        ("resume", "SessionLost('unknown-session')")
    }
    assert counts(summary)["open"] > USERS


@pytest.mark.parametrize(
    "host, words",
    [
        ("tcp://127.0.0.1", "--host=tcp://127.0.0.1: must be tcp://HOST:PORT"),
        ("tcp://127.0.0.1:1,http://x", "--host=http://x: must be tcp://HOST:PORT"),
    ],
)
def test_a_bad_session_host_is_refused(tmp_path: Path, host: str, words: str) -> None:
    """At once, and not with 0."""
    arguments: Sequence[str] = [*LOCUST, "--headless", "--only-summary", "--session-host", host]
    with processes.start(
        [*arguments, "--host", "tcp://127.0.0.1:1"], log=tmp_path / "log", expect_ready=False
    ) as process:
        assert process.wait(RUN_S_MAX)
    assert process.status
    assert words in process.log_tail()
