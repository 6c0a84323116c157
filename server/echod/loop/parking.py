"""Where one greenlet waits, for a socket or for a word, without a timer or an event each time.

    park ─▶ the loop goes on ─▶ readable | woken | late ─▶ park returns

What gevent's own socket does, less a `recv` that can only fail, a `Waiter` and a `Timeout`
for each wait: those are paid with every batch and every publication.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gevent

from echod.loop.reader import READ

if TYPE_CHECKING:
    from greenlet import greenlet


class Parking:
    """One place; whoever parks must be alone there.

    With a `fd`, until it can be read; with `late_s`, no longer than that. Closed before the
    file is.
    """

    __slots__ = ("_closed", "_greenlet", "_hub", "_timer", "_waking", "_watcher")

    def __init__(self, fd: int = -1, late_s: float = 0.0) -> None:
        self._hub: Any = gevent.get_hub()
        self._greenlet: greenlet | None = None
        self._closed = self._waking = False
        self._watcher: Any = self._hub.loop.io(fd, READ) if fd >= 0 else None
        self._timer: Any = self._hub.loop.timer(late_s, repeat=late_s) if late_s else None

    def park(self, *, patient: bool = False) -> bool:
        """Wait; the `patient` for as long as it takes.

        Returns:
            Whether it can be read; False if this was woken, or closed.

        Raises:
            TimeoutError: Neither in time.
        """
        if self._closed:
            return False
        watcher, timer = self._watcher, None if patient else self._timer
        if watcher is not None and not watcher.active:
            watcher.start(self._readable)
        if timer is not None:
            timer.again(self._late)
        self._greenlet = gevent.getcurrent()
        try:
            came = self._hub.switch()
        finally:
            self._greenlet = None
            self._waking = False
            if timer is not None:
                timer.stop()
        if came is None:
            raise TimeoutError("nothing came in time")
        return bool(came)

    def wake(self) -> None:
        """Whoever is parked now goes on with the loop's next round."""
        if self._greenlet is not None and not self._waking:
            self._waking = True
            self._hub.loop.run_callback(self._woken, self._greenlet)

    def close(self) -> None:
        """No file is watched any more; whoever is parked is woken, and nobody parks again."""
        self._closed = True
        for watcher in (self._watcher, self._timer):
            if watcher is not None:
                watcher.stop()
                watcher.close()
        self.wake()

    def _readable(self) -> None:
        if self._greenlet is not None:
            self._greenlet.switch(True)  # noqa: FBT003 — what `park` returns
        else:
            # It stays watched between two waits, which costs a system call less a wait; but
            # what nobody waits for would be told again and again.
            self._watcher.stop()

    def _woken(self, parked: greenlet) -> None:
        if self._greenlet is parked:
            parked.switch(False)  # noqa: FBT003 — what `park` returns

    def _late(self) -> None:
        if self._greenlet is not None:
            self._greenlet.switch(None)
