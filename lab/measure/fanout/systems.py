"""What `fleet experiment fanout` puts under load, and how: systems, rooms and posts, how often.

Systems are daemons by route and tick, and the peers. A daemon's Redis is as shipped (append-only
file, `appendfsync` as asked), a peer's without a file (lab/measure/peers/servers.py). Clients go
to the servers directly: no HAProxy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from lab import cache
from lab.fleet import metrics
from lab.measure.errors import MeasureError
from lab.measure.peers import servers
from lab.measure.peers.install import PeerError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from lab.fleet.redis_server import Appendfsync
    from lab.measure.peers.servers import Peer
    from lab.measure.samples import Measurement
    from lab.measure.serving import Running

BROADCAST, ROOM, DIRECTED = ROUTES = ("broadcast", "room", "directed")

# The daemons' counters that the report is made from.
POSTS, PUBLICATIONS, VAIN = COUNTERS = (
    "echod_room_posts_total",
    "echod_room_publications_total",
    "echod_room_publications_vain_total",
)

# For comparing with the peers: processes of each.
COMPARED_SERVERS = 4

# Channels takes some ten times the others' CPU: at their rates it would only queue.
SLOW_PEERS = {"channels": 0.1}

# Between the fewest and the most daemons there is a curve to draw, and nothing to decide.
NOW_AND_THEN = 3

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


def counters(front: Running) -> dict[str, float]:
    """The daemons' counters, added up; 0 for a peer.

    Raises:
        MeasureError: A daemon does not tell.
    """
    total = dict.fromkeys(COUNTERS, 0.0)
    for admin in front.admins:
        try:
            samples = metrics.read(admin, SCRAPE_S_MAX)
        except (OSError, ValueError) as error:
            raise MeasureError(f"the daemon at {admin}: {error}") from None
        for name in total:
            total[name] += samples.get(name) or 0.0
    return total


def daemons(route: str, tick_s: float = 0.0) -> System:
    """Daemons by that route, gathering deliveries for `tick_s`."""
    tick = f"-tick{tick_s * 1e3:g}" if tick_s else ""
    ticking = f", tick {tick_s * 1e3:g} ms" if tick_s else ""
    return System(f"echod-{route}{tick}", f"echod, {route}{ticking}", route=route, tick_s=tick_s)


def require(routes: Sequence[str]) -> None:
    """Refuse a route that there is not.

    Raises:
        MeasureError: Naming it.
    """
    for route in routes:
        if route not in ROUTES:
            raise MeasureError(f"--routes {route}: there are {', '.join(ROUTES)}")


def choose_peers(wanted: Sequence[str]) -> tuple[dict[str, Path], dict[str, str]]:
    """Install the peers so named (`all`, `none` or names).

    Returns:
        What each is started from, by name; and those that can't be had here, with the reason.

    Raises:
        MeasureError: There is no peer of that name.
    """
    known = {peer.name: peer for peer in servers.PEERS}
    names = list(known) if "all" in wanted else [name for name in wanted if name != "none"]
    programs, left_out = {}, {}
    for name in names:
        if name not in known:
            raise MeasureError(f"--peers {name}: there are all, none, {', '.join(known)}")
        try:
            programs[name] = known[name].prepare(cache.directory("peers"))
        except PeerError as error:
            left_out[name] = str(error)
    return programs, left_out


@dataclass(frozen=True, slots=True)
class Load:
    """Rooms and posts."""

    rooms: int
    members: int
    """Of each room."""
    posts_per_s: float
    """In all rooms together."""

    @classmethod
    def of(cls, one: Measurement) -> Load:
        """That of a measurement."""
        return cls(one["rooms"], one["members"], one["posts_per_s"])

    @property
    def title(self) -> str:
        """In sentences: `50 rooms of 20 at 400 posts/s`."""
        rooms = "one room" if self.rooms == 1 else f"{self.rooms:,} rooms"
        return f"{rooms} of {self.members:,} at {self.posts_per_s:g} posts/s"

    def times(self, factor: float) -> Load:
        """The same rooms with so many times the posts."""
        return Load(self.rooms, self.members, self.posts_per_s * factor)


class Loads(NamedTuple):
    """What every route is put under, and what is measured with a tick too."""

    large: Load
    some: Load
    small: Load
    fast: Load
    """From here on a tick of `TICK_S` gathers two posts or more."""

    @property
    def grid(self) -> tuple[Load, Load, Load]:
        """Those that compare the routes."""
        return self[:3]


# Rooms of 1,000, 20 and 2; one, some and many. Rates that leave two CPUs something to spare.
LOADS = Loads(Load(1, 1_000, 40), Load(50, 20, 400), Load(500, 2, 400), fast=Load(1, 1_000, 100))
QUICK = Loads(Load(1, 60, 40), Load(5, 8, 50), Load(20, 2, 50), fast=Load(1, 60, 100))

TICK_S = 0.02


@dataclass(frozen=True, slots=True)
class Step:
    """One system with some numbers of servers, each under some loads."""

    system: System
    loads: Mapping[int, Sequence[Load]]
    """By the number of servers, rising."""
    now_and_then: Collection[int] = ()
    """Numbers of servers that no question compares: every `NOW_AND_THEN` repeats will do."""

    def counts(self, repeat: int) -> list[int]:
        """The numbers of servers of that repeat, counted from 1."""
        all_of_them = repeat % NOW_AND_THEN == 1
        return [count for count in self.loads if all_of_them or count not in self.now_and_then]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure."""

    loads: Loads
    steps: Sequence[Step]
    seconds: float
    warm_up_s: float
    repeats: int
    appendfsync: Appendfsync
    programs: Path
    """The built C programs."""
    peers: Mapping[str, Path]
    """What each peer is started from."""
    settle: bool
    """Whether peers get the time that they need to be at their best."""
    data: Path
    """For Redis's files: a disk, not memory, or fsync costs nothing."""

    @property
    def measurements(self) -> int:
        """Of all repeats."""
        return sum(
            len(step.loads[count])
            for repeat in range(1, self.repeats + 1)
            for step in self.steps
            for count in step.counts(repeat)
        )


def steps(
    counts: Sequence[int], routes: Sequence[str], loads: Loads, programs: Mapping[str, Path]
) -> list[Step]:
    """The routes; then, side by side, what is compared with four servers: the tick, the peers.

    Args:
        counts: Numbers of daemons.
        routes: By their names.
        loads: What they are put under.
        programs: What each peer is started from, by name.
    """
    made = []
    for route in sorted(routes, key=lambda one: one == ROOM):
        # With peers these four are measured beside them.
        beside = programs and route == ROOM
        own = [count for count in counts if not (beside and count == COMPARED_SERVERS)]
        made.append(Step(daemons(route), dict.fromkeys(own, loads.grid), now_and_then=own[1:-1]))
    compared = [*loads.grid, loads.fast] if programs else [loads.fast]
    made += [
        Step(daemons(ROOM), {COMPARED_SERVERS: compared}),
        Step(daemons(ROOM, TICK_S), {COMPARED_SERVERS: [loads.fast]}),
    ]
    for peer in servers.PEERS:
        if peer.name in programs:
            slower = SLOW_PEERS.get(peer.name, 1.0)
            under = [loads.large, loads.some, *([loads.fast] if slower == 1 else [])]
            system = System(peer.name, peer.title, speech=peer.speech, peer=peer)
            made.append(Step(system, {COMPARED_SERVERS: [load.times(slower) for load in under]}))
    return made
