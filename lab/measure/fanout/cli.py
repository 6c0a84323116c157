"""`fleet experiment fanout`: its flags, and a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab import cache
from lab.measure import command, compiler, cores
from lab.measure.command import REPEATS_MAX, SECONDS_MAX, Flag, between
from lab.measure.fanout import systems
from lab.measure.fanout.measure import measure_all
from lab.measure.fanout.systems import COMPARED_SERVERS, LOADS, QUICK, ROUTES, Plan, steps
from lab.measure.peers.servers import PEERS

if TYPE_CHECKING:
    import argparse

WARM_UP_S, WARM_UP_QUICK_S = 0.3, 0.1

# Six repeats take under five minutes on two CPUs, and all peers as long again.
FLAGS = (
    Flag(
        "--daemons",
        command.sizes,
        (1, 2, 4, 8),
        (1, 2, COMPARED_SERVERS),
        "numbers of daemons",
        "N,…",
        "1,2,4,8",
    ),
    Flag("--seconds", between(float, 0.1, SECONDS_MAX), 0.6, 0.3, "length of a measurement"),
    Flag("--repeat", between(int, 1, REPEATS_MAX), 6, 1, "repeats, in turns"),
)


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "fanout",
        help="measure how posts reach a room on several daemons, by route; compare with peers",
        description="Measure how a post reaches the members of a room on other servers: by three"
        " routes, and compared with other systems.",
    )
    parser.set_defaults(run_experiment=run)
    parser.add_argument(
        "--routes", type=command.names, default=ROUTES, metavar="NAME,…",
        help=f"routes [{','.join(ROUTES)}]",
    )  # fmt: skip
    parser.add_argument(
        "--peers",
        type=command.names,
        default=["none"],
        metavar="all|none|NAME,…",
        help=f"[none]; {', '.join(peer.name for peer in PEERS)}: {COMPARED_SERVERS} processes each,"
        " installed at first use; all of them take as long again",
    )
    command.add_appendfsync(parser, "the daemons' Redis")
    command.add_common(parser, FLAGS)


def run(args: argparse.Namespace) -> int:
    """Measure, write, tell; returns the exit status.

    Raises:
        LabError: This machine can't run it.
    """
    # These bring matplotlib, which takes a second to load: no other command should wait for it.
    from lab.measure.fanout import report  # noqa: PLC0415
    from lab.measure.session import Session  # noqa: PLC0415

    systems.require(args.routes)
    programs, left_out = systems.choose_peers(args.peers)
    loads = QUICK if args.quick else LOADS
    data = cache.directory("bench")
    plan = Plan(
        loads=loads,
        steps=steps(args.daemons, args.routes, loads, programs),
        seconds=args.seconds,
        warm_up_s=WARM_UP_QUICK_S if args.quick else WARM_UP_S,
        repeats=args.repeat,
        appendfsync=args.appendfsync,
        programs=compiler.build(data),
        peers=programs,
        settle=not args.quick,
        data=data,
    )
    cores.require(max(load.rooms * load.members for load in (*loads.grid, loads.fast)))
    session = Session(args, "fanout", plan.repeats, plan.measurements)
    with session.progress:
        rows = measure_all(plan, session)
    return session.finish(report.write(session.directory, plan, rows), left_out)
