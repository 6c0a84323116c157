"""What a daemon tells of its shards, one by one and of all, on a real Redis Cluster (ADR 16)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lab.fleet import metrics, redis_cluster
from lab.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lab.fleet.metrics import Samples
    from lab.fleet.redis_cluster import RedisCluster
    from tests.conftest import Echod

pytestmark = pytest.mark.heavy

SHARDS = 3
# What has a label `shard`, and of these what has the master's address too.
BY_SHARD = {
    *("echod_store_connections_total", "echod_store_data_losses_total"),
    "echod_shard_failovers_total",
}
BY_MASTER = {
    *("echod_shard_serves", "echod_shard_slots", "echod_shard_replicas", "echod_home_info"),
    *("echod_store_fill_ratio", "echod_shard_commit_seconds_count"),
    "echod_shard_commit_seconds_sum",
}


@pytest.fixture(scope="module", name="cluster")
def own_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """Three shards with two replicas each, which the last test breaks."""
    with redis_cluster.start(tmp_path_factory.mktemp("cluster"), shards=SHARDS, replicas=2) as made:
        yield made


@pytest.fixture
def said(echod: Callable[..., Echod], cluster: RedisCluster) -> Callable[[], Samples]:
    """What a daemon says that knows all shards, each time anew."""
    daemon = echod(store=cluster.url)

    def said() -> Samples:
        return metrics.from_text(daemon.get("/metrics")[1])

    until(lambda: said().get("echod_shard_serves") == SHARDS, 30, "every shard to serve")
    return said


def labels(samples: Samples, name: str) -> set[str]:
    """The labels that the samples of this name have."""
    return {label for own, _ in samples.by_name[name] for label in own}


def test_few_are_told_by_shard(said: Callable[[], Samples]) -> None:
    """Those that are listed here, and a shard costs a daemon that many series and no more."""
    samples = said()
    with_label = {name for name in samples.by_name if "shard" in labels(samples, name)}
    assert with_label == BY_SHARD | BY_MASTER
    assert all(labels(samples, name) == {"shard", "master"} for name in BY_MASTER)
    series = sum(len(samples.by_name[name]) for name in with_label)
    assert series == (len(with_label) - 1) * SHARDS + 1  # a daemon has one home


def test_shards_are_told_apart(said: Callable[[], Samples], cluster: RedisCluster) -> None:
    """By the addresses of their masters, whatever their numbers are; together they are whole."""
    samples = said()
    masters = {cluster.master(shard).address for shard in range(SHARDS)}
    slots = samples.by_label("echod_shard_slots", "master")
    assert set(slots) == masters
    assert sum(slots.values()) == redis_cluster.SLOTS
    assert samples.by_label("echod_shard_replicas", "master") == dict.fromkeys(masters, 2)
    assert set(samples.by_label("echod_home_info", "master")) < masters
    assert samples.get("echod_slots_moved_total") == samples.get("echod_slots_moving") == 0
    assert samples.get("echod_shard_failovers_total") == 0
    assert samples.get("echod_store_replicas") == 1
    apart_s = samples.get("echod_clocks_apart_seconds")
    assert apart_s is not None
    assert 0 < apart_s < 1


def test_slots_that_move(said: Callable[[], Samples], cluster: RedisCluster) -> None:
    """One that is half-way is seen on its way, and once where it has come to."""
    slot = 5
    to = (cluster.shard_of(slot) + 1) % SHARDS
    cluster.begin_move(slot, to)
    until(lambda: said().get("echod_slots_moving") == 1, 30, "the slot to be on its way")
    cluster.finish_move(slot, to)
    until(lambda: said().get("echod_slots_moving") == 0, 30, "the slot to be there")
    until(lambda: said().get("echod_slots_moved_total") == 1, 30, "the slot to have moved")


def test_a_failover(said: Callable[[], Samples], cluster: RedisCluster) -> None:
    """It counts for its shard alone, which has another master then, and a replica less."""
    before = said().by_label("echod_shard_slots", "master")
    victim = cluster.master(1)
    (number,) = {
        own["shard"]
        for own, _ in said().by_name["echod_shard_slots"]
        if own["master"] == victim.address
    }
    cluster.kill(victim)
    until(lambda: said().get("echod_shard_failovers_total", shard=number) == 1, 30, "a failover")
    assert said().get("echod_shard_failovers_total") == 1
    heir = cluster.master(1).address
    until(lambda: said().get("echod_shard_serves", master=heir) == 1, 30, "it to serve")
    samples = said()
    slots = samples.by_label("echod_shard_slots", "master")
    assert slots.keys() ^ before.keys() == {victim.address, heir}
    assert samples.get("echod_shard_serves", shard=number) == 1
    until(lambda: said().get("echod_shard_replicas", shard=number) == 1, 30, "a replica less")
    made = said().by_label("echod_store_connections_total", "shard")
    assert max(made, key=made.__getitem__) == number
    assert said().get("echod_shard_replicas") == 2 * SHARDS - 1
