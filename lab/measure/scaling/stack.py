"""What `fleet experiment scaling` puts under load: daemons, with or without Redis and HAProxy.

`lab.fleet.local.Fleet` is the fleet as shipped. Here the daemons stay while the number of them in
use changes, and each of Redis and HAProxy may be absent.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lab.fleet import haproxy_server
from lab.fleet.haproxy_server import Daemon
from lab.fleet.local import ROOT
from lab.measure.serving import HAPROXY, Daemons, Running, port_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lab.fleet.redis_server import Appendfsync


@dataclass(frozen=True, slots=True)
class Shape:
    """Which parts there are."""

    stored: bool
    """With Redis and durability `commit`; else without and `none`."""
    proxied: bool
    """Behind HAProxy; else clients go to the daemons directly."""

    @property
    def name(self) -> str:
        """In tables, plots and files."""
        store = "Redis" if self.stored else "no store"
        return f"{store}, {'HAProxy' if self.proxied else 'direct'}"


# Those that are compared with each other are neighbours, so that they are measured near in time.
SHAPES = (
    Shape(stored=False, proxied=False),
    Shape(stored=True, proxied=False),
    Shape(stored=True, proxied=True),
    Shape(stored=False, proxied=True),
)


@dataclass(frozen=True, slots=True)
class Stack:
    """Daemons, and their Redis if the shape has one."""

    directory: Path
    shape: Shape
    daemons: Daemons

    @contextmanager
    def front(self, count: int) -> Iterator[Running]:
        """The first `count` daemons, behind a HAProxy if the shape has one.

        Raises:
            lab.errors.LabError: A part did not start.
        """
        direct = self.daemons.running(count, "echo")
        if not self.shape.proxied:
            yield direct
            return
        haproxy = haproxy_server.start(
            self.directory,
            ROOT / "haproxy" / "haproxy.cfg",
            [Daemon.of(daemon.ready) for daemon in self.daemons.grow(count)],
        )
        try:
            port = port_of(haproxy.ready["echo"])
            parts = {**direct.parts, HAPROXY: [haproxy.pid]}
            yield replace(direct, ports=[port] * count, parts=parts)
        finally:
            haproxy.kill()


@contextmanager
def running(shape: Shape, count: int, appendfsync: Appendfsync, directory: Path) -> Iterator[Stack]:
    """Start `count` daemons in `directory`; all is killed at the end.

    Raises:
        lab.errors.LabError: A part did not start.
    """
    flags = ["--durability", "commit" if shape.stored else "none"]
    flags += ["--proxy-protocol"] if shape.proxied else []
    with ExitStack() as stack:
        store = appendfsync if shape.stored else None
        daemons = Daemons(stack, directory, store, *flags)
        daemons.grow(count)
        yield Stack(directory, shape, daemons)
