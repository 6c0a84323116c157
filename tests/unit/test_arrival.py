"""Slots that have come to a shard, whose master may die before its replicas have them (ADR 26)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from echod.config import Config
from echod.loop.clock import Clock
from echod.metrics import Metrics
from echod.store.base import Alone, Lives
from echod.store.committer import Committer
from echod.store.memory.store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from echod.store.shard import Shard

LIVES = Lives(60, 30)


class Elsewhere(MemoryStore):
    """A store whose next connection leads to another master."""

    def __init__(self) -> None:
        super().__init__(LIVES)
        self.raised: list[int] = []

    def raise_generation(self, slots: Sequence[int]) -> None:
        """See `Store`."""
        self.raised += slots


def shard_and_told() -> tuple[Shard, Elsewhere, list[Callable[[int], bool]]]:
    """A shard that is connected, its store, and what it tells of losses."""
    told: list[Callable[[int], bool]] = []
    store = Elsewhere()
    committer = Committer(
        *(Alone(store), Config(), LIVES, Clock(0.0), Metrics()), on_rollback=told.append
    )
    (shard,) = committer.shards
    shard._connect()  # noqa: SLF001 — what its greenlet does, step by step
    return shard, store, told


def test_what_had_just_come_is_lost_with_the_master() -> None:
    """Nothing was acknowledged since: whoever has keys there is told, and nobody else."""
    shard, store, told = shard_and_told()
    shard.arrive([3, 5])
    shard._send()  # noqa: SLF001 — it is not answered
    shard.arrive([9])
    store.elsewhere = True
    shard._connect()  # noqa: SLF001 — after its greenlet has noticed
    (concerns,) = told
    assert [slot for slot in range(20) if concerns(slot)] == [3, 5, 9]
    assert store.raised == [3, 5, 9]
    shard._connect()  # noqa: SLF001 — once
    assert len(told) == 1


def test_what_was_acknowledged_since_is_not() -> None:
    """An empty batch is enough: replicas that have it have all that came before."""
    shard, store, told = shard_and_told()
    shard.arrive([3, 5])
    shard._turn()  # noqa: SLF001 — there and back
    store.elsewhere = True
    shard._connect()  # noqa: SLF001 — another master
    assert (told, store.raised) == ([], [])


def test_the_same_master_again_loses_nothing() -> None:
    """A link that broke is no other master."""
    shard, store, told = shard_and_told()
    shard.arrive([3])
    shard._connect()  # noqa: SLF001 — to where it was
    assert (told, store.raised) == ([], [])
