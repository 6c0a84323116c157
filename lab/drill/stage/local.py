"""A fleet of local processes, as a stage on which every fault can be made.

    clients ──(link)──▶ HAProxy ──(link)──▶ echod1 … ──(link)──▶ Redis, or each node of a cluster
                                                one of these ────└──(link)──▶ each other node
       ├──────────────────▶ idle   ─────────────────────────────▶ Redis     a soak's: in no balance
       └──────────────────▶ memory                        a soak's: alone, with its own store

A link is only there in the drills that cut it. Nothing here needs root.
"""

from __future__ import annotations

import itertools
import re
import resource
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil
import redis

from echod.config import flag_of
from echod.store.slots import slot_of_key
from lab.drill.lives import shorten
from lab.drill.stage import detour
from lab.drill.stage.base import (
    AT_HOME,
    DATA,
    MOVED,
    NODE,
    REDIS,
    SHARD,
    UP_S_MAX,
    Deed,
    DrillError,
    Stage,
)
from lab.drill.stage.shards_command import ShardsCommand
from lab.fleet import control, metrics, ports, preload, processes
from lab.fleet.local import SHARD_REPLICAS, Fleet, Plan
from lab.fleet.redis_cluster import ELECTION_S_MAX, RedisCluster
from lab.fleet.shards.cluster import Cluster, Login
from lab.fleet.shards.mover import Mover
from lab.fleet.store import node_name
from lab.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from lab.fleet.haproxy_server import Daemon
    from lab.fleet.links import Link
    from lab.fleet.metrics import Samples
    from lab.fleet.processes import Process
    from lab.fleet.redis_node import Node

FROZEN_S_MAX: Final = 2.0
# A clock that was set is not further from what it shall be.
CLOCK_S: Final = 2.0
# Beside a soak's fleet.
MEMORY, IDLE = "memory", "idle"

# How drills name the store's nodes (`Stage`).
OF_SHARD: Final = re.compile(r"(master|replica|replicas|first node|node|nodes) of shard (\d+)")
# What undoes a fault.
HEALING: Final = frozenset({"start", "thaw", "free"})


class LinkedFleet(Fleet):
    """A fleet whose parts reach each other by `way` (`Stage.way`)."""

    def __init__(self, plan: Plan, way: Callable[[str, str], str]) -> None:
        super().__init__(plan)
        self._way = way

    def link_node(self, name: str) -> None:
        """A link between this node and each other one of a cluster that does not run yet.

        Not between the others: should this process stand still for a second, one node is cut off,
        and no more than what one may be is lost.
        """
        nodes = self.store.nodes
        if not isinstance(self.store, RedisCluster):
            return
        for node in nodes:  # known before they run, because they are told to each other
            node.port, node.bus_port = ports.reserve(), ports.reserve()
        for node in nodes:
            detours = self.plan.directory / f"detours-{node.name}"
            detours.parent.mkdir(parents=True, exist_ok=True)
            ways = {
                port: ports.split(
                    self._way(between(node.name, other.name), f"{ports.HOST}:{port}")
                )[1]
                for other in nodes
                if other is not node and name in (node.name, other.name)
                for port in (other.port, other.bus_port)
            }
            preload.write_detours(detours, ways)
            self.preload(node, detours=detours)

    def preload(self, node: Node, *, ahead_s: int = 0, detours: Path | None = None) -> None:
        """From its next start on a node has these, beside the detours that it had."""
        library = self.plan.directory / preload.LIBRARY
        if not library.exists():
            preload.build(library)
        had: dict[str, str] = node.options.get("env", {})
        env = had | preload.variables(library, ahead_s=ahead_s, detours=detours)
        node.options = {**node.options, "env": env}

    def store_url_of(self, daemon: str, redis_url: str) -> str:
        """Through a link of its own; of a cluster, whose nodes say where they are, by detours."""
        if isinstance(self.store, RedisCluster):
            ways = {
                node.address: self._way(f"redis:{daemon}/{node.shard}/{node.name}", node.address)
                for node in self.store.nodes
            }
            detour.write(self.plan.directory, daemon, ways)
            return redis_url
        head, at, target = redis_url.removesuffix("/0").rpartition("@")
        return f"{head}{at}{self._way(f'redis:{daemon}', target)}/0"

    def seen_by_haproxy(self, daemon: Daemon) -> Daemon:
        """Each of its ports through a link."""
        name = f"daemon:{daemon.name}"
        linked = {
            port: self._way(name, getattr(daemon, port)) for port in ("echo", "session", "agent")
        }
        return daemon._replace(**linked)


class LocalStage(Stage):
    """See `Stage`.

    Args:
        directory: Data, configurations and logs.
        links: Which links the drill cuts.
        factor: The daemons' lives are shortened by it, and a soak's two daemons are there; 0:
            neither.
        program: What Python runs as a daemon.
        shards: Of the store; one is one Redis.
        shard_replicas: Of each shard of a cluster.
    """

    parts: dict[str, Process]

    def __init__(  # noqa: PLR0913 — each is one independent choice of the caller
        self,
        directory: Path,
        links: frozenset[str] = frozenset(),
        *,
        factor: float = 0.0,
        program: Sequence[str] = ("-m", "echod"),
        shards: int = 1,
        shard_replicas: int = SHARD_REPLICAS,
    ) -> None:
        super().__init__(directory, links)
        self._soak = bool(factor)
        settings = shorten(factor).settings if factor else {}
        if shards > 1 and REDIS in links:
            program = detour.program(directory / "fleet", program)
        plan = Plan(
            directory / "fleet",
            shards=shards,
            shard_replicas=shard_replicas,
            daemon_program=program,
            daemon_settings=settings,
        )
        self.fleet = LinkedFleet(plan, self.way)
        if NODE in links:
            self.fleet.link_node(node_name(SHARD, 0))
        self.parts = self.fleet.parts
        self.shards = ShardsCommand(self.fleet)
        self._harmed: dict[str, list[str]] = {}
        """What a fault was on, by what the drill calls it, until it is undone."""
        self._turns: Counter[int] = Counter()
        self._moved: set[int] = set()
        self._at_home = ""

    def start(self) -> None:
        self.fleet.start()
        self.haproxy = self.parts["haproxy"].ready
        self.direct = [self.parts[name].ready["session"] for name in self.daemons]
        if self._soak:
            store = self.fleet.store
            password = ["--store-password-file", store.password_file]
            self._start_beside(MEMORY, "--store", "memory://")
            self._start_beside(IDLE, "--store", store.url, *password)

    def __exit__(self, *_: object) -> None:
        self.fleet.kill()
        self.shards.close()
        super().__exit__()

    @property
    def addresses(self) -> dict[str, str]:
        if not self._soak:
            return super().addresses
        memory, idle = self.parts[MEMORY].ready, self.parts[IDLE].ready
        beside = {"memory": memory["session"], "memory-plain": memory["echo"]}
        return super().addresses | beside | {"idle": idle["session"]}

    def await_balance(self, *, even: bool = False) -> None:
        """`even`: and until each shard has its share of the daemons' homes."""
        super().await_balance(even=even)
        store = self.fleet.store
        if even and isinstance(store, RedisCluster):
            masters = store.masters().values()

            def spread() -> bool:
                counts = [len(_at_home(node, self.daemons)) for node in masters]
                return max(counts) < 2 + min(counts)

            until(
                spread,
                UP_S_MAX,
                "the daemons' homes to be spread over the shards",
            )

    def link(self, name: str) -> Link:
        """`AT_HOME` is the same daemon each time."""
        if AT_HOME in name and not self._at_home:
            self._at_home = min(_at_home(self._cluster.master(SHARD), self.daemons))
        return super().link(name.replace(AT_HOME, self._at_home))

    def names(self, part: str) -> list[str]:
        return [node.name for node in self._nodes(part)] or [part]

    def slots(self, part: str) -> Collection[int]:
        if part == MOVED:
            return frozenset(self._moved)
        store = self.fleet.store
        nodes = self._nodes(part.partition(" and ")[0])
        if not nodes or not isinstance(store, RedisCluster):
            return super().slots(REDIS if nodes else part)
        of_shard = {node.id for node in store.nodes if node.shard == nodes[0].shard}
        claims = [
            (seen.epoch, seen.slots)
            for node in store.nodes
            for seen in node.view()
            if seen.slots and seen.id in of_shard
        ]
        spans = max(claims, key=lambda claim: claim[0], default=(0, ()))[1]
        return frozenset(itertools.chain(*spans))

    def do(self, deed: Deed, name: str) -> None:
        if deed in HEALING:
            names = self._harmed.pop(name, None) or self.names(name)
        else:
            names = self._harmed[name] = self.names(name)
        for part in names:
            self._do(deed, part)

    def _do(self, deed: Deed, name: str) -> None:
        process = self.parts[name]
        match deed:
            case "kill":
                process.kill()
            case "start":
                self._start(name)
            case "reload":
                self.parts[f"former {name}"] = process
                self.fleet.start_haproxy(replaces=process.pid)
            case "fill" | "free":
                limit_files(process.pid, full=deed == "fill")
            case _:
                process.signal(control.SIGNALS[deed][0])
        if deed == "freeze":
            until(lambda: control.life(process) == "frozen", FROZEN_S_MAX, f"{name} to stand still")

    def change_data(self, how: str) -> None:
        for name in self._harmed.get(REDIS) or self.names(REDIS):
            directory = self.fleet.plan.directory / name
            subprocess.run(["sh", "-ec", DATA[how]], cwd=directory, check=True)

    def move(self, count: int, source: int, target: int) -> None:
        cluster = self._cluster
        until(
            lambda: all(cluster.master(shard).reachable for shard in (source, target)),
            ELECTION_S_MAX,
            "both shards to have a master",
        )
        with redis.Redis.from_url(cluster.master(source).admin_url) as client:
            keys = list(client.scan_iter(count=1000))
        rooms, others = (
            {slot_of_key(key) for key in keys if key.startswith(b"m:{") is room and b"{" in key}
            for room in (True, False)
        )
        here = self.slots(f"nodes of shard {source}")
        first = [slot for slot in self._moved if slot in here]
        wanted = dict.fromkeys((*first, *sorted(rooms), *sorted(others)))
        for slot in list(wanted)[:count]:
            cluster.move_slot(slot, target)
            self._moved.add(slot)

    def lose(self, part: str) -> None:
        nodes = self._nodes(part)
        self._harmed[part] = [node.name for node in nodes]
        for node in nodes:
            self._cluster.lose_data(node)

    def restart_elsewhere(self) -> None:
        cluster = self._cluster
        for node in cluster.nodes:
            cluster.kill(node)
            cluster.start_again(node, elsewhere=True)
            self.parts[node.name] = node.process
            cluster.await_whole()

    def succeed(self, shard: int) -> None:
        (last,) = self._harmed.pop(f"replica of shard {shard}")
        of_shard = [node for node in self._cluster.nodes if node.shard == shard]
        for node in sorted(of_shard, key=lambda node: node.name != last):
            self._cluster.start_again(node)
            self.parts[node.name] = node.process
            if node.name == last:
                self._cluster.hand_over(node, force=True)

    def hand_over(self, shard: int) -> None:
        (replica,) = self._nodes(f"replica of shard {shard}")
        self._cluster.hand_over(replica)

    def set_clock(self, part: str, ahead_s: int) -> None:
        cluster = self._cluster
        for node in self._nodes(part):
            cluster.kill(node)
            self.fleet.preload(node, ahead_s=ahead_s)
            cluster.start_again(node)
            self.parts[node.name] = node.process
            seconds, _ = node.ask("TIME")
            if abs(seconds - time.time() - ahead_s) > CLOCK_S:
                raise DrillError(f"{node.name}: its clock can't be set, it takes no preloaded one")
        cluster.await_whole()

    def isolate(self, part: str, *daemons: str) -> None:
        names = self._harmed[part] = self.names(part)
        for link in self._around(names, daemons):
            link.hold()

    def rejoin(self, part: str, *daemons: str) -> None:
        for link in self._around(self._harmed.pop(part), daemons):
            link.heal()

    def _around(self, names: Collection[str], daemons: Sequence[str]) -> Iterator[Link]:
        """What to cut: between these nodes and all others, and between those daemons and others."""
        if self._network is None:
            raise DrillError("the nodes of this drill have no links")
        for name, link in self._network.links.items():
            kind, _, ends = name.partition(":")
            if kind == NODE and any(end in names for end in ends.split("/")):
                yield link
            elif daemons and kind == REDIS:
                daemon, _, node = ends.split("/")
                if (daemon in daemons) is (node not in names):
                    yield link

    def half_move(self, count: int, source: int, target: int) -> None:
        cluster = self._cluster
        with redis.Redis.from_url(cluster.master(source).admin_url) as client:
            keys = [key for key in client.scan_iter(count=1000) if b"{" in key]
        by_slot: defaultdict[int, list[bytes]] = defaultdict(list)
        for key in keys:
            by_slot[slot_of_key(key)].append(key)
        # Rooms' first: they have most keys. Those with one alone can't be half here.
        wanted = sorted(
            (slot for slot, held in by_slot.items() if len(held) > 1),
            key=lambda slot: not any(key.startswith(b"m:{") for key in by_slot[slot]),
        )
        for slot in wanted[:count]:
            held = sorted(by_slot[slot])
            cluster.begin_move(slot, target, *(key.decode() for key in held[1::2]))
            self._moved.add(slot)
        cluster.await_whole()

    def finish_moves(self) -> None:
        nodes = [node for node in self._cluster.nodes if node.reachable]
        name, password = nodes[0].login or (None, None)
        Mover(Cluster([node.address for node in nodes], Login(name, password))).level()

    def await_whole(self) -> None:
        self._cluster.await_whole()

    def runs(self, name: str) -> bool:
        return any(self.parts[one].alive for one in self._harmed.get(name) or self.names(name))

    def samples(self, name: str) -> Samples:
        return metrics.read(self.parts[name].ready["admin"])

    def in_kernel(self, name: str) -> int:
        daemon = self.parts[name]
        own = {ports.split(daemon.ready[port])[1] for port in ("echo", "session")}
        return sum(
            one.status == psutil.CONN_ESTABLISHED and one.laddr.port in own
            for one in psutil.Process(daemon.pid).net_connections("tcp")
        )

    def _nodes(self, part: str) -> Sequence[Any]:
        """The store's nodes that a drill means; none for another part. A master comes first."""
        store = self.fleet.store
        found = OF_SHARD.fullmatch(f"nodes of shard {SHARD}" if part == REDIS else part)
        if found is None:
            return []
        if not isinstance(store, RedisCluster):
            return store.nodes
        kind, shard = found[1], int(found[2])
        master, replicas = store.master(shard), store.replicas(shard)
        if kind == "node":  # a replica or the master: the one whose turn it is
            nodes = [node for node in store.nodes if node.shard == shard]
            self._turns[shard] += 1
            return [nodes[(self._turns[shard] - 1) % len(nodes)]]
        return {
            "first node": [node for node in store.nodes if node.shard == shard][:1],
            "master": [master],
            "replica": [next((node for node in replicas if node.reachable), replicas[0])],
            "replicas": replicas,
            "nodes": [master, *replicas],
        }[kind]

    @property
    def _cluster(self) -> RedisCluster:
        store = self.fleet.store
        if not isinstance(store, RedisCluster):
            raise DrillError("one Redis has no other nodes")
        return store

    def _start(self, name: str) -> None:
        """As an operator does it: a node that has lost its data by the rule for those."""
        store = self.fleet.store
        node = next((node for node in store.nodes if node.name == name), None)
        if node is None or not isinstance(store, RedisCluster):
            self.fleet.start_again(name)
            return
        of_shard = [one for one in store.nodes if one.shard == node.shard]
        # Nobody has its slots, nor ever will: with what is lost it is the master that it was.
        alone = not any(one.has_data or one.reachable for one in of_shard)
        store.start_again(node, even_without_data=alone)
        self.parts[name] = node.process

    def keys(self) -> dict[str, int]:
        (node,) = self.fleet.store.nodes
        with redis.Redis.from_url(node.admin_url) as client:
            found = Counter(key.partition(b":")[0].decode() for key in client.scan_iter(count=1000))
        kept = self.samples(MEMORY).by_label("echod_memory_keys", "kind")
        return dict(found) | {f"{MEMORY}:{kind}": int(count) for kind, count in kept.items()}

    def _start_beside(self, name: str, *flags: str) -> None:
        """A daemon that no balancer knows."""
        plan = self.fleet.plan
        settings = {flag_of(setting): value for setting, value in plan.daemon_settings.items()}
        free = {f"--{port}-port": 0 for port in ("echo", "session", "admin", "agent")}
        words = [str(word) for pair in (settings | free).items() for word in pair]
        self.parts[name] = processes.start(
            [sys.executable, *plan.daemon_program, "--name", name, *flags, *words],
            log=plan.directory / f"{name}.log",
        )


def between(one: str, other: str) -> str:
    """The name of the link between two nodes, whoever connects."""
    return f"{NODE}:{min(one, other)}/{max(one, other)}"


def _at_home(master: Node, daemons: Collection[str]) -> list[str]:
    """Which daemons have their home on a shard, as its leases say."""
    with redis.Redis.from_url(master.admin_url) as client:
        leases = [
            (inbox.decode(), lease.split(b" ")[1])
            for key in client.scan_iter(b"l:*", count=1000)
            for inbox, lease in client.hgetall(key).items()
        ]
    # An inbox is `{<tag>}:<daemon>:<run>`.
    here = {inbox.split(":")[1] for inbox, at_home in leases if at_home == b"1"}
    return [name for name in daemons if name in here]


def limit_files(pid: int, *, full: bool) -> None:
    """Leave a process no file to open; not `full`: all that it may have again.

    A limit is on a file's number, not on how many there are, and the kernel gives the lowest.
    Only the soft limit is lowered, so that raising it again needs no rights.
    """
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    soft = hard
    if full:
        used = {int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()}
        soft = next(number for number in itertools.count() if number not in used)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
