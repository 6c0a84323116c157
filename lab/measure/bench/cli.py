"""`fleet bench`: measure, print the report, write the JSON file.

stdout gets the report, stderr the progress. The exit status is 1 if a row could not be
measured or gave a wrong reply, or if a limit of a `many` scenario is missed. A missed
ratio of the table only says so: it is for a person who knows what else the machine did.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from lab import cache
from lab.measure.bench import compiler, cores, many, rows, table
from lab.measure.bench.compare import Comparison, compare
from lab.measure.bench.errors import BenchError
from lab.measure.bench.measure import Place, beside_the_load
from lab.measure.bench.summary import judge, summarise
from lab.report import machine

SCENARIOS = ("table", "many", "many-haproxy")


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a scenario runs when nothing is asked for."""

    connections: tuple[int, ...]
    seconds: float
    rounds: int = 1
    warm_up_s: float = 0.5


# The table takes under 5 minutes. HAProxy needs two files a connection: twice 4,900 fit
# where a process may have 20,000.
DEFAULTS = {
    "table": Defaults((100, 5_000), 2.0, rounds=3),
    "many": Defaults((9_900,), 60.0),
    "many-haproxy": Defaults((4_900,), 60.0),
}
QUICK = {
    "table": Defaults((100,), 0.2, warm_up_s=0.1),
    "many": Defaults((200,), 2.0),
    "many-haproxy": Defaults((200,), 2.0),
}

# More of either is a mistake.
ROUNDS_MAX = 100
SECONDS_MAX = 3_600.0
LINE_BYTES = (32, 8_192)  # c/load.c, LINE_BYTES_MIN and _MAX


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `bench` and its flags."""
    parser = subparsers.add_parser(
        "bench",
        help="measure echod beside other servers, or many connections on it",
        description="Measure echod beside other servers, or many connections on it.",
    )
    parser.add_argument(
        "--scenario",
        choices=SCENARIOS,
        default="table",
        help="table: servers compared in closed loop; many: a line a second from each of many"
        " connections, to one daemon; many-haproxy: to four behind HAProxy [%(default)s]",
    )
    parser.add_argument("--quick", action="store_true", help="a smoke run; its figures say nothing")
    parser.add_argument(
        "--rows",
        type=lambda text: text.split(","),
        default=["*"],
        metavar="NAME,…",
        help=f"of the table, with * and ?: {', '.join(row.name for row in rows.ROWS)}",
    )
    parser.add_argument(
        "--connections", type=_numbers, metavar="N,…", help="[100,5000; many 9900, 4900]"
    )
    parser.add_argument("--rounds", type=_rounds, metavar="N", help="of the table [3; 5000: 1]")
    parser.add_argument("--seconds", type=_seconds, metavar="S", help="measured each time [2; 60]")
    parser.add_argument(
        "--line-bytes", type=_line_bytes, default=64, metavar="N", help="[%(default)s]"
    )
    parser.add_argument(
        "--json", type=Path, metavar="PATH", help="the figures [results/bench-DATE.json]"
    )


def run(args: argparse.Namespace) -> int:
    """Run what was asked for; returns the exit status.

    Raises:
        LabError: This machine can't run it.
    """
    if sys.platform != "linux":
        raise BenchError("fleet bench needs Linux: epoll, /proc and CPU affinity")
    started = datetime.now().astimezone()
    defaults = (QUICK if args.quick else DEFAULTS)[args.scenario]
    comparison = Comparison(
        rows=rows.select(args.rows),
        connections=args.connections or defaults.connections,
        rounds=args.rounds or defaults.rounds,
        seconds=args.seconds or defaults.seconds,
        line_bytes=args.line_bytes,
        warm_up_s=defaults.warm_up_s,
    )
    cores.require(max(comparison.connections))
    data = cache.directory("bench")
    # Four daemons, HAProxy, Redis and the load share what there is, as they will elsewhere.
    used = cores.UNPINNED if args.scenario == "many-haproxy" else cores.choose()
    place = Place(used, data, compiler.build(data))
    facts = machine.describe()
    print(table.machine(facts, used, compiler.version()), end="\n\n", flush=True)
    if args.scenario == "table":
        ended_well, figures = _table(comparison, place)
    else:
        ended_well, figures = _many(args.scenario, comparison, place)
    report = {
        "started": started.isoformat(timespec="seconds"),
        "scenario": args.scenario,
        "quick": args.quick,
        "seconds": comparison.seconds,
        "line_bytes": comparison.line_bytes,
        "machine": {
            **facts.facts,
            "compiler": compiler.version(),
            **asdict(used),
            "pinned": used.pinned,
        },
        **figures,
    }
    _write(args.json or Path("results") / f"bench-{started:%Y-%m-%d-%H%M%S}.json", report)
    return 0 if ended_well else 1


def _table(comparison: Comparison, place: Place) -> tuple[bool, dict[str, Any]]:
    """Whether every row was measured in every round, and the figures."""
    runs, failed = compare(comparison, place)
    summaries = summarise(runs)
    judged = judge(summaries)
    for count in comparison.connections:
        lines = [summary for summary in summaries if summary.connections == count]
        if lines:
            rounds = f"{comparison.rounds_at(count)} x {comparison.seconds:g} s"
            print(f"{count:,} connections, {rounds}\n\n{table.table(lines)}\n")
    print(table.LEGEND)
    if judged:
        print(f"\n{table.verdicts(judged)}")
    for text in failed:
        print(f"\nFAILED {text}")
    figures = {
        "runs": [asdict(run) for run in runs],
        "summaries": [asdict(summary) for summary in summaries],
        "verdicts": [asdict(verdict) for verdict in judged],
        "failed": failed,
    }
    return not failed, figures


def _many(scenario: str, wanted: Comparison, place: Place) -> tuple[bool, dict[str, Any]]:
    """Whether the scenario's limits were kept, and the figures."""
    outcomes = []
    for count in wanted.connections:
        load = many.settings(count, wanted.seconds, wanted.line_bytes)
        if scenario == "many":
            with beside_the_load(place):
                outcome = many.alone(load, place)
        else:
            outcome = many.through_haproxy(load, place)
        print(outcome.explain(), flush=True)
        outcomes.append(outcome)
    kept = all(outcome.kept for outcome in outcomes)
    return kept, {"outcomes": [asdict(outcome) for outcome in outcomes]}


def _write(path: Path, report: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n")
    print(f"\nfigures: {path}")


def _numbers(text: str) -> tuple[int, ...]:
    numbers = tuple(int(part) for part in text.split(","))
    if min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"{text}: a number of connections is above 0")
    return numbers


def _rounds(text: str) -> int:
    number = int(text)
    if not 1 <= number <= ROUNDS_MAX:
        raise argparse.ArgumentTypeError(f"{text}: must be 1 to {ROUNDS_MAX}")
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 < number <= SECONDS_MAX:
        raise argparse.ArgumentTypeError(f"{text}: must be above 0, up to {SECONDS_MAX:g}")
    return number


def _line_bytes(text: str) -> int:
    number = int(text)
    least, most = LINE_BYTES
    if not least <= number <= most:
        raise argparse.ArgumentTypeError(f"{text}: must be {least} to {most}")
    return number
