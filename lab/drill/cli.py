"""`fleet drill NAME…|all|list`: break the fleet under load, say PASS or FAIL, with figures.

Each drill writes `results/drill-NAME-DATE/`. stdout gets the verdicts, stderr the steps; the exit
status is 1 if a drill fails.
"""

from __future__ import annotations

import dataclasses
import math
import shutil
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import redis

from lab.drill import drills
from lab.drill.run import play
from lab.drill.stage.base import DrillError
from lab.drill.stage.compose import ComposeStage
from lab.drill.stage.local import LocalStage
from lab.fleet import grafana, preload
from lab.fleet.local import SHARD_REPLICAS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from lab.drill.judge.outcome import Outcome
    from lab.drill.scenario import Drill

ALL, LIST = "all", "list"
GRAFANA = "http://127.0.0.1:3000"
# Flags that a drill's command repeats: name, kind, most if there is one, help.
NUMBERS: tuple[tuple[str, type[float | int], float | None, str], ...] = (
    ("seed", int, None, "for `mix`: one seed, the same faults and times"),
    ("seconds", float, 3_600.0, "for `mix`: how long clients send"),
    ("lines", int, 100_000_000, "for `mix`: until so many lines are sent, instead"),
    ("deliveries", int, 100_000_000, "for `rooms-mix`: until so many messages came"),
    ("clients", int, 5_000, "number of session clients; for `rooms-…`: of members"),
    ("rate", float, 1_000.0, "lines a second of each client, posts of each member"),
    ("times", int, 1_000, "for `lose-node` and `shards-…`: how often"),
    ("shards", int, 16, "of the store: 1, one Redis; 3 or more, a cluster [1]"),
    ("shard-replicas", int, 5, f"of each shard of a cluster [{SHARD_REPLICAS}]"),
)
# Flags of one drill alone.
ENDS = {"lines": "mix", "deliveries": "rooms-mix"}


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
    for name, kind, _, what in NUMBERS:
        parser.add_argument(f"--{name}", type=kind, metavar="N", help=what)
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
        for drill in drills.ALL:
            where = f"  (not --compose: {drill.only_local})" if drill.only_local else ""
            where += "  (only with --shards)" if drill.needs_shards else ""
            where += f"  (not here: {preload.why_not()})" if _lacks(drill) else ""
            where += f"  (not --shards: {drill.only_alone})" if drill.only_alone else ""
            print(f"{drill.name:<22} {drill.what}{where}")
        return 0
    chosen = _choose(args)
    if sys.platform != "linux":
        raise DrillError("fleet drill needs Linux: SIGSTOP, prlimit and /proc")
    # matplotlib takes a second to load, which `list` should not wait for.
    from lab.drill import report  # noqa: PLC0415
    from lab.report import machine, results  # noqa: PLC0415

    facts = machine.describe()
    lines = []
    for drill in chosen:
        started = datetime.now().astimezone()
        print(f"\n{drill.name}: {drill.what}", flush=True)
        directory = results.new_directory(args.results, f"drill-{drill.name}", started)
        outcome = _play(drill, directory, args)
        found = report.verdicts(drill, outcome)
        report.write(
            directory, drill, outcome, found,
            machine=facts, command=_command(drill, args), started=started,
        )  # fmt: skip
        for verdict in found:
            print(f"  {report.word([verdict])}  {verdict.question} {verdict.text}")
        # Marks are on the history's clock.
        offset_s = time.time() - time.monotonic()
        notes = [
            grafana.Note(mark.t + offset_s, "heal" if mark.heals else "fault", mark.text)
            for mark in outcome.marks
        ]
        print(f"  {grafana.annotate(args.grafana, drill.name, notes)}")
        print(f"{report.word(found)}  {drill.name}  report: {directory / 'report.html'}")
        lines.append(report.line(drill, outcome, found))
    if len(lines) > 1:
        print("\n" + "\n".join(lines))
    return 1 if any(line.startswith(report.FAIL) for line in lines) else 0


def _play(drill: Drill, directory: Path, args: argparse.Namespace) -> Outcome:
    """Play it on the fleet, whose logs are kept in `directory`, whatever comes."""

    def say(text: str) -> None:
        print(f"  {datetime.now().astimezone():%H:%M:%S}  {text}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="echofleet-drill-") as temporary:
        scratch = Path(temporary)
        stage = (
            ComposeStage(scratch, drill.links)
            if args.compose
            else LocalStage(
                scratch,
                drill.links,
                factor=drill.load.factor,
                shards=args.shards or 1,
                shard_replicas=SHARD_REPLICAS
                if args.shard_replicas is None
                else args.shard_replicas,
            )
        )
        try:
            with stage:
                return play(drill, stage, directory, say)
        except (OSError, redis.RedisError) as error:
            raise DrillError(f"{drill.name}: {error}") from error
        finally:
            logs = directory / "logs"
            logs.mkdir()
            for log in scratch.rglob("*.log"):
                # A Redis writes to its own folder, which has the node's name.
                name = f"{log.parent.name}.log" if log.stem == "redis" else log.name
                shutil.copy(log, logs / name)


def _choose(args: argparse.Namespace) -> list[Drill]:
    """The drills by name, with the load that was asked for.

    Raises:
        DrillError: One of that name is not there, or not on containers; or a number is wrong.
    """
    known = {drill.name: drill for drill in drills.ALL}
    names = args.names
    shards = args.shards or 1
    if names == [ALL]:
        names = [drill.name for drill in drills.ALL if not _why_not(drill, args)]
    for name in names:
        if name not in known:
            raise DrillError(f"no drill {name}; `fleet drill list` has them all")
        if why := _why_not(known[name], args):
            raise DrillError(why)
    _check(args, names)
    return [_fit(known[name], args, shards).on(shards) for name in names]


def _check(args: argparse.Namespace, names: Sequence[str]) -> None:
    """Refuse a flag that can't be.

    Raises:
        DrillError: Which, and why.
    """
    for flag, _, most, _ in NUMBERS:
        value = getattr(args, flag.replace("-", "_"))
        if value is not None and most and not 0 < value <= most:
            raise DrillError(f"--{flag} {value:g}: must be above 0, and {most:g} at most")
    if args.shards == 2:  # noqa: PLR2004 — see below
        raise DrillError("--shards 2: only masters vote, and one of two is no majority")
    if args.compose and (args.shards or 1) > 1:
        raise DrillError("--shards: the containers are what they are, leave it out")
    for flag, name in ENDS.items():
        if getattr(args, flag) and names != [name]:
            raise DrillError(f"--{flag} is of `{name}` alone")
    if args.times and not set(names) <= drills.TIMES.keys():
        raise DrillError(f"--times is of {' and '.join(f'`{one}`' for one in drills.TIMES)} alone")


def _why_not(drill: Drill, args: argparse.Namespace) -> str:
    """Why a drill can't be played on what was asked for; empty if it can."""
    if args.compose and drill.only_local:
        return f"not on containers: {drill.name}: {drill.only_local}"
    if (args.shards or 1) > 1:
        if _lacks(drill):
            return f"not here: {drill.name}: {preload.why_not()}"
        return f"not on a cluster: {drill.name}: {drill.only_alone}" if drill.only_alone else ""
    return f"{drill.name} is about a cluster: --shards 3" if drill.needs_shards else ""


def _lacks(drill: Drill) -> bool:
    """Whether this machine has no compiler, and the drill needs one."""
    return drill.preloads and bool(preload.why_not())


def _fit(drill: Drill, args: argparse.Namespace, shards: int) -> Drill:
    """A drill with the load, seed and time of the command line."""
    if args.times:
        drill = drills.TIMES[drill.name](args.times)
    # In the drills for rooms they are the members', and their posts'.
    clients, rate = ("members", "posts_rate") if drill.load.members else ("clients", "rate")
    asked = {clients: args.clients, rate: args.rate, "seed": args.seed}
    ends = {flag: getattr(args, flag) for flag in ENDS}
    load = dataclasses.replace(
        drill.load, **{field: value for field, value in (asked | ends).items() if value}
    )
    if drill.name not in drills.MIXTURES:
        return dataclasses.replace(drill, load=load)
    seed = 1 if args.seed is None else args.seed
    seconds = math.inf if any(ends.values()) else args.seconds or drill.seconds
    return drills.MIXTURES[drill.name](seed, seconds, load, shards)


def _command(drill: Drill, args: argparse.Namespace) -> str:
    """What plays this one again."""
    words = [Path(sys.argv[0]).name, "drill", drill.name]
    for name, *_ in NUMBERS:
        value = getattr(args, name.replace("-", "_"))
        if value is not None:
            words += [f"--{name}", f"{value:g}" if isinstance(value, float) else str(value)]
    return " ".join([*words, "--compose"] if args.compose else words)
