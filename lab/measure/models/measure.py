"""`fleet experiment models`: the article's workload on every model of concurrency it knows.

    for each repeat: for each system: start it ─▶ memory, CPU ─▶ clients.py ─▶ memory, CPU

Repeats are interleaved, every second one in the reverse order, so a machine that grows slower
slows every system alike. The serial server gets fewer clients, and its loop is extrapolated;
the report says so.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.fleet import processes
from lab.measure.clocks import Clocks, rss_bytes, rss_bytes_max
from lab.measure.errors import MeasureError
from lab.measure.generator import percentile
from lab.measure.models import systems
from lab.measure.models.workload import Visit, Workload, served, unevenness

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lab.measure.models.systems import System
    from lab.measure.serving import Running
    from lab.measure.session import Session


@dataclass(frozen=True, slots=True)
class Measured:
    """One system in one repeat. `…_by_part` is over the processes of a part (systems.py)."""

    system: str
    repeat: int
    clients: int
    loop_s: float
    """From the loop's beginning to its last client's end; the mean of the loops."""
    served_at_once: int
    unevenness: float
    """workload.unevenness, of the first loop."""
    cpu_s_by_part: dict[str, float]
    """A loop's."""
    idle_bytes_by_part: dict[str, int]
    """Resident, before the first client."""
    most_bytes_by_part: dict[str, int]
    """The most that was ever resident."""
    load_cpu_s: float
    """The load generator's, a loop."""
    load_busy: float
    """Of one CPU while the clients ran, 0 to 1."""
    reply_p50_s: float
    reply_p99_s: float
    others: float = 0.0
    """What other programs used of the CPUs meanwhile (calm.py), 0 to 1."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was seen; `measured` has no system that replied wrongly."""

    measured: list[Measured]
    visits: dict[tuple[str, int], list[Visit]]
    """By system and repeat."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure."""

    systems: Sequence[System]
    workload: Workload
    serial_clients: int
    repeats: int

    def workload_of(self, system: System) -> Workload:
        """The serial server gets fewer clients, or nobody would wait for it."""
        if system.concurrent:
            return self.workload
        return replace(
            self.workload, clients=min(self.serial_clients, self.workload.clients), loops=1
        )


def measure_all(plan: Plan, session: Session) -> Outcome:
    """Every system, in every repeat."""
    outcome = Outcome([], {})
    for repeat in range(1, plan.repeats + 1):
        for system in plan.systems if repeat % 2 else reversed(plan.systems):
            made = session.measure(
                system.name,
                repeat,
                partial(measure, system, repeat, plan.workload_of(system)),
                final=lambda made: bool(_faults(made[1])),
            )
            if made is None:
                continue
            (measured, visits), others = made
            outcome.visits[system.name, repeat] = visits
            if faults := _faults(visits):
                session.failed.append(
                    f"{system.name}, repeat {repeat}: {len(faults)} of {len(visits)} visits"
                    f" failed; the first: {faults[0]}"
                )
            else:
                outcome.measured.append(replace(measured, others=others))
    return outcome


def _faults(visits: Sequence[Visit]) -> list[str]:
    return [visit.fault for visit in visits if visit.fault]


def measure(system: System, repeat: int, workload: Workload) -> tuple[Measured, list[Visit]]:
    """One system, once, started afresh.

    Raises:
        LabError: It did not start, or the load could not be run.
    """
    with tempfile.TemporaryDirectory(prefix="echofleet-experiment-") as made:
        directory = Path(made)
        (directory / "system").mkdir()
        with systems.running(system, directory / "system") as running:
            idle = _bytes_by_part(running, rss_bytes)
            before = Clocks.now(running.parts)
            result = _play(workload, running.ports[0], directory / "clients.log")
            used = Clocks.now(running.parts).since(before)
            most = _bytes_by_part(running, rss_bytes_max)
    visits = [Visit(**visit) for visit in result["visits"]]
    loops = [[visit for visit in visits if visit.loop == loop] for loop in range(workload.loops)]
    replies_ns = sorted(int(reply * 1e9) for visit in visits for reply in visit.replies_s)
    latencies = [(ns, 1) for ns in replies_ns] or [(0, 1)]
    measured = Measured(
        system=system.name,
        repeat=repeat,
        clients=workload.clients,
        loop_s=sum(max(visit.ended_s for visit in loop) for loop in loops) / workload.loops,
        served_at_once=max(count for loop in loops for _, count in served(loop)),
        unevenness=unevenness(loops[0]),
        cpu_s_by_part={part: used.s(part) / workload.loops for part in running.parts},
        idle_bytes_by_part=idle,
        most_bytes_by_part=most,
        load_cpu_s=result["cpu_s"] / workload.loops,
        load_busy=result["cpu_s"] / result["wall_s"],
        reply_p50_s=percentile(latencies, 0.5) / 1e9,
        reply_p99_s=percentile(latencies, 0.99) / 1e9,
    )
    return measured, visits


def _play(workload: Workload, port: int, log: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "lab.measure.models.clients", "--port", str(port)]
    command += ["--clients", str(workload.clients), "--lines", str(workload.lines)]
    command += ["--pause-s", str(workload.pause_s), "--loops", str(workload.loops)]
    load = processes.start(command, log=log, expect_ready=False)
    try:
        if not load.wait(workload.loops * workload.patience_s):
            raise MeasureError(f"the load generator hung: {load.log_tail()}")
    finally:
        load.kill()
    if load.status:
        raise MeasureError(f"the load generator failed: {load.log_tail()}")
    # What else is in the log are warnings, which come before.
    result: dict[str, Any] = json.loads(log.read_text().splitlines()[-1])
    return result


def _bytes_by_part(running: Running, of: Callable[[int], int]) -> dict[str, int]:
    return {part: sum(map(of, pids)) for part, pids in running.parts.items()}
