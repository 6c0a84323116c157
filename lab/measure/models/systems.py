"""What `fleet experiment models` compares: the article's servers, and the fleet.

A variant is one process without state; a fleet is Redis as shipped (on disk before it is
answered), daemons, and HAProxy in front. Called by `measure.py`.
"""

from __future__ import annotations

import shutil
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.fleet import processes
from lab.fleet.local import ROOT, Fleet, Plan
from lab.measure.command import choose
from lab.measure.errors import MeasureError
from lab.measure.serving import HAPROXY, REDIS, SERVERS, Running, port_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

VARIANTS = ROOT / "server" / "variants"

SERIAL = "serial"


@dataclass(frozen=True, slots=True)
class System:
    """One column of the story."""

    name: str
    title: str
    file: str = ""
    """In server/variants; empty for a fleet."""
    daemons: int = 0


SYSTEMS = (
    System(SERIAL, "serial, blocking (A1)", "serial.py"),
    System("threads", "a thread per connection", "threads.py"),
    System("gevent_group", "gevent, patched socket, Group (A2)", "gevent_group.py"),
    System("gevent_streamserver", "gevent StreamServer (A3)", "gevent_streamserver.py"),
    System("asyncio_streams", "asyncio streams (A5)", "asyncio_streams.py"),
    System("asyncio_protocol", "asyncio Protocol", "asyncio_protocol.py"),
    System("node_callbacks", "Node.js, callbacks (A7)", "node_callbacks.mjs"),
    System("node_async", "Node.js, async/await (A7)", "node_async.mjs"),
    System("fleet_1", "fleet of 1 daemon (A9)", daemons=1),
    System("fleet_2", "fleet of 2 daemons (A9)", daemons=2),
    System("fleet_4", "fleet of 4 daemons (A9)", daemons=4),
)

TITLES = {system.name: system.title for system in SYSTEMS}


def select(patterns: Sequence[str]) -> tuple[list[System], dict[str, str]]:
    """The systems whose name fits any pattern (`*`, `?`), and those left out, with the reason.

    Raises:
        MeasureError: A pattern fits none, or nothing is left to measure.
    """
    chosen, left_out = [], {}
    for system in choose("--only", "system", patterns, {one.name: one for one in SYSTEMS}):
        if system.file.endswith(".mjs") and not shutil.which("node"):
            left_out[system.name] = "there is no `node` on PATH"
        else:
            chosen.append(system)
    if not chosen:
        raise MeasureError(f"nothing is left to measure: {left_out}")
    return chosen, left_out


@contextmanager
def running(system: System, directory: Path) -> Iterator[Running]:
    """Start it in `directory`, which must be empty; it is killed at the end.

    Raises:
        lab.errors.LabError: A part did not start.
    """
    if system.daemons:
        fleet = Fleet(Plan(directory, daemons=system.daemons, durability="commit"))
        try:
            fleet.start()
            yield Running(
                [port_of(fleet.ready["echo"])],
                {
                    SERVERS: [daemon.pid for daemon in fleet.daemons],
                    REDIS: [fleet.parts["redis"].pid],
                    HAPROXY: [fleet.parts["haproxy"].pid],
                },
            )
        finally:
            fleet.kill()  # no drain is measured
        return
    program = "node" if system.file.endswith(".mjs") else sys.executable
    command = [program, str(VARIANTS / system.file), "--port", "0"]
    server = processes.start(command, log=directory / f"{system.name}.log")
    try:
        yield Running([port_of(server.ready["echo"])], {SERVERS: [server.pid]})
    finally:
        server.kill()
