"""`fleet experiment models|scaling|shards|fanout`: measure, write `results/NAME-DATE/`, say what it means.

stdout gets the answers and where the report is, stderr the progress. The exit status is 1 if
a reply was wrong or a system could not be measured; the report is written all the same.
"""

# What brings matplotlib takes a second to load, and is imported where an experiment begins: no
# other command should wait for it.
# ruff: noqa: PLC0415

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from lab import cache
from lab.measure import command, compiler, cores
from lab.measure.command import (
    REPEATS_MAX,
    SECONDS_MAX,
    SHARDS_MAX,
    Flag,
    between,
    names,
    shards,
    sizes,
)
from lab.measure.errors import MeasureError
from lab.measure.fanout import measure as fanout
from lab.measure.fanout import systems as rooms
from lab.measure.models import measure as models
from lab.measure.models import systems
from lab.measure.models.clients import PAUSE_S, Workload
from lab.measure.peers.servers import PEERS
from lab.measure.scaling import c10k
from lab.measure.scaling import measure as scaling
from lab.measure.shards import measure as shards_of_a_store

if TYPE_CHECKING:
    import argparse

# More of any is a mistake: it would run for hours, or not fit one load generator.
CLIENTS_MAX, LINES_MAX, LOOPS_MAX, CONNECTIONS_MAX = 5_000, 1_000, 1_000, 10_000

# Above 4, a pause comes near the servers' idle limit of 5 s, which the article has too.
PAUSE_SCALE = (0.001, 4.0)


def connections(text: str) -> tuple[int, ...]:
    """`1,10,100` → (1, 10, 100), each once, by rising size."""
    each = between(int, 1, CONNECTIONS_MAX)
    return tuple(sorted({each(part) for part in text.split(",")}))


REPEATS, SECONDS = between(int, 1, REPEATS_MAX), between(float, 0.1, SECONDS_MAX)

# Nine repeats take under four minutes, a quarter of them the serial server's.
MODELS = (
    Flag("--clients", between(int, 1, CLIENTS_MAX), 100, 10, "clients at once"),
    Flag("--lines", between(int, 2, LINES_MAX), 10, 3, "lines of each client"),
    Flag("--pause-scale", between(float, *PAUSE_SCALE), 0.1, 0.02, "the article's pause of 1 s, times this"),
    Flag("--serial-clients", between(int, 2, CLIENTS_MAX), 5, 3, "clients of the serial server; extrapolated"),
    Flag("--repeat", REPEATS, 9, 2, "repeats of each system, in turns"),
    Flag("--loops", between(int, 1, LOOPS_MAX), 1, 1, "loops"),
)  # fmt: skip

# Eight repeats take some four minutes on two CPUs.
SCALING = (
    Flag("--daemons", sizes, (1, 2, 4, 8), (1, 2, 3), "numbers of daemons", "N,…", "1,2,4,8"),
    Flag("--connections", between(int, 1, CONNECTIONS_MAX), 200, 24, "connections in all, shared by the daemons"),
    Flag("--shards", shards, (), (), "shards of the store, beside one Redis, which is 1: 1,2,4 takes half as long again", "N,…", "1"),
    Flag("--seconds", SECONDS, 0.6, 0.2, "length of a measurement"),
    Flag("--repeat", REPEATS, 8, 1, "repeats, in turns"),
    Flag(
        "--c10k", between(int, 0, c10k.CONNECTIONS_MAX), c10k.CONNECTIONS_MAX, 300,
        "connections on one daemon, 0 for none", shown="as many as files and ports allow",
    ),
)  # fmt: skip

# Eight repeats take some four minutes on two CPUs, a quarter of them to start the clusters.
SHARDS = (
    Flag("--shards", between(int, 2, SHARDS_MAX), 4, 2, "shards of the cluster"),
    Flag("--connections", connections, (1, 10, 100), (1, 10), "numbers of connections", "N,…", "1,10,100"),
    Flag("--seconds", SECONDS, 0.6, 0.2, "length of a measurement"),
    Flag("--repeat", REPEATS, 8, 1, "repeats, in turns"),
)  # fmt: skip

# Rooms of a few members on one daemon, at a rate that leaves it something to spare.
POSTS, POSTS_QUICK = rooms.Load(50, 4, 400), rooms.Load(8, 3, 60)

# Six repeats take under five minutes on two CPUs, and all peers as long again.
FANOUT = (
    Flag("--daemons", sizes, (1, 2, 4, 8), (1, 2, rooms.COMPARED_SERVERS), "numbers of daemons", "N,…", "1,2,4,8"),
    Flag("--seconds", SECONDS, 0.6, 0.3, "length of a measurement"),
    Flag("--repeat", REPEATS, 6, 1, "repeats, in turns"),
)  # fmt: skip


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `experiment` and its commands."""
    what = "measure, and write a report that answers questions"
    description = "Measure, and write a report that a person can read and pass on."
    parser = subparsers.add_parser("experiment", help=what, description=description)
    commands = parser.add_subparsers(dest="experiment", required=True)

    one = commands.add_parser(
        "models",
        help="compare the article's servers and the fleet under the article's workload",
        description="Compare the article's servers and the fleet under the article's workload.",
    )
    known = ", ".join(system.name for system in systems.SYSTEMS)
    one.add_argument(
        "--only", type=names, default=["*"], metavar="NAME,…",
        help=f"only these systems, with * and ?: {known}",
    )  # fmt: skip
    command.add_common(one, MODELS)

    one = commands.add_parser(
        "scaling",
        help="put the same load on 1, 2, 4, 8 daemons; what each part of the fleet costs",
        description="Put the same load on more and more daemons. The report says what each part of the"
        " fleet costs, and how many connections one daemon holds.",
    )
    command.add_appendfsync(one, "Redis")
    command.add_common(one, SCALING)

    one = commands.add_parser(
        "shards",
        help="put one daemon on one Redis and on a cluster: what shards, homes and replicas cost",
        description="Put one daemon on one Redis and on a cluster. The report says what a line and a"
        " post cost it there, what it saves that sessions are born on its home, and what a replica"
        " costs that every answer waits for.",
    )
    command.add_appendfsync(one, "each Redis")
    command.add_common(one, SHARDS)

    one = commands.add_parser(
        "fanout",
        help="measure how posts reach a room on several daemons, by route; compare with peers",
        description="Measure how a post reaches the members of a room on other servers: by three"
        " routes, and compared with other systems.",
    )
    one.add_argument(
        "--routes", type=names, default=rooms.ROUTES, metavar="NAME,…",
        help=f"routes [{','.join(rooms.ROUTES)}]",
    )  # fmt: skip
    known = ", ".join(peer.name for peer in PEERS)
    one.add_argument(
        "--peers", type=names, default=["none"], metavar="all|none|NAME,…",
        help=f"[none]; {known}: {rooms.COMPARED_SERVERS} processes each, installed at first use; all"
        " of them take as long again",
    )  # fmt: skip
    command.add_appendfsync(one, "the daemons' Redis")
    command.add_common(one, FANOUT)


def run(args: argparse.Namespace) -> int:
    """Run the experiment that was asked for; returns the exit status.

    Raises:
        LabError: This machine can't run it.
    """
    if sys.platform != "linux":
        raise MeasureError("fleet experiment needs Linux: CPU clocks and /proc")
    command.fill_in(args)
    runs = {
        "models": run_models,
        "scaling": run_scaling,
        "shards": run_shards,
        "fanout": run_fanout,
    }
    return runs[args.experiment](args)


def run_models(args: argparse.Namespace) -> int:
    """Measure, write, tell; as `run`."""
    from lab.measure.models import report
    from lab.measure.session import Session

    chosen, left_out = systems.select(args.only)
    workload = Workload(args.clients, args.lines, args.pause_scale * PAUSE_S, args.loops)
    cores.require(workload.clients)
    plan = models.Plan(chosen, workload, args.serial_clients, args.repeat)
    session = Session(args, "models", plan.repeats, steps=plan.repeats * len(chosen))
    with session.progress:
        rows, visits = models.measure_all(plan, session)
    return session.finish(report.write(session.directory, plan, rows, visits), left_out)


def run_scaling(args: argparse.Namespace) -> int:
    """Measure, write, tell; as `run`."""
    from lab.measure.scaling import report
    from lab.measure.session import Session

    if args.connections < max(args.daemons):
        raise MeasureError(f"{max(args.daemons)} daemons need as many --connections")
    cores.require(args.connections)
    data = cache.directory("bench")
    plan = scaling.Plan(
        daemons=args.daemons,
        connections=args.connections,
        seconds=args.seconds,
        warm_up_s=0.05 if args.quick else 0.3,
        repeats=args.repeat,
        shards=args.shards,
        appendfsync=args.appendfsync,
        programs=compiler.build(data),
        data=data,
    )
    steps = plan.repeats * len(plan.shapes) * len(plan.daemons)
    session = Session(args, "scaling", plan.repeats, steps + (c10k.STEPS if args.c10k else 0))
    held = None
    with session.progress:
        rows = scaling.measure_all(plan, session)
        if args.c10k:
            with session.collecting("many connections"):
                held = c10k.hold(plan, args.c10k, session.progress)
    return session.finish(report.write(session.directory, plan, rows, held, session.machine.cpus))


def run_shards(args: argparse.Namespace) -> int:
    """Measure, write, tell; as `run`."""
    from lab.measure.session import Session
    from lab.measure.shards import report

    cores.require(max(args.connections))
    data = cache.directory("bench")
    plan = shards_of_a_store.Plan(
        shards=args.shards,
        connections=args.connections,
        posts=POSTS_QUICK if args.quick else POSTS,
        seconds=args.seconds,
        warm_up_s=0.05 if args.quick else 0.3,
        repeats=args.repeat,
        appendfsync=args.appendfsync,
        programs=compiler.build(data),
        data=data,
    )
    session = Session(args, "shards", plan.repeats, plan.measurements)
    with session.progress:
        rows = shards_of_a_store.measure_all(plan, session)
    return session.finish(report.write(session.directory, plan, rows))


def run_fanout(args: argparse.Namespace) -> int:
    """Measure, write, tell; as `run`."""
    from lab.measure.fanout import report
    from lab.measure.session import Session

    rooms.require(args.routes)
    programs, left_out = rooms.choose_peers(args.peers)
    loads = rooms.QUICK if args.quick else rooms.LOADS
    data = cache.directory("bench")
    plan = rooms.Plan(
        loads=loads,
        steps=rooms.steps(args.daemons, args.routes, loads, programs),
        seconds=args.seconds,
        warm_up_s=0.1 if args.quick else 0.3,
        repeats=args.repeat,
        appendfsync=args.appendfsync,
        programs=compiler.build(data),
        peers=programs,
        settle=not args.quick,
        data=data,
    )
    cores.require(max(load.rooms * load.members for load in loads))
    session = Session(args, "fanout", plan.repeats, plan.measurements)
    with session.progress:
        rows = fanout.measure_all(plan, session)
    return session.finish(report.write(session.directory, plan, rows), left_out)
