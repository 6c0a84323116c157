"""How another process of the same user looks at a running `fleet up`, breaks it and mends it.

    fleet top ──one JSON line──▶ <runtime directory>/<pid>.sock ──▶ Control ──▶ Fleet
        ▲──────────────────────────one JSON line───────────────────────┘

    {"do": "look"}                     {"fleet": the ready line, "lives": {part: "runs" | …}}
    {"do": "kill", "part": "echod2"}   {"done": "echod2: killed"}
                                       {"error": "…"} where that can't be done

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
from typing import TYPE_CHECKING, Any, Self

import psutil

from lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.fleet.local import Fleet
    from lab.fleet.processes import Process

# A request is a verb and a name; an answer has every part of 64 daemons' fleet.
REQUEST_BYTES_MAX = 1_024
ANSWER_BYTES_MAX = 1 << 20

# For whoever has connected to say what it wants, and to take the answer: both are at hand, but
# on a busy machine another process may be first.
EXCHANGE_S_MAX = 5.0

# Starting a daemon is the longest that can be asked for.
ANSWER_S_MAX = 20.0

# More fleets of one user at once would be a mistake; so many may ask at one moment.
BACKLOG = 8

SIGNALS = {
    "drain": (signal.SIGTERM, "draining"),
    "kill": (signal.SIGKILL, "killed"),
    "freeze": (signal.SIGSTOP, "frozen"),
    "thaw": (signal.SIGCONT, "thawed"),
}
ACTIONS = (*SIGNALS, "start")


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


class Control:
    """The socket of a running fleet. Leaving its `with` block removes it."""

    def __init__(self, fleet: Fleet) -> None:
        """Listen.

        Raises:
            OSError: The directory is not this user's alone, or the socket can't be made.
        """
        self._fleet = fleet
        directory = runtime_directory()
        _own(directory)
        self.path = directory / f"{os.getpid()}.sock"
        self.path.unlink(missing_ok=True)  # an earlier process had the same number
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(BACKLOG)

    def serve(self, wait_s: float) -> None:
        """Answer one request, if one comes within `wait_s`."""
        if not select.select([self._listener], [], [], wait_s)[0]:
            return
        with contextlib.suppress(OSError):  # who asked has gone
            asker, _ = self._listener.accept()
            with asker:
                asker.settimeout(EXCHANGE_S_MAX)
                answer = self._answer(_receive(asker, REQUEST_BYTES_MAX))
                asker.sendall(json.dumps(answer).encode() + b"\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # other fleets have theirs there
            self.path.parent.rmdir()

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            request = None
        fields = request if isinstance(request, dict) else {}
        action, name = fields.get("do"), fields.get("part", "")
        if not isinstance(action, str) or not isinstance(name, str):
            return {"error": "a request is a JSON object of words, with `do`"}
        if action == "look":
            lives = {name: life(part) for name, part in self._fleet.parts.items()}
            return {"fleet": self._fleet.ready, "lives": lives}
        try:
            return {"done": f"{name}: {self._do(action, name)}"}
        except LabError as error:
            return {"error": str(error)}

    def _do(self, action: str, name: str) -> str:
        daemon = self._fleet.parts.get(name)
        if daemon is None or daemon not in self._fleet.daemons:
            raise ControlError(f"{name}: there is no such daemon")
        if action == "start":
            if daemon.alive:
                raise ControlError(f"{name}: it has not ended")
            self._fleet.start_again(name)
            return f"started, pid {self._fleet.parts[name].pid}"
        if action not in SIGNALS:
            raise ControlError(f"{action}: what can be done is {', '.join(ACTIONS)}")
        if not daemon.alive:
            raise ControlError(f"{name}: it does not run")
        signum, done = SIGNALS[action]
        daemon.signal(signum)
        return done


def life(process: Process) -> str:
    """`runs`, `frozen` (SIGSTOP) or `down`."""
    if not process.alive:
        return "down"
    with contextlib.suppress(psutil.Error):
        if psutil.Process(process.pid).status() == psutil.STATUS_STOPPED:
            return "frozen"
    return "runs"


def ask(path: Path, request: dict[str, str]) -> dict[str, Any]:
    """What the fleet at this socket answers.

    Raises:
        ControlError: It does not, or refuses, in its own words.
    """
    try:
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(ANSWER_S_MAX)
            asking.connect(str(path))
            asking.sendall(json.dumps(request).encode() + b"\n")
            answer: dict[str, Any] = json.loads(_receive(asking, ANSWER_BYTES_MAX))
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
    running = {path: ready["directory"] for path, ready in _running()}
    if directory is not None:
        running = {path: own for path, own in running.items() if Path(own) == directory.resolve()}
    if not running:
        where = f" in {directory}" if directory else ""
        raise ControlError(f"no `fleet up` of yours runs{where}; start one, or --compose")
    if len(running) > 1:
        names = "\n".join(f"  --dir {own}" for own in running.values())
        raise ControlError(f"{len(running)} fleets run, choose one:\n{names}")
    return next(iter(running))


def _running() -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted(runtime_directory().glob("*.sock")):
        with contextlib.suppress(GoneError):
            yield path, ask(path, {"do": "look"})["fleet"]


def _own(directory: Path) -> None:
    """Make the directory, or see that it is this user's alone: others may write to /tmp."""
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(f"{directory} is not a directory of yours alone")


def _receive(sock: socket.socket, bytes_max: int) -> bytes:
    """Up to the LF, the end, or so many bytes."""
    received = b""
    while not received.endswith(b"\n") and len(received) < bytes_max:
        data = sock.recv(bytes_max - len(received))
        if not data:
            break
        received += data
    return received
