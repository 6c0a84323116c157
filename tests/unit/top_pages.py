"""Pages and looks for the tests of `fleet top`: what parts would say."""

from __future__ import annotations

from lab.fleet.metrics import Reading, Samples, from_text
from lab.top.model import Look, Node, Part, State
from lab.top.sources import from_info

DAEMON = """\
# TYPE echod_connections gauge
echod_connections{{port="echo"}} {echo}
echod_connections{{port="session"}} {session}
# TYPE echod_lines_answered counter
echod_lines_answered_total {lines}
# TYPE echod_connections_closed counter
echod_connections_closed_total{{port="echo",reason="client"}} {left}
echod_connections_closed_total{{port="echo",reason="unavailable"}} {errors}
# TYPE echod_reply_seconds histogram
echod_reply_seconds_bucket{{le="0.001"}} {fast}
echod_reply_seconds_bucket{{le="0.01"}} {lines}
echod_reply_seconds_bucket{{le="+Inf"}} {lines}
echod_reply_seconds_count {lines}
echod_reply_seconds_sum 1
# TYPE echod_batch_writes histogram
echod_batch_writes_bucket{{le="+Inf"}} {batches}
echod_batch_writes_count {batches}
echod_batch_writes_sum {lines}
# TYPE echod_lines_waiting gauge
echod_lines_waiting 3
# TYPE echod_degraded gauge
echod_degraded {degraded}
# TYPE echod_draining gauge
echod_draining {draining}
# TYPE process_cpu_seconds counter
process_cpu_seconds_total {cpu}
# TYPE process_resident_memory_bytes gauge
process_resident_memory_bytes 4.2e7
"""

QUIET = dict.fromkeys(
    ("echo", "session", "lines", "left", "errors", "fast", "degraded", "draining", "cpu"), 0.0
) | {"batches": 0.0}

HAPROXY = """\
# TYPE haproxy_process_idle_time_percent gauge
haproxy_process_idle_time_percent 75
# TYPE haproxy_frontend_connections counter
haproxy_frontend_connections_total{{proxy="clients"}} {connects}
haproxy_frontend_connections_total{{proxy="stats"}} 1e6
# TYPE haproxy_frontend_denied_connections counter
haproxy_frontend_denied_connections_total{{proxy="clients"}} {denied}
# TYPE haproxy_backend_current_sessions gauge
haproxy_backend_current_sessions{{proxy="echod"}} 40
haproxy_backend_current_sessions{{proxy="echod_unchecked"}} 2
haproxy_backend_current_sessions{{proxy="sessions"}} 5
# TYPE haproxy_backend_active_servers gauge
haproxy_backend_active_servers{{proxy="echod"}} 2
haproxy_backend_active_servers{{proxy="sessions"}} 1
# TYPE haproxy_server_status gauge
haproxy_server_status{{proxy="echod",server="echod1",state="UP"}} 1
haproxy_server_status{{proxy="echod",server="echod1",state="DOWN"}} 0
haproxy_server_status{{proxy="sessions",server="echod1",state="UP"}} 1
haproxy_server_status{{proxy="echod",server="echod2",state="UP"}} 1
haproxy_server_status{{proxy="sessions",server="echod2",state="DOWN"}} 1
"""


def daemon(at_s: float, **values: float) -> Reading:
    """A daemon's page at a time; `lines`, `fast`, `errors` … as above, 0 if not given."""
    return Reading(at_s, from_text(DAEMON.format(**{**QUIET, **values})))


def haproxy(at_s: float, connects: float = 0, denied: float = 0) -> Reading:
    """HAProxy's page at a time."""
    return Reading(at_s, from_text(HAPROXY.format(connects=connects, denied=denied)))


def info(**fields: object) -> Samples:
    """What Redis's INFO amounts to."""
    return from_info({"used_memory": 1000, "aof_last_write_status": "ok", **fields})


def look(at_s: float, *daemons: Part, nodes: tuple[Node, ...] = ()) -> Look:
    """A look at these daemons, and at a HAProxy and a Redis that are well, or at these nodes."""
    return Look(
        at_s=at_s,
        fleet="a fleet",
        daemons=daemons,
        haproxy=Part("haproxy", State.UP, (haproxy(at_s),), "pid 1"),
        nodes=nodes or (Node("redis", State.UP, (Reading(at_s, info()),), "pid 2"),),
    )


def node(name: str, role: str, at_s: float, *replicas: Node, **fields: object) -> Node:
    """A node of a cluster, `redis-<shard>-<number>`, whose port is 7000 and its numbers.

    Args:
        name: Its name.
        role: Of the node.
        at_s: When it said so.
        replicas: Those that it says are online, with what they have.
        fields: Of its INFO; `slave0` and so on stand for replicas in other states.
    """
    said = {f"slave{number}": copy(one) for number, one in enumerate(replicas)}
    shard, number = map(int, name.split("-")[1:])
    readings = (Reading(at_s, info(**{**said, **fields})),)
    return Node(
        name, State.UP, readings, "pid 4", f"127.0.0.1:{7000 + 10 * shard + number}", shard, role
    )


def copy(replica: Node, state: str = "online", lag: int = 0) -> dict[str, object]:
    """What a master's INFO says of a replica."""
    host, _, port = replica.address.rpartition(":")
    return {"ip": host, "port": int(port), "state": state, "offset": 7, "lag": lag}


def runs(name: str, *readings: Reading) -> Part:
    """A part that runs and said this."""
    return Part(name, State.UP, readings, "pid 3")
