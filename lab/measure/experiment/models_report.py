"""The report of `fleet experiment models`: raw data, plots, tables, words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lab.measure.experiment import calm, models_answers, models_plots, models_summary, systems
from lab.measure.experiment.samples import READING, ranged
from lab.report import plots, results
from lab.report.page import Plot, Report, Table
from lab.report.words import number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from lab.measure.experiment.models import Measured, Outcome, Plan
    from lab.measure.experiment.models_summary import Summary
    from lab.measure.experiment.workload import Visit

HEADERS = (
    *("server", "loop, s", "served at once", "CPU a loop, ms", "memory at most, MiB"),
    *("MiB before clients", "reply p50, ms", "p99, ms", "load busy"),
)


def write_raw(directory: Path, outcome: Outcome) -> None:
    """`runs.csv`, a line for each system and repeat; `visits.csv`, one for each connection."""
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


def report(  # noqa: PLR0913 — each is one thing that the report tells of
    directory: Path,
    plan: Plan,
    outcome: Outcome,
    *,
    machine: Sequence[tuple[str, str]],
    command: str,
    date: str,
    warnings: Sequence[str],
) -> Report:
    """Draw the plots into `directory` and put everything together."""
    work = plan.workload
    summaries = models_summary.summarise(outcome.measured, work)
    return Report(
        title="The article's servers, compared",
        question=f"The article's workload is {work.clients} clients at once, {work.lines} lines"
        f" each, a pause of {work.pause_s:g} s between two lines (the article: 1 s). What"
        " does each way to serve it cost, from one client at a time to a fleet?",
        lead=models_answers.lead(summaries, work),
        answers=models_answers.answers(summaries, work),
        plots=_plots(directory, plan, outcome, summaries) if summaries else [],
        tables=[_table(summaries)],
        method=_method(plan),
        machine=machine,
        commands=["make setup", f".venv/bin/{command}"],
        files=[
            ("runs.csv", "every repeat of every system: times, CPU and memory by part"),
            ("visits.csv", "every connection: when it was made, first answered, ended"),
            ("*.svg, *.png", "the plots"),
            ("run.json", "the answers, for the index and the next run"),
        ],
        date=date,
        reading=READING,
        warnings=warnings,
    )


def _plots(
    directory: Path, plan: Plan, outcome: Outcome, summaries: Mapping[str, Summary]
) -> list[Plot]:
    first: dict[str, list[Visit]] = {}
    for (system, _), visits in outcome.visits.items():
        if system in summaries:
            first.setdefault(system, [visit for visit in visits if visit.loop == 0])
    with plots.look():
        drawn: list[tuple[str, str, str, Figure]] = [
            (
                "loop-times",
                "Time for a loop",
                (
                    "A dot is the median, its bar the range of the repeats, hollow means extrapolated."
                    " Look at the distance between the first row and all the others: from one"
                    " vertical line to the next is a factor of ten."
                ),
                models_plots.loop_times(summaries),
            ),
            (
                "served-at-once",
                "Connections served at once",
                (
                    "From its first reply to its end a connection counts as served. The serial server"
                    " walks along 1 until the last client has gone; the others rise to all clients at"
                    " once, stay while these pause, and are done after one client's time."
                ),
                models_plots.served_at_once(first, plan.workload),
            ),
            (
                "cpu",
                "CPU time for a loop",
                (
                    "What the servers, Redis and HAProxy used. HAProxy's health checks and the daemons'"
                    " own clocks go on while the clients pause: with so small a load they are a good"
                    " part of the fleets' bars."
                ),
                models_plots.cpu(summaries),
            ),
            (
                "memory",
                "Memory",
                (
                    "The highest resident memory of each process, summed. Pages that processes share"
                    " are counted in each of them, so a fleet looks larger than it is."
                ),
                models_plots.memory(summaries),
            ),
        ]
    return [
        Plot(name, title, caption, plots.save(figure, directory, name, f"{title}. {caption}"))
        for name, title, caption, figure in drawn
    ]


def _table(summaries: Mapping[str, Summary]) -> Table:
    return Table(
        "Every system",
        "Medians of the repeats, in brackets their range. The serial server's loop is"
        " extrapolated to all clients; its other figures are those of the clients it was given.",
        HEADERS,
        [_cells(one) for one in summaries.values()],
    )


def _cells(one: Summary) -> list[str]:
    mib = 1 / models_plots.MIB
    return [
        systems.TITLES[one.system],
        ranged(one.loop_s) + (" extrapolated" if one.extrapolated else ""),
        f"{one.served_at_once} of {one.clients}",
        ranged(one.cpu_s.times(1e3)),
        ranged(one.most_bytes.times(mib)),
        number(one.idle_bytes.median * mib),
        number(one.reply_p50_s.median * 1e3),
        number(one.reply_p99_s.median * 1e3),
        f"{one.load_busy.max:.0%}",
    ]


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
    row: dict[str, Any] = {
        name: getattr(one, name)
        for name in one.__dataclass_fields__
        if not name.endswith("_by_part")
    }
    for figure in ("cpu_s", "idle_bytes", "most_bytes"):
        for part, value in getattr(one, f"{figure}_by_part").items():
            row[f"{part.lower()}_{figure}"] = value
    return row
