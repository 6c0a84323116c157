"""`fleet experiment models`: its flags, and a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.measure import command, cores
from lab.measure.command import REPEATS_MAX, Flag, between
from lab.measure.models import systems
from lab.measure.models.clients import PAUSE_S, Workload
from lab.measure.models.measure import Plan, measure_all

if TYPE_CHECKING:
    import argparse

# More of any is a mistake: it would run for hours, or not fit one load generator.
CLIENTS_MAX, LINES_MAX, LOOPS_MAX = 5_000, 1_000, 1_000

# Above 4, a pause comes near the servers' idle limit of 5 s, which the article has too.
PAUSE_SCALE = (0.001, 4.0)

# Nine repeats take under four minutes, a quarter of them the serial server's.
FLAGS = (
    Flag("--clients", between(int, 1, CLIENTS_MAX), 100, 10, "clients at once"),
    Flag("--lines", between(int, 2, LINES_MAX), 10, 3, "lines of each client"),
    Flag(
        "--pause-scale", between(float, *PAUSE_SCALE), 0.1, 0.02,
        "the article's pause of 1 s, times this",
    ),
    Flag(
        "--serial-clients", between(int, 2, CLIENTS_MAX), 5, 3, "clients of the serial server; extrapolated"
    ),
    Flag("--repeat", between(int, 1, REPEATS_MAX), 9, 2, "repeats of each system, in turns"),
    Flag("--loops", between(int, 1, LOOPS_MAX), 1, 1, "loops"),
)  # fmt: skip


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "models",
        help="compare the article's servers and the fleet under the article's workload",
        description="Compare the article's servers and the fleet under the article's workload.",
    )
    parser.set_defaults(run_experiment=run)
    parser.add_argument(
        "--only",
        type=command.names,
        default=["*"],
        metavar="NAME,…",
        help=f"only these systems, with * and ?: {', '.join(system.name for system in systems.SYSTEMS)}",
    )
    command.add_common(parser, FLAGS)


def run(args: argparse.Namespace) -> int:
    """Measure, write, tell; returns the exit status.

    Raises:
        LabError: This machine can't run it.
    """
    # These bring matplotlib, which takes a second to load: no other command should wait for it.
    from lab.measure.models import report  # noqa: PLC0415
    from lab.measure.session import Session  # noqa: PLC0415

    chosen, left_out = systems.select(args.only)
    workload = Workload(args.clients, args.lines, args.pause_scale * PAUSE_S, args.loops)
    cores.require(workload.clients)
    plan = Plan(chosen, workload, args.serial_clients, args.repeat)
    session = Session(args, "models", plan.repeats, steps=plan.repeats * len(chosen))
    with session.progress:
        rows, visits = measure_all(plan, session)
    return session.finish(report.write(session.directory, plan, rows, visits), left_out)
