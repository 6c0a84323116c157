"""Waiting until a socket can be read: the only place that knows how (ADR 1).

Both ways keep one libev watcher started for as long as a connection is read, and call
`on_readable` once for every time it fires; it receives once, and nobody tries a `recv`
that can only fail. The loop's watchers are level-triggered, so a connection that
always has data gets one turn a round, as everybody does (ADR 19).

    callback   the event loop calls; nothing is kept of a connection but its state
    greenlet   a greenlet for each connection parks in the loop and is switched to

The figures are in docs/adr/0001; `fleet bench` makes them afresh.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import gevent
from greenlet import GreenletExit, greenlet

if TYPE_CHECKING:
    from collections.abc import Callable

READ, WRITE = 1, 2


class Reader(Protocol):
    """Calls `on_readable` while it is started."""

    def start(self) -> None:
        """Begin, or go on; harmless if started."""

    def stop(self) -> None:
        """Pause; harmless if stopped."""

    def close(self) -> None:
        """End for good, before the socket is closed."""


class CallbackReader:
    """The loop itself calls."""

    __slots__ = ("_on_readable", "_watcher")

    def __init__(self, fd: int, on_readable: Callable[[], None]) -> None:
        self._watcher: Any = gevent.get_hub().loop.io(fd, READ)
        self._on_readable = on_readable

    def start(self) -> None:
        """See `Reader`."""
        if not self._watcher.active:
            self._watcher.start(self._on_readable)

    def stop(self) -> None:
        """See `Reader`."""
        self._watcher.stop()

    def close(self) -> None:
        """See `Reader`."""
        self._watcher.close()
        del self._on_readable  # it holds the connection, which holds this


class GreenletReader:
    """A greenlet of its own calls, as gevent is mostly used."""

    __slots__ = ("_closed", "_greenlet", "_hub", "_on_readable", "_watcher")

    def __init__(self, fd: int, on_readable: Callable[[], None]) -> None:
        self._hub: Any = gevent.get_hub()
        self._watcher: Any = self._hub.loop.io(fd, READ)
        self._on_readable = on_readable
        self._greenlet = greenlet(self._run, self._hub)
        self._closed = False

    def _run(self) -> None:
        while not self._closed:
            self._on_readable()
            if not self._closed:
                self._hub.switch()

    def start(self) -> None:
        """See `Reader`."""
        if not self._watcher.active:
            self._watcher.start(self._greenlet.switch)

    def stop(self) -> None:
        """See `Reader`."""
        self._watcher.stop()

    def close(self) -> None:
        """See `Reader`; a greenlet that is parked is ended from the loop."""
        self._closed = True
        self._watcher.close()
        del self._on_readable
        if self._greenlet and self._greenlet is not gevent.getcurrent():
            self._hub.loop.run_callback(self._greenlet.throw, GreenletExit)


READERS: dict[str, type[CallbackReader | GreenletReader]] = {
    "callback": CallbackReader,
    "greenlet": GreenletReader,
}
