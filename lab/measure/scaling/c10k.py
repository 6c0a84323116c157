"""How many connections one daemon holds (the article's wish A12), at what cost.

    burst   a thousand connections at once, the last one answered: the accept rate
    hold    as many as files and ports allow, every one answered, twice: memory and latency

Called by `experiments.py` for `fleet experiment scaling`; the daemon has Redis as shipped.
"""

from __future__ import annotations

import dataclasses
import resource
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from lab.measure.bench import rows
from lab.measure.bench.measure import Place, measure
from lab.measure.clocks import Clocks
from lab.measure.cores import PORT_RANGE, SPARE, UNPINNED
from lab.measure.generator import Load, Settings
from lab.measure.serving import SERVERS, Daemons, Stored

if TYPE_CHECKING:
    from lab.measure.samples import Row
    from lab.measure.scaling.measure import Plan
    from lab.measure.session import Progress

# Within any daemon's backlog (4,096 where the kernel allows it), so none is tried again.
BURST = 1_000

# Ports and files are the limit before this on most machines. Beyond it the run takes long.
CONNECTIONS_MAX = 50_000

# The burst, and the holding.
STEPS = 2

# What the load is paced to: lines, and new connections, a second. A daemon has time to spare
# then, also one that shares two CPUs with Redis and the load.
PER_S = 4_000.0

# Each connection sends a line in this time, or longer if there are more than it has room for.
INTERVAL_S_MIN = 0.5


def limit() -> tuple[int, str]:
    """How many connections this machine can open to one address, and what limits them."""
    # Imported here: they bring gevent, which no other command needs.
    from echod.daemon import OTHER_FILES  # noqa: PLC0415
    from echod.limits.capacity import RESERVED_FILES  # noqa: PLC0415

    kept = OTHER_FILES + RESERVED_FILES  # of the daemon's files, those that are no client's
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    files = CONNECTIONS_MAX + kept if hard == resource.RLIM_INFINITY else hard
    first, last = map(int, PORT_RANGE.read_text().split())
    ports = last - first + 1
    choices = [
        (files - kept, f"the open-file limit of a process ({files:,})"),
        (ports - SPARE, f"the source ports of one address ({ports:,})"),
        (CONNECTIONS_MAX, "this experiment's own bound"),
    ]
    return min(choices)


def hold(plan: Plan, wanted: int, progress: Progress) -> Row:
    """Measure both; `wanted` connections, or as many as can be.

    Raises:
        lab.errors.LabError: It could not be run, or a reply failed.
    """
    most, why = limit()
    count = min(wanted, most)
    progress.step("a burst of connections")
    accepts_per_s, accept_us = _burst(plan, min(BURST, count))
    progress.step(f"{count:,} connections on one daemon")
    interval_s = max(INTERVAL_S_MIN, count / PER_S)
    (row,) = rows.select([f"{rows.COMMIT}-always"])
    row = dataclasses.replace(row, template=(*row.template, "--connections-max", str(count)))
    settings = Settings(
        connections=count,
        seconds=interval_s,
        warm_up_s=interval_s,
        interval_s=interval_s,
        connects_per_s=PER_S,
    )
    run = measure(row, 1, settings, Place(UNPINNED, plan.data, plan.programs))
    return {
        "connections": count,
        "interval_s": interval_s,  # between two lines of one connection
        "limited_by": "what was asked for" if wanted < most else why,
        # The growth of resident memory for a connection that has said nothing, and at the
        # highest moment of the load.
        "idle_bytes": run["memory_bytes"],
        "busy_bytes": run["memory_bytes_max"],
        "p50_ms": run["p50_us"] / 1e3,
        "p99_ms": run["p99_us"] / 1e3,
        "accepts_per_s": accepts_per_s,
        "accept_us": accept_us,
    }


def _burst(plan: Plan, count: int) -> tuple[float, float]:
    """Accepts a second, and CPU µs of the daemon for one."""
    settings = Settings(connections=count, seconds=0.01, warm_up_s=0, connects_per_s=1e6)
    with ExitStack() as opened:
        made = Path(opened.enter_context(tempfile.TemporaryDirectory(dir=plan.data)))
        daemons = Daemons(opened, made, Stored(plan.appendfsync), "--durability", "commit")
        running = daemons.running(1, "echo")
        begin, before = time.perf_counter(), Clocks.now(running.parts)
        program = plan.programs / "load"
        load = opened.enter_context(Load(program, running.ports[0], settings, made / "log"))
        # Its start is in it: a few ms.
        load.await_connected()
        took_s = time.perf_counter() - begin
        used_s = Clocks.now(running.parts).since(before).s(SERVERS)
        load.play(running.parts)
    return count / took_s, used_s / count * 1e6
