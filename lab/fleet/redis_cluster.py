"""A real Redis Cluster (or Valkey's) of local processes, for tests and the local fleet.

    of ──▶ RedisCluster ──▶ ClusterNode, … (`redis_node`), each a `redis_server.RedisServer`
               │ kill, freeze, thaw, start_again, hand_over (`store`), lose_data
               └ begin_move, finish_move, move_slot

Each node has a folder, a port for clients and one for the other nodes (its bus), both on
loopback. A *shard* is a master and its replicas: a node stays in its shard whoever is the
master there, and slots move between shards. What is told of roles and slots is what the
nodes themselves say, by the newest of their epochs; nothing is remembered here.

A node without its data never starts as a master (docs/adr/0027): `start_again` sees to it.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from typing import TYPE_CHECKING, Any

import redis as redis_py

from lab.fleet import processes
from lab.fleet.ports import HOST
from lab.fleet.redis_node import DATA, IDENTITY, SETTINGS, ClusterNode
from lab.fleet.store import Store, StoreError, node_name, shards_in
from lab.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from lab.fleet.redis_server import Appendfsync

SLOTS = 16_384

# How long a master is silent before it is replaced.
NODE_TIMEOUT_MS = int(SETTINGS["cluster-node-timeout"])

# A new cluster's masters take no writes in their first 2 s, a busy machine needs more.
WHOLE_S_MAX = 20.0

# A master is handed over in 0.1 s. What is asked for may be lost on a link that is being made
# anew, and Redis itself asks again after 4 s, or never.
ASK_AGAIN_S = 2.0
HAND_OVER_S_MAX = 15.0

# From a master's death to another's election: two node timeouts and a draw of a second, and
# again if no majority answered in time.
ELECTION_S_MAX = 15.0

# Keys that one MIGRATE carries, which blocks its master meanwhile.
MIGRATE_KEYS_MAX = 100
MIGRATE_MS_MAX = 5000


class ClusterError(StoreError):
    """The cluster did not come to what was asked of it in time; the text says what is missing."""


class RedisCluster(Store[ClusterNode]):
    """The nodes of a running cluster; made by `start` or `of`. Leaving its `with` block stops them."""

    def __init__(self, nodes: Sequence[ClusterNode], *, interleaved: bool = False) -> None:
        super().__init__(nodes)
        self._interleaved = interleaved
        self._former: set[str] = set()
        """The identities that nodes without their data have given up."""
        self._last_shard = max(node.shard for node in self.nodes)
        """The highest number that a shard has had: none is given twice."""

    @property
    def url(self) -> str:
        """For the daemons, as `--store` takes it; `password_file` has their password."""
        login = "echod@" if self.password_file else ""
        return f"redis+cluster://{login}{','.join(node.address for node in self.nodes)}"

    def masters(self) -> dict[int, ClusterNode]:
        """Return the shards' masters, of each the one with the newest epoch; it may be dead."""
        claims = sorted(self._claims(), key=lambda claim: claim[0])
        return {node.shard: node for _, node, _ in claims}

    def master(self, shard: int) -> ClusterNode:
        """Return who serves a shard's slots, by the newest epoch; it may be dead or frozen.

        Raises:
            ClusterError: No node that answers knows.
        """
        found = self.masters().get(shard)
        if found is None:
            raise ClusterError(f"no node knows a master of shard {shard}")
        return found

    def replicas(self, shard: int) -> list[ClusterNode]:
        """Return the shard's other nodes, dead and frozen ones too."""
        master = self.master(shard)
        return [node for node in self.nodes if node.shard == shard and node is not master]

    def shard_of(self, slot: int) -> int:
        """Return the shard that serves a slot, by the newest epoch.

        Raises:
            ClusterError: None does.
        """
        claims = [
            (epoch, node.shard)
            for epoch, node, slots in self._claims()
            if any(slot in span for span in slots)
        ]
        if not claims:
            raise ClusterError(f"no node serves slot {slot}")
        return max(claims)[1]

    def start_all(self, *, elsewhere: bool = False) -> None:
        """Start all nodes, of which none runs; they are whole then.

        Nodes that have been a cluster are that cluster again: those that have their data
        first, so that the others join them.

        Args:
            elsewhere: On other ports than before.

        Raises:
            ClusterError: They did not become whole.
            lab.fleet.processes.StartError: A node did not start.
        """
        known = [node for node in self.nodes if (node.directory / IDENTITY).exists()]
        for node in sorted(self.nodes, key=lambda node: not node.has_data):
            if known:
                self.start_again(node, elsewhere=elsewhere)
            else:
                node.start(elsewhere=elsewhere)
        if not known:
            self._form()
        self.await_whole()

    def lose_data(self, node: ClusterNode) -> None:
        """Kill a node and delete all that it has stored, but for its identity."""
        self.kill(node)
        shutil.rmtree(node.directory / DATA)

    def start_again(
        self,
        node: ClusterNode,
        *,
        elsewhere: bool = False,
        even_without_data: bool = False,
        election_s_max: float = ELECTION_S_MAX,
    ) -> None:
        """Start a node that has ended; it answers then, and the others know where.

        A node that has lost its data would still be the master that it was, and its replicas
        would copy its emptiness. So it stays down until its slots have another master, and
        then joins under a new identity, as a replica.

        Args:
            node: One that does not run.
            elsewhere: On other ports than before.
            even_without_data: Break that rule, for the tests that show what it is for.
            election_s_max: How long to wait for another master.

        Raises:
            ClusterError: It has lost its data, and nobody else has its slots.
            lab.fleet.processes.StartError: It did not start.
        """
        empty = not node.has_data and not even_without_data
        if empty:
            self._await(
                lambda: self.masters().get(node.shard, node) is not node,
                election_s_max,
                f"another master of shard {node.shard}: {node.name} has lost its data, and a"
                " replica that was started after it ended is master only by force",
            )
            self._former |= node.give_up_identity()
        node.start(elsewhere=elsewhere)
        self._meet(node)
        if empty:
            self._forget_former()
            self._replicate(node)
        else:
            self._follow(node)

    def hand_over(self, replica: ClusterNode, *, force: bool = False) -> None:
        """Make a replica its shard's master, without a loss; all nodes know it then.

        Args:
            replica: One that runs.
            force: Though its master is dead: what the master had and the replica has not is
                lost. The nodes themselves never elect a replica that was started after its
                master's death, as they can't know how old its data are.

        Raises:
            redis.RedisError: It is the master, or its master does not answer.
            ClusterError: It did not come to it.
        """
        others = {node.id: node for node in self.nodes if node.reachable and node is not replica}

        def known() -> bool:
            heard = {seen.id for seen in replica.view() if seen.linked and seen.answers}
            as_one = [
                seen for node in others.values() for seen in node.view() if seen.id == replica.id
            ]
            return others.keys() <= heard and all("slave" in seen.flags for seen in as_one)

        # The master and those who vote ignore who is no replica to them yet, and it asks them
        # again only after 4 s.
        self._await(known, WHOLE_S_MAX, f"{replica.name} to be known as a replica")
        words = ("CLUSTER", "FAILOVER", *(["FORCE"] if force else []))
        replica.ask(*words)
        asked_s = time.monotonic()

        def handed_over() -> bool:
            nonlocal asked_s
            if time.monotonic() >= asked_s + ASK_AGAIN_S:
                asked_s = time.monotonic()
                with contextlib.suppress(redis_py.ResponseError):  # it has just become the master
                    replica.ask(*words)
            return self.master(replica.shard) is replica and self._agreed()

        self._await(
            handed_over,
            HAND_OVER_S_MAX,
            f"{replica.name} to be the master of shard {replica.shard}",
        )

    def new_shard(self, replicas: int) -> list[ClusterNode]:
        """See `Store`; `lab.fleet.shards` makes them members."""
        like = self.nodes[0]
        shard = self._last_shard + 1
        made = [
            ClusterNode(
                like.directory.with_name(node_name(shard, number)),
                shard,
                like.options,
                like.settings,
            )
            for number in range(1 + replicas)
        ]
        try:
            for node in made:
                node.start()
        except BaseException:
            processes.terminate_all([node.process for node in made if node.server])
            for node in made:
                shutil.rmtree(node.directory, ignore_errors=True)
            raise
        self._last_shard = shard
        self.nodes += made
        return made

    def end_shard(self, shard: int) -> list[str]:
        """See `Store`."""
        leaving = [node for node in self.nodes if node.shard == shard]
        if not leaving:
            raise ClusterError(f"there is no shard {shard}")
        for node in leaving:
            if node.reachable and (len(node.view()) != 1 or node.ask("DBSIZE")):
                raise ClusterError(f"{node.name} is still a member, or has keys")
        ids = {node.id for node in leaving}
        self.nodes = [node for node in self.nodes if node not in leaving]
        if any(seen.id in ids for node in self.nodes for seen in node.view()):
            self.nodes += leaving
            raise ClusterError(f"other nodes still know shard {shard}")
        processes.terminate_all([node.process for node in leaving if node.server])
        for node in leaving:
            shutil.rmtree(node.directory)
        return [node.name for node in leaving]

    def move_slot(self, slot: int, to_shard: int) -> None:
        """Move a slot with its keys to another shard; all nodes know it then."""
        self.begin_move(slot, to_shard)
        self.finish_move(slot, to_shard)

    def begin_move(self, slot: int, to_shard: int, *keys: str) -> None:
        """Half of a move: the slot is on its way to another shard, and these keys are there.

        Its master answers ASK for a key that it does not have (any more), and TRYAGAIN for
        several of which it has some.
        """
        # Who has not heard of a new master yet refuses it.
        self._await(self._agreed, ELECTION_S_MAX, "the nodes to agree about masters and slots")
        source, target = self.master(self.shard_of(slot)), self.master(to_shard)
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
        if keys:
            _migrate(source, target, keys)

    def finish_move(self, slot: int, to_shard: int) -> None:
        """The other half: the keys that are left, and all nodes know who has the slot.

        Raises:
            ClusterError: They did not come to know it.
        """
        source, target = self.master(self.shard_of(slot)), self.master(to_shard)
        while keys := source.ask("CLUSTER", "GETKEYSINSLOT", slot, MIGRATE_KEYS_MAX):
            _migrate(source, target, keys)
        others = [node for node in self.masters().values() if node not in (source, target)]
        # The target first: if it dies next, the source still has the slot, and redirects.
        for node in (target, source, *others):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", target.id)
        self._await(
            lambda: self.shard_of(slot) == to_shard and self._agreed(),
            HAND_OVER_S_MAX,
            f"all nodes to know slot {slot} in shard {to_shard}",
        )

    def await_whole(self, whole_s_max: float = WHOLE_S_MAX) -> None:
        """Wait until every node runs, knows all others, and its replicas have what it has.

        Raises:
            ClusterError: In vain; the text says what was missing at the end.
        """
        missing = ""

        def whole() -> bool:
            nonlocal missing
            missing = next(self._missing(), "")
            return not missing

        try:
            until(whole, whole_s_max, "the cluster to be whole")
        except TimeoutError as error:
            raise ClusterError(f"{error}: {missing}") from None

    def _form(self) -> None:
        """Make one cluster of nodes that know nobody yet."""
        first = {node.shard: node for node in reversed(self.nodes)}
        for epoch, node in enumerate(self.nodes, 1):
            # Two masters of one epoch would argue about it first.
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", epoch)
        for shard, node in first.items():
            begin, end = (SLOTS * n // len(first) for n in (shard, shard + 1))
            slots = range(shard, SLOTS, len(first)) if self._interleaved else range(begin, end)
            node.ask("CLUSTER", "ADDSLOTS", *slots)
        # Everyone meets everyone: by hearsay alone it takes seconds.
        for number, node in enumerate(self.nodes):
            for other in self.nodes[:number]:
                _meet(node, other)
        for node in self.nodes:
            if first[node.shard] is not node:
                self._replicate(node)

    def _meet(self, node: ClusterNode) -> None:
        """Tell a node that has started where the others are that have moved.

        Nodes hear of new addresses from each other, but not after all have moved. Only of
        those: to meet one that it knows breaks their link, and a vote on it is lost.
        """
        known = {(seen.id, seen.address) for seen in node.view()}
        for other in self.nodes:
            if other.reachable and (other.id, other.address) not in known:
                _meet(node, other)

    def _replicate(self, node: ClusterNode) -> None:
        """Make a node without slots a replica of its shard, once it knows the master there."""

        def follow() -> bool:
            with contextlib.suppress(redis_py.ResponseError):  # it does not know the master yet
                node.ask("CLUSTER", "REPLICATE", self.master(node.shard).id)
                return True
            return False

        self._await(follow, WHOLE_S_MAX, f"{node.name} to know the master of shard {node.shard}")

    def _follow(self, node: ClusterNode) -> None:
        """See that a former master is a replica of who has taken its place.

        If slots have left the shard meanwhile, it may lose its last one to another shard: then it
        would stay a master without slots, as replicas stay in their shard.
        """

        def settled() -> bool:
            if self.masters().get(node.shard, node) is node:
                return True
            own = next((seen for seen in node.view() if "myself" in seen.flags), None)
            if own is None or own.slots:
                return False  # it has still to hear who has them
            if "master" in own.flags:
                # Keys of a slot that was on its way there when it ended: they are its new master's,
                # and a node with keys can't become a replica.
                node.ask("FLUSHALL")
                self._replicate(node)
            return True

        self._await(settled, WHOLE_S_MAX, f"{node.name} to hear who has its slots")

    def _forget_former(self) -> None:
        """Make all nodes forget who has given up its identity."""

        def forgotten() -> bool:
            known = [
                (node, seen.id)
                for node in self.nodes
                for seen in node.view()
                if seen.id in self._former
            ]
            for node, former in known:
                # Its replicas refuse until they know their new master.
                with contextlib.suppress(redis_py.RedisError):
                    node.ask("CLUSTER", "FORGET", former)
            return not known

        self._await(forgotten, ELECTION_S_MAX, "the nodes to forget a former identity")

    def _claims(self) -> Iterator[tuple[int, ClusterNode, tuple[range, ...]]]:
        """Who serves which slots by which epoch, as anyone sees it."""
        nodes = {node.id: node for node in self.nodes}
        for node in self.nodes:
            for seen in node.view():
                if "master" in seen.flags and seen.slots and seen.id in nodes:
                    yield seen.epoch, nodes[seen.id], seen.slots

    def _agreed(self) -> bool:
        """Whether all nodes that answer see the same masters of the same slots."""
        views = [
            {(seen.id, seen.slots) for seen in view if "master" in seen.flags and seen.slots}
            for view in (node.view() for node in self.nodes if node.reachable)
        ]
        return all(view == views[0] for view in views)

    def _missing(self) -> Iterator[str]:
        """What the cluster lacks to be whole."""
        ids = {node.id for node in self.nodes}
        for node in self.nodes:
            if not node.reachable:
                yield f"{node.name} does not answer"
                return
            if "cluster_state:ok" not in node.ask("CLUSTER", "INFO"):
                yield f"{node.name} says that the cluster is not well"
            view = {seen.id: seen for seen in node.view() if seen.id not in self._former}
            if set(view) != ids:
                yield f"{node.name} knows {len(view)} nodes of {len(ids)}"
            for seen in view.values():
                if not seen.linked or seen.flags & {"fail", "fail?", "handshake", "noaddr"}:
                    yield f"{node.name} does not see {seen.id}: {','.join(seen.flags)}"
        if not self._agreed():
            yield "the nodes do not agree about masters and slots"
        for shard in {node.shard for node in self.nodes}:
            yield from self._behind(shard)

    def _behind(self, shard: int) -> Iterator[str]:
        """The shard's replicas that do not have what its master has, on their disk too."""
        offset = self.master(shard).ask("INFO", "replication")["master_repl_offset"]
        for node in self.replicas(shard):
            told = node.ask("INFO", "everything")
            if told.get("master_link_status") != "up" or told["slave_repl_offset"] < offset:
                yield f"{node.name} does not have its master's data"
            # Redis rewrites the file after a copy; until then it holds what was before the copy.
            if told["aof_rewrite_in_progress"] or told["aof_rewrite_scheduled"]:
                yield f"{node.name} has not written its master's data to its disk"

    @staticmethod
    def _await(condition: Callable[[], bool], wait_s_max: float, what: str) -> None:
        try:
            until(condition, wait_s_max, what)
        except TimeoutError as error:
            raise ClusterError(str(error)) from None


def of(  # noqa: PLR0913 — each is one independent choice of the caller
    directory: Path,
    *,
    shards: int = 3,
    replicas: int = 2,
    node_timeout_ms: int = NODE_TIMEOUT_MS,
    appendfsync: Appendfsync = "always",
    secrets: Path | None = None,
    more: Mapping[str, str] | None = None,
    interleaved: bool = False,
) -> RedisCluster:
    """Return a cluster that does not run yet, each of its nodes in a folder of `directory`.

    On the folders of an earlier one it is that cluster again, with its data.

    The slots are shared evenly, in order: shard 0 has the first.

    Args:
        directory: Made if it is not there.
        shards: At least three: only masters vote, and one of two is no majority.
        replicas: Of each shard. With one, nothing is acknowledged by a replica from a
            master's death until it is back.
        node_timeout_ms: How long a node is silent before the others take it for dead.
        appendfsync: As `redis_server.start`; so are `secrets` and `more`.
        secrets: The folder of the users' passwords; None for no users.
        more: Redis's own settings by name, beside those here or in their place.
        interleaved: Shards take turns, slot by slot, so that no two neighbours are in one: for
            tests of what must be in one slot.
    """
    settings = {**SETTINGS, "cluster-node-timeout": str(node_timeout_ms), **(more or {})}
    options = {"appendfsync": appendfsync, "secrets": secrets}
    # Of an earlier cluster some numbers may be gone with their shards.
    numbers = sorted(shards_in(directory)) if directory.is_dir() else []
    return RedisCluster(
        [
            ClusterNode(directory / node_name(shard, number), shard, options, settings)
            for shard in (numbers if len(numbers) == shards else range(shards))
            for number in range(1 + replicas)
        ],
        interleaved=interleaved,
    )


def start(directory: Path, **choices: Any) -> RedisCluster:  # noqa: ANN401 — those of `of`
    """Start a cluster as `of` makes it; it is whole then.

    Raises:
        lab.fleet.processes.StartError: A node did not start.
        ClusterError: They did not become a cluster.
    """
    cluster = of(directory, **choices)
    try:
        cluster.start_all()
    except BaseException:
        cluster.stop()
        raise
    return cluster


def _meet(node: ClusterNode, other: ClusterNode) -> None:
    node.ask("CLUSTER", "MEET", HOST, other.port, other.bus_port)


def _migrate(source: ClusterNode, target: ClusterNode, keys: Sequence[str]) -> None:
    words = ["MIGRATE", HOST, target.port, "", 0, MIGRATE_MS_MAX]
    if login := target.login:
        words += ["AUTH2", *login]
    source.ask(*words, "KEYS", *keys)
