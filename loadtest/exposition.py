"""`/metrics` on Locust's page, for Prometheus; on a master it speaks for its workers too.

    locust_users, locust_workers, locust_workers_expected
    locust_request_seconds{type,name}         requests that did not fail, the rows "… since
                                              due" of Locust's table among them
    locust_failures_total{type,name,error}
    locust_room_messages_total{fate}          of messages to RoomUsers (room_ledger.py)
    locust_worker_cpu_seconds_total{worker}   is it the load that is at its limit?
    process_…                                 of the process itself: the master's

Nothing begins anew with a run. `type` and `name` are those of Locust's table, `error` is
one of few (errors.py), `worker` is Locust's index: no label grows with users.

It is served for whoever can open Locust's page, and has nothing that the page has not.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from locust.runners import STATE_MISSING, MasterRunner, WorkerRunner
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from loadtest.latency import Book
from loadtest.load_user import SINCE_DUE
from loadtest.room_ledger import FATES as ALL_FATES
from loadtest.room_user import FATES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locust.env import Environment
    from prometheus_client.core import Metric

# The keys of a worker's report that are ours.
_BOOK, _CPU_S, _FATES = "echofleet_book", "echofleet_cpu_s", "echofleet_fates"


class Exposition(Collector):
    """This process's book; on a master all workers'."""

    def __init__(self, environment: Environment) -> None:
        self.book = Book()
        self.fates: Counter[str] = Counter()
        self._runner: Any = environment.runner  # Locust's runners have no types
        options = environment.parsed_options
        master = isinstance(environment.runner, MasterRunner)
        self._workers_expected = options.expect_workers if master and options else 0
        self._cpu_s: dict[str, float] = {}  # by Locust's id of the worker

    def listen(self, hooks: Any) -> None:  # noqa: ANN401 — Locust's events have no types
        """Note requests, send what was noted, or gather it: each as this process is."""
        if not isinstance(self._runner, MasterRunner):
            hooks.request.add_listener(self._on_request)
            SINCE_DUE.add_listener(self._on_since_due)
            FATES.add_listener(self._on_fates)
        if isinstance(self._runner, WorkerRunner):
            hooks.report_to_master.add_listener(self._on_report)
        hooks.worker_report.add_listener(self._on_worker_report)

    def serve(self, app: Any) -> None:  # noqa: ANN401 — Flask's, which Locust brings
        """Add the route to Locust's page."""
        registry = CollectorRegistry()
        registry.register(self)
        ProcessCollector(registry=registry)

        def metrics() -> tuple[bytes, int, dict[str, str]]:
            return generate_latest(registry), 200, {"Content-Type": CONTENT_TYPE_LATEST}

        app.add_url_rule("/metrics", "metrics", metrics)

    # Locust's hooks; their arguments come by name, and there are more than these.

    def _on_request(
        self,
        request_type: str,
        name: str,
        response_time: float | None,
        exception: BaseException | None,
        **_: object,
    ) -> None:
        if exception is not None:
            self.book.failed(request_type, name, repr(exception))
        elif response_time is not None:
            self.book.observe(request_type, name, response_time / 1000)

    def _on_since_due(self, request_type: str, name: str, waits_s: list[float]) -> None:
        for wait_s in waits_s:
            self.book.observe(request_type, name, wait_s)

    def _on_fates(self, fates: Counter[str]) -> None:
        self.fates.update(fates)

    def _on_report(self, data: dict[str, Any], **_: object) -> None:
        data[_BOOK] = self.book.take()
        data[_CPU_S] = time.process_time()
        data[_FATES], self.fates = dict(self.fates), Counter()

    def _on_worker_report(self, client_id: str, data: dict[str, Any], **_: object) -> None:
        if _BOOK not in data:
            return
        self.book.merge(data[_BOOK])
        self._cpu_s[client_id] = data[_CPU_S]
        self.fates.update(data[_FATES])

    # Prometheus's.

    def describe(self) -> Iterator[Metric]:
        """Nothing before it is asked; the names are unique by construction."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """All samples."""
        yield GaugeMetricFamily("locust_users", "Clients played now.", self._runner.user_count)
        clients = self._runner.clients if isinstance(self._runner, MasterRunner) else {}
        workers = sum(node.state != STATE_MISSING for node in clients.values())
        yield GaugeMetricFamily("locust_workers", "Workers that answer.", workers)
        yield GaugeMetricFamily(
            "locust_workers_expected", "Workers that were asked for.", self._workers_expected
        )
        times = HistogramMetricFamily(
            "locust_request_seconds", "Requests that did not fail.", labels=["type", "name"]
        )
        for key, histogram in self.book.times.items():
            times.add_metric(key, histogram.cumulative(), histogram.sum_s)
        yield times
        failures = CounterMetricFamily(
            "locust_failures", "Requests that failed.", labels=["type", "name", "error"]
        )
        for failure, count in self.book.failures.items():
            failures.add_metric(failure, count)
        yield failures
        messages = CounterMetricFamily(
            "locust_room_messages", "Messages to members, by what became of them.", labels=["fate"]
        )
        for fate in ALL_FATES:
            messages.add_metric([fate], self.fates[fate])
        yield messages
        cpu = CounterMetricFamily(
            "locust_worker_cpu_seconds", "CPU that a worker has used.", labels=["worker"]
        )
        for client_id in clients:
            if client_id in self._cpu_s:
                worker = str(self._runner.get_worker_index(client_id))
                cpu.add_metric([worker], self._cpu_s[client_id])
        yield cpu
