"""The committer's deadline, apart from how the store is doing."""

from __future__ import annotations

from echod.clock import Clock
from echod.config import Config
from echod.metrics import Metrics
from echod.session import PlainSession
from echod.store.base import Lives
from echod.store.batch import Nobody
from echod.store.committer import Committer
from echod.store.memory import MemoryStore

LIVES = Lives(60, 30)


class Waiting(Nobody):
    """A client that notes that it was told."""

    told = False

    def unavailable(self) -> None:
        """Too late."""
        self.told = self.gone = True


def test_the_deadline_holds_for_a_slow_store_too() -> None:
    """A store that answers, only too slowly for its queue, is not degraded; lines are overdue."""
    store, clock = MemoryStore(LIVES), Clock(0.0)
    store.connect()
    committer = Committer(store, Config(commit_s_max=2), LIVES, clock, Metrics())
    client = Waiting()
    write = committer.open(client, PlainSession(()))
    committer.batcher.add(write, b"a\n", 1, b"a\n", 0)
    clock.now_s = 1.9
    committer.tick()
    assert not client.told
    clock.now_s = 2.1
    assert not committer.degraded()
    committer.tick()
    assert client.told
    assert committer.batcher.held_bytes == 0
