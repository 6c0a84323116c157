"""`fleet experiment models|scaling|fanout`: measure, write `results/NAME-DATE/`, say what it means.

stdout gets the answers and where the report is, stderr the progress. The exit status is 1 if
a reply was wrong or a system could not be measured; the report is written all the same.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from lab import cache
from lab.errors import LabError
from lab.measure.bench import compiler, cores
from lab.measure.experiment import c10k, command, fanout_cli, models, scaling, stack, systems
from lab.measure.experiment.command import REPEATS_MAX, SECONDS_MAX
from lab.measure.experiment.errors import ExperimentError
from lab.measure.experiment.workload import PAUSE_S, Workload
from lab.report import machine, results
from lab.report.progress import Progress

if TYPE_CHECKING:
    import argparse

# More of any is a mistake: it would run for hours, or not fit one load generator.
CLIENTS_MAX, LINES_MAX, LOOPS_MAX = 5_000, 1_000, 1_000

# Above 4, a pause comes near the servers' idle limit of 5 s, which the article has too.
PAUSE_SCALE = (0.001, 4.0)


@dataclass(frozen=True, slots=True)
class Defaults:
    """Of `models`: what is run when nothing is asked for."""

    clients: int = 100
    lines: int = 10
    pause_scale: float = 0.1
    serial_clients: int = 5
    repeat: int = 9


# Nine repeats take under four minutes, a quarter of them the serial server's.
MODELS = Defaults()
MODELS_QUICK = Defaults(clients=10, lines=3, pause_scale=0.02, serial_clients=3, repeat=2)


@dataclass(frozen=True, slots=True)
class ScalingDefaults:
    """Of `scaling`."""

    daemons: tuple[int, ...] = (1, 2, 4, 8)
    connections: int = 200
    seconds: float = 0.6
    warm_up_s: float = 0.3
    repeat: int = 8
    c10k: int | None = None


# Eight repeats take some four minutes on two CPUs.
SCALING = ScalingDefaults()
SCALING_QUICK = ScalingDefaults((1, 2, 3), 24, seconds=0.2, warm_up_s=0.05, repeat=1, c10k=300)

CONNECTIONS_MAX = 10_000


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `experiment` and its commands."""
    parser = subparsers.add_parser(
        "experiment",
        help="a question, measurements, and a report that answers it",
        description="Measure, and write a report that a person can read and pass on.",
    )
    commands = parser.add_subparsers(dest="experiment", required=True)
    _add_models(commands)
    _add_scaling(commands)
    fanout_cli.add_parser(commands)


def run(args: argparse.Namespace) -> int:
    """Run the experiment that was asked for; returns the exit status.

    Raises:
        LabError: This machine can't run it.
    """
    if sys.platform != "linux":
        raise ExperimentError("fleet experiment needs Linux: CPU clocks and /proc")
    status: int = args.run_experiment(args)
    return status


def _add_models(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "models",
        help="the article's workload on each of its servers, and on the fleet",
        description="The article's workload on each of its servers, and on the fleet.",
    )
    parser.set_defaults(run_experiment=_models)
    for flag, kind, least, most, what in (
        ("--clients", int, 1, CLIENTS_MAX, "at once"),
        ("--lines", int, 2, LINES_MAX, "of each client"),
        ("--pause-scale", float, *PAUSE_SCALE, "times the article's second between lines"),
        ("--serial-clients", int, 2, CLIENTS_MAX, "of the serial server; extrapolated"),
        ("--repeat", int, 1, REPEATS_MAX, "each system so often, in turns"),
    ):
        default = getattr(MODELS, flag[2:].replace("-", "_"))
        parser.add_argument(
            flag, type=command.between(kind, least, most), metavar="N", help=f"{what} [{default}]"
        )
    parser.add_argument(
        "--loops",
        type=command.between(int, 1, LOOPS_MAX),
        default=1,
        metavar="N",
        help="[%(default)s]",
    )
    parser.add_argument(
        "--only",
        type=lambda text: text.split(","),
        default=["*"],
        metavar="NAME,…",
        help=f"with * and ?: {', '.join(system.name for system in systems.SYSTEMS)}",
    )
    command.add_common(parser)


def _add_scaling(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "scaling",
        help="the same load on 1, 2, 4, 8 daemons; what each part of the fleet costs",
        description="The same load on more and more daemons; what each part of the fleet costs;"
        " how many connections one daemon holds.",
    )
    parser.set_defaults(run_experiment=_scaling)
    parser.add_argument("--daemons", type=command.sizes, metavar="N,…", help="[1,2,4,8]")
    for flag, kind, least, most, what in (
        ("--connections", int, 1, CONNECTIONS_MAX, "in all, shared by the daemons"),
        ("--seconds", float, 0.1, SECONDS_MAX, "measured each time"),
        ("--repeat", int, 1, REPEATS_MAX, "each so often, in turns"),
    ):
        parser.add_argument(
            flag, type=command.between(kind, least, most), metavar="N",
            help=f"{what} [{getattr(SCALING, flag[2:])}]",
        )  # fmt: skip
    parser.add_argument(
        "--appendfsync",
        choices=("no-aof", "no", "everysec", "always"),
        default="always",
        help="of Redis [%(default)s, as shipped]",
    )
    parser.add_argument(
        "--c10k", type=command.between(int, 0, c10k.CONNECTIONS_MAX), metavar="N",
        help="connections on one daemon, 0 for none [as many as files and ports allow]",
    )  # fmt: skip
    command.add_common(parser)


def _models(args: argparse.Namespace) -> int:
    # matplotlib takes a second to load, which no other command should wait for.
    from lab.measure.experiment import models_report  # noqa: PLC0415

    defaults = MODELS_QUICK if args.quick else MODELS
    chosen, left_out = systems.select(args.only)
    wanted = {
        name: getattr(args, name) or getattr(defaults, name)
        for name in ("clients", "lines", "pause_scale", "serial_clients", "repeat")
    }
    workload = Workload(
        wanted["clients"], wanted["lines"], wanted["pause_scale"] * PAUSE_S, args.loops
    )
    cores.require(workload.clients)
    plan = models.Plan(chosen, workload, wanted["serial_clients"], wanted["repeat"])
    started = datetime.now().astimezone()
    directory = results.new_directory(args.results, "models", started)
    facts = machine.describe()
    calm = command.calm(args, plan.repeats)
    with Progress(plan.repeats * len(chosen)) as progress:
        outcome = models.measure_all(plan, calm, progress)
    models_report.write_raw(directory, outcome)
    report = models_report.report(
        directory, plan, outcome,
        machine=[*facts.rows, calm.row()], command=command.typed(), date=f"{started:%Y-%m-%d %H:%M:%S %z}",
        warnings=[
            *command.cautions(args, plan.repeats),
            *facts.warnings,
            *calm.warnings(),
            *(f"{name} was left out: {reason}." for name, reason in left_out.items()),
            *(f"Failed: {text}" for text in outcome.failed),
        ],
    )  # fmt: skip
    return command.finish(args.results, directory, report, failed=bool(outcome.failed))


def _scaling(args: argparse.Namespace) -> int:
    from lab.measure.experiment import scaling_report  # noqa: PLC0415 — as in _models

    defaults = SCALING_QUICK if args.quick else SCALING
    data = cache.directory("bench")
    plan = scaling.Plan(
        daemons=args.daemons or defaults.daemons,
        connections=args.connections or defaults.connections,
        seconds=args.seconds or defaults.seconds,
        warm_up_s=defaults.warm_up_s,
        repeats=args.repeat or defaults.repeat,
        appendfsync=args.appendfsync,
        programs=compiler.build(data),
        data=data,
    )
    if plan.connections < max(plan.daemons):
        raise ExperimentError(f"{max(plan.daemons)} daemons need as many --connections")
    wanted = defaults.c10k if args.c10k is None else args.c10k
    cores.require(plan.connections)
    started = datetime.now().astimezone()
    directory = results.new_directory(args.results, "scaling", started)
    facts = machine.describe()
    steps = plan.repeats * len(stack.SHAPES) * len(plan.daemons)
    held = None
    calm = command.calm(args, plan.repeats)
    with Progress(steps + (c10k.STEPS if wanted != 0 else 0)) as progress:
        points, failed = scaling.measure_all(plan, calm, progress)
        if wanted != 0:
            try:
                held = c10k.hold(plan, wanted, progress)
            except LabError as error:
                failed.append(f"many connections: {error}")
    scaling_report.write_raw(directory, points, held)
    report = scaling_report.report(
        directory, plan, points, held,
        machine=replace(facts, rows=[*facts.rows, calm.row()]), command=command.typed(), date=f"{started:%Y-%m-%d %H:%M:%S %z}",
        warnings=[
            *command.cautions(args, plan.repeats),
            *facts.warnings,
            *calm.warnings(),
            *(f"Failed: {text}" for text in failed),
        ],
    )  # fmt: skip
    return command.finish(args.results, directory, report, failed=bool(failed))
