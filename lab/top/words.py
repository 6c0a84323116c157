"""A view as words: the columns that text and screen share, and plain text and JSON. Pure."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, NamedTuple

from lab.report.words import align
from lab.top import cells
from lab.top.cells import count, duration, rate, share, size, tenths

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.top.daemons import DaemonRow
    from lab.top.model import View


class Column(NamedTuple):
    """One figure of a daemon, and how it is written."""

    title: str
    cell: Callable[[DaemonRow], str]


# Beside them stands the trend, which needs to know all rows.
COLUMNS = (
    Column("daemon", lambda row: row.name),
    Column("state", lambda row: row.state),
    Column("echo", lambda row: count(row.echo)),
    Column("session", lambda row: count(row.session)),
    Column("lines/s", lambda row: rate(row.lines)),
    Column("reply p50", lambda row: duration(row.reply_p50_s)),
    Column("p99", lambda row: duration(row.reply_p99_s)),
    Column("commit p99", lambda row: duration(row.commit_p99_s)),
    Column("batch", lambda row: tenths(row.batch)),
    Column("waiting", lambda row: count(row.waiting)),
    Column("ERR/s", lambda row: rate(row.errors)),
    Column("lag p99", lambda row: duration(row.lag_p99_s)),
    Column("memory", lambda row: size(row.memory_bytes)),
    Column("CPU", lambda row: share(row.cpu)),
    Column("HAProxy", lambda row: row.balance or cells.NOTHING),
)

Facts = list[tuple[str, str]]
"""What is said of a server: (name, figure)."""


def fleet_line(view: View) -> str:
    """All daemons in one line."""
    everything = view.all
    return (
        f"{everything.up} of {everything.daemons} up"
        f" · {count(everything.echo)} echo and {count(everything.session)} session connections"
        f" · {rate(everything.lines)} lines/s"
        f" · reply p50 {duration(everything.reply_p50_s)}, p99 {duration(everything.reply_p99_s)}"
        f" · commit p99 {duration(everything.commit_p99_s)}"
        f" · {rate(everything.errors)} ERR/s"
        f" · CPU {share(everything.cpu)}"
    )


def haproxy_facts(view: View) -> Facts:
    """The balance."""
    row = view.haproxy
    return [
        ("state", f"{row.state}  {row.where}"),
        ("clients", f"{count(row.echo)} echo, {count(row.session)} session"),
        ("connects", f"{rate(row.connects)}/s"),
        ("sends to", f"{count(row.echo_servers)} echo, {count(row.session_servers)} session"),
        ("queued", count(row.queue)),
        ("failed", f"{rate(row.errors)}/s, retried {rate(row.retries)}/s"),
        ("refused", f"{rate(row.denied)}/s"),
        ("busy", share(row.busy)),
    ]


def redis_facts(view: View) -> Facts:
    """The store."""
    row = view.redis
    written = {None: cells.NOTHING, True: "FAILED", False: "written"}[row.aof_failed]
    return [
        ("state", f"{row.state}  {row.where}"),
        ("operations", f"{rate(row.operations)}/s"),
        ("clients", count(row.clients)),
        ("memory", f"{size(row.memory_bytes)} of {size(row.memory_bytes_max)}"),
        ("AOF", f"{size(row.aof_bytes)}, {written}"),
        ("late fsyncs", count(row.delayed_fsyncs)),
        ("CPU", share(row.cpu)),
    ]


def text(view: View) -> str:
    """A view for people without a screen."""
    titles = [column.title for column in COLUMNS]
    rows = [[column.cell(row) for column in COLUMNS] for row in view.daemons]
    facts = [
        f"{name:<8} " + " · ".join(f"{what} {figure}" for what, figure in said)
        for name, said in (("HAProxy", haproxy_facts(view)), ("Redis", redis_facts(view)))
    ]
    lines = [f"{clock(view)}  {view.fleet}", fleet_line(view), "", align([titles, *rows]), ""]
    return "\n".join([*lines, *facts])


def as_json(view: View) -> str:
    """A view for scripts, in one line: the fields of `model.View` by their names."""
    return json.dumps(asdict(view))


def clock(view: View) -> str:
    """When it was looked at."""
    return time.strftime("%H:%M:%S", time.localtime(view.at_s))
