"""HAProxy's and Redis's figures. Pure.

HAProxy's are the names of its own `/metrics`, Redis's those of the Redis exporter; where no
exporter stands beside it, `from_info` makes them of INFO.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lab.fleet.metrics import Samples
from lab.top.figures import rate
from lab.top.parts import Part, State, state_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lab.fleet.metrics import Reading

# haproxy.cfg's frontend of both ports, and its backends by the port whose clients they serve.
# Beside each stands one without checks, for when no daemon passes them.
FRONTEND: Final = "clients"
BACKENDS: Final = {"echo": "echod", "session": "sessions"}
UNCHECKED: Final = "_unchecked"

# The exporter's names, and where INFO has the same.
INFO_NAMES: Final = {
    "redis_connected_clients": "connected_clients",
    "redis_memory_used_bytes": "used_memory",
    "redis_memory_max_bytes": "maxmemory",
    "redis_commands_processed_total": "total_commands_processed",
    "redis_aof_current_size_bytes": "aof_current_size",
    "redis_aof_delayed_fsync": "aof_delayed_fsync",
    "redis_cpu_sys_seconds_total": "used_cpu_sys",
    "redis_cpu_user_seconds_total": "used_cpu_user",
}


@dataclass(frozen=True, slots=True)
class HaproxyRow:
    """The balance; rates are a second's."""

    state: State
    where: str
    echo: float | None = None
    """Clients connected to the plain port."""
    session: float | None = None
    connects: float | None = None
    echo_servers: float | None = None
    """Daemons that clients of the plain port are sent to."""
    session_servers: float | None = None
    queue: float | None = None
    errors: float | None = None
    """Connections to daemons that failed."""
    retries: float | None = None
    denied: float | None = None
    """Clients refused by a limit for each source."""
    busy: float | None = None
    """Share of its time, 0 to 1."""


@dataclass(frozen=True, slots=True)
class RedisRow:
    """The store; rates are a second's."""

    state: State
    where: str
    operations: float | None = None
    clients: float | None = None
    memory_bytes: float | None = None
    memory_bytes_max: float | None = None
    aof_bytes: float | None = None
    delayed_fsyncs: float | None = None
    """Writes that waited for an fsync in the background, since its start."""
    aof_failed: bool | None = None
    """Whether the last write to the append-only file failed."""
    cpu: float | None = None
    """Of one CPU: 1.0 is all of it."""


def haproxy_row(part: Part, before: Reading | None, now: Reading | None) -> HaproxyRow:
    """HAProxy's figures."""
    samples = now.samples if now else None
    state = state_of(part.life, samples)
    if now is None or samples is None:
        return HaproxyRow(state, part.where)

    def rate_of(name: str, **labels: str) -> float | None:
        return rate(before, now, name, **labels) if before else None

    servers = samples.by_label("haproxy_backend_active_servers", "proxy")
    clients = {port: _clients(samples, backend) for port, backend in BACKENDS.items()}
    idle = samples.get("haproxy_process_idle_time_percent")
    return HaproxyRow(
        state=state,
        where=part.where,
        echo=clients["echo"],
        session=clients["session"],
        connects=rate_of("haproxy_frontend_connections_total", proxy=FRONTEND),
        echo_servers=servers.get(BACKENDS["echo"]),
        session_servers=servers.get(BACKENDS["session"]),
        queue=samples.get("haproxy_backend_current_queue"),
        errors=rate_of("haproxy_backend_connection_errors_total"),
        retries=rate_of("haproxy_backend_retry_warnings_total"),
        denied=rate_of("haproxy_frontend_denied_connections_total", proxy=FRONTEND),
        busy=None if idle is None else 1 - idle / 100,
    )


def _clients(samples: Samples, backend: str) -> float | None:
    sessions = samples.by_label("haproxy_backend_current_sessions", "proxy")
    if backend not in sessions:
        return None
    return sessions[backend] + sessions.get(backend + UNCHECKED, 0.0)


def balance_of(samples: Samples, server: str) -> str | None:
    """What HAProxy thinks of a daemon: `up`, or what is not, by port; None: it knows no such."""
    words = {}
    for port, backend in BACKENDS.items():
        states = samples.by_label("haproxy_server_status", "state", proxy=backend, server=server)
        words[port] = next((state.lower() for state, is_so in states.items() if is_so), None)
    known = {port: word for port, word in words.items() if word}
    if len(set(known.values())) == 1:
        return next(iter(known.values()))
    return ", ".join(f"{port} {word}" for port, word in known.items()) or None


def redis_row(part: Part, before: Reading | None, now: Reading | None) -> RedisRow:
    """Redis's figures."""
    samples = now.samples if now else None
    state = state_of(part.life, samples)
    if now is None or samples is None or samples.get("redis_up") == 0:
        return RedisRow(State.SILENT if state is State.UP else state, part.where)
    cpu = [
        rate(before, now, f"redis_cpu_{kind}_seconds_total") if before else None
        for kind in ("sys", "user")
    ]
    written = samples.get("redis_aof_last_write_status")
    return RedisRow(
        state=state,
        where=part.where,
        operations=rate(before, now, "redis_commands_processed_total") if before else None,
        clients=samples.get("redis_connected_clients"),
        memory_bytes=samples.get("redis_memory_used_bytes"),
        memory_bytes_max=samples.get("redis_memory_max_bytes"),
        aof_bytes=samples.get("redis_aof_current_size_bytes"),
        delayed_fsyncs=samples.get("redis_aof_delayed_fsync"),
        aof_failed=None if written is None else not written,
        cpu=None if cpu[0] is None or cpu[1] is None else cpu[0] + cpu[1],
    )


def from_info(info: Mapping[str, object]) -> Samples:
    """The exporter's samples, as far as they are used here, of Redis's INFO."""
    values = {name: info.get(field) for name, field in INFO_NAMES.items()}
    values["redis_aof_last_write_status"] = float(info.get("aof_last_write_status") == "ok")
    return Samples(
        {
            name: (({}, float(value)),)
            for name, value in values.items()
            if isinstance(value, (int, float))
        }
    )
