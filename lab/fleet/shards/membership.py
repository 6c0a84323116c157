"""A shard's nodes join a cluster, and leave it.

Both may be done again after they were stopped anywhere: what is done already is passed by.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import redis as redis_py

from lab.fleet.shards.cluster import ClusterError, Shard, place
from lab.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from echod.store.topology import NodeView
    from lab.fleet.shards.cluster import Cluster, Picture

# Nodes that are met know each other in half a second, and copy an empty master in one more.
JOINED_S_MAX = 20.0
MIGRATION = "cluster-allow-replica-migration"
# FORGET holds for a minute: within it, who is forgotten must be gone from all.
FORGOTTEN_S_MAX = 15.0


def join(cluster: Cluster, addresses: Sequence[str]) -> str:
    """Make nodes a shard of the cluster: a master without slots, and its replicas, in step.

    Args:
        cluster: As it is.
        addresses: `host:port` of nodes that run and are empty; the first becomes the master.

    Returns:
        The master's address, as the nodes have it.

    Raises:
        ClusterError: One can't be used, and nothing has been changed; or they did not join.
        redis.RedisError: A node does not answer.
    """
    picture = cluster.look()
    if len(set(addresses)) < len(addresses):
        raise ClusterError("a node is named twice")
    # By their ids: a node may be named otherwise than the others know it.
    ids = {address: _own(cluster, address).id for address in addresses}
    _check(cluster, picture, ids)
    master, *replicas = addresses
    for address, node_id in ids.items():
        if node_id not in picture.nodes:
            _meet(cluster, address, picture.nodes)
    everyone = {place(node) for node in picture.nodes.values() if node.reachable} | {*addresses}
    _await(
        lambda: all(
            set(ids.values()) <= {node.id for node in cluster.view(asked)} for asked in everyone
        ),
        JOINED_S_MAX,
        f"all nodes to know {', '.join(addresses)}",
    )
    _await(
        lambda: all(_follows(cluster, replica, ids[master]) for replica in replicas),
        JOINED_S_MAX,
        f"the replicas to know {master}",
    )
    _await_whole(cluster, everyone, ids)
    for node in cluster.look().nodes.values():
        if node.id == ids[master]:
            return place(node)
    raise ClusterError(f"{master} has left again")


def check_may_leave(cluster: Cluster, nodes: Iterable[NodeView]) -> None:
    """See that nodes stay a shard when its last slot has gone.

    Otherwise they become replicas of who has taken it (`cluster-allow-replica-migration yes`, the
    default), and a command that was stopped then could not tell which shard it was to remove.

    Raises:
        ClusterError: One would not.
        redis.RedisError: One does not answer, or may not be asked.
    """
    for node in nodes:
        if node.reachable:
            _, said = cluster.ask(place(node), "CONFIG", "GET", MIGRATION)
            if said != b"no":
                raise ClusterError(
                    f"{place(node)} would become a replica of another shard with its last slot"
                    f" gone; first say `CONFIG SET {MIGRATION} no` to each of the shard's nodes"
                )


def leave(cluster: Cluster, addresses: Collection[str]) -> None:
    """Make the cluster forget nodes without slots; each is empty and alone then.

    Raises:
        ClusterError: One has slots or keys, or another node still knows one.
        redis.RedisError: A node does not answer.
    """
    picture = cluster.look()
    leaving = {node.id for node in picture.nodes.values() if place(node) in addresses}
    for shard in picture.shards.values():
        if leaving & {node.id for node in shard.nodes}:
            raise ClusterError(f"shard {shard.name} still has {len(shard.slots)} slots")
    gone = [picture.nodes[node_id] for node_id in leaving if picture.nodes[node_id].reachable]
    masters = [node for node in gone if not node.master_id]
    for node in masters:
        if keys := cluster.ask(place(node), "DBSIZE"):
            raise ClusterError(f"{place(node)} still has {keys} keys, though no slots")
    for node in (*(node for node in gone if node.master_id), *masters):
        cluster.ask(place(node), "CLUSTER", "RESET", "HARD")
    staying = [
        place(node)
        for node in picture.nodes.values()
        if node.reachable and place(node) not in addresses
    ]

    def forgotten() -> bool:
        done = True
        for address in staying:
            for node in cluster.view(address):
                if node.id in leaving:
                    done = False
                    with contextlib.suppress(redis_py.ResponseError):  # it has, by another
                        cluster.ask(address, "CLUSTER", "FORGET", node.id)
        return done

    _await(forgotten, FORGOTTEN_S_MAX, "all nodes to forget the shard's")


def _own(cluster: Cluster, address: str) -> NodeView:
    """What a node says of itself."""
    return next(node for node in cluster.view(address) if node.itself)


def _meet(cluster: Cluster, address: str, members: Iterable[str]) -> None:
    """Introduce a node to everyone: by hearsay alone it takes seconds."""
    for node_id in members:
        if node_id in cluster.buses:
            cluster.ask(address, "CLUSTER", "MEET", *cluster.buses[node_id])


def _await_whole(cluster: Cluster, everyone: Iterable[str], ids: Mapping[str, str]) -> None:
    """Until everyone knows whose replicas they are, and these have what their master has."""
    master_id, *replica_ids = ids.values()
    missing = ""

    def whole() -> bool:
        nonlocal missing
        missing = "not every node knows them"
        for asked in everyone:
            view = cluster.view(asked)
            if {node.id for node in view if node.master_id == master_id} != {*replica_ids}:
                return False
            (master,) = (node for node in view if node.id == master_id)
            shard = Shard("new", master, [node for node in view if node.id in replica_ids])
        missing = cluster.behind(shard)
        return not missing

    try:
        until(whole, JOINED_S_MAX, "the new shard's replicas to be in step")
    except TimeoutError as error:
        raise ClusterError(f"{error}: {missing}") from None


def _check(cluster: Cluster, picture: Picture, ids: Mapping[str, str]) -> None:
    """See that nodes are new and empty, or were made the shard by a call that was stopped.

    Args:
        cluster: Which they are to join.
        picture: Of it.
        ids: By address, the master's first.

    Raises:
        ClusterError: One is something else.
    """
    master_id = next(iter(ids.values()))
    for address, node_id in ids.items():
        member = picture.nodes.get(node_id)
        if member is None:
            _check_unused(cluster, address)
        elif member.slots:
            raise ClusterError(f"{address} is in the cluster already, and has slots")
        elif member.master_id and (node_id == master_id or member.master_id != master_id):
            raise ClusterError(f"{address} is in the cluster already, as a replica")


def _follows(cluster: Cluster, replica: str, master_id: str) -> bool:
    with contextlib.suppress(redis_py.ResponseError):  # it does not know the master yet
        cluster.ask(replica, "CLUSTER", "REPLICATE", master_id)
        return True
    return False


def _check_unused(cluster: Cluster, address: str) -> None:
    view = cluster.view(address)
    if len(view) > 1:
        raise ClusterError(f"{address} is in another cluster")
    if keys := cluster.ask(address, "DBSIZE"):
        raise ClusterError(f"{address} has {keys} keys; a new shard's nodes must be empty")
    if view[0].slots:
        raise ClusterError(f"{address} has slots; a new shard's nodes must be empty")


def _await(condition: Callable[[], bool], wait_s_max: float, what: str) -> None:
    try:
        until(condition, wait_s_max, what)
    except TimeoutError as error:
        raise ClusterError(str(error)) from None
