"""What `fleet experiment fanout` puts under load: daemons by route and tick, and the peers.

A daemon's Redis is as shipped (append-only file, `appendfsync` as asked), a peer's without a
file (lab/measure/peers/servers.py). Clients go to the servers directly: no HAProxy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab import cache
from lab.fleet import metrics
from lab.measure.errors import MeasureError
from lab.measure.peers import servers
from lab.measure.peers.install import PeerError
from lab.measure.serving import Daemons

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import ExitStack
    from pathlib import Path

    from lab.fleet.redis_server import Appendfsync
    from lab.measure.peers.servers import Peer
    from lab.measure.serving import Running

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


def peers(programs: Mapping[str, Path]) -> list[System]:
    """The systems that `choose_peers` could install."""
    return [
        System(peer.name, peer.title, speech=peer.speech, peer=peer)
        for peer in servers.PEERS
        if peer.name in programs
    ]


def daemons_of(
    system: System, stack: ExitStack, directory: Path, appendfsync: Appendfsync
) -> Daemons:
    """Daemons by the system's route and tick, none yet, in `directory`; `stack` ends them."""
    flags = (f"--room-route={system.route}", f"--room-tick-s={system.tick_s:g}")
    return Daemons(stack, directory, appendfsync, *flags)
