"""The report of `fleet experiment fanout`: raw data, plots, tables, words."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lab.measure.experiment import calm, fanout_answers, fanout_plots
from lab.measure.experiment.fanout import SLOW_PEERS
from lab.measure.experiment.fanout_answers import COMPARED_SERVERS, short
from lab.measure.experiment.fanout_summary import BUSY_MAX, summarise
from lab.measure.experiment.fanout_systems import ROOM, ROUTES, daemons
from lab.measure.experiment.samples import READING, ranged
from lab.report import plots, results
from lab.report.page import Plot, Report, Table
from lab.report.words import number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from lab.measure.experiment.fanout import Load, Plan, Point
    from lab.measure.experiment.fanout_answers import Promise
    from lab.measure.experiment.fanout_summary import Summary
    from lab.report.machine import Machine

HEADERS = (
    *("system", "servers", "rooms", "deliveries/s", "p50, ms", "p99, ms"),
    *("servers, µs", "Redis, µs", "deliveries/CPU s", "copies", "in vain", "lost", "reordered"),
)
BUSY_HEADERS = ("system", "servers", "rooms", "busiest server", "Redis", "load", "machine")


def write_raw(directory: Path, points: Sequence[Point]) -> None:
    """`points.csv`, a line for each measurement."""
    results.write_csv(directory / "points.csv", [_flat(point) for point in points])


def report(  # noqa: PLR0913 — each is one thing that the report tells of
    directory: Path,
    plan: Plan,
    points: Sequence[Point],
    *,
    grid: Sequence[Load],
    tick: tuple[Load, float],
    promises: Sequence[Promise],
    machine: Machine,
    command: str,
    date: str,
    warnings: Sequence[str],
) -> Report:
    """Draw the plots into `directory` and put everything together."""
    summaries = summarise(points)
    titles = {step.system.name: step.system.title for step in plan.steps}
    return Report(
        title="How a post reaches the members of a room on other servers",
        question="How should a posted message be pushed to all active users of a room when they are"
        " connected to different servers? By one channel that every server listens to, by a channel"
        " for each room, or to the servers where members are known to be: what does each cost, what"
        " is in vain, and where does each stop?",
        lead=fanout_answers.lead(summaries, grid),
        answers=fanout_answers.answers(summaries, grid, tick, promises),
        plots=_plots(directory, summaries, grid, [grid[0], tick[0], grid[1]], titles)
        if summaries
        else [],
        tables=[_table(summaries, titles), _busy(summaries, titles)],
        method=_method(plan),
        machine=machine.rows,
        commands=["make setup", f".venv/bin/{command}"],
        files=[
            ("points.csv", "every measurement: rate, latency, CPU by part, copies, losses"),
            ("*.svg, *.png", "the plots"),
            ("run.json", "the answers, for the index and the next run"),
        ],
        date=date,
        reading=READING,
        warnings=warnings,
    )


def _plots(
    directory: Path,
    summaries: Sequence[Summary],
    grid: Sequence[Load],
    compared_loads: Sequence[Load],
    titles: Mapping[str, str],
) -> list[Plot]:
    compared = _compared(summaries, compared_loads)
    with plots.look():
        drawn = [
            (
                "ways",
                "What a delivery costs, by route and number of daemons",
                (
                    "Daemons and Redis together; points are medians with their range. Where the lines lie"
                    " together, every daemon has members of every room; where they part, one of them"
                    " works for nobody."
                ),
                fanout_plots.ways(summaries, grid),
            )
        ]
        if compared:
            drawn.append(
                (
                    "systems",
                    f"What a CPU second brings, {COMPARED_SERVERS} servers of each",
                    (
                        "Longer is better. echod stores every post and gives it one place in one order"
                        " for all members; of the others, only the streams adapter stores, and none"
                        " orders."
                    ),
                    fanout_plots.systems(compared, titles),
                )
            )
    return [
        Plot(name, title, caption, plots.save(figure, directory, name, f"{title}. {caption}"))
        for name, title, caption, figure in drawn
    ]


def _compared(summaries: Sequence[Summary], loads: Sequence[Load]) -> dict[str, dict[str, Summary]]:
    """By load, then by system: the peers, and daemons by the default route. Empty without peers.

    A peer that gets a part of the posts (`SLOW_PEERS`) stands with those that get them all.
    """
    left_out = {daemons(route).name for route in ROUTES if route != ROOM}
    columns = {
        short(load): {
            one.system: one
            for one in summaries
            if one.servers == COMPARED_SERVERS
            and one.system not in left_out
            and one.load == load.times(SLOW_PEERS.get(one.system, 1.0))
        }
        for load in loads
    }
    known = {name for column in columns.values() for name in column}
    return columns if any(not name.startswith("echod") for name in known) else {}


def _table(summaries: Sequence[Summary], titles: Mapping[str, str]) -> Table:
    return Table(
        "Rates, latencies, costs",
        "Medians of the repeats, in brackets their range. µs are CPU for a delivery, of all servers"
        " and of Redis. A copy is a publication that reached a daemon, for a post; in vain are those"
        " that found no member there. Lost are deliveries missing, repeated or wrong, reordered"
        " those behind a later post, in all repeats.",
        HEADERS,
        [
            [
                titles[one.system],
                str(one.servers),
                short(one.load),
                ranged(one.rate),
                ranged(one.p50_ms),
                ranged(one.p99_ms),
                ranged(one.servers_us),
                ranged(one.redis_us),
                ranged(one.per_cpu_s),
                number(one.copies.median) if one.copies.max else "-",
                f"{one.vain.median:.0%}" if one.copies.max else "-",
                f"{one.lost:,}",
                f"{one.reordered:,}",
            ]
            for one in summaries
        ],
    )


def _busy(summaries: Sequence[Summary], titles: Mapping[str, str]) -> Table:
    return Table(
        "How busy each part was",
        "The least to the most of the repeats. A server process, Redis's thread and the load"
        f" generator can have one CPU each; machine is all CPUs together. Above {BUSY_MAX:.0%} of a"
        " server or of the machine, latencies are those of a queue.",
        BUSY_HEADERS,
        [
            [
                titles[one.system],
                str(one.servers),
                short(one.load),
                *(_percent(one, part) for part in ("server", "redis", "load", "machine")),
            ]
            for one in summaries
        ],
    )


def _percent(one: Summary, part: str) -> str:
    values = [getattr(busy, part) for busy in one.busy]
    low, high = f"{min(values):.0%}", f"{max(values):.0%}"
    return low if low == high else f"{low}-{high}"


def _method(plan: Plan) -> list[str]:
    return [
        (
            "One load generator in C has all members, spread evenly over the servers, and posts at an"
            f" even pace for {plan.seconds:g} s after {plan.warm_up_s:g} s of warm-up, whatever"
            " becomes of the posts; members take turns. A post is 64 bytes that hold its number and"
            " when it was sent. Every member's every delivery is checked: its bytes, once, and with"
            " echod in one order for all members. Latency is from sending a post to having read it"
            f" at a member. Everything is measured {plan.repeats} times in turns."
        ),
        (
            f"echod is {'as shipped' if plan.appendfsync == 'always' else 'measured'} with"
            f" appendfsync {plan.appendfsync}: a post is in Redis's append-only file before its"
            " sender is told. The peers are set up as their own documentation says (lab/measure/peers), over"
            " WebSocket, with a Redis that writes no file; a post is not acknowledged to its sender."
            " Django Channels gets a tenth of the posts: it can't keep up with more here."
        ),
        (
            "CPU is the kernel's count for each process in the measured seconds. A process that sends"
            " over loopback also does the receiver's part of TCP. Everything shares this machine's"
            " CPUs and nothing is pinned; the generator's own CPU is in no figure but its own."
        ),
        (
            "Where a route stops is computed from what a post costs in the smallest rooms, with the"
            " fewest and with the most daemons: the difference, divided by the copies that are more,"
            " is what a copy costs. Redis's thread is full at 1 / (its CPU for a post of so many"
            " copies), a daemon that reads every post at 1 / (its CPU for a copy). With more posts a"
            " post costs less, since more of them share a batch and a write to disk: the limits are"
            " careful ones, and for comparing the ways."
        ),
        calm.METHOD,
    ]


def _flat(point: Point) -> dict[str, Any]:
    row = asdict(point)
    load, busy = row.pop("load"), row.pop("busy")
    return {**load, **row, **{f"{name}_busy": value for name, value in busy.items()}}
