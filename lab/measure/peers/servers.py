"""Server processes of one peer on one Redis: started, listening, and ended.

Redis is as it comes, without an append-only file: none of the peers asks for one. Called by
`lab.measure.fanout.measure`.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.fleet import ports, processes
from lab.measure.peers import install
from lab.measure.serving import READY_S_MAX, Servers, Stored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from lab.fleet.processes import Process
    from lab.measure.serving import Running

# V8 compiles what runs often: in the first seconds under a load Socket.IO takes up to twice the
# CPU for a delivery (`fleet experiment fanout --peers socketio-redis` with 0 here).
NODE_SETTLE_S = 5.0


@dataclass(frozen=True, slots=True)
class Peer:
    """One of them."""

    name: str
    title: str
    speech: str
    """As the load generator knows it (c/fanout_settings.h)."""
    start: Callable[[Path, Path, str], Process]
    """(what `prepare` returned, log, Redis's URL) → a process; `.ready["port"]` when it is ready."""
    prepare: Callable[[Path], Path]
    settle_s: float = 0.0
    """Under each load, before anything of it counts."""


@contextmanager
def running(peer: Peer, program: Path, count: int, directory: Path) -> Iterator[Running]:
    """Start `count` processes, from what `prepare` returned, and their Redis; all are killed.

    Raises:
        lab.errors.LabError: A part did not start.
    """

    def start(_: str, log: Path, redis_url: str) -> Process:
        return peer.start(program, log, redis_url)

    with ExitStack() as stack:
        servers = Servers(stack, directory, Stored("no-aof"), f"{peer.name}-", start)
        yield servers.running(count, "port")


def _socketio(kind: str, title: str) -> Peer:
    def start(directory: Path, log: Path, redis_url: str) -> Process:
        program = ["node", str(directory / "socketio_server.mjs"), kind, redis_url]
        return processes.start(program, log=log, env={"NODE_ENV": "production"}, expect_ready=False)

    full_title = f"Socket.IO, {title} (Node.js)"
    prepare = install.node_directory
    return Peer(f"socketio-{kind}", full_title, "socketio", start, prepare, NODE_SETTLE_S)


def _python_socketio(python: Path, log: Path, redis_url: str) -> Process:
    program = str(install.HERE / "python_socketio_server.py")
    return processes.start([str(python), program, redis_url], log=log, expect_ready=False)


def _channels(python: Path, log: Path, redis_url: str) -> Process:
    def attempt(numbers: Sequence[int]) -> Process:
        (number,) = numbers
        command = [str(python), "-m", "daphne", "-b", ports.HOST, "-p", str(number), "-v", "0"]
        process = processes.start(
            [*command, "channels_app:application"],
            log=log,
            env={"ECHOFLEET_PEERS_REDIS": redis_url, "PYTHONPATH": str(install.HERE)},
            expect_ready=False,
        )
        listens = f"daphne on port {number}"
        process.await_sign(lambda: process.listens_on(number), listens, READY_S_MAX)
        process.ready = {"port": number}
        return process

    return ports.start_on([0], attempt)


PEERS = (
    _socketio("redis", "Redis adapter"),
    _socketio("streams", "Redis streams adapter"),
    Peer("python-socketio", "python-socketio, Redis manager (gevent)", "socketio",
         _python_socketio, install.python_program),
    Peer("channels", "Django Channels, channels_redis (daphne)", "channels",
         _channels, install.python_program),
)  # fmt: skip
