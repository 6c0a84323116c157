"""What `fleet experiment fanout` puts under load: daemons by route and tick, and the peers.

A daemon's Redis is as shipped (append-only file, `appendfsync` as asked), a peer's without a
file (lab/measure/peers/servers.py). Clients go to the servers directly: no HAProxy. Called by `fanout.py`.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab import cache, web
from lab.fleet import processes, redis_server
from lab.measure.experiment.errors import ExperimentError
from lab.measure.peers import servers
from lab.measure.peers.install import PeerError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from lab.fleet.processes import Process
    from lab.fleet.redis_server import Appendfsync
    from lab.measure.peers.servers import Peer

BROADCAST, ROOM, DIRECTED = ROUTES = ("broadcast", "room", "directed")

# The daemons' counters that the report is made from.
POSTS, PUBLICATIONS, VAIN = COUNTERS = (
    "echod_room_posts_total",
    "echod_room_publications_total",
    "echod_room_publications_vain_total",
)

# One page of the admin port.
SCRAPE_S_MAX = 10.0


@dataclass(frozen=True, slots=True)
class System:
    """Who serves: daemons by `route`, or one of the peers."""

    name: str
    title: str
    speech: str = "echod"
    route: str = ROOM
    tick_s: float = 0.0
    peer: Peer | None = None


@dataclass(frozen=True, slots=True)
class Front:
    """What is under load."""

    ports: list[int]
    servers: list[int]
    redis: int
    admins: list[str]
    """The daemons' admin addresses; a peer has none."""

    def counters(self) -> dict[str, float]:
        """The daemons' counters, added up; empty for a peer.

        Raises:
            ExperimentError: A daemon does not tell.
        """
        total = dict.fromkeys(COUNTERS, 0.0) if self.admins else {}
        for admin in self.admins:
            try:
                page = web.read(f"http://{admin}/metrics", SCRAPE_S_MAX)
                samples = parse_counters(page.decode())
            except OSError as error:
                raise ExperimentError(f"the daemon at {admin}: {error}") from None
            for name in total:
                total[name] += samples[name]
        return total


def parse_counters(page: str) -> dict[str, float]:
    """What `COUNTERS` stand at on a page of metrics; 0 for one that is not there. Pure."""
    found = dict.fromkeys(COUNTERS, 0.0)
    for line in page.splitlines():
        name, _, value = line.partition(" ")
        if name in found:
            found[name] = float(value)
    return found


def daemons(route: str, tick_s: float = 0.0) -> System:
    """Daemons by that route, gathering deliveries for `tick_s`."""
    tick = f"-tick{tick_s * 1e3:g}" if tick_s else ""
    ticking = f", tick {tick_s * 1e3:g} ms" if tick_s else ""
    return System(f"echod-{route}{tick}", f"echod, {route}{ticking}", route=route, tick_s=tick_s)


def require(routes: Sequence[str]) -> None:
    """Refuse a route that there is not.

    Raises:
        ExperimentError: Naming it.
    """
    for route in routes:
        if route not in ROUTES:
            raise ExperimentError(f"--routes {route}: there are {', '.join(ROUTES)}")


def choose_peers(wanted: Sequence[str]) -> tuple[dict[str, Path], dict[str, str]]:
    """Install the peers so named (`all`, `none` or names).

    Returns:
        What each is started from, by name; and those that can't be had here, with the reason.

    Raises:
        ExperimentError: There is no peer of that name.
    """
    known = {peer.name: peer for peer in servers.PEERS}
    names = list(known) if "all" in wanted else [name for name in wanted if name != "none"]
    programs, left_out = {}, {}
    for name in names:
        if name not in known:
            raise ExperimentError(f"--peers {name}: there are all, none, {', '.join(known)}")
        try:
            programs[name] = known[name].prepare(cache.directory("peers"))
        except PeerError as error:
            left_out[name] = str(error)
    return programs, left_out


def peers(programs: Mapping[str, Path]) -> list[System]:
    """The systems that `choose_peers` could install."""
    return [
        System(peer.name, peer.title, speech=peer.speech, peer=peer)
        for peer in servers.PEERS
        if peer.name in programs
    ]


class Echods:
    """Daemons of one system on one Redis, of which there can be more and more."""

    def __init__(self, system: System, directory: Path, redis_url: str, stack: ExitStack) -> None:
        self._system = system
        self._directory = directory
        self._url = redis_url
        self._stack = stack
        self._daemons: list[Process] = []

    def grow(self, count: int) -> list[Process]:
        """Have `count` of them, ready.

        Raises:
            lab.errors.LabError: One did not start.
        """
        for number in range(len(self._daemons) + 1, count + 1):
            daemon = processes.start(
                [sys.executable, "-m", "echod", "--name", f"echod{number}", *self._flags()],
                log=self._directory / f"echod{number}.log",
                expect_ready=False,
            )
            self._stack.callback(daemon.kill)
            self._daemons.append(daemon)
        for daemon in self._daemons:
            if not daemon.ready:
                daemon.await_ready()
        return self._daemons

    def _flags(self) -> list[str]:
        system = self._system
        free = [f"--{port}-port=0" for port in ("echo", "session", "admin", "agent")]
        rooms = [f"--room-route={system.route}", f"--room-tick-s={system.tick_s:g}"]
        return [f"--store={self._url}", *free, *rooms, "--log-level=warning"]


@contextmanager
def running_daemons(
    system: System, appendfsync: Appendfsync, directory: Path
) -> Iterator[tuple[Echods, int]]:
    """No daemon yet, and the pid of a Redis, in `directory`; all is killed at the end."""
    with ExitStack() as stack:
        redis = redis_server.start(directory / "redis", appendfsync=appendfsync)
        stack.callback(redis.process.kill)
        yield Echods(system, directory, redis.url, stack), redis.pid


def front_of(daemons_running: Sequence[Process], redis: int) -> Front:
    """These daemons, as what is under load."""
    return Front(
        [int(daemon.ready["session"].rpartition(":")[2]) for daemon in daemons_running],
        [daemon.pid for daemon in daemons_running],
        redis,
        [daemon.ready["admin"] for daemon in daemons_running],
    )


@contextmanager
def running_peer(system: System, program: Path, count: int, directory: Path) -> Iterator[Front]:
    """`count` processes of a peer and their Redis; all is killed at the end."""
    if system.peer is None:
        raise AssertionError("daemons are started by running_daemons")
    with servers.running(system.peer, program, count, directory) as running:
        yield Front(running.ports, running.servers, running.redis, [])
