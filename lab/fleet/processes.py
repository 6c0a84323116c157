"""Child processes that tell when they are ready and never outlive the lab.

A child's stdout and stderr go to one log file. A program that speaks the ready
protocol (`echod`, `fleet`) prints one JSON line `{"event": "ready", …}` there.

Promises:
  no orphans   the kernel kills a child when the thread that started it ends
               (PDEATHSIG, Linux only): start children from the main thread;
  no Ctrl-C    a child has its own process group, so that the terminal's Ctrl-C
               reaches the lab alone, which ends its children in order;
  descriptors  the soft limit of open files is raised as far as it goes.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import psutil

from echod.limits.files import raise_limit
from lab.errors import LabError
from lab.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

# Where the system says that there is no limit, and yet has one: what the containers get.
FILES_WANTED = 20_000

PR_SET_PDEATHSIG = 1  # linux/prctl.h

# Of a log, in an error's text: enough for a traceback's end, not a screenful.
TAIL_LINES = 15

# From start to ready: Python with gevent needs under a second, a busy machine many times that.
READY_S_MAX = 60.0

# From SIGTERM to the end: a daemon drains for 10 s.
GRACE_S = 15.0

# A killed process is gone at once, unless the kernel holds it in a disk wait.
KILLED_S_MAX = 10.0

# Of a process that has ended, nobody knows how.
LOST_STATUS = 255


class StartError(LabError):
    """A child ended, or said nothing, before it was ready; the text has its last words."""


@dataclass(slots=True, eq=False)
class Process:
    """A child process; made by `start`. Leaving its `with` block terminates it."""

    argv: Sequence[str]
    log: Path
    _popen: subprocess.Popen[bytes]
    _log_begin: int
    ready: dict[str, Any] = field(default_factory=dict)
    """Its ready line, or what its starter knows in the place of one: addresses, above all."""

    @property
    def pid(self) -> int:
        """The process id; after the end no longer this process's."""
        return self._popen.pid

    @property
    def status(self) -> int | None:
        """Exit status, or minus the signal that ended it; None while it runs.

        `Popen.poll` holds a lock meanwhile. A Ctrl-C in that moment would leave it taken for ever:
        nobody would learn any more that the process has ended.
        """
        if self._popen.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # such a Ctrl-C came after the question, before its answer
                self._popen.returncode = LOST_STATUS
            else:
                if pid:
                    self._popen.returncode = os.waitstatus_to_exitcode(status)
        return self._popen.returncode

    @property
    def alive(self) -> bool:
        """Whether it has not ended; a stopped (SIGSTOP) process is alive."""
        return self.status is None

    @property
    def frozen(self) -> bool:
        """Whether a signal (SIGSTOP) has stopped it."""
        with contextlib.suppress(psutil.Error):
            return self.alive and psutil.Process(self.pid).status() == psutil.STATUS_STOPPED
        return False

    def await_ready(self, ready_s_max: float = READY_S_MAX) -> None:
        """Wait for its ready line, which is in `.ready` then.

        Raises:
            StartError: It ended, or the line did not come in time; it is gone then.
        """
        self.await_sign(self._read_ready, f"the ready line of {self.argv[0]}", ready_s_max)

    def await_sign(
        self, sign: Callable[[], object], what: str, ready_s_max: float = READY_S_MAX
    ) -> None:
        """Wait until `sign()` is true: how a program without a ready line is ready.

        Raises:
            StartError: It ended, or the sign did not come in time; it is gone then.
        """

        def look() -> object:
            seen = sign()
            if not seen and not self.alive:
                raise StartError(
                    f"{self.argv[0]} ended (status {self.status}) before it was ready;"
                    f" its log ends:\n{self.log_tail()}"
                )
            return seen

        try:
            until(look, ready_s_max, what)
        except BaseException as error:
            self.kill()
            if isinstance(error, TimeoutError):
                raise StartError(f"{error}; its log ends:\n{self.log_tail()}") from None
            raise

    def listens_on(self, port: int) -> bool:
        """Whether this very process has a TCP socket that listens on `port`."""
        with contextlib.suppress(OSError, psutil.Error):
            if sys.platform == "linux":
                return bool(_listening(port) & _sockets(self.pid))
            for connection in psutil.Process(self.pid).net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
                    return True
        return False

    def signal(self, signum: int) -> None:
        """Send a signal; none is sent to a process that has ended."""
        if self.alive:
            os.kill(self.pid, signum)

    def terminate(self, grace_s: float = GRACE_S) -> int:
        """Ask it to end (SIGTERM), wait, and kill what is left after `grace_s`.

        Returns:
            The exit status, or minus the signal that ended it.
        """
        terminate_all([self], grace_s)
        return self._popen.returncode

    def wait(self, wait_s: float) -> bool:
        """Wait for its end at most so long; whether it has ended."""
        with contextlib.suppress(TimeoutError):
            until(lambda: not self.alive, wait_s, "its end")
        return not self.alive

    def kill(self) -> None:
        """SIGKILL to it and to what it forked (its process group); waits for its end."""
        if self.alive:
            os.killpg(self.pid, signal.SIGKILL)
        until(lambda: not self.alive, KILLED_S_MAX, f"the end of {self.argv[0]}, which was killed")

    def log_tail(self) -> str:
        """The last lines that it logged, for an error's text."""
        lines = self._logged().decode(errors="replace").splitlines()
        return "\n".join(lines[-TAIL_LINES:])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.terminate()

    def _read_ready(self) -> bool:
        for line in self._logged().splitlines(keepends=True):
            if line.startswith(b"{") and line.endswith(b"\n"):
                with contextlib.suppress(ValueError):
                    event = json.loads(line)
                    if event.get("event") == "ready":
                        self.ready = event
        return bool(self.ready)

    def _logged(self) -> bytes:
        """What its log has of it: an earlier process may have begun the file."""
        with self.log.open("rb") as log:
            log.seek(self._log_begin)
            return log.read()


def start(  # noqa: PLR0913 — each is one independent choice of the caller
    argv: Sequence[str],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    ready_s_max: float = READY_S_MAX,
    expect_ready: bool = True,
    cpu: int | None = None,
) -> Process:
    """Start a program and, with `expect_ready`, wait for its ready line.

    Args:
        argv: The program and its arguments.
        log: File that its stdout and stderr are appended to.
        env: Variables beside this process's own.
        ready_s_max: From the start to the ready line, in seconds.
        expect_ready: Whether to wait for one; else `.ready` stays empty until `await_ready`.
        cpu: The only CPU it may run on, where the system can pin (Linux).

    Raises:
        StartError: It ended, or its ready line did not come in time; it is gone then.
        OSError: The program can't be started.
    """
    with log.open("ab") as output:
        begin = output.tell()
        popen = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            process_group=0,
            preexec_fn=_prepare(cpu),  # noqa: PLW1509 — only system calls, and no lock is taken
        )
    process = Process(argv, log, popen, begin)
    if expect_ready:
        process.await_ready(ready_s_max)
    return process


def terminate_all(processes: Sequence[Process], grace_s: float = GRACE_S) -> None:
    """Ask all to end (SIGTERM) at once, wait, and kill what is left after `grace_s` together."""
    for process in processes:
        process.signal(signal.SIGTERM)
        # A frozen process can't obey: thaw it.
        process.signal(signal.SIGCONT)
    deadline = time.monotonic() + grace_s
    for process in processes:
        if not process.wait(max(0.0, deadline - time.monotonic())):
            process.kill()


def _listening(port: int) -> set[str]:
    """The sockets of this machine that listen on a port, as `/proc/<pid>/fd` names them.

    psutil makes an object of each of the machine's sockets: 0.1 s where there are 20,000.
    """
    # Local address, remote address, state (0A: it listens), five more, inode.
    line = re.compile(rf":{port:04X} 0+:0000 0A (?:\S+ +){{5}}(\d+) ")
    tables = [path for path in map(Path, ("/proc/net/tcp", "/proc/net/tcp6")) if path.exists()]
    return {f"socket:[{inode}]" for path in tables for inode in line.findall(path.read_text())}


def _sockets(pid: int) -> set[str]:
    """The open files of a process, sockets among them."""
    return {str(file.readlink()) for file in Path(f"/proc/{pid}/fd").iterdir()}


def _prepare(cpu: int | None) -> Callable[[], None]:
    """What the child does between fork and exec; all that it needs is made before the fork."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None
    parent = os.getpid()

    def prepare() -> None:
        if prctl is not None:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # it died before the line above
                os._exit(1)
        raise_limit(FILES_WANTED)
        if cpu is not None and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {cpu})

    return prepare
