"""`lab.fleet.redis_cluster`: real clusters, of each Redis that users have (tests/redises.py)."""

from __future__ import annotations

import binascii
import itertools
from typing import TYPE_CHECKING, Any

import pytest
import redis as redis_py

from lab.fleet import redis_cluster, redis_server
from lab.fleet.redis_cluster import ELECTION_S_MAX, NODE_TIMEOUT_MS, SLOTS, ClusterError
from lab.wait import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lab.fleet.redis_cluster import RedisCluster
    from lab.fleet.redis_node import Node

# Longer than any test: nobody is taken for dead.
NEVER_MS = 60_000

# For each key in a file that Redis writes: the file of four takes longer than what is done here.
KEY_DELAY_US = 3_000_000


@pytest.fixture(scope="module", name="cluster")
def cluster_of_each(
    redis_program: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisCluster]:
    """Three shards with a replica each, which the tests break one after the other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(redis_server.BINARY.variable, str(redis_program))
        directory = tmp_path_factory.mktemp("cluster")
        with redis_cluster.start(directory, shards=3, replicas=1) as made:
            yield made


@pytest.fixture(autouse=True)
def _whole(cluster: RedisCluster) -> None:
    """Each test begins with a cluster that is whole, whatever the one before has left."""
    for node in cluster.nodes:
        if node.frozen:
            cluster.thaw(node)
        if not node.process.alive:
            cluster.start_again(node)
    cluster.await_whole()


def slot(key: str) -> int:
    """The slot of a key: of what its braces hold, if it has some."""
    tag = key.partition("{")[2].partition("}")[0] or key
    return binascii.crc_hqx(tag.encode(), 0) % SLOTS


def a_key(cluster: RedisCluster, shard: int) -> str:
    """A key that no test has had yet, of a slot of this shard."""
    return next(key for key in map(str, NUMBERS) if cluster.shard_of(slot(key)) == shard)


NUMBERS = itertools.count()


def write(master: Node, key: str, value: str) -> None:
    """Write it on the master and on its replica."""
    assert master.ask("SET", key, value)
    assert master.ask("WAIT", 1, 5000) == 1


def replaced(cluster: RedisCluster, former: Node) -> Node:
    """Wait until another node has the shard; returns it."""
    until(lambda: cluster.master(former.shard) is not former, ELECTION_S_MAX, "a new master")
    return cluster.master(former.shard)


def get(node: Node, key: str) -> Any:  # noqa: ANN401 — whatever Redis answers
    """The value, once the node serves the key: a new master may need a moment."""

    def read() -> tuple[Any]:
        try:
            return (node.ask("GET", key),)
        except redis_py.RedisError as error:
            return (error,)

    until(lambda: not isinstance(read()[0], Exception), ELECTION_S_MAX, f"{node.name} to serve")
    return read()[0]


def test_every_shard_has_its_part(cluster: RedisCluster) -> None:
    """Each slot is served, by its shard's master, and each master has a replica."""
    bounds = [cluster.shard_of(number) for number in (0, 5460, 5461, 10921, 10922, SLOTS - 1)]
    assert sorted(bounds) == [0, 0, 1, 1, 2, 2]
    nodes = cluster.ready()["nodes"]
    assert sorted((node["shard"], node["role"]) for node in nodes) == [
        (shard, role) for shard in range(3) for role in ("master", "replica")
    ]
    assert len({node["pid"] for node in nodes} | {node["address"] for node in nodes}) == 12
    assert cluster.url == "redis+cluster://" + ",".join(node["address"] for node in nodes)


def test_the_settings_arrive(cluster: RedisCluster) -> None:
    """Every node has the settings of docs/adr/0027."""
    for node in cluster.nodes:
        told = node.ask("CONFIG", "GET", "*")
        config = dict(zip(told[::2], told[1::2], strict=True)) if isinstance(told, list) else told
        wanted = {
            "appendfsync": "always",
            "cluster-node-timeout": "1000",
            "cluster-require-full-coverage": "no",
            "cluster-allow-replica-migration": "no",
            "repl-diskless-sync-delay": "0",
            "repl-backlog-size": str(64 << 20),
            "bind": "127.0.0.1",
        }
        assert {name: config[name] for name in wanted} == wanted
        assert config["cluster-replica-validity-factor"] == "10"


def test_a_killed_master_is_replaced(cluster: RedisCluster) -> None:
    """Its replica takes over with its data, and it comes back as a replica."""
    former, key = cluster.master(0), a_key(cluster, 0)
    write(former, key, "value")
    cluster.kill(former)
    assert get(replaced(cluster, former), key) == "value"
    cluster.start_again(former)
    cluster.await_whole()
    assert cluster.replicas(0) == [former]


def test_a_frozen_master_is_replaced(cluster: RedisCluster) -> None:
    """So is one that says nothing any more; thawed it is a replica, and believes it."""
    former, key = cluster.master(1), a_key(cluster, 1)
    write(former, key, "value")
    cluster.freeze(former)
    assert get(replaced(cluster, former), key) == "value"
    cluster.thaw(former)
    cluster.await_whole()
    assert cluster.replicas(1) == [former]
    assert former.ask("ROLE")[0] == "slave"


def test_handed_over(cluster: RedisCluster) -> None:
    """A replica is master at once, with all that was written, and everybody knows it."""
    former, (replica,), key = cluster.master(2), cluster.replicas(2), a_key(cluster, 2)
    former.ask("SET", key, "value")
    cluster.hand_over(replica)
    assert cluster.master(2) is replica
    assert replica.ask("GET", key) == "value"
    with pytest.raises(redis_py.exceptions.MovedError):
        former.ask("SET", key, "late")


def test_half_a_move_and_the_rest(cluster: RedisCluster) -> None:
    """In between, a key that has gone is asked for elsewhere, and two can't be had at once."""
    tag = a_key(cluster, 0)
    gone, here = f"a{{{tag}}}", f"b{{{tag}}}"
    source, target = cluster.master(0), cluster.master(1)
    source.ask("MSET", gone, "1", here, "2")

    cluster.begin_move(slot(tag), 1, gone)
    assert cluster.shard_of(slot(tag)) == 0
    assert source.ask("GET", here) == "2"
    with pytest.raises(redis_py.exceptions.AskError):
        source.ask("GET", gone)
    with pytest.raises(redis_py.exceptions.TryAgainError):
        source.ask("MGET", gone, here)
    with pytest.raises(redis_py.exceptions.MovedError):
        target.ask("GET", gone)

    cluster.finish_move(slot(tag), 1)
    assert cluster.shard_of(slot(tag)) == 1
    assert target.ask("MGET", gone, here) == ["1", "2"]
    with pytest.raises(redis_py.exceptions.MovedError):
        source.ask("GET", here)
    cluster.move_slot(slot(tag), 0)
    assert source.ask("MGET", gone, here) == ["1", "2"]


def test_a_former_master_follows_though_slots_have_left_meanwhile(cluster: RedisCluster) -> None:
    """The last slot that it hears it has lost may be another shard's: it follows its own all the same."""
    former = cluster.master(0)
    moved = slot(a_key(cluster, 0))
    cluster.kill(former)
    until(lambda: cluster.master(0) is not former, ELECTION_S_MAX, "another master")
    cluster.move_slot(moved, 1)

    cluster.start_again(former)

    cluster.await_whole()
    assert former in cluster.replicas(0)
    cluster.move_slot(moved, 0)


def test_a_former_master_follows_though_it_has_keys_that_were_on_their_way(
    cluster: RedisCluster,
) -> None:
    """A slot was half-way to it when it ended: its keys there would keep it from being a replica."""
    former, source, key = cluster.master(0), cluster.master(1), a_key(cluster, 1)
    moved = [slot(a_key(cluster, 0)) for _ in range(3)]
    write(source, key, "value")
    cluster.begin_move(slot(key), 0, key)
    assert former.ask("WAIT", 1, 5000) == 1
    cluster.kill(former)
    new = replaced(cluster, former)
    cluster.begin_move(slot(key), 0)
    cluster.finish_move(slot(key), 0)
    for each in moved:
        cluster.move_slot(each, 1)

    cluster.start_again(former)

    cluster.await_whole()
    assert cluster.replicas(0) == [former]
    assert get(new, key) == "value"
    for each in moved:
        cluster.move_slot(each, 0)
    cluster.move_slot(slot(key), 1)


def test_a_node_without_its_data_comes_back_as_a_replica(cluster: RedisCluster) -> None:
    """A master killed, its disk deleted and started at once: no acknowledged write is lost."""
    former, key = cluster.master(0), a_key(cluster, 0)
    write(former, key, "value")
    identity = former.id
    cluster.lose_data(former)
    cluster.start_again(former)
    cluster.await_whole()
    assert former.id != identity
    assert identity not in {seen.id for node in cluster.nodes for seen in node.view()}
    assert cluster.replicas(0) == [former]
    assert get(cluster.master(0), key) == "value"


def test_without_that_rule_its_emptiness_wins(cluster: RedisCluster) -> None:
    """Started as it was, it is still master, and its replica throws away what it had."""
    master, (replica,), key = cluster.master(0), cluster.replicas(0), a_key(cluster, 0)
    write(master, key, "value")
    for node in cluster.nodes:
        node.ask("CONFIG", "SET", "cluster-node-timeout", NEVER_MS)
    cluster.lose_data(master)
    cluster.start_again(master, even_without_data=True)
    cluster.await_whole()
    for node in cluster.nodes:
        node.ask("CONFIG", "SET", "cluster-node-timeout", NODE_TIMEOUT_MS)
    assert cluster.master(0) is master
    assert get(master, key) is None
    assert replica.ask("DBSIZE") == 0


def test_nor_does_one_start_as_master_whose_copy_is_in_no_file_yet(cluster: RedisCluster) -> None:
    """A replica acknowledges before its first file is written; killed as master then, it is empty.

    Valkey makes the copy itself that file, so there is nothing to lose.
    """
    master, (replica,), key = cluster.master(2), cluster.replicas(2), a_key(cluster, 2)
    master.ask("MSET", *(word for n in "1234" for word in (f"{n}{{{key}}}", n)))
    cluster.lose_data(replica)
    settings = replica.settings
    replica.settings = {**settings, "rdb-key-save-delay": str(KEY_DELAY_US)}
    cluster.start_again(replica)
    until(
        lambda: replica.ask("INFO", "replication").get("master_link_status") == "up",
        ELECTION_S_MAX,
        "the copy",
    )
    write(master, key, "value")
    cluster.hand_over(replica)
    cluster.kill(replica)

    replica.settings = settings
    cluster.start_again(replica)
    cluster.await_whole()
    assert get(cluster.master(2), key) == "value"


def test_without_another_master_it_stays_down(cluster: RedisCluster) -> None:
    """While nobody else has its slots, a node without its data does not start."""
    master, (replica,), key = cluster.master(1), cluster.replicas(1), a_key(cluster, 1)
    write(master, key, "value")
    cluster.kill(replica)
    cluster.lose_data(master)
    with pytest.raises(ClusterError, match="has lost its data"):
        cluster.start_again(master, election_s_max=0.5)
    assert not master.process.alive

    cluster.start_again(replica)
    cluster.hand_over(replica, force=True)
    cluster.start_again(master)
    cluster.await_whole()
    assert cluster.master(1) is replica
    assert get(replica, key) == "value"


def test_one_node_elsewhere_is_found(cluster: RedisCluster) -> None:
    """A node on other ports is the node that it was."""
    (replica,) = cluster.replicas(2)
    before = replica.address
    cluster.kill(replica)
    cluster.start_again(replica, elsewhere=True)
    cluster.await_whole()
    assert replica.address != before
    assert cluster.replicas(2) == [replica]


def test_all_nodes_elsewhere_find_each_other(cluster: RedisCluster) -> None:
    """After all have other ports, they are one cluster again, with its data."""
    keys = [a_key(cluster, shard) for shard in range(3)]
    for shard, key in enumerate(keys):
        write(cluster.master(shard), key, "value")
    before = {node.address for node in cluster.nodes}
    cluster.stop()
    cluster.start_all(elsewhere=True)
    assert not before & {node.address for node in cluster.nodes}
    assert [get(cluster.master(shard), key) for shard, key in enumerate(keys)] == ["value"] * 3
