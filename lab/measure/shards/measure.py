"""`fleet experiment shards`: one daemon's lines and posts, on one Redis and on a cluster.

    for every two repeats: for each store: start it, and a daemon for each of its shards:
        for each of the two repeats: for each system on that store:
            sessions are born ─▶ the first daemon resumes them all ─▶ lines, by connections
            members join ─▶ posts

The first daemon is under load, the others only give birth to sessions. Sessions are *at home* if
they were born at the first, and *spread* if they were born at all of them in turn, each of which
has another home (docs/adr/0021). Every system's sessions are resumed, so that nothing else differs.
"""

from __future__ import annotations

import socket
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from itertools import cycle, islice
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from echod.store.slots import SLOTS, slot_of
from lab.measure import generator
from lab.measure.clocks import Clocks
from lab.measure.errors import MeasureError
from lab.measure.fanout import measure as fanout
from lab.measure.generator import Load, percentile
from lab.measure.serving import REDIS, SERVERS, Daemons, Stored

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lab.fleet.redis_server import Appendfsync
    from lab.measure.clocks import Used
    from lab.measure.fanout.systems import Load as Posts
    from lab.measure.samples import Row
    from lab.measure.serving import Running
    from lab.measure.session import Session

# Stores and daemons are started afresh so often: as in `scaling`.
REPEATS_OF_A_START = 2

# For one session to be born, on a busy machine.
BORN_S_MAX = 10.0

POSTS = "posts"


class System(NamedTuple):
    """Where the lines of the daemon under load go."""

    name: str
    sharded: bool = True
    replicas: int = 0
    """Of each shard; each answer waits for all of them."""
    spread: bool = False
    """Its sessions are on all shards, not on its home alone."""


ONE, HOME, SPREAD, REPLICA = SYSTEMS = (
    System("one Redis", sharded=False),
    System("shards, at home"),
    System("shards, spread", spread=True),
    System("shards, a replica", replicas=1),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure."""

    shards: int
    connections: Sequence[int]
    posts: Posts
    seconds: float
    warm_up_s: float
    repeats: int
    appendfsync: Appendfsync
    programs: Path
    """The built C programs."""
    data: Path
    """For Redis's files: a disk, not memory, or fsync costs nothing."""

    def stored(self, system: System) -> Stored:
        """The store that a system is on; two may be on the same one."""
        return Stored(self.appendfsync, self.shards if system.sharded else 1, system.replicas)

    @property
    def stores(self) -> dict[Stored, list[System]]:
        """The systems by their store, in their order."""
        found: dict[Stored, list[System]] = {}
        for system in SYSTEMS:
            found.setdefault(self.stored(system), []).append(system)
        return found

    def loads(self, system: System) -> list[int | None]:
        """Numbers of connections with lines; None stands for posts.

        One connection's sessions can't be spread, and rooms are wherever their names put them.
        """
        if system.spread:
            return [count for count in self.connections if count > 1]
        return [*self.connections, None]

    @property
    def measurements(self) -> int:
        """Of all repeats."""
        return self.repeats * sum(len(self.loads(system)) for system in SYSTEMS)


def load_name(connections: int | None) -> str:
    """In tables and sentences."""
    if connections is None:
        return POSTS
    return f"{connections} connection{'s' if connections > 1 else ''}"


def measure_all(plan: Plan, session: Session) -> list[Row]:
    """Every system under every load, in every repeat."""
    rows: list[Row] = []
    for start in range(ceil(plan.repeats / REPEATS_OF_A_START)):
        first = start * REPEATS_OF_A_START + 1
        repeats = range(first, min(first + REPEATS_OF_A_START, plan.repeats + 1))
        stores = list(plan.stores.items())
        for stored, systems in reversed(stores) if start % 2 else stores:
            with (
                session.collecting(f"{systems[0].name}, repeat {first}"),
                ExitStack() as stack,
            ):
                made = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=plan.data)))
                front = _front(stack, made, stored)
                for repeat in repeats:
                    rows += _repeat(plan, session, front, systems, repeat)
    return rows


def _front(stack: ExitStack, directory: Path, stored: Stored) -> Running:
    """The daemons on one store, a shard's each, on ports for sessions."""
    replicas = f"--store-replicas={stored.replicas}"
    daemons = Daemons(stack, directory, stored, "--durability", "commit", replicas)
    daemons.grow(stored.shards)
    daemons.take_turns()
    return daemons.running(stored.shards, "session")


def _repeat(
    plan: Plan, session: Session, front: Running, systems: Sequence[System], repeat: int
) -> Iterator[Row]:
    for system in systems if repeat % 2 else reversed(systems):
        for connections in plan.loads(system):
            name = load_name(connections)
            what = f"{system.name}, {name}"
            play = partial(_posts, plan, front)
            if connections is not None:
                play = partial(_lines, plan, front, system, connections)
            if seen := session.measure(what, repeat, play):
                figures, others = seen
                named = {"system": system.name, "load": name, "repeat": repeat}
                yield {**named, **figures, "others": others}


def _lines(plan: Plan, front: Running, system: System, connections: int) -> Row:
    """The figures of lines in closed loop, one in flight on each connection."""
    tokens = born(front.ports if system.spread else front.ports[:1], connections)
    settings = generator.Settings(
        connections=connections,
        seconds=plan.seconds,
        warm_up_s=plan.warm_up_s,
        session=True,
    )
    parts = _parts(front)
    with tempfile.TemporaryDirectory() as made:
        log = Path(made) / "load.log"
        with Load(plan.programs / "load", front.ports[0], settings, log, tokens) as load:
            load.await_connected()
            result, used = load.play(parts)
    shards = plan.shards if system.sharded else 1
    return {
        **_figures(used, result.round_trips, result),
        "shards_used": len({slot_of(name_of(token)) * shards // SLOTS for token in tokens}),
    }


def _posts(plan: Plan, front: Running) -> Row:
    """The figures of posts at an even pace; times are from a post to a delivery."""
    told = asdict(plan.posts)
    settings = fanout.Settings("echod", **told, seconds=plan.seconds, warm_up_s=plan.warm_up_s)
    parts = _parts(front)
    with tempfile.TemporaryDirectory() as made:
        log = Path(made) / "fanout.log"
        with fanout.Fanout(plan.programs / "fanout", front.ports[:1], settings, log) as load:
            load.await_connected()
            load.go()
            before = Clocks.now(parts)
            load.await_measured()
            used = Clocks.now(parts).since(before)
            result = load.await_result()
            if not result.deliveries or result.lost or result.reordered:
                raise MeasureError(f"{result.explain()}\n{load.words()}".strip())
    return {**_figures(used, result.posts, result), "shards_used": None}


def _parts(front: Running) -> dict[str, Sequence[int]]:
    """The daemon under load, without the others; and the store."""
    return {SERVERS: front.parts[SERVERS][:1], REDIS: front.parts[REDIS]}


def _figures(used: Used, count: int, result: generator.Result | fanout.Result) -> Row:
    """What one line or post took. µs are CPU, but for p50 and p99; busy is 0 to 1."""
    us = 1e6 / count
    return {
        "per_s": count / result.seconds,
        "daemon_us": used.s(SERVERS) * us,
        "store_us": used.s(REDIS) * us,  # of all its nodes together, replicas too
        "p50_us": percentile(result.histogram_ns, 0.5) / 1e3,
        "p99_us": percentile(result.histogram_ns, 0.99) / 1e3,
        "daemon_busy": used.s(SERVERS) / result.seconds,
        "load_busy": result.cpu_s / result.seconds,
        "machine_busy": used.machine,
    }


def born(ports: Sequence[int], count: int) -> list[str]:
    """Tokens of so many new sessions, born at the daemons with these ports in turn, and left there.

    Raises:
        MeasureError: A daemon did not welcome one.
    """
    tokens = []
    for port in islice(cycle(ports), count):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=BORN_S_MAX) as client:
                client.sendall(b"HELLO\n")
                said = client.makefile("rb").readline()
        except OSError as error:
            raise MeasureError(f"HELLO to port {port}: {error}") from None
        verb, _, rest = said.decode(errors="replace").partition(" ")
        if verb != "WELCOME":
            raise MeasureError(f"HELLO was answered by {said!r}")
        tokens.append(rest.partition(" ")[0])
    return tokens


def name_of(token: str) -> bytes:
    """The public part of a token, by which the slot is found."""
    return token.partition(".")[0].encode()
