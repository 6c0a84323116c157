"""Whether a shard has lost data, and in which slots that is said, while slots move (ADR 26)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from echod.store.base import Lives, StoreError
from echod.store.keys import generation_key
from echod.store.redis.cluster import Cluster
from echod.store.redis.door import ShardOfCluster
from echod.store.redis.store import RedisStore
from echod.store.slots import slot_of_key
from echod.values import store_url
from lab.fleet import redis_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.fleet.redis_cluster import RedisCluster

SHARDS, SHARD = 3, 0
OTHER = 1
TIMEOUT_S = 2.0


@pytest.fixture(scope="module", name="cluster")
def own_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """Three masters, whose slots move from test to test."""
    with redis_cluster.start(tmp_path_factory.mktemp("slots"), shards=SHARDS, replicas=0) as made:
        yield made


def slots_of(cluster: RedisCluster, shard: int) -> list[int]:
    """Those that the shard serves now."""
    spans = cluster.master(shard).ask("CLUSTER", "SLOTS")
    return [
        slot
        for first, last, *_ in spans
        if cluster.shard_of(first) == shard
        for slot in range(first, last + 1)
    ]


class Way:
    """A daemon's way to one shard."""

    def __init__(self, cluster: RedisCluster, shard: int = SHARD) -> None:
        self._cluster = cluster
        self._seen = Cluster(store_url.parse(cluster.url), TIMEOUT_S)
        self._seen.refresh()
        slot = slots_of(cluster, shard)[0]
        self._shard = next(each for each in self._seen.topology.shards if slot in each.slots)
        self.store = RedisStore(
            ShardOfCluster(self._seen, self._shard), "d", Lives(60, 30), TIMEOUT_S
        )
        assert not self.store.connect()
        self.commit()

    def commit(self) -> None:
        """An empty batch: its markers are acknowledged."""
        self.store.begin([])
        self.store.finish()

    def again(self) -> set[int]:
        """Connect anew; the slots that have lost data."""
        self.store.reset()
        self._seen._seen_at = -1.0  # noqa: SLF001 — not what was true before the test's last step
        self._seen.refresh()
        return set(self.store.connect())

    @property
    def markers(self) -> list[str]:
        """The keys, in the order in which they are written."""
        return [marker.key.decode() for marker in self.store._markers]  # noqa: SLF001 — to lose one

    @property
    def slots(self) -> list[int]:
        """The shard's, as the daemon knows them."""
        return list(self._shard.slots)

    def lose(self, *markers: str) -> None:
        """They are gone, and with them who knows what."""
        for marker in markers:
            shard = self._cluster.shard_of(slot_of_key(marker.encode()))
            assert self._cluster.master(shard).ask("DEL", marker) == 1

    def generation(self, slot: int) -> int:
        """As it stands in the slot."""
        shard = self._cluster.shard_of(slot)
        return int(self._cluster.master(shard).ask("GET", generation_key(slot).decode()) or 0)


def test_each_of_two_markers_is_in_a_slot_of_its_own(cluster: RedisCluster) -> None:
    """Both are the shard's."""
    way = Way(cluster)
    slots = {slot_of_key(marker.encode()) for marker in way.markers}
    assert len(slots) == 2
    assert slots <= set(way.slots)


@pytest.mark.parametrize("which", [0, 1])
def test_a_marker_that_is_lost_elsewhere_is_no_loss_here(cluster: RedisCluster, which: int) -> None:
    """Its slot has moved, and the shard that took it has lost it: the other marker decides."""
    way = Way(cluster)
    moved = way.markers[which]
    cluster.move_slot(slot_of_key(moved.encode()), OTHER)
    way.lose(moved)
    assert way.again() == set()
    # Another slot's has taken its place.
    assert len(way.markers) == 2
    assert moved not in way.markers
    way.commit()
    way.lose(*way.markers)
    assert way.again() >= set(way.slots)


@pytest.mark.parametrize("which", [0, 1])
def test_a_marker_that_is_whole_elsewhere_hides_no_loss(cluster: RedisCluster, which: int) -> None:
    """Its slot has moved, and then the shard lost data."""
    way = Way(cluster)
    moved = way.markers[which]
    cluster.move_slot(slot_of_key(moved.encode()), OTHER)
    way.lose(way.markers[1 - which])
    assert way.again() >= set(way.slots)


def test_a_slot_that_comes_back_without_its_marker_is_no_loss(cluster: RedisCluster) -> None:
    """Nor does a batch take it for one."""
    way = Way(cluster)
    moved = way.markers[0]
    slot = slot_of_key(moved.encode())
    cluster.move_slot(slot, OTHER)
    way.lose(moved)
    cluster.move_slot(slot, SHARD)
    way.commit()
    assert way.again() == set()


def test_a_loss_counts_for_slots_that_have_moved_since(cluster: RedisCluster) -> None:
    """They were here when it was acknowledged; where they are now, their shard says so."""
    way = Way(cluster)
    slot = way.slots[7]
    first = way.generation(slot)
    cluster.move_slot(slot, OTHER)
    way.lose(*way.markers)
    lost = way.again()
    assert slot in lost
    assert slot not in way.slots
    assert way.generation(slot) == first
    there = Way(cluster, OTHER)
    before = there.generation(there.slots[1])
    there.store.lose({slot})
    assert there.again() == {slot}
    assert way.generation(slot) > first
    assert there.generation(there.slots[1]) == before
    cluster.move_slot(slot, SHARD)


def test_what_is_found_missing_while_the_store_connects_is_told(
    cluster: RedisCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another greenlet looks at its room just then: neither this loss nor that one is forgotten."""
    way = Way(cluster)
    first, second = way.slots[3:5]
    raise_ = way.store._raise  # noqa: SLF001 — the moment in which it waits for Redis

    def found(*about: Any) -> None:  # noqa: ANN401 — as `_raise`
        way.store.lose({second})
        raise_(*about)

    monkeypatch.setattr(way.store, "_raise", found)
    way.store.lose({first})
    assert way.again() == {first}
    monkeypatch.undo()
    with pytest.raises(StoreError) as caught:
        way.commit()
    assert caught.value.kind == "rolled-back"
    assert way.again() == {second}
    way.commit()
    assert way.again() == set()


def test_a_loss_is_told_above_what_any_slot_brings_along(cluster: RedisCluster) -> None:
    """A slot of a shard that has lost data before: what is raised is above its number, too."""
    way = Way(cluster)
    slot = slots_of(cluster, OTHER)[5]
    there = cluster.master(OTHER)
    there.ask("SET", generation_key(slot).decode(), "70")
    cluster.move_slot(slot, SHARD)
    way.store.learn({slot})
    way.commit()
    way.lose(*way.markers)
    assert slot in way.again()
    assert {way.generation(each) for each in (slot, *way.slots[:3])} == {71}
    assert way.store.generation == 71
    way.commit()
    assert way.again() == set()


def test_what_another_daemon_has_found_is_said_again_in_every_slot(cluster: RedisCluster) -> None:
    """It may have died before it had said so everywhere: by then only a marker's slot knows."""
    way = Way(cluster)
    slot = slot_of_key(way.markers[1].encode())
    cluster.master(SHARD).ask("SET", generation_key(slot).decode(), str(way.store.generation + 1))
    with pytest.raises(StoreError) as caught:
        way.commit()
    assert caught.value.kind == "rolled-back"
    assert way.again() >= set(way.slots)
    assert {way.generation(each) for each in way.slots[::500]} == {way.store.generation}
    way.commit()
    assert way.again() == set()
