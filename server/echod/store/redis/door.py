"""How a store reaches its Redis: one that is where its URL says, or the master of a shard.

The store does not ask which: it gets a link, and may ask whether the link still is the right one.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Protocol

from echod.store.base import StoreError
from echod.store.redis.link import Link
from echod.store.slots import ALL_SLOTS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from echod.store.base import Place, Store
    from echod.store.redis.cluster import Cluster
    from echod.store.topology import Shard
    from echod.values.store_url import StoreUrl


class Door(Protocol):
    """See the module.

    Attributes:
        fixed: no slot ever comes, or goes.
    """

    fixed: bool

    @property
    def slots(self) -> Sequence[int]:
        """What the shard has, lowest first."""

    def link(self) -> Link:
        """A new connection.

        Raises:
            StoreError: it can't be had now.
        """

    def check(self) -> None:
        """The last link does not do what it should: does it still lead to who serves?

        Raises:
            StoreError: it does not.
        """


class ClusterPlace:
    """A shard of a cluster; see `Place`, of all attributes."""

    def __init__(self, shard: Shard, door: ShardOfCluster, store: Store) -> None:
        self.number = shard.number
        self.store = store
        self._door = door
        self._shard = shard

    @property
    def slots(self) -> Sequence[int]:
        """See `Place`."""
        return self._door.slots

    @property
    def master(self) -> str:
        """See `Place`."""
        address = self._shard.master
        return f"{address.host}:{address.port}" if address else ""

    @property
    def replicas(self) -> int:
        """See `Place`."""
        return self._shard.replicas

    @property
    def failovers(self) -> int:
        """See `Place`."""
        return self._shard.failovers


class ClusterShards:
    """The shards of a cluster, as it was seen last; see `Places`, of all methods."""

    def __init__(self, cluster: Cluster, new_store: Callable[[Door], Store]) -> None:
        self._cluster = cluster
        self._new_store = new_store
        self._places: list[ClusterPlace] = []

    @property
    def clocks_apart_s(self) -> float:
        """See `Places`."""
        return self._cluster.clocks_apart_s

    @property
    def slots_moving(self) -> int:
        """See `Places`."""
        return self._cluster.topology.slots_moving

    @property
    def slots_moved(self) -> int:
        """See `Places`."""
        return self._cluster.topology.slots_moved

    @property
    def version(self) -> int:
        """See `Places`."""
        return self._cluster.topology.version

    def door(self, number: int) -> ShardOfCluster:
        """A way to a shard, for who listens there."""
        return ShardOfCluster(self._cluster, self._cluster.topology.shards[number])

    def all(self) -> Sequence[Place]:
        """See `Places`."""
        for shard in self._cluster.topology.shards[len(self._places) :]:
            door = self.door(shard.number)
            self._places.append(ClusterPlace(shard, door, self._new_store(door)))
        return self._places

    def look(self) -> None:
        """See `Places`."""
        with contextlib.suppress(StoreError):  # whoever needs a shard is told
            self._cluster.refresh()


class OneRedis:
    """The one at a URL, which has everything; see `Door`, of all methods."""

    fixed = True
    slots: Sequence[int] = ALL_SLOTS

    def __init__(self, place: StoreUrl, timeout_s: float, password_file: str = "") -> None:
        self._place = place
        self._timeout_s = timeout_s
        self._password_file = password_file

    def link(self) -> Link:
        """See `Door`."""
        return Link(self._place, self._timeout_s, self._password_file)

    def check(self) -> None:
        """See `Door`."""


class ShardOfCluster:
    """The master of a shard, whoever that is; see `Door`, of all methods."""

    fixed = False

    def __init__(self, cluster: Cluster, shard: Shard) -> None:
        self._cluster = cluster
        self._shard = shard
        self._master_id = ""

    @property
    def slots(self) -> Sequence[int]:
        """See `Door`."""
        return self._shard.slots

    def link(self) -> Link:
        """See `Door`."""
        link = self._cluster.link(self._shard)
        self._master_id = self._shard.master_id
        return link

    def check(self) -> None:
        """See `Door`."""
        self._cluster.check(self._shard, self._master_id)
