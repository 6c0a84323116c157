"""Every figure that is shown, once: its name, where it comes from, how it is written. Pure.

HAProxy's are the names of its own `/metrics`, Redis's those of the Redis exporter. Rates are a
second's, and 1.0 of CPU is a whole one.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lab.report.words import align
from lab.top import cells
from lab.top.cells import NOTHING, count, duration, share, size, tenths
from lab.top.figures import added, gauge, mean, quantile, rate, total

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lab.fleet.metrics import Samples
    from lab.top.figures import Pair, Value
    from lab.top.model import Row, View


class Figure(NamedTuple):
    """A figure by its name; `title` is its column's, if it has one."""

    name: str
    value: Value
    write: Callable[[float], str]
    title: str = ""


# haproxy.cfg's backends by the port whose clients they serve; its frontend `clients` has both.
# Beside each stands one without checks, `_unchecked`, for when no daemon passes them.
BACKENDS: Final = {"echo": "echod", "session": "sessions"}

CLOSED: Final = "echod_connections_closed_total"

# Ends that the client brought about; every other reason is an ERR that it was told.
CLIENTS_REASONS: Final = frozenset({"client", "reset", "quit"})


def _errors(pairs: Sequence[Pair]) -> float | None:
    """Clients that were told ERR and closed, a second."""
    if not any(before for before, _ in pairs):
        return None
    reasons = {reason for _, now in pairs for reason in now.samples.by_label(CLOSED, "reason")}
    told = [rate(CLOSED, reason=reason)(pairs) for reason in reasons - CLIENTS_REASONS]
    return total([0.0, *told])


def _clients(backend: str) -> Value:
    """Those that HAProxy has in a backend, checked or not."""
    name = "haproxy_backend_current_sessions"
    return added(gauge(name, proxy=backend), gauge(name, proxy=f"{backend}_unchecked"))


def _busy(pairs: Sequence[Pair]) -> float | None:
    """Share of its time, 0 to 1."""
    idle = gauge("haproxy_process_idle_time_percent")(pairs)
    return None if idle is None else 1 - idle / 100


def _aof_failed(pairs: Sequence[Pair]) -> float | None:
    """Whether the last write to an append-only file failed."""
    found = [now.samples.get("redis_aof_last_write_status") for _, now in pairs]
    written = [status for status in found if status is not None]
    return not all(written) if written else None


# In the order of their columns; of all daemons together too.
DAEMON: Final = (
    Figure("echo", gauge("echod_connections", port="echo"), count, "echo"),
    Figure("session", gauge("echod_connections", port="session"), count, "session"),
    Figure("lines", rate("echod_lines_answered_total"), cells.rate, "lines/s"),
    Figure("reply_p50_s", quantile("echod_reply_seconds", 0.5), duration, "reply p50"),
    Figure("reply_p99_s", quantile("echod_reply_seconds", 0.99), duration, "p99"),
    Figure("commit_p99_s", quantile("echod_commit_seconds", 0.99), duration, "commit p99"),
    Figure("batch", mean("echod_batch_writes"), tenths, "batch"),
    Figure("waiting", gauge("echod_lines_waiting"), count, "waiting"),
    Figure("errors", _errors, cells.rate, "ERR/s"),
    Figure("lag_p99_s", quantile("echod_loop_lag_seconds", 0.99), duration, "lag p99"),
    Figure("memory_bytes", gauge("process_resident_memory_bytes"), size, "memory"),
    Figure("cpu", rate("process_cpu_seconds_total"), share, "CPU"),
)

# Beside them stands the trend, which needs to know all rows.
TITLES: Final = ("daemon", "state", *(figure.title for figure in DAEMON), "HAProxy")

HAPROXY: Final = (
    Figure("echo", _clients("echod"), count),
    Figure("session", _clients("sessions"), count),
    Figure("connects", rate("haproxy_frontend_connections_total", proxy="clients"), cells.rate),
    Figure("echo_servers", gauge("haproxy_backend_active_servers", proxy="echod"), count),
    Figure("session_servers", gauge("haproxy_backend_active_servers", proxy="sessions"), count),
    Figure("queue", gauge("haproxy_backend_current_queue"), count),
    Figure("errors", rate("haproxy_backend_connection_errors_total"), cells.rate),
    Figure("retries", rate("haproxy_backend_retry_warnings_total"), cells.rate),
    Figure(
        "denied", rate("haproxy_frontend_denied_connections_total", proxy="clients"), cells.rate
    ),
    Figure("busy", _busy, share),
)

# Those with a title are columns of the nodes' table.
REDIS: Final = (
    Figure("operations", rate("redis_commands_processed_total"), cells.rate, "ops/s"),
    Figure("clients", gauge("redis_connected_clients"), count, "clients"),
    Figure("memory_bytes", gauge("redis_memory_used_bytes"), size, "memory"),
    Figure("memory_bytes_max", gauge("redis_memory_max_bytes"), size),
    Figure("aof_bytes", gauge("redis_aof_current_size_bytes"), size),
    Figure("delayed_fsyncs", gauge("redis_aof_delayed_fsync"), count),
    Figure("aof_failed", _aof_failed, lambda failed: "FAILED" if failed else "written"),
    Figure(
        "cpu",
        added(*(rate(f"redis_cpu_{of}_seconds_total") for of in ("sys", "user"))),
        share,
        "CPU",
    ),
)

NODE: Final = tuple(figure for figure in REDIS if figure.title)
NODE_TITLES: Final = (
    *("node", "state", "shard", "role"),
    *(figure.title for figure in NODE),
    *("replication", "address"),
)

# What is said of them, in terms of the figures.
FLEET_LINE: Final = (
    "{up} of {daemons} up · {echo} echo and {session} session connections · {lines} lines/s"
    " · reply p50 {reply_p50_s}, p99 {reply_p99_s} · commit p99 {commit_p99_s} · {errors} ERR/s"
    " · CPU {cpu}"
)
SERVER_LINES: Final = {
    "HAProxy": {
        "state": "{state}  {where}",
        "clients": "{echo} echo, {session} session",
        "connects": "{connects}/s",
        "sends to": "{echo_servers} echo, {session_servers} session",
        "queued": "{queue}",
        "failed": "{errors}/s, retried {retries}/s",
        "refused": "{denied}/s",
        "busy": "{busy}",
    },
    "Redis": {
        "state": "{state}  {where}",
        "operations": "{operations}/s",
        "clients": "{clients}",
        "memory": "{memory_bytes} of {memory_bytes_max}",
        "AOF": "{aof_bytes}, {aof_failed}",
        "late fsyncs": "{delayed_fsyncs}",
        "CPU": "{cpu}",
    },
}


def values(figures: Sequence[Figure], pairs: Sequence[Pair]) -> dict[str, float | None]:
    """Each figure's value, by name."""
    return {figure.name: figure.value(pairs) for figure in figures}


def balance_of(samples: Samples, server: str) -> str | None:
    """What HAProxy thinks of a daemon: `up`, or what is not, by port; None: it knows no such."""
    known = {}
    for port, backend in BACKENDS.items():
        states = samples.by_label("haproxy_server_status", "state", proxy=backend, server=server)
        for state in (state for state, is_so in states.items() if is_so):
            known[port] = state.lower()
    if len(set(known.values())) == 1:
        return next(iter(known.values()))
    return ", ".join(f"{port} {word}" for port, word in known.items()) or None


def cells_of(row: Row) -> dict[str, str]:
    """A daemon's cells, by their columns' titles."""
    said = _written(DAEMON, row)
    figures = [said[figure.name] for figure in DAEMON]
    texts = (row["name"], row["state"], *figures, row["balance"] or NOTHING)
    return dict(zip(TITLES, texts, strict=True))


def node_cells_of(row: Row) -> dict[str, str]:
    """A Redis node's cells, by their columns' titles."""
    said = _written(NODE, row)
    texts = (
        *(row["name"], row["state"], str(row["shard"]), row["role"] or NOTHING),
        *(said[figure.name] for figure in NODE),
        *(replication(row), row["address"] or NOTHING),
    )
    return dict(zip(NODE_TITLES, texts, strict=True))


def replication(row: Row) -> str:
    """A master's: how many replicas have what it has; a replica's: whether it does."""
    if row["replicas"] and row["in_step"] is not None:
        return f"{row['in_step']} of {row['replicas']} in step"
    if row["link"] == "behind":
        return f"{row['lag_s']:.0f} s behind"
    return str(row["link"] or NOTHING)


def fleet_line(view: View) -> str:
    """All daemons in one line."""
    return FLEET_LINE.format(**_written(DAEMON, view.all))


def facts(view: View) -> dict[str, dict[str, str]]:
    """What is said of HAProxy and Redis, by their names."""
    said = {"HAProxy": _written(HAPROXY, view.haproxy), "Redis": _written(REDIS, view.redis)}
    return {
        server: {what: line.format(**said[server]) for what, line in lines.items()}
        for server, lines in SERVER_LINES.items()
    }


def text(view: View) -> str:
    """A view for people without a screen."""
    rows = [list(cells_of(row).values()) for row in view.daemons]
    nodes = [list(node_cells_of(row).values()) for row in view.nodes]
    servers = [
        f"{server:<8} " + " · ".join(f"{what} {figure}" for what, figure in said.items())
        for server, said in facts(view).items()
    ]
    lines = [f"{clock(view)}  {view.fleet}", fleet_line(view), "", align([TITLES, *rows]), ""]
    lines += [align([NODE_TITLES, *nodes]), ""]
    return "\n".join([*lines, *servers])


def as_json(view: View) -> str:
    """A view for scripts, in one line: the fields of `model.View` by their names."""
    return json.dumps(asdict(view))


def clock(view: View) -> str:
    """When it was looked at."""
    return time.strftime("%H:%M:%S", time.localtime(view.at_s))


def _written(figures: Sequence[Figure], row: Row) -> dict[str, Any]:
    """A row with its figures as text."""
    texts = {}
    for name, _, write, _ in figures:
        texts[name] = NOTHING if row[name] is None else write(row[name])
    return {**row, **texts}
