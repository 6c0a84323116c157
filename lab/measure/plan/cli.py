"""`fleet plan`: what a load needs, by what was measured on this machine; none of it is guessed.

stdout gets the plan. The exit status is 1 if there is nothing measured to plan from.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import TYPE_CHECKING

from lab.measure.command import between
from lab.measure.errors import MeasureError
from lab.measure.plan import needs
from lab.report import results
from lab.report.words import align, number, percent

if TYPE_CHECKING:
    import argparse

    from lab.measure.plan.needs import Held, Needs, Range, Wanted
    from lab.measure.samples import Row

# More is a mistake.
MOST = 10**9

# What a part may use of what it can have: the rest is for bursts, and for a daemon that is away.
BUSY = 0.7

FULL = (
    "A line costs what it cost a fleet under full load, where many share a batch. A fleet with time to"
    " spare pays more for each, out of the time that it has."
)
NOT_MEASURED = (
    "Not in it, because no experiment measures it: the network, the store's memory and its disk's"
    " writes a second, a daemon's own memory, replicas (`fleet experiment shards` has their CPU),"
    " and HAProxy's part of deliveries."
)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `plan` and its flags."""
    parser = subparsers.add_parser(
        "plan",
        help="say how many daemons and shards a load needs, by what was measured here",
        description="Say how many daemons and shards, how many CPUs and how much memory a load needs,"
        " by the newest results of `fleet experiment scaling`, and of `fanout` if there are posts.",
    )
    whole = between(int, 0, MOST)
    for name, default, what in (
        ("--connections", 0, "connections"),
        ("--lines-per-s", 0, "lines a second, all connections together"),
        ("--rooms", 1, "rooms"),
        ("--members", 2, "members of a room who are there"),
        ("--posts-per-s", 0, "posts a second, all rooms together"),
    ):
        parser.add_argument(
            name, type=whole, default=default, metavar="N", help=f"{what} [%(default)s]"
        )
    parser.add_argument(
        "--busy", type=between(float, 0.05, 1.0), default=BUSY, metavar="SHARE",
        help="what a daemon or a shard may use of its CPU [%(default)s]",
    )  # fmt: skip
    parser.add_argument(
        "--results", type=Path, default=Path("results"), metavar="DIR", help="folder [%(default)s]"
    )
    parser.add_argument(
        "--check", action="store_true",
        help="predict what each number of daemons gave in that run, by what the others cost",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Print the plan, or with --check how well it would have predicted; the exit status.

    Raises:
        MeasureError: There are no results to plan from.
    """
    scaling = newest(args.results, "scaling")
    try:
        print(_checked(scaling) if args.check else _planned(args, scaling))
    except KeyError as error:
        text = f"{args.results}: the newest results have no {error}: run the experiment again"
        raise MeasureError(text) from None
    return 0


def _checked(scaling: Path) -> str:
    held = needs.check(read(scaling / "points.csv"), len(os.sched_getaffinity(0)))
    if not held:
        raise MeasureError(
            f"{scaling}: the whole fleet with several numbers of daemons is not in it"
        )
    return checked(scaling, held)


def _planned(args: argparse.Namespace, scaling: Path) -> str:
    wanted = needs.Wanted(
        args.connections,
        args.lines_per_s,
        max(1, args.rooms),
        max(1, args.members),
        args.posts_per_s,
        args.busy,
    )
    many = read(scaling / "c10k.csv") if (scaling / "c10k.csv").exists() else []
    line = needs.lines(read(scaling / "points.csv"), many[0] if many else None)
    if line is None:
        raise MeasureError(f"{scaling}: the whole fleet is not in it")
    if wanted.connections and line.connections is None:
        raise MeasureError(f"{scaling}: no connections were held in it (--c10k 0)")
    sources, post = [scaling], None
    if wanted.posts_per_s:
        sources.append(newest(args.results, "fanout"))
        post = needs.posts(read(sources[-1] / "points.csv"), wanted.members)
        if post is None:
            raise MeasureError(f"{sources[-1]}: the route `room` is not in it")
    return told(wanted, needs.needs(wanted, line, post), sources)


def newest(root: Path, name: str) -> Path:
    """The directory of the newest run of an experiment that did not fail and was no smoke run.

    Raises:
        MeasureError: There is none; the text says which command makes one.
    """
    for directory, made in results.runs(root):
        smoke = "--quick" in made["command"].split()
        if made["name"] == name and not made["failed"] and not smoke:
            return root / directory
    raise MeasureError(f"nothing was measured yet in {root}: run `fleet experiment {name}` first")


def read(path: Path) -> list[Row]:
    """An experiment's CSV file: numbers as numbers, what is empty as None.

    Raises:
        MeasureError: It can't be read.
    """
    try:
        with path.open(newline="") as file:
            return [
                {name: _value(text) for name, text in row.items()} for row in csv.DictReader(file)
            ]
    except OSError as error:
        raise MeasureError(f"{path}: {error.strerror}") from None


def _value(text: str) -> object:
    if not text:
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def told(wanted: Wanted, found: Needs, sources: list[Path]) -> str:
    """The plan in words and a table."""
    asked = []
    if wanted.connections:
        asked.append(f"{wanted.connections:,} connections")
    if wanted.lines_per_s:
        asked.append(f"{wanted.lines_per_s:,.0f} lines/s")
    if wanted.posts_per_s:
        asked.append(
            f"{wanted.posts_per_s:,.0f} posts/s in {wanted.rooms:,} rooms of {wanted.members:,}"
        )
    cluster = "a cluster" if found.shards.high > 1 else "one Redis"
    memory = f"{found.memory_bytes / 1e6:,.0f} MB for connections" if found.memory_bytes else "-"
    table = [
        ("part", "how many", "CPUs", "memory"),
        ("daemons", counted(found.daemons), cpus(found, needs.DAEMONS), memory),
        (f"shards ({cluster})", counted(found.shards), cpus(found, needs.STORE), "-"),
        ("HAProxy's threads", counted(found.haproxy_threads), cpus(found, needs.HAPROXY), "-"),
        ("together", "", ranged(found.all_cpus), ""),
    ]
    text = [f"For {', '.join(asked) or 'nothing'}:", align(table)]
    if found.threads.high:
        text.append(
            f"One Redis would be full at {ranged(found.one_redis)} times this load: in each second its"
            f" thread would have {ranged(found.threads)} s of work and of waiting for its disk. A daemon,"
            f" a shard and a thread may use {percent(wanted.busy)} of a CPU (--busy)."
        )
        text.append(f"If the load grows, full first: {_first(found)}.")
    text += [f"Beyond what was measured: {name}, {number(times)} times the {number(most)} that were."
             for name, times, most in found.beyond]  # fmt: skip
    if not found.beyond:
        text.append("All of it is within what was measured.")
    text += [FULL, NOT_MEASURED, f"Measured: {', '.join(map(str, sources))}."]
    return "\n\n".join(text)


def _first(found: Needs) -> str:
    return "the daemons" if found.full_first == needs.DAEMONS else "a shard's thread"


def cpus(found: Needs, part: str) -> str:
    """Of a part, from the least to the most."""
    return ranged(found.cpus[part])


def counted(one: Range) -> str:
    """`2 to 5`, or `2`: how many."""
    return _joined(*(f"{value:,.0f}" for value in one))


def ranged(one: Range) -> str:
    """`1.25 to 5.02`: figures."""
    return _joined(*map(number, one))


def _joined(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"


def checked(source: Path, held: list[Held]) -> str:
    """Each prediction beside what was measured."""
    table = [("daemons", "predicted, /s", "measured, /s", "within")]
    table += [
        (
            str(one.daemons),
            ranged(one.predicted),
            ranged(one.measured),
            "yes" if one.within else "NO",
        )
        for one in held
    ]
    what = (
        "Round trips a second of the whole fleet on this machine, load included. Each number of daemons"
        " is predicted by what a line cost with the others, and held against its repeats."
    )
    text = [what, align(table)]
    if not all(one.within for one in held):
        text.append(
            "NO: with so many daemons a line costs something else than with the other numbers. Daemons"
            " that share the load have smaller batches, which cost more a line."
        )
    return "\n\n".join([*text, f"Measured: {source}."])
