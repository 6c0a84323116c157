"""`fleet shards` as a process beside a stage, which is watched, interrupted and killed.

    drill ──begin, await_share, interrupt, kill, end──▶ ShardsCommand ──▶ `fleet shards add`
                                                             │                   │
                                            control socket ◀─┴───────────────────┘

A stage's fleet has no `fleet up` that answers at a control socket, so a thread does. The new
shards' nodes are its children, and live as long as it does: until `close`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from lab.drill.stage.base import DrillError
from lab.fleet import control
from lab.fleet.redis_cluster import ELECTION_S_MAX, SLOTS, RedisCluster
from lab.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.fleet.local import Fleet

# A shard with an even share of the slots, on a busy machine, a death of a master in between:
# the command itself gives up after a minute without progress.
COMMAND_S_MAX = 120.0
# Between two looks at whether it is time to end.
SERVE_S = 0.1


class ShardsCommand:
    """One `fleet shards` at a time.

    Args:
        fleet: Whose shards come and go; a cluster.

    Attributes:
        shard: the number of the shard that comes or goes, of the last command.
        log: what the commands have said.
    """

    def __init__(self, fleet: Fleet) -> None:
        self.shard = -1
        self.log = fleet.plan.directory / "shards-command.log"
        self._fleet = fleet
        self._words: tuple[str, ...] = ()
        self._slots_at_first = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = threading.Event()
        self._server: threading.Thread | None = None
        self._folder = Path()
        """Of the control socket, which is nobody else's: a `fleet up` may run too."""

    @property
    def shards(self) -> list[int]:
        """The numbers of the shards that have nodes, the oldest first."""
        return sorted({node.shard for node in self._cluster.nodes})

    @property
    def giving(self) -> int:
        """A shard that slots leave: the one that goes, or the oldest one that does not come."""
        if self._words[:1] == ("remove",):
            return self.shard
        return min(shard for shard in self.shards if shard != self.shard)

    def add(self) -> None:
        """Start `fleet shards add`; a new shard's nodes run then.

        Raises:
            DrillError: The command has ended.
            TimeoutError: They do not come.
        """
        former = self.shards
        self._words, self._slots_at_first = ("add",), 0
        self.again()
        self._until(lambda: len(self.shards) > len(former), "a new shard's nodes")
        (self.shard,) = set(self.shards) - set(former)

    def remove(self) -> None:
        """Start `fleet shards remove` of the oldest shard."""
        self.shard = self.shards[0]
        self._words, self._slots_at_first = ("remove", str(self.shard)), self._slots()
        self.again()

    def again(self) -> None:
        """Start the last command once more, when it has ended."""
        self._process = self._start(*self._words)

    def await_share(self, share: float) -> None:
        """Wait until this share of the slots that are to move has moved, and one slot more.

        Raises:
            DrillError: The command has ended.
            TimeoutError: In vain.
        """
        even = SLOTS // len(self.shards)

        def moved() -> bool:
            wanted = share * (self._slots_at_first or even)
            return abs(self._slots() - self._slots_at_first) > wanted

        self._until(moved, f"{share:.0%} of the slots to move")

    def await_master(self, shard: int) -> None:
        """Wait until a shard whose master was killed has another, or has gone."""
        until(
            lambda: shard not in self.shards or self._cluster.master(shard).reachable,
            ELECTION_S_MAX,
            f"another master of shard {shard}",
        )

    def refused(self) -> None:
        """Start another beside the one that runs, which stands still so as not to end first.

        Raises:
            DrillError: It did something, and did not give up at once.
        """
        self._running.send_signal(signal.SIGSTOP)
        said = self.log.stat().st_size
        try:
            status = self._start(*self._words).wait(COMMAND_S_MAX)
        finally:
            self._running.send_signal(signal.SIGCONT)
        text = self.log.read_bytes()[said:].decode()
        if status != 1 or "another `fleet shards`" not in text:
            raise DrillError(f"a second `fleet shards` was not refused ({status}): {text}")

    def interrupt(self) -> None:
        """Ctrl-C; it ends by itself, with nothing half-moved."""
        self._running.send_signal(signal.SIGINT)
        self.end(130)

    def kill(self) -> None:
        """SIGKILL, wherever it is."""
        self._running.kill()
        self.end(-signal.SIGKILL)

    def end(self, status: int = 0) -> None:
        """Wait for its end.

        Raises:
            DrillError: Its status is another one.
            subprocess.TimeoutExpired: It does not end.
        """
        found = self._running.wait(COMMAND_S_MAX)
        self._process = None
        if found not in (status, 0):  # it may have been done already
            raise DrillError(f"`fleet shards` ended with {found}: {self.log.read_text()}")

    def close(self) -> None:
        """End what runs; the fleet is gone already."""
        if self._process:
            self._process.kill()
            self._process.wait()
        self._ended.set()
        if self._server:
            self._server.join()

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        if self._server is None:
            self._serve()
        with self.log.open("ab") as log:
            log.write(f"$ fleet shards {' '.join(words)}\n".encode())
            log.flush()  # before the program's own words
            return subprocess.Popen(
                [sys.executable, "-m", "lab.cli", "shards", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | {"XDG_RUNTIME_DIR": str(self._folder)},
                start_new_session=True,
            )

    def _serve(self) -> None:
        """Answer at the control socket, from a thread."""
        ready = threading.Event()

        def run() -> None:
            with (
                tempfile.TemporaryDirectory(prefix="echofleet-") as folder,
                control.listening(self._fleet, Path(folder) / "echofleet") as serve,
            ):
                self._folder = Path(folder)
                ready.set()
                while not self._ended.is_set():
                    serve(SERVE_S)

        self._server = threading.Thread(target=run, name="control", daemon=True)
        self._server.start()
        if not ready.wait(COMMAND_S_MAX):
            raise DrillError("no control socket for `fleet shards`")

    def _until(self, predicate: Callable[[], bool], what: str) -> None:
        def look() -> bool:
            ended = self._running.poll() is not None
            if not predicate() and ended:
                raise DrillError(f"`fleet shards` has ended too soon: {self.log.read_text()}")
            return predicate()

        until(look, COMMAND_S_MAX, what)

    def _slots(self) -> int:
        """How many the shard has, by the newest that any of its nodes says of itself."""
        claims = [(0, 0)]
        for node in list(self._cluster.nodes):
            if node.shard == self.shard:
                claims += [
                    (seen.epoch, sum(map(len, seen.slots)))
                    for seen in node.view()
                    if {"myself", "master"} <= seen.flags
                ]
        return max(claims)[1]

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise DrillError("no `fleet shards` runs")
        return self._process

    @property
    def _cluster(self) -> RedisCluster:
        store = self._fleet.store
        if not isinstance(store, RedisCluster):
            raise DrillError("one Redis has no shards")
        return store
