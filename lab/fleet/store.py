"""The fleet's store as local processes: one Redis, or a cluster of them.

    Store ──▶ its nodes (`redis_node`)
      ├ OneRedis       one node: the master of shard 0, which has all keys
      └ RedisCluster   many (`redis_cluster`)

Both are used in the same way; what only a cluster has, one Redis refuses in words. Who calls
it: `lab.fleet.local`.
"""

from __future__ import annotations

import re
import signal
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, Self, TypeVar

from lab.errors import LabError
from lab.fleet import processes
from lab.fleet.redis_node import Node
from lab.wait import until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lab.fleet.redis_server import Appendfsync

N = TypeVar("N", bound=Node)

# What one Redis is called, and its folder.
ALONE: Final = "redis"

Role = Literal["master", "replica"]

# A process takes a signal as soon as it runs.
FROZEN_S_MAX = 5.0


class StoreError(LabError):
    """The store can't do what was asked of it."""


class Store(ABC, Generic[N]):
    """The nodes of a store. Leaving its `with` block stops them."""

    def __init__(self, nodes: Sequence[N]) -> None:
        self.nodes = list(nodes)

    @property
    @abstractmethod
    def url(self) -> str:
        """For the daemons, as `--store` takes it; `password_file` has their password."""

    @abstractmethod
    def masters(self) -> dict[int, N]:
        """Return the master of each shard that has one, as far as it is known."""

    @abstractmethod
    def start_all(self) -> None:
        """Start all nodes, of which none runs, with the data in their folders; they serve then.

        Raises:
            LabError: One did not start, or they did not come together.
        """

    @abstractmethod
    def start_again(self, node: N) -> None:
        """Start a node that has ended, on its ports and data; it answers then.

        Raises:
            LabError: It can't be started.
        """

    @abstractmethod
    def hand_over(self, replica: N) -> None:
        """Make a replica its shard's master, without a loss.

        Raises:
            LabError: That can't be done.
        """

    @abstractmethod
    def new_shard(self, replicas: int) -> list[N]:
        """Start a new shard's nodes, each still alone; returns them, the first to be the master.

        Raises:
            LabError: One did not start, or one Redis can have none: nothing runs then.
        """

    @abstractmethod
    def end_shard(self, shard: int) -> list[str]:
        """End a shard's nodes, each alone and empty, and delete their folders; returns their names.

        Raises:
            LabError: There are none, or one is not alone or empty.
        """

    @property
    def password_file(self) -> str:
        """The file with the daemons' password; empty if they need none."""
        return self.nodes[0].password_file

    def role(self, node: N) -> Role | None:
        """What a node is in its shard; None if no node that answers knows."""
        return _role(node, self.masters())

    def ready(self) -> dict[str, Any]:
        """Return the addresses for a ready line: of the store, and of each node."""
        masters = self.masters()
        return {
            "url": self.url,
            "password_file": self.password_file,
            "nodes": [
                {
                    "name": node.name,
                    "pid": node.pid,
                    "address": node.address,
                    "shard": node.shard,
                    "role": _role(node, masters),
                }
                for node in self.nodes
            ],
        }

    def kill(self, node: N) -> None:
        """End a node at once (SIGKILL); it is gone then."""
        node.process.kill()

    def freeze(self, node: N) -> None:
        """Stop a node (SIGSTOP): its sockets stay open, and it says nothing."""
        node.process.signal(signal.SIGSTOP)
        until(lambda: node.frozen, FROZEN_S_MAX, f"{node.name} to stand still")

    def thaw(self, node: N) -> None:
        """Let a frozen node go on (SIGCONT)."""
        node.process.signal(signal.SIGCONT)
        until(lambda: not node.frozen, FROZEN_S_MAX, f"{node.name} to go on")

    def stop(self) -> None:
        """End all nodes; what was acknowledged is in their append-only files."""
        processes.terminate_all([node.process for node in self.nodes if node.server])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class OneRedis(Store[Node]):
    """One Redis, which has all keys; made by `one`."""

    @property
    def url(self) -> str:
        """See `Store`."""
        return self.nodes[0].url

    def masters(self) -> dict[int, Node]:
        """See `Store`."""
        return {node.shard: node for node in self.nodes}

    def start_all(self) -> None:
        """See `Store`."""
        for node in self.nodes:
            node.start()

    def start_again(self, node: Node) -> None:
        """See `Store`."""
        node.start()

    def hand_over(self, replica: Node) -> None:
        """See `Store`."""
        raise StoreError(f"{replica.name}: one Redis has no replicas to hand over to")

    def new_shard(self, replicas: int) -> list[Node]:  # noqa: ARG002 — see `Store`
        """See `Store`."""
        raise StoreError("one Redis has no shards; `fleet up --shards 3` has")

    def end_shard(self, shard: int) -> list[str]:
        """See `Store`."""
        raise StoreError(f"shard {shard}: one Redis has no shards to end")

    def ready(self) -> dict[str, Any]:
        """See `Store`; its pid too."""
        return {"pid": self.nodes[0].pid, **super().ready()}


def node_name(shard: int, number: int) -> str:
    """Return what a cluster's node is called, and its folder."""
    return f"{ALONE}-{shard}-{number}"


def shards_in(directory: Path) -> dict[int, int]:
    """Return the shards that have folders there, each with its number of replicas."""
    found: dict[int, int] = {}
    for path in directory.glob(f"{ALONE}*"):
        if of := re.fullmatch(rf"{ALONE}-(\d+)-(\d+)", path.name):
            shard, number = map(int, of.groups())
            found[shard] = max(number, found.get(shard, 0))
        elif path.name == ALONE:
            found[0] = max(0, found.get(0, 0))
    return found


def one(
    directory: Path, *, appendfsync: Appendfsync = "always", secrets: Path | None = None
) -> OneRedis:
    """Return one Redis that does not run yet, in a folder of `directory`.

    Args:
        directory: Made if it is not there.
        appendfsync: As `redis_server.start`; so is `secrets`.
        secrets: The folder of the users' passwords; None for no users.
    """
    options = {"appendfsync": appendfsync, "secrets": secrets}
    return OneRedis([Node(directory / ALONE, 0, options)])


def _role(node: N, masters: dict[int, N]) -> Role | None:
    master = masters.get(node.shard)
    if master is None:
        return None
    return "master" if master is node else "replica"
