"""`fleet drill NAME…|all|list`: break the fleet under load, say PASS or FAIL, with figures.

Each drill writes `results/drill-NAME-DATE/`. stdout gets the verdicts, stderr the steps; the exit
status is 1 if a drill fails.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import sys
import tempfile
import time
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from lab.drill.drills import ALL as DRILLS
from lab.drill.drills import MIXTURES, rooms
from lab.drill.errors import DrillError
from lab.fleet import grafana

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lab.drill.judge.outcome import Outcome
    from lab.drill.scenario import Drill, Load
    from lab.drill.stage.base import Stage
    from lab.report.machine import Machine

ALL, LIST = "all", "list"
CLIENTS_MAX, RATE_MAX, SECONDS_MAX, LINES_MAX = 5_000, 1_000.0, 3_600.0, 100_000_000
GRAFANA = "http://127.0.0.1:3000"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `drill` and its flags."""
    parser = subparsers.add_parser(
        "drill",
        help="break the fleet under load, and check what clients saw",
        description="Break the fleet under load, and check what clients saw against docs/protocol.md.",
    )
    parser.add_argument(
        "names", nargs="+", metavar="NAME", help="names of drills, or `all`, or `list` to see them"
    )
    parser.add_argument(
        "--compose", action="store_true", help="play the drills on the running containers"
    )
    parser.add_argument(
        "--seed", type=int, metavar="N", help="for `mix`: one seed, the same faults and times"
    )
    for flag, kind, most, what in (
        ("--seconds", float, SECONDS_MAX, "for `mix`: how long clients send"),
        ("--lines", int, LINES_MAX, "for `mix`: until so many lines are sent, instead"),
        ("--deliveries", int, LINES_MAX, "for `rooms-mix`: until so many messages came"),
        ("--clients", int, CLIENTS_MAX, "number of session clients; for `rooms-…`: of members"),
        ("--rate", float, RATE_MAX, "lines a second of each client, posts of each member"),
    ):
        parser.add_argument(flag, type=_up_to(kind, most), metavar="N", help=what)
    parser.add_argument(
        "--grafana", default=GRAFANA, metavar="URL",
        help="Grafana that gets an annotation for each step, if it answers [%(default)s]",
    )  # fmt: skip
    parser.add_argument(
        "--results", type=Path, default=Path("results"), metavar="DIR", help="folder [%(default)s]"
    )


def run(args: argparse.Namespace) -> int:
    """Play the drills that were asked for; returns the exit status.

    Raises:
        LabError: One could not be played.
    """
    if args.names == [LIST]:
        _list()
        return 0
    chosen = _choose(args)
    if sys.platform != "linux":
        raise DrillError("fleet drill needs Linux: SIGSTOP, prlimit and /proc")
    # matplotlib takes a second to load, which `list` should not wait for.
    from lab.report import machine  # noqa: PLC0415

    facts = machine.describe()
    rows = []
    failed = False
    for drill in chosen:
        row, passed = _one(args, drill, facts)
        rows.append(row)
        failed |= not passed
    if len(rows) > 1:
        print("\n" + "\n".join(rows))
    return 1 if failed else 0


def _one(args: argparse.Namespace, drill: Drill, facts: Machine) -> tuple[str, bool]:
    """Play one; its row of the summary, and whether it passed."""
    from lab.drill import report  # noqa: PLC0415 — as above
    from lab.drill.run import Most, compress, play  # noqa: PLC0415
    from lab.report import results  # noqa: PLC0415

    started = datetime.now().astimezone()
    print(f"\n{drill.name}: {drill.what}", flush=True)
    directory = results.new_directory(args.results, f"drill-{drill.name}", started)
    with _stage(args, drill, directory) as stage:
        outcome = play(
            drill,
            stage,
            directory,
            seed=args.seed or 0,
            say=_say,
            most=Most(args.lines or 0, args.deliveries or 0),
        )
    found = report.verdicts(drill, outcome)
    passed = all(verdict.passed for verdict in found)
    compress(directory / "history.jsonl")
    built = report.build(
        directory, drill, outcome, found,
        machine=facts.rows, command=_command(drill, args),
        date=f"{started:%Y-%m-%d %H:%M:%S %z}", warnings=facts.warnings,
    )  # fmt: skip
    results.write_run(directory, built, "drill", _command(drill, args), failed=not passed)
    results.write_index(args.results)
    for verdict in found:
        print(f"  {'PASS' if verdict.passed else 'FAIL'}  {verdict.question} {verdict.text}")
    print(f"  {grafana.annotate(args.grafana, drill.name, _notes(outcome))}")
    print(f"{'PASS' if passed else 'FAIL'}  {drill.name}  report: {directory / 'report.html'}")
    return report.line(drill, outcome, found), passed


def _notes(outcome: Outcome) -> list[grafana.Note]:
    """Its steps at their times, which are on the history's clock."""
    offset_s = time.time() - time.monotonic()
    return [
        grafana.Note(mark.t + offset_s, "heal" if mark.heals else "fault", mark.text)
        for mark in outcome.marks
    ]


@contextmanager
def _stage(args: argparse.Namespace, drill: Drill, directory: Path) -> Iterator[Stage]:
    """The fleet, up; its logs are kept if the drill could not be played, or found a bug."""
    if args.compose:
        from lab.drill.stage.compose import ComposeStage  # noqa: PLC0415 — as above
        from lab.fleet.local import ROOT  # noqa: PLC0415

        with ComposeStage(ROOT, drill.links) as stage:
            yield stage
        return
    from lab.drill.lives import shorten  # noqa: PLC0415
    from lab.drill.stage.local import LocalStage  # noqa: PLC0415
    from lab.drill.stage.soak import SoakStage  # noqa: PLC0415

    factor = drill.load.factor
    with tempfile.TemporaryDirectory(prefix="echofleet-drill-") as temporary:
        try:
            local = Path(temporary)
            with (
                SoakStage(local, drill.links, shorten(factor))
                if factor
                else LocalStage(local, drill.links)
            ) as stage:
                yield stage
        finally:
            logs = directory / "logs"
            logs.mkdir(exist_ok=True)
            for log in Path(temporary).rglob("*.log"):
                shutil.copy(log, logs / log.name)


def _choose(args: argparse.Namespace) -> Sequence[Drill]:
    """The drills by name, with the load that was asked for.

    Raises:
        DrillError: One of that name is not there, or not on containers.
    """
    known = {drill.name: drill for drill in DRILLS}
    if args.names == [ALL]:
        chosen = [drill for drill in DRILLS if not (args.compose and drill.only_local)]
    else:
        unknown = [name for name in args.names if name not in known]
        if unknown:
            raise DrillError(f"no drill {', '.join(unknown)}; `fleet drill list` has them all")
        chosen = [known[name] for name in args.names]
    if args.compose and (cannot := [drill for drill in chosen if drill.only_local]):
        reasons = "; ".join(f"{drill.name}: {drill.only_local}" for drill in cannot)
        raise DrillError(f"not on containers: {reasons}")
    if args.lines and [drill.name for drill in chosen] != ["mix"]:
        raise DrillError("--lines is of `mix` alone")
    if args.deliveries and [drill.name for drill in chosen] != [rooms.MIX]:
        raise DrillError(f"--deliveries is of `{rooms.MIX}` alone")
    return [_fit(drill, args) for drill in chosen]


def _fit(drill: Drill, args: argparse.Namespace) -> Drill:
    """A drill with the load, seed and time of the command line."""
    # In the drills for rooms they are the members', and their posts'.
    fields = ("members", "posts_rate") if drill.load.members else ("clients", "rate")
    asked = zip(fields, (args.clients, args.rate), strict=True)
    wanted = {field: value for field, value in asked if value}
    load: Load = dataclasses.replace(drill.load, **wanted)
    most = args.lines or args.deliveries
    if drill.name in MIXTURES and (args.seed is not None or args.seconds or most):
        seconds = float("inf") if most else args.seconds or drill.seconds
        return MIXTURES[drill.name](args.seed if args.seed is not None else 1, seconds, load)
    return dataclasses.replace(drill, load=load)


def _list() -> None:
    for drill in DRILLS:
        where = "" if not drill.only_local else f"  (not --compose: {drill.only_local})"
        print(f"{drill.name:<22} {drill.what}{where}")


def _command(drill: Drill, args: argparse.Namespace) -> str:
    """What plays this one again."""
    words = [os.path.basename(sys.argv[0]), "drill", drill.name]  # noqa: PTH119 — no path is meant
    for name in ("seed", "seconds", "lines", "deliveries", "clients", "rate"):
        value = getattr(args, name)
        if value is not None:
            words += [f"--{name}", f"{value:g}" if isinstance(value, float) else str(value)]
    return " ".join([*words, "--compose"] if args.compose else words)


def _say(text: str) -> None:
    print(f"  {datetime.now().astimezone():%H:%M:%S}  {text}", file=sys.stderr, flush=True)


def _up_to(kind: type[float | int], most: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = kind(text)
        if not 0 < value <= most:
            raise argparse.ArgumentTypeError(f"{text}: must be above 0, and {most:g} at most")
        return value

    parse.__name__ = kind.__name__
    return parse
