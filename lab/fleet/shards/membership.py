"""A shard's nodes join a cluster, and leave it.

Both may be done again after they were stopped anywhere: what is done already is passed by.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import redis as redis_py

from lab.fleet.shards.cluster import ClusterError, place
from lab.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from lab.fleet.shards.cluster import Cluster

# Nodes that are met know each other in half a second, and copy an empty master in one more.
JOINED_S_MAX = 20.0
# FORGET holds for a minute: within it, who is forgotten must be gone from all.
FORGOTTEN_S_MAX = 15.0


def join(cluster: Cluster, addresses: Sequence[str]) -> None:
    """Make nodes a shard of the cluster: a master without slots, and its replicas, in step.

    Args:
        cluster: As it is.
        addresses: `host:port` of nodes that run and are empty; the first becomes the master.

    Raises:
        ClusterError: One is in use, or they did not join.
        redis.RedisError: A node does not answer.
    """
    picture = cluster.look()
    members = {place(node): node for node in picture.nodes.values()}
    for address in addresses:
        if address not in members:
            _check_unused(cluster, address)
    for address in addresses:
        if address not in members:
            _meet(cluster, address, members)
    master, *replicas = addresses

    _await(
        lambda: _all_know(cluster, addresses),
        JOINED_S_MAX,
        f"all nodes to know {', '.join(addresses)}",
    )
    if master in members and members[master].master_id:
        raise ClusterError(f"{master} is a replica")
    master_id = next(node.id for node in cluster.view(master) if node.itself)
    _await(
        lambda: all(_follows(cluster, replica, master_id) for replica in replicas),
        JOINED_S_MAX,
        f"the replicas to know {master}",
    )

    def whole() -> bool:
        seen = [cluster.view(asked) for asked in {*addresses, *members}]
        copies = [{place(node) for node in view if node.master_id == master_id} for view in seen]
        if any(copied != set(replicas) for copied in copies):
            return False
        shard = cluster.look([master]).shard_of(master_id)
        return shard is not None and not cluster.behind(shard)

    _await(whole, JOINED_S_MAX, f"the replicas of {master}")


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


def _meet(cluster: Cluster, address: str, members: Collection[str]) -> None:
    """Introduce a node to everyone: by hearsay alone it takes seconds."""
    for other in members:
        if other in cluster.bus_ports:
            host, _, port = other.rpartition(":")
            cluster.ask(address, "CLUSTER", "MEET", host, port, cluster.bus_ports[other])


def _all_know(cluster: Cluster, addresses: Collection[str]) -> bool:
    known = {place(node) for node in cluster.look().nodes.values() if node.reachable}
    return all(set(addresses) <= set(map(place, cluster.view(asked))) for asked in known)


def _follows(cluster: Cluster, replica: str, master_id: str) -> bool:
    with contextlib.suppress(redis_py.ResponseError):  # it does not know the master yet
        cluster.ask(replica, "CLUSTER", "REPLICATE", master_id)
        return True
    return False


def _check_unused(cluster: Cluster, address: str) -> None:
    if len(cluster.view(address)) > 1:
        raise ClusterError(f"{address} is in another cluster")
    if keys := cluster.ask(address, "DBSIZE"):
        raise ClusterError(f"{address} has {keys} keys; a new shard's nodes must be empty")


def _await(condition: Callable[[], bool], wait_s_max: float, what: str) -> None:
    try:
        until(condition, wait_s_max, what)
    except TimeoutError as error:
        raise ClusterError(str(error)) from None
