"""`lab.fleet.store`: one Redis is used as a cluster is, and no folder's data are left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lab.fleet import redis_cluster, store
from lab.fleet.local import DirectoryError, Fleet, Plan
from lab.fleet.store import StoreError

if TYPE_CHECKING:
    from pathlib import Path


def test_one_redis_is_one_node(tmp_path: Path) -> None:
    """The master of shard 0; killed, frozen and started as a cluster's node is, on its data."""
    with store.one(tmp_path) as one:
        one.start_all()
        (node,) = one.nodes
        address, pid = node.address, node.pid
        assert one.ready() == {
            "pid": pid,
            "url": f"redis://{address}/0",
            "password_file": "",
            "nodes": [
                {"name": "redis", "pid": pid, "address": address, "shard": 0, "role": "master"}
            ],
        }
        assert node.ask("SET", "key", "value")
        one.freeze(node)
        assert not node.reachable
        one.thaw(node)
        assert node.ask("GET", "key") == "value"

        one.kill(node)
        assert not node.reachable
        one.start_again(node)
        assert (node.address, node.ask("GET", "key")) == (address, "value")
        assert one.ready()["pid"] == node.pid != pid
        with pytest.raises(StoreError, match="one Redis has no replicas"):
            one.hand_over(node)
    assert not node.process.alive


@pytest.mark.parametrize(
    "had,shards,replicas,complaint",
    [
        (("redis",), 3, 2, "the data of --shards 1;"),
        (("redis-0-0", "redis-1-0", "redis-2-0"), 1, 2, "of --shards 3 --shard-replicas 0;"),
        (("redis-0-0", "redis-1-0", "redis-2-0"), 4, 0, "of --shards 3 --shard-replicas 0;"),
        (("redis-0-0", "redis-1-0", "redis-2-1"), 3, 0, "of --shards 3 --shard-replicas 1;"),
    ],
)
def test_a_folder_with_another_number_of_shards_is_refused(
    tmp_path: Path, had: tuple[str, ...], shards: int, replicas: int, complaint: str
) -> None:
    """Before anything is started: what was answered is in the folders that would be left out."""
    for name in had:
        (tmp_path / name).mkdir()
    fleet = Fleet(Plan(tmp_path, shards=shards, shard_replicas=replicas))
    try:
        with pytest.raises(DirectoryError, match=complaint):
            fleet.start()
        assert not fleet.parts
    finally:
        fleet.stop()


def test_a_cluster_gets_more_replicas(tmp_path: Path) -> None:
    """On the folders of one without: they have its data."""
    with redis_cluster.start(tmp_path, replicas=0) as before:
        master = before.master(before.shard_of(0))
        assert master.ask("SET", "{fHh}", "value")  # in slot 0
    with redis_cluster.start(tmp_path, replicas=1) as after:
        (replica,) = after.replicas(0)
        assert replica.ask("DBSIZE") == after.master(0).ask("DBSIZE") == 1
