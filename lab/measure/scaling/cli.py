"""`fleet experiment scaling`: its flags, and a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab import cache
from lab.measure import command, compiler, cores
from lab.measure.command import REPEATS_MAX, SECONDS_MAX, Flag, between
from lab.measure.errors import MeasureError
from lab.measure.scaling import c10k
from lab.measure.scaling.measure import SHAPES, Plan, measure_all

if TYPE_CHECKING:
    import argparse

CONNECTIONS_MAX = 10_000

WARM_UP_S, WARM_UP_QUICK_S = 0.3, 0.05

# Eight repeats take some four minutes on two CPUs.
FLAGS = (
    Flag("--daemons", command.sizes, (1, 2, 4, 8), (1, 2, 3), "numbers of daemons", "N,…", "1,2,4,8"),
    Flag(
        "--connections", between(int, 1, CONNECTIONS_MAX), 200, 24, "connections in all, shared by the daemons"
    ),
    Flag("--seconds", between(float, 0.1, SECONDS_MAX), 0.6, 0.2, "length of a measurement"),
    Flag("--repeat", between(int, 1, REPEATS_MAX), 8, 1, "repeats, in turns"),
    Flag(
        "--c10k", between(int, 0, c10k.CONNECTIONS_MAX), c10k.CONNECTIONS_MAX, 300,
        "connections on one daemon, 0 for none", shown="as many as files and ports allow",
    ),
)  # fmt: skip


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "scaling",
        help="put the same load on 1, 2, 4, 8 daemons; what each part of the fleet costs",
        description="Put the same load on more and more daemons. The report says what each part of the"
        " fleet costs, and how many connections one daemon holds.",
    )
    parser.set_defaults(run_experiment=run)
    command.add_appendfsync(parser, "Redis")
    command.add_common(parser, FLAGS)


def run(args: argparse.Namespace) -> int:
    """Measure, write, tell; returns the exit status.

    Raises:
        LabError: This machine can't run it.
    """
    # These bring matplotlib, which takes a second to load: no other command should wait for it.
    from lab.measure.scaling import report  # noqa: PLC0415
    from lab.measure.session import Session  # noqa: PLC0415

    data = cache.directory("bench")
    plan = Plan(
        daemons=args.daemons,
        connections=args.connections,
        seconds=args.seconds,
        warm_up_s=WARM_UP_QUICK_S if args.quick else WARM_UP_S,
        repeats=args.repeat,
        appendfsync=args.appendfsync,
        programs=compiler.build(data),
        data=data,
    )
    if plan.connections < max(plan.daemons):
        raise MeasureError(f"{max(plan.daemons)} daemons need as many --connections")
    cores.require(plan.connections)
    steps = plan.repeats * len(SHAPES) * len(plan.daemons)
    session = Session(args, "scaling", plan.repeats, steps + (c10k.STEPS if args.c10k else 0))
    held = None
    with session.progress:
        rows = measure_all(plan, session)
        if args.c10k:
            with session.collecting("many connections"):
                held = c10k.hold(plan, args.c10k, session.progress)
    return session.finish(report.write(session.directory, plan, rows, held, session.machine.cpus))
