"""`fleet bench`: measure, print the report, write the JSON file.

stdout gets the report, stderr the progress. The exit status is 1 if a row could not be
measured or gave a wrong reply, or if a limit of a `many` scenario is missed. A missed
ratio of the table only says so: it is for a person who knows what else the machine did.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import cache
from lab.errors import LabError
from lab.measure import command, compiler, cores
from lab.measure.bench import many, rows, table
from lab.measure.bench.measure import Place, beside_the_load, measure
from lab.measure.command import Flag, between, names
from lab.measure.errors import MeasureError
from lab.measure.generator import Settings
from lab.report import machine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.measure.samples import Row

# By scenario: connections, seconds, rounds. The table takes under 5 minutes. HAProxy needs two
# files a connection: twice 4,900 fit where a process may have 20,000.
DEFAULTS = {
    "table": ((100, 5_000), 2.0, 3),
    "many": ((9_900,), 60.0, 1),
    "many-haproxy": ((4_900,), 60.0, 1),
}
QUICK = {"table": ((100,), 0.2, 1), "many": ((200,), 2.0, 1), "many-haproxy": ((200,), 2.0, 1)}
WARM_UP_S, WARM_UP_QUICK_S = 0.5, 0.1

# Many connections take long to make: they get a third of the rounds.
ROUNDS_WHOLE_BELOW = 1_000

# More of either is a mistake, and so is less than a clock's step.
ROUNDS_MAX = 100
SECONDS_MIN, SECONDS_MAX = 0.01, 3_600.0
LINE_BYTES = (32, 8_192)  # c/load.c, LINE_BYTES_MIN and _MAX


def _numbers(text: str) -> tuple[int, ...]:
    numbers = tuple(int(part) for part in text.split(","))
    if min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"{text}: a number of connections is above 0")
    return numbers


ROW_NAMES = ", ".join(row.name for row in rows.ROWS)
# None: as `DEFAULTS` has it.
FLAGS = (
    Flag("--rows", names, ["*"], ["*"], f"rows, with * and ?: {ROW_NAMES}", "NAME,…", "all"),
    Flag("--connections", _numbers, None, None, "numbers of connections", "N,…",
         "100,5000; many 9900, 4900"),
    Flag("--rounds", between(int, 1, ROUNDS_MAX), None, None, "rounds of the table",
         shown="3; 5000: 1"),
    Flag("--seconds", between(float, SECONDS_MIN, SECONDS_MAX), None, None,
         "length of a measurement", "S", "2; 60"),
    Flag("--line-bytes", between(int, *LINE_BYTES), 64, 64, "length of a line"),
    Flag("--json", Path, None, None, "file for the figures", "PATH", "results/bench-DATE.json"),
)  # fmt: skip


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `bench` and its flags."""
    parser = subparsers.add_parser(
        "bench",
        help="compare echod with other servers, or put many connections on it",
        description="Compare echod with other servers, or put many connections on it.",
    )
    parser.add_argument(
        "--scenario",
        choices=DEFAULTS,
        default="table",
        help="table: compare servers in closed loop; many: many connections to one daemon, a line a"
        " second each; many-haproxy: the same to four daemons behind HAProxy [%(default)s]",
    )
    command.add_flags(parser, FLAGS)


def run(args: argparse.Namespace) -> int:
    """Run what was asked for; returns the exit status.

    Raises:
        LabError: This machine can't run it.
    """
    if sys.platform != "linux":
        raise MeasureError("fleet bench needs Linux: epoll, /proc and CPU affinity")
    started = datetime.now().astimezone()
    command.fill_in(args)
    connections, seconds, rounds = (QUICK if args.quick else DEFAULTS)[args.scenario]
    args.connections = args.connections or connections
    args.seconds = args.seconds or seconds
    args.rounds = args.rounds or rounds
    args.rows = rows.select(args.rows)
    cores.require(max(args.connections))
    data = cache.directory("bench")
    # Four daemons, HAProxy, Redis and the load share what there is, as they will elsewhere.
    used = cores.UNPINNED if args.scenario == "many-haproxy" else cores.choose()
    place = Place(used, data, compiler.build(data))
    facts = machine.describe()
    print(table.machine(facts, used, compiler.version()), end="\n\n", flush=True)
    ended_well, figures = (_table if args.scenario == "table" else _many)(args, place)
    report = {
        "started": started.isoformat(timespec="seconds"),
        "scenario": args.scenario,
        "quick": args.quick,
        "seconds": args.seconds,
        "line_bytes": args.line_bytes,
        "machine": {
            **facts.facts,
            "compiler": compiler.version(),
            "server_cpu": used.server,
            "load_cpu": used.load,
            "pinned": used.pinned,
            "siblings": used.siblings,
        },
        **figures,
    }
    path = args.json or Path("results") / f"bench-{started:%Y-%m-%d-%H%M%S}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n")
    print(f"\nfigures: {path}")
    return 0 if ended_well else 1


def rounds_at(connections: int, rounds: int) -> int:
    """How many of the rounds so many connections get."""
    return rounds if connections < ROUNDS_WHOLE_BELOW else max(1, rounds // 3)


def turns(
    connections: tuple[int, ...], rounds: int, chosen: list[rows.Server]
) -> Iterator[tuple[int, int, rows.Server]]:
    """Every measurement in its order: the connections, the round from 1, the row.

    Rounds are interleaved, so a machine that grows slower slows every row alike.
    """
    for count in connections:
        for number in range(1, rounds_at(count, rounds) + 1):
            for row in chosen:
                yield count, number, row


def _table(args: argparse.Namespace, place: Place) -> tuple[bool, dict[str, Any]]:
    """Whether every row was measured in every round, and the figures."""
    runs: list[Row] = []
    failed: list[str] = []
    warm_up_s = WARM_UP_QUICK_S if args.quick else WARM_UP_S
    with beside_the_load(place):
        for count, number, row in turns(args.connections, args.rounds, args.rows):
            what = f"{count:,} connections, round {number}, {row.name}"
            _say(f"{what} … ", end="")
            begin = time.monotonic()
            load = Settings(count, args.seconds, args.line_bytes, warm_up_s)
            try:
                made = measure(row, number, load, place)
            except LabError as error:
                _say("FAILED")
                failed.append(f"{what}: {error}")
                continue
            runs.append(made)
            took_s = time.monotonic() - begin
            _say(f"{made['server_us']:.1f} µs, {made['round_trips_per_s']:,.0f}/s ({took_s:.1f} s)")
    summaries = table.summarise(runs)
    judged = table.judge(summaries)
    for count in args.connections:
        lines = [one for one in summaries if one["connections"] == count]
        if lines:
            rounds = f"{rounds_at(count, args.rounds)} x {args.seconds:g} s"
            print(f"{count:,} connections, {rounds}\n\n{table.table(lines)}\n")
    print(table.LEGEND)
    if judged:
        print(f"\n{table.verdicts(judged)}")
    for text in failed:
        print(f"\nFAILED {text}")
    return not failed, {
        "runs": runs,
        "summaries": summaries,
        "verdicts": judged,
        "failed": failed,
    }


def _many(args: argparse.Namespace, place: Place) -> tuple[bool, dict[str, Any]]:
    """Whether the scenario's limits were kept, and the figures."""
    outcomes = []
    for count in args.connections:
        outcome = many.measure_many(args.scenario, count, args.seconds, args.line_bytes, place)
        print(many.explain(outcome), flush=True)
        outcomes.append(outcome)
    return all(map(many.kept, outcomes)), {"outcomes": outcomes}


def _say(text: str, end: str = "\n") -> None:
    print(text, end=end, file=sys.stderr, flush=True)
