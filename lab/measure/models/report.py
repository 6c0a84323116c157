"""The report of `fleet experiment models`: raw data, plots, tables, words."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from lab.measure import calm
from lab.measure.models import answers, pictures, systems
from lab.measure.models.summary import summarise
from lab.measure.samples import ranged
from lab.report import results
from lab.report.page import Report, Table
from lab.report.plots import plot
from lab.report.words import number

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lab.measure.models.measure import Measured, Outcome, Plan
    from lab.measure.models.summary import Summary
    from lab.measure.models.workload import Visit
    from lab.report.page import Plot


def write(directory: Path, plan: Plan, outcome: Outcome) -> Report:
    """Write the raw figures and the plots into `directory`, and put everything together."""
    results.write_csv(directory / "runs.csv", [_flat(one) for one in outcome.measured])
    results.write_csv(
        directory / "visits.csv",
        [
            {
                "system": system,
                "repeat": repeat,
                "loop": visit.loop,
                "client": visit.client,
                "connected_s": visit.connected_s,
                "first_reply_s": visit.first_reply_s,
                "ended_s": visit.ended_s,
                "slowest_reply_s": max(visit.replies_s, default=""),
                "fault": visit.fault,
            }
            for (system, repeat), visits in outcome.visits.items()
            for visit in visits
        ],
    )
    work = plan.workload
    summaries = summarise(outcome.measured, work)
    return Report(
        title="The article's servers, compared",
        question=f"The article's workload is {work.clients} clients at once, {work.lines} lines"
        f" each, a pause of {work.pause_s:g} s between two lines (the article: 1 s). What"
        " does each way to serve it cost, from one client at a time to a fleet?",
        lead=answers.lead(summaries, work),
        answers=answers.answers(summaries, work),
        plots=_plots(directory, plan, outcome, summaries) if summaries else [],
        tables=[_table(summaries)],
        method=_method(plan),
        files=[
            ("runs.csv", "every repeat of every system: times, CPU and memory by part"),
            ("visits.csv", "every connection: when it was made, first answered, ended"),
        ],
    )


def _plots(
    directory: Path, plan: Plan, outcome: Outcome, summaries: Mapping[str, Summary]
) -> list[Plot]:
    first: dict[str, list[Visit]] = {}
    for (system, _), visits in outcome.visits.items():
        if system in summaries:
            first.setdefault(system, [visit for visit in visits if visit.loop == 0])
    return [
        plot(
            directory,
            "loop-times",
            "Time for a loop",
            "A dot is the median, its bar the range of the repeats, hollow means extrapolated."
            " Look at the distance between the first row and all the others: from one"
            " vertical line to the next is a factor of ten.",
            partial(pictures.loop_times, summaries),
        ),
        plot(
            directory,
            "served-at-once",
            "Connections served at once",
            "From its first reply to its end a connection counts as served. The serial server"
            " walks along 1 until the last client has gone; the others rise to all clients at"
            " once, stay while these pause, and are done after one client's time.",
            partial(pictures.served_at_once, first, plan.workload),
        ),
        plot(
            directory,
            "cpu",
            "CPU time for a loop",
            "What the servers, Redis and HAProxy used. HAProxy's health checks and the daemons'"
            " own clocks go on while the clients pause: with so small a load they are a good"
            " part of the fleets' bars.",
            partial(pictures.cpu, summaries),
        ),
        plot(
            directory,
            "memory",
            "Memory",
            "The highest resident memory of each process, summed. Pages that processes share"
            " are counted in each of them, so a fleet looks larger than it is.",
            partial(pictures.memory, summaries),
        ),
    ]


def _table(summaries: Mapping[str, Summary]) -> Table:
    mib = 1 / pictures.MIB
    return Table.of(
        "Every system",
        "Medians of the repeats, in brackets their range. The serial server's loop is"
        " extrapolated to all clients; its other figures are those of the clients it was given.",
        summaries.values(),
        {
            "server": lambda one: systems.TITLES[one.system],
            "loop, s": lambda one: (
                ranged(one.loop_s) + (" extrapolated" if one.extrapolated else "")
            ),
            "served at once": lambda one: f"{one.served_at_once} of {one.clients}",
            "CPU a loop, ms": lambda one: ranged(one.cpu_s.times(1e3)),
            "memory at most, MiB": lambda one: ranged(one.most_bytes.times(mib)),
            "MiB before clients": lambda one: number(one.idle_bytes.median * mib),
            "reply p50, ms": lambda one: number(one.reply_p50_s.median * 1e3),
            "p99, ms": lambda one: number(one.reply_p99_s.median * 1e3),
            "load busy": lambda one: f"{one.load_busy.max:.0%}",
        },
    )


def _method(plan: Plan) -> list[str]:
    work = plan.workload
    return [
        (
            f"Each server was started afresh {plan.repeats} times, in turns (all of them once, then"
            " all of them again in the reverse order), so that a machine that grows slower slows every"
            " one alike; servers are compared with each other within each turn. A client"
            f" connects, sends {work.lines} lines with {work.pause_s:g} s between, compares"
            f" every byte of every reply, half-closes and waits for the end;"
            f" {work.clients} of them at once are a loop, and {work.loops} after one another a repeat."
        ),
        (
            f"The serial server was given {min(plan.serial_clients, work.clients)} clients. Its loop"
            " for all of them is that time, multiplied by the ratio of the numbers."
        ),
        (
            "CPU is the kernel's count for each process while the clients ran, ended threads"
            " included; memory is each process's highest resident size. Clients, servers and all else"
            " share the machine's CPUs; nothing is pinned. The fleets run as shipped: every reply is"
            " committed to Redis with appendfsync always, behind HAProxy with its health checks."
        ),
        calm.METHOD,
    ]


def _flat(one: Measured) -> dict[str, Any]:
    row = asdict(one)
    for figure in ("cpu_s", "idle_bytes", "most_bytes"):
        for part, value in row.pop(f"{figure}_by_part").items():
            row[f"{part.lower()}_{figure}"] = value
    return row
