"""`fleet experiment models`: the article's workload on every model of concurrency it knows.

    for each repeat: for each system: start it ─▶ memory, CPU ─▶ clients.py ─▶ memory, CPU ─▶ a row

Repeats are interleaved, every second one in the reverse order, so a machine that grows slower
slows every system alike. The serial server gets fewer clients, and its loop is extrapolated;
the report says so.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.measure.clocks import Clocks, rss_bytes, rss_bytes_max
from lab.measure.errors import MeasureError
from lab.measure.generator import flags, percentile
from lab.measure.models import systems
from lab.measure.models.clients import Visit, Workload, served, unevenness
from lab.measure.serving import HAPROXY, REDIS, SERVERS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lab.measure.models.systems import System
    from lab.measure.samples import Row
    from lab.measure.serving import Running
    from lab.measure.session import Session

CLIENTS = ("-m", "gevent.monkey", "--module", "lab.measure.models.clients")

# The visits of one system in one repeat.
Visits = dict[tuple[str, int], list[Visit]]


def by_part(figure: str) -> dict[str, str]:
    """The columns of a figure that a row has for each part."""
    return {part: f"{part.lower()}_{figure}" for part in (SERVERS, REDIS, HAPROXY)}


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure."""

    systems: Sequence[System]
    workload: Workload
    serial_clients: int
    repeats: int

    def workload_of(self, system: System) -> Workload:
        """The serial server gets fewer clients, or nobody would wait for it."""
        if system.name != systems.SERIAL:
            return self.workload
        return replace(
            self.workload, clients=min(self.serial_clients, self.workload.clients), loops=1
        )


def measure_all(plan: Plan, session: Session) -> tuple[list[Row], Visits]:
    """Every system, in every repeat: the rows of those that replied rightly, and all visits."""
    rows: list[Row] = []
    seen: Visits = {}
    for repeat in range(1, plan.repeats + 1):
        for system in plan.systems if repeat % 2 else reversed(plan.systems):
            made = session.measure(
                system.name,
                repeat,
                partial(measure, system, repeat, plan.workload_of(system)),
                final=lambda made: any(visit.fault for visit in made[1]),
            )
            if made is None:
                continue
            (row, visits), others = made
            seen[system.name, repeat] = visits
            if faults := [visit.fault for visit in visits if visit.fault]:
                session.failed.append(
                    f"{system.name}, repeat {repeat}: {len(faults)} of {len(visits)} visits"
                    f" failed; the first: {faults[0]}"
                )
            else:
                rows.append({**row, "others": others})
    return rows, seen


def measure(system: System, repeat: int, workload: Workload) -> tuple[Row, list[Visit]]:
    """One system, once, started afresh.

    Raises:
        LabError: It did not start, or the load could not be run.
    """
    with (
        tempfile.TemporaryDirectory(prefix="echofleet-experiment-") as made,
        systems.running(system, Path(made)) as running,
    ):
        idle = _bytes_by_part(running, rss_bytes)
        before = Clocks.now(running.parts)
        result = _play(workload, running.ports[0])
        used = Clocks.now(running.parts).since(before)
        most = _bytes_by_part(running, rss_bytes_max)
    visits = [Visit(**visit) for visit in result["visits"]]
    loops = [[visit for visit in visits if visit.loop == loop] for loop in range(workload.loops)]
    replies_ns = sorted(int(reply * 1e9) for visit in visits for reply in visit.replies_s)
    latencies = [(ns, 1) for ns in replies_ns] or [(0, 1)]
    row: Row = {
        "system": system.name,
        "repeat": repeat,
        "clients": workload.clients,
        # From a loop's beginning to its last client's end: the mean of the loops.
        "loop_s": sum(max(visit.ended_s for visit in loop) for loop in loops) / workload.loops,
        "served_at_once": max(count for loop in loops for _, count in served(loop)),
        "unevenness": unevenness(loops[0]),
        "load_cpu_s": result["cpu_s"] / workload.loops,
        "load_busy": result["cpu_s"] / result["wall_s"],  # of one CPU
        "reply_p50_s": percentile(latencies, 0.5) / 1e9,
        "reply_p99_s": percentile(latencies, 0.99) / 1e9,
    }
    for figure, parts in (
        ("cpu_s", {part: used.s(part) / workload.loops for part in running.parts}),  # of a loop
        ("idle_bytes", idle),  # resident, before the first client
        ("most_bytes", most),  # the most that was ever resident
    ):
        row |= {column: parts.get(part) for part, column in by_part(figure).items()}
        row[figure] = sum(parts.values())
    return row, visits


def _play(workload: Workload, port: int) -> dict[str, Any]:
    command = [sys.executable, *CLIENTS]
    command += flags({"port": port, **asdict(workload)})
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=workload.loops * workload.patience_s,
            check=True,
        )
    except subprocess.TimeoutExpired as error:
        raise MeasureError(f"the load generator hung: {error}") from None
    except subprocess.CalledProcessError as error:
        raise MeasureError(f"the load generator failed: {error.stderr}") from None
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _bytes_by_part(running: Running, of: Callable[[int], int]) -> dict[str, int]:
    return {part: sum(map(of, pids)) for part, pids in running.parts.items()}
