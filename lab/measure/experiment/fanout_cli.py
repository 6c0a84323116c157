"""`fleet experiment fanout`: its flags, and what is measured when nothing is asked for.

Called by `cli.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from lab import cache
from lab.measure.bench import compiler, cores
from lab.measure.experiment import command
from lab.measure.experiment import fanout_systems as systems
from lab.measure.experiment.command import REPEATS_MAX, SECONDS_MAX
from lab.measure.experiment.fanout import SLOW_PEERS, Load, Plan, Step
from lab.measure.experiment.fanout_answers import COMPARED_SERVERS, Promise
from lab.measure.experiment.fanout_run import Run
from lab.measure.experiment.fanout_systems import ROOM, ROUTES
from lab.measure.peers.servers import PEERS
from lab.report import machine, results
from lab.report.progress import Progress

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# Rooms of 2, 20 and 1,000; one, some and many. Rates that leave two CPUs something to spare.
ONE_LARGE = Load(1, 1_000, 40)
SOME = Load(50, 20, 400)
MANY_SMALL = Load(500, 2, 400)
GRID = (ONE_LARGE, SOME, MANY_SMALL)

# From here on a tick of 20 ms gathers two posts or more.
FAST = Load(1, 1_000, 100)
TICK_S = 0.02

QUICK = {ONE_LARGE: Load(1, 60, 40), SOME: Load(5, 8, 50), MANY_SMALL: Load(20, 2, 50)}
QUICK_FAST = Load(1, 60, 100)


@dataclass(frozen=True, slots=True)
class Defaults:
    """What is run when nothing is asked for."""

    daemons: tuple[int, ...] = (1, 2, 4, 8)
    seconds: float = 0.6
    warm_up_s: float = 0.3
    repeat: int = 6


# Six repeats take under five minutes on two CPUs, and all peers as long again.
DEFAULTS = Defaults()
DEFAULTS_QUICK = Defaults((1, 2, COMPARED_SERVERS), seconds=0.3, warm_up_s=0.1, repeat=1)


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "fanout",
        help="posts to rooms over daemons, by each way to route; beside the peers",
        description="How a post reaches the members of a room on other servers: three ways to route"
        " it, and what others do.",
    )
    parser.set_defaults(run_experiment=run)
    parser.add_argument("--daemons", type=command.sizes, metavar="N,…", help="[1,2,4,8]")
    parser.add_argument(
        "--routes", type=_names, default=ROUTES, metavar="NAME,…", help=f"[{','.join(ROUTES)}]"
    )
    parser.add_argument(
        "--peers",
        type=_names,
        default=["none"],
        metavar="all|none|NAME,…",
        help=f"[none]; {', '.join(peer.name for peer in PEERS)}: {COMPARED_SERVERS} processes each,"
        " installed at first use; all of them take as long again",
    )
    parser.add_argument(
        "--seconds", type=command.between(float, 0.1, SECONDS_MAX), metavar="N",
        help=f"measured each time [{DEFAULTS.seconds:g}]",
    )  # fmt: skip
    parser.add_argument(
        "--repeat", type=command.between(int, 1, REPEATS_MAX), metavar="N",
        help=f"each so often, in turns [{DEFAULTS.repeat}]",
    )  # fmt: skip
    parser.add_argument(
        "--appendfsync",
        choices=("no-aof", "no", "everysec", "always"),
        default="always",
        help="of the daemons' Redis [%(default)s, as shipped]",
    )
    command.add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Measure, write, tell; returns the exit status.

    Raises:
        LabError: This machine can't run it.
    """
    # matplotlib takes a second to load, which no other command should wait for.
    from lab.measure.experiment import fanout_report  # noqa: PLC0415

    plan, grid, fast, left_out = _plan(args)
    cores.require(max(load.rooms * load.members for load in (*grid, fast)))
    started = datetime.now().astimezone()
    directory = results.new_directory(args.results, "fanout", started)
    facts = machine.describe()
    calm = command.calm(args, plan.repeats)
    with Progress(plan.measurements) as progress:
        measured = Run(plan, calm, progress)
        measured.measure_all()
    points, failed = measured.points, measured.failed
    fanout_report.write_raw(directory, points)
    report = fanout_report.report(
        directory, plan, points,
        grid=grid, tick=(fast, TICK_S), promises=_promises(grid, fast),
        machine=replace(facts, rows=[*facts.rows, calm.row()]),
        command=command.typed(), date=f"{started:%Y-%m-%d %H:%M:%S %z}",
        warnings=[
            *command.cautions(args, plan.repeats),
            *facts.warnings,
            *calm.warnings(),
            *(f"{name} was left out: {reason}." for name, reason in left_out.items()),
            *(f"Failed: {text}" for text in failed),
        ],
    )  # fmt: skip
    return command.finish(args.results, directory, report, failed=bool(failed))


def _plan(args: argparse.Namespace) -> tuple[Plan, list[Load], Load, dict[str, str]]:
    """The plan, the routes' loads, the tick's load, and the peers that can't be had."""
    defaults = DEFAULTS_QUICK if args.quick else DEFAULTS
    systems.require(args.routes)
    data = cache.directory("bench")
    programs, left_out = systems.choose_peers(args.peers)
    grid = [QUICK[load] if args.quick else load for load in GRID]
    fast = QUICK_FAST if args.quick else FAST
    plan = Plan(
        steps=_steps(args.daemons or defaults.daemons, args.routes, grid, fast, programs),
        seconds=args.seconds or defaults.seconds,
        warm_up_s=defaults.warm_up_s,
        repeats=args.repeat or defaults.repeat,
        appendfsync=args.appendfsync,
        programs=compiler.build(data),
        peers=programs,
        settle=not args.quick,
        data=data,
    )
    return plan, grid, fast, left_out


def _steps(
    counts: Sequence[int],
    routes: Sequence[str],
    grid: Sequence[Load],
    fast: Load,
    programs: Mapping[str, Path],
) -> list[Step]:
    """The routes; then, side by side, what is compared with four servers: the tick, the peers."""
    steps = []
    for route in sorted(routes, key=lambda one: one == ROOM):
        # With peers these four are measured beside them.
        own = [
            count
            for count in counts
            if not (programs and route == ROOM and count == COMPARED_SERVERS)
        ]
        by_count = {count: list(grid) for count in own}
        steps.append(Step(systems.daemons(route), by_count, now_and_then=own[1:-1]))
    compared = [*grid, fast] if programs else [fast]
    steps += [
        Step(systems.daemons(ROOM), {COMPARED_SERVERS: compared}),
        Step(systems.daemons(ROOM, TICK_S), {COMPARED_SERVERS: [fast]}),
    ]
    for system in systems.peers(programs):
        slower = SLOW_PEERS.get(system.name, 1.0)
        loads = [grid[0], grid[1]] if slower < 1 else [grid[0], grid[1], fast]
        steps.append(Step(system, {COMPARED_SERVERS: [load.times(slower) for load in loads]}))
    return steps


def _promises(grid: Sequence[Load], fast: Load) -> list[Promise]:
    """What the project set itself, for a CPU second of four servers and their Redis."""
    large, some, _ = grid
    return [
        Promise("socketio-redis", "Socket.IO", large, 0.0, 1.6),
        Promise("python-socketio", "python-socketio", large, 0.0, 3.0),
        Promise("socketio-redis", "Socket.IO", fast, TICK_S, 3.0),
        Promise("socketio-redis", "Socket.IO", some, 0.0, 1.3),
    ]


def _names(text: str) -> list[str]:
    return text.split(",")
