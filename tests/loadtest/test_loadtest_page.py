"""Locust's page: its metrics, the classes and shapes that can be picked, and what is since due."""

from __future__ import annotations

import json
import sys
import time
import urllib.parse
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from lab import web
from lab.fleet import ports, processes
from lab.wait import until
from tests.loadtest import loadtest_servers as servers
from tests.loadtest.loadtest_servers import Server, replies_to
from tests.loadtest.session_servers import Service

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Sequence

    from lab.fleet.processes import Process

ROOT = Path(__file__).parents[2]
LOCUST = (sys.executable, "-m", "locust", "--locustfile", str(ROOT / "loadtest" / "locustfile.py"))
RUN_S_MAX = 90.0
USUAL = ("--lines-per-s", "20", "--reply-s-max", "60")


@contextmanager
def page(directory: Path, server: Server, *arguments: str) -> Iterator[tuple[str, Process]]:
    """Locust with its page, on ports that nobody else has: the page's address, the process."""

    def attempt(numbers: Sequence[int]) -> Process:
        web, master = map(str, numbers)
        more = ["--web-host", ports.HOST, "--web-port", web, "--host", server.url]
        if "--processes" in arguments:
            more += ["--master-bind-host", ports.HOST, "--master-bind-port", master]
            more += ["--master-port", master]
        process = processes.start(
            [*LOCUST, *USUAL, *more, *arguments], log=directory / "log", expect_ready=False
        )
        process.await_sign(lambda: process.listens_on(numbers[0]), "Locust's page")
        process.ready = {"url": f"http://{ports.HOST}:{web}"}
        return process

    with ports.start_on([0, 0], attempt) as process:
        yield process.ready["url"], process


def get(url: str, **form: object) -> str:
    """A page, or the answer to a form."""
    body = urllib.parse.urlencode(form, doseq=True).encode() if form else None
    with web.page(url, body, RUN_S_MAX) as answer:
        return str(answer.read().decode())


def samples(url: str) -> dict[tuple[str, str], float]:
    """What /metrics says, by the sample's name and its labels' values, by the labels' names."""
    return {
        (sample.name, ",".join(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(get(f"{url}/metrics"))
        for sample in family.samples
    }


def rows(url: str) -> dict[str, dict[str, float]]:
    """Locust's table, by name."""
    stats = json.loads(get(f"{url}/stats/requests"))["stats"]
    return {row["name"]: row for row in stats}


def test_metrics_of_a_master_are_its_workers(tmp_path: Path) -> None:
    """Users, workers, histograms and failures of two workers, and their CPU."""
    arguments = ("SteadyUser", "--processes", "2", "--expect-workers", "2", "--autostart",
                 "-u", "4", "-r", "4")  # fmt: skip
    with Server(servers.right) as server, page(tmp_path, server, *arguments) as (url, _):
        line = "line,tcp"
        until(
            lambda: samples(url).get(("locust_request_seconds_count", line), 0) > 100,
            RUN_S_MAX,
            "a hundred lines in the metrics",
        )
        told = samples(url)
        assert told["locust_users", ""] == 4
        assert told["locust_workers", ""] == told["locust_workers_expected", ""] == 2
        assert told["locust_request_seconds_bucket", f"+Inf,{line}"] > 100
        assert told["locust_request_seconds_count", "line since due,tcp"] > 100
        assert told["process_cpu_seconds_total", ""] > 0
        assert told["locust_worker_cpu_seconds_total", "0"] > 0
        assert told["locust_worker_cpu_seconds_total", "1"] > 0
        assert not any(name == "locust_failures_total" for name, _ in told)


def test_metrics_only_grow_and_have_failures_by_name(tmp_path: Path) -> None:
    """A new run begins Locust's statistics anew, and not these."""
    arguments = ("SteadyUser", "--autostart", "-u", "2", "-r", "2")
    failure = "locust_failures_total", "ServerError('busy'),line,tcp"
    with Server(servers.busy) as server, page(tmp_path, server, *arguments) as (url, _):
        until(lambda: samples(url).get(failure, 0) > 2, RUN_S_MAX, "failures in the metrics")
        before = samples(url)
        get(f"{url}/stats/reset", all="yes")
        get(f"{url}/swarm", user_count=1, spawn_rate=1, host=server.url)
        after = samples(url)
    assert before["locust_workers", ""] == before["locust_workers_expected", ""] == 0
    counters = [key for key in before if key[0].endswith(("_total", "_count", "_bucket"))]
    assert counters
    assert all(after[key] >= before[key] for key in counters)


def test_classes_and_shapes_are_picked_in_the_page(tmp_path: Path) -> None:
    """All of both are offered; a picked ramp of session users goes up step by step."""
    service = Service()
    with Server(service) as server, page(tmp_path, server) as (url, _):
        shown = get(url)
        for name in ("ArticleUser", "SteadyUser", "SessionUser", "RampShape", "StormShape"):
            assert name in shown
        form = {"user_classes": ["SessionUser"], "user_count": 6, "spawn_rate": 6}
        get(f"{url}/swarm", **form, host=server.url, shape_class="RampShape", ramp_steps=3, step_s=1)  # fmt: skip
        seen: list[float] = []

        def full() -> bool:
            seen.append(samples(url)["locust_users", ""])
            return seen[-1] == 6

        until(full, RUN_S_MAX, "the ramp's last step")
        assert seen == sorted(seen)
        assert {2.0, 4.0} & set(seen)
        assert set(rows(url)) == {"open", "session line", "session line since due", "Aggregated"}
    assert len(service.sessions) == 6


def stalls_once(connection: socket.socket) -> None:
    """PROTOCOL §1, but for a stop of 2 s after the 20th line: as a server that was frozen."""
    for number, reply in enumerate(replies_to(connection)):
        if number == 20:
            time.sleep(2)  # it is the server's fault to be shown, and no waiting of the test's
        connection.sendall(reply)


def test_a_closed_loop_hides_what_since_due_shows(tmp_path: Path) -> None:
    """A stop of 2 s at 20 lines a second: one slow line of many, but 40 that were late."""
    arguments = ("SteadyUser", "--autostart", "-u", "1", "-r", "1")
    with Server(stalls_once) as server, page(tmp_path, server, *arguments) as (url, _):
        until(
            lambda: rows(url).get("line", {}).get("num_requests", 0) >= 110, RUN_S_MAX, "110 lines"
        )
        table = rows(url)
        asked, due = table["line"], table["line since due"]
        assert asked["max_response_time"] >= 2_000
        assert asked["response_time_percentile_0.95"] < 500
        assert due["response_time_percentile_0.95"] > 1_000
        assert due["num_requests"] - asked["num_requests"] >= 38
        # They are no requests: the sum of all rows is without them.
        assert table["Aggregated"]["num_requests"] <= asked["num_requests"] + 3
