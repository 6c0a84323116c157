"""How another process of the same user looks at a running `fleet up`, breaks it and mends it.

    fleet top ──one JSON line──▶ <runtime directory>/<pid>.sock ──▶ Fleet
        ▲──────────────────────────one JSON line──────────────────────┘

    {"do": "look"}                     {"fleet": the ready line, "lives": {part: "runs" | …}}
    {"do": "kill", "part": "echod2"}   {"done": "echod2: killed"}; a part: a daemon or a node
                                       {"error": "…"} where that can't be done
    {"do": "add-shard", "replicas": "2"}  {"done": "…", "shard": 3}: its nodes run, in no cluster yet
    {"do": "end-shard", "shard": "3"}     {"done": "…"}: its nodes have ended, their data are gone

`fleet up` serves between its looks at the dead, in its main thread: children must be started
there (`processes`). Only its user gets at the socket: the directory is nobody else's.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis

from lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lab.fleet.local import Fleet
    from lab.fleet.processes import Process
    from lab.fleet.redis_node import Node

# A request is a verb and a name; an answer has every part of a fleet of 64 daemons, 48 nodes.
REQUEST_BYTES_MAX = 1_024
ANSWER_BYTES_MAX = 1 << 20

# For whoever has connected to say what it wants, and to take the answer: both are at hand, but
# on a busy machine another process may be first.
EXCHANGE_S_MAX = 5.0

# The longest that can be asked for: a node that has lost its data waits for another master, or a
# replica is waited for that has just been started, before it is handed its shard.
ANSWER_S_MAX = 40.0

# More fleets of one user at once would be a mistake; so many may ask at one moment.
BACKLOG = 8

SIGNALS = {
    "drain": (signal.SIGTERM, "draining"),
    "kill": (signal.SIGKILL, "killed"),
    "freeze": (signal.SIGSTOP, "frozen"),
    "thaw": (signal.SIGCONT, "thawed"),
}
START, HAND_OVER = "start", "hand-over"
ACTIONS = (*SIGNALS, START, HAND_OVER)
# What `fleet shards` asks for; it moves the slots itself.
ADD_SHARD, END_SHARD = "add-shard", "end-shard"


class ControlError(LabError):
    """There is no fleet to ask, more than one, or it does not do what it was asked."""


class GoneError(ControlError):
    """The fleet of this socket was killed; its socket is left over."""


def runtime_directory() -> Path:
    """Where this user's fleets have their sockets."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    if base:
        return Path(base) / "echofleet"
    return Path(tempfile.gettempdir()) / f"echofleet-{os.getuid()}"


@contextlib.contextmanager
def listening(fleet: Fleet, directory: Path | None = None) -> Iterator[Callable[[float], None]]:
    """Have a socket for it; what is yielded answers one request, if one comes in so many seconds.

    Args:
        fleet: Whose requests are answered.
        directory: Where the socket is, if not where this user's fleets have theirs.

    Raises:
        OSError: The directory is not this user's alone, or the socket can't be made.
    """
    directory = directory or runtime_directory()
    _own(directory)
    path = directory / f"{os.getpid()}.sock"
    path.unlink(missing_ok=True)  # an earlier process had the same number
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(BACKLOG)

    def serve(wait_s: float) -> None:
        if not select.select([listener], [], [], wait_s)[0]:
            return
        with contextlib.suppress(OSError):  # who asked has gone
            asker, _ = listener.accept()
            with asker, asker.makefile("rb") as said:
                asker.settimeout(EXCHANGE_S_MAX)
                answer = _answer(fleet, said.readline(REQUEST_BYTES_MAX))
                asker.sendall(json.dumps(answer).encode() + b"\n")

    try:
        yield serve
    finally:
        listener.close()
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # other fleets have theirs there
            directory.rmdir()


def _answer(fleet: Fleet, line: bytes) -> dict[str, Any]:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        request = None
    match request:
        case {"do": "look"}:
            lives = {name: life(part) for name, part in fleet.parts.items()}
            return {"fleet": fleet.ready, "lives": lives}
        case {"do": "add-shard" | "end-shard" as action, **others}:
            try:
                return _change_shards(fleet, action, others)
            except (LabError, redis.RedisError) as error:
                return {"error": str(error)}
        case {"do": str(action), **others} if isinstance(name := others.get("part", ""), str):
            try:
                return {"done": f"{name}: {_do(fleet, action, name)}"}
            except (LabError, redis.RedisError) as error:
                return {"error": str(error)}
    return {"error": "a request is a JSON object of words, with `do`"}


def _change_shards(fleet: Fleet, action: str, others: dict[Any, Any]) -> dict[str, Any]:
    """Start a shard's nodes, or end them; `fleet shards` does what is between."""
    said = others.get("replicas" if action == ADD_SHARD else "shard")
    if not isinstance(said, str) or not said.isdecimal():
        raise ControlError(f"{action}: must have a number")
    if action == ADD_SHARD:
        shard = fleet.add_shard(int(said))
        return {"done": f"shard {shard}: its nodes run", "shard": shard}
    fleet.end_shard(int(said))
    return {"done": f"shard {said}: its nodes have ended"}


def _do(fleet: Fleet, action: str, name: str) -> str:
    part, node = fleet.parts.get(name), fleet.node(name)
    if part is None or not (node or part in fleet.daemons):
        raise ControlError(f"{name}: there is no such daemon or node of Redis")
    if action not in ACTIONS:
        raise ControlError(f"{action}: what can be done is {', '.join(ACTIONS)}")
    if action == START:
        if part.alive:
            raise ControlError(f"{name}: it has not ended")
        fleet.start_again(name)
        return f"started, pid {fleet.parts[name].pid}"
    if not part.alive:
        raise ControlError(f"{name}: it does not run")
    if action == HAND_OVER:
        return _hand_over(fleet, node, name)
    if action == "drain" and node:
        raise ControlError(f"{name}: only a daemon can be drained; a master can be handed over")
    signum, done = SIGNALS[action]
    part.signal(signum)
    return done


def _hand_over(fleet: Fleet, node: Node | None, name: str) -> str:
    """Make a replica its shard's master; of a master, the replica that has most of its data."""
    if node is None:
        raise ControlError(f"{name}: only a master of Redis can be handed over")
    of_shard = f"shard {node.shard}"
    master = fleet.store.masters().get(node.shard)
    if master is None or not master.reachable:
        who = master.name if master else "its master"
        raise ControlError(f"{name}: {who} does not answer; the nodes elect another by themselves")
    if not node.reachable:
        raise ControlError(f"{name}: it is frozen")
    replicas = [one for one in fleet.store.nodes if one.shard == node.shard and one is not master]
    heirs = [one for one in replicas if one.reachable and node in (one, master)]
    if not heirs:
        raise ControlError(f"{name}: {of_shard} has no replica that answers")
    heir = max(heirs, key=lambda one: int(one.ask("INFO", "replication")["slave_repl_offset"]))
    fleet.store.hand_over(heir)
    return f"{heir.name} is the master of {of_shard} now"


def life(process: Process) -> str:
    """`runs`, `frozen` (SIGSTOP) or `down`."""
    if not process.alive:
        return "down"
    return "frozen" if process.frozen else "runs"


def ask(path: Path, request: dict[str, str]) -> dict[str, Any]:
    """What the fleet at this socket answers.

    Raises:
        ControlError: It does not, or refuses, in its own words.
    """
    try:
        with socket.socket(socket.AF_UNIX) as asking, asking.makefile("rb") as said:
            asking.settimeout(ANSWER_S_MAX)
            asking.connect(str(path))
            asking.sendall(json.dumps(request).encode() + b"\n")
            answer: dict[str, Any] = json.loads(said.readline(ANSWER_BYTES_MAX))
    except (ConnectionRefusedError, FileNotFoundError) as error:
        raise GoneError(f"the fleet has ended: {error}") from None
    except (OSError, ValueError) as error:
        raise ControlError(f"the fleet does not answer: {error}") from None
    if "error" in answer:
        raise ControlError(answer["error"])
    return answer


def find(directory: Path | None = None) -> Path:
    """The socket of this user's running fleet; of the one in `directory`, if given.

    Raises:
        ControlError: None runs, one does not answer, or more than one might be meant.
    """
    running = {}
    for path in sorted(runtime_directory().glob("*.sock")):
        with contextlib.suppress(GoneError):
            own = ask(path, {"do": "look"})["fleet"]["directory"]
            if directory is None or Path(own) == directory.resolve():
                running[path] = own
    if not running:
        where = f" in {directory}" if directory else ""
        raise ControlError(f"no `fleet up` of yours runs{where}; start one, or --compose")
    if len(running) > 1:
        names = "\n".join(f"  --dir {own}" for own in running.values())
        raise ControlError(f"{len(running)} fleets run, choose one:\n{names}")
    return next(iter(running))


def _own(directory: Path) -> None:
    """Make the directory, or see that it is this user's alone: others may write to /tmp."""
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(f"{directory} is not a directory of yours alone")
