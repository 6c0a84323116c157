"""The fleet that a drill breaks: what can be done to it, and what can be seen of it.

`LocalStage` does it to processes, `ComposeStage` to containers. What both do alike is done here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final, Literal

from echod.store.slots import ALL_SLOTS
from lab.errors import LabError
from lab.fleet import haproxy_server
from lab.fleet.links import Network, together
from lab.wait import until

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from lab.fleet.links import Link
    from lab.fleet.metrics import Samples

Deed = Literal["kill", "drain", "freeze", "thaw", "start", "reload", "fill", "free"]

# The Redis that drills break: one Redis; of a cluster, all nodes of this shard.
REDIS: Final = "redis"
SHARD: Final = 1
# In the name of a link: a daemon whose new sessions live on `SHARD`, so that lines are there to wait.
AT_HOME: Final = "a daemon at home there"
# The kind of link between a cluster's nodes, of which one can be cut off (`FIRST`).
NODE: Final = "node"
FIRST: Final = f"first node of shard {SHARD}"
# Those that `Stage.move` has moved.
MOVED: Final = "slots that have moved"

# A daemon drains for 10 s at most, Docker takes its time, and the machine may be busy.
END_S_MAX: Final = 40.0
# HAProxy looks at every daemon twice a second, Docker at a container's health every 3 s.
UP_S_MAX: Final = 60.0

# What is done to Redis's append-only files, in their directory: `copy` while it runs, as a backup
# does; the others while it is down. The truncated file is the one that was written last; with half
# of it go many batches, and by far not all.
DATA: Final = {
    "copy": "rm -rf copy && mkdir copy && cp -r appendonlydir copy/",
    "restore": "rm -rf appendonlydir && mv copy/appendonlydir .",
    "empty": "rm -rf appendonlydir",
    "truncate": "f=$(ls -t appendonlydir/*.incr.aof | head -n 1);"
    " truncate -s $(($(stat -c %s $f) / 2)) $f",
}


class DrillError(LabError):
    """A drill could not be played; the text says why. That it failed is no error."""


class Stage(AbstractContextManager["Stage"]):
    """A part's name is `echod1` …, `haproxy`, or a node's of the store.

    Of the store, drills say what a node is at that moment: `master of shard 1`, `replica of
    shard 1` (any one), `replicas of shard 1`, `node of shard 1` (another each time), `first
    node of shard 1` (always the same, at first the master), `nodes of shard 1`, or `redis`, the nodes of shard `SHARD`.
    With one Redis each is that one. What undoes a fault is done to the nodes that had it,
    whatever they are by then. The end of its `with` block ends it.

    Args:
        directory: Of what it writes; made if it is not there.
        links: Which kinds of links the drill cuts: `redis`, `daemon`, `clients`, `node` (between
            the first node of `SHARD` and all others). Elsewhere the parts are connected directly.
    """

    parts: Mapping[str, Any]
    """By name."""
    haproxy: Mapping[str, str]
    """Its addresses (host:port): `echo`, `session`, `stats`."""
    direct: Sequence[str]
    """The daemons' own session ports."""

    def __init__(self, directory: Path, links: frozenset[str]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._kinds = links
        self._network: Network | None = None

    @abstractmethod
    def start(self) -> None:
        """Bring it up, or find it; the attributes are known then."""

    def __exit__(self, *_: object) -> None:
        """End what was started, at once: what matters has been seen."""
        if self._network is not None:
            self._network.close()

    # Where it is.

    @property
    def daemons(self) -> list[str]:
        """Their names."""
        return [name for name in self.parts if name.startswith("echod")]

    @property
    def addresses(self) -> dict[str, str]:
        """`session` and `plain`, each host:port, or several, separated by commas.

        Of a soak, also the daemons' that are beside it.
        """
        ports = {"session": "session", "plain": "echo"}
        return {name: self.way("clients", self.haproxy[port]) for name, port in ports.items()}

    def way(self, name: str, target: str) -> str:
        """Where to connect to reach `target` (host:port): a link's address if the drill cuts it."""
        if name.partition(":")[0] not in self._kinds:
            return target
        self._network = self._network or Network()
        return self._network.add(name, target).addresses[target]

    def link(self, name: str) -> Link:
        """What the drill may cut: `redis:echod1`, `daemon:echod1` or `clients`.

        `redis:echod1/1` is a daemon's links to the nodes of one shard.
        """
        links = {} if self._network is None else self._network.links
        found = [link for named, link in links.items() if f"{named}/".startswith(f"{name}/")]
        if not found:
            raise DrillError(f"{name}: there is no such link in this drill")
        return found[0] if len(found) == 1 else together(found)

    # What can be done to it.

    @abstractmethod
    def do(self, deed: Deed, name: str) -> None:
        """Do something to a part.

        `kill` is SIGKILL; a part that has a `freeze` stands still until `thaw`, and its kernel goes
        on for it; `drain` is SIGTERM, and returns at once. `start` is for a part that has
        ended: it comes back at the same addresses, and is ready then. `reload` is HAProxy's:
        another takes its place, and the connections that are there may finish. `fill` leaves a part
        no file to open until `free`; containers can't.
        """

    def names(self, part: str) -> list[str]:
        """The parts that are meant, of the store by what they are now."""
        return [part]

    def slots(self, part: str) -> Collection[int]:
        """The slots that these nodes of the store have; none of a part that is none of them."""
        return ALL_SLOTS if part == REDIS else ()

    def bring_back(self, name: str) -> None:
        """A part that was told to leave: wait for its end, start it."""
        until(lambda: not self.runs(name), END_S_MAX, f"the end of {name}")
        self.do("start", name)

    def await_balance(self, *, even: bool = False) -> None:
        """Wait until HAProxy's checks have found every daemon well, on both of its ports.

        `even`: and until it sends all of them as many clients. A daemon that has just started may
        ask for next to none.
        """

        def whole() -> bool:
            up = haproxy_server.up(self.haproxy["stats"])
            count = Counter(backend for backend, _ in up)
            whole = min(count["echod"], count["sessions"]) >= len(self.daemons)
            return whole and not (even and len(set(up.values())) > 1)

        until(whole, UP_S_MAX, "every daemon to be in the balance")

    @abstractmethod
    def change_data(self, how: str) -> None:
        """One of `DATA`, to every node of `REDIS`."""

    def move(self, count: int, source: int, target: int) -> None:
        """Move so many slots that have keys from one shard to another; rooms' slots first.

        Those that have been moved are moved back first.
        """
        raise NotImplementedError

    def lose(self, part: str) -> None:
        """Kill nodes of a cluster, and delete all that they have stored."""
        raise NotImplementedError

    def restart_elsewhere(self) -> None:
        """Each node of a cluster is killed, and starts again on other ports, one after the other."""
        raise NotImplementedError

    def succeed(self, shard: int) -> None:
        """Of a shard that has no node left: `replica of shard …`, killed before, becomes its master.

        By force, as nobody is left to ask; then the others join it.
        """
        raise NotImplementedError

    def hand_over(self, shard: int) -> None:
        """A replica becomes its shard's master, without a loss."""
        raise NotImplementedError

    def set_clock(self, part: str, ahead_s: int) -> None:
        """Start nodes of a cluster again, their time of day so far ahead; they are whole then."""
        raise NotImplementedError

    def isolate(self, part: str, *daemons: str) -> None:
        """Cut nodes of a cluster off from all others, and from all daemons but those named.

        None named: every daemon still reaches all nodes. Daemons that are named reach these alone.
        """
        raise NotImplementedError

    def rejoin(self, part: str, *daemons: str) -> None:
        """Undo `isolate`: what was on its way comes late."""
        raise NotImplementedError

    def half_move(self, count: int, source: int, target: int) -> None:
        """As `move`, and half-way: some of each slot's keys are there, the others still here.

        The target's replicas have those that are there.
        """
        raise NotImplementedError

    def finish_moves(self) -> None:
        """What an operator does about half-moved slots: `fleet shards` again."""
        raise NotImplementedError

    def await_whole(self) -> None:
        """Wait until every replica of a cluster runs and has what its master has."""

    # What can be seen of it.

    @abstractmethod
    def runs(self, name: str) -> bool:
        """Whether a part has not ended."""

    @abstractmethod
    def samples(self, name: str) -> Samples:
        """A daemon's /metrics."""

    @abstractmethod
    def in_kernel(self, name: str) -> int:
        """Connections on a daemon's ports for clients that stand in its kernel."""

    def connections(self) -> list[tuple[str, int, int]]:
        """(daemon, clients in its metrics, clients in the kernel), of those that run."""
        return [
            (name, int(self.samples(name).get("echod_connections") or 0), self.in_kernel(name))
            for name in self.daemons
            if self.runs(name)
        ]

    def keys(self) -> Mapping[str, int]:
        """A soak's: keys of Redis by their prefix, `memory:…` by its kinds."""
        raise NotImplementedError

    def logs(self) -> Iterable[Path]:
        """Of all parts, as files."""
        return self._directory.rglob("*.log")
