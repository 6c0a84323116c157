"""What the daemon says, on its way out: logging never blocks the loop.

    log, traceback, ready line ─▶ write ─▶ queue, bounded ─▶ a thread ─▶ file, pipe, terminal

A pipe that nobody reads takes some 64 kB, and then a write to it waits for ever. The file
may be shared with other processes, whose writes would be made to fail if it were set
non-blocking here: that is a property of the open file, not of this process's number for
it. So a thread writes, and waits as long as it must. Beyond `QUEUED_BYTES_MAX` lines are
dropped and counted, and where they are missing one line says how many.

The thread is the system's own: it calls nothing of gevent's.
"""

from __future__ import annotations

import atexit
import io
import os
import sys
import time
from typing import Any, Final

from gevent.monkey import get_original

# Some 10,000 lines: an hour of a daemon whose store is away, a second of one that is flooded.
QUEUED_BYTES_MAX: Final = 1 << 20
# At the end what is queued has so long to be taken.
FLUSH_S_MAX: Final = 1.0
LOOK_S: Final = 0.005

_start_thread = get_original("_thread", "start_new_thread")
_sleep = get_original("time", "sleep")
_poll = get_original("select", "poll")
_SimpleQueue = get_original("queue", "SimpleQueue")

POLLOUT: Final = 4

_outlets: list[Outlet] = []


class Outlet(io.TextIOBase):
    """A text stream, for `sys.stdout` or `sys.stderr`, whose `write` never waits."""

    def __init__(self, fd: int) -> None:
        """Write to `fd`, which stays open and as it is."""
        self._fd = fd
        self._queue: Any = _SimpleQueue()
        # Each of these is changed by one thread alone. The first two differ by what is queued.
        self._put_bytes = self._taken_bytes = 0
        self._unkept = self._untaken = 0
        self._hole: list[int] | None = None  # in the queue too: how many are missing there
        self._running = False

    @property
    def dropped(self) -> int:
        """Writes that were not kept, and those that the file refused."""
        return self._unkept + self._untaken

    def fileno(self) -> int:
        """See `io`."""
        return self._fd

    def writable(self) -> bool:
        """See `io`."""
        return True

    def write(self, text: str) -> int:
        """Queue `text`, or drop it."""
        data = text.encode(errors="backslashreplace")
        if self._put_bytes - self._taken_bytes + len(data) > QUEUED_BYTES_MAX:
            self._unkept += 1
            if self._hole is None:
                self._hole = [0]
                self._queue.put(self._hole)
            self._hole[0] += 1
            return len(text)
        self._hole = None
        self._put_bytes += len(data)
        self._queue.put(data)
        if not self._running:
            self._running = True
            _start_thread(self._run, ())
        return len(text)

    def drain(self, within_s: float) -> None:
        """Wait until what is queued has been taken, but no longer."""
        until_s = time.monotonic() + within_s
        while self._taken_bytes < self._put_bytes and time.monotonic() < until_s:
            _sleep(LOOK_S)

    # The thread.

    def _run(self) -> None:
        while True:
            item = self._queue.get()
            if isinstance(item, bytes):
                self._write(item)
                self._taken_bytes += len(item)
            else:
                at = time.strftime("%Y-%m-%d %H:%M:%S")
                text = f"{at} WARNING echod.logs {item[0]} lines are missing here: nobody took them"
                self._write(text.encode() + b"\n")

    def _write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:
                # Somebody else has set it non-blocking.
                writable = _poll()
                writable.register(self._fd, POLLOUT)
                writable.poll()
            except OSError:
                self._untaken += 1  # no reader any more, or a full disk
                return


def install() -> None:
    """Put an `Outlet` in the place of stdout and stderr."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None:  # None: it was closed before the start
            outlet = Outlet(stream.fileno())
            _outlets.append(outlet)
            setattr(sys, name, outlet)
    atexit.register(_drain)


def dropped() -> int:
    """How many lines were dropped, of both."""
    return sum(outlet.dropped for outlet in _outlets)


def _drain() -> None:
    until_s = time.monotonic() + FLUSH_S_MAX
    for outlet in _outlets:
        outlet.drain(until_s - time.monotonic())
