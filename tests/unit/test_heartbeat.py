"""rooms/heartbeat.py: whom a beat that nobody heard says something of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from echod.config import Config
from echod.loop.clock import Clock
from echod.metrics import Metrics, RoomMetrics
from echod.rooms.heartbeat import Heartbeat
from echod.store.base import Alone, Lives
from echod.store.batch import NOBODY, Write
from echod.store.committer import Committer
from echod.store.keys import NO_SESSION
from echod.store.memory.store import MemoryStore
from echod.store.operations import Beaten
from echod.store.routes import inbox_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from echod.store.operations import Operation

LIVES = Lives(60, 30)
INBOX = inbox_name(0, b"d", b"1")


class Asked(Committer):
    """A committer whose answers come when the test says."""

    done: Callable[[Write | None], None]

    def call(self, operation: Operation, done: Callable[[Write | None], None]) -> None:
        """Kept."""
        del operation
        self.done = done


class Subscribed:
    """A subscription as far as a heartbeat looks at it."""

    remote = True

    def __init__(self) -> None:
        self.connected, self.made, self.resets = False, 0, 0

    def connect(self) -> None:
        """A new connection."""
        self.connected = True
        self.made += 1

    def reset(self) -> None:
        """Counted."""
        self.resets += 1


@pytest.mark.parametrize("when", ["before", "meanwhile", "anew"])
def test_only_who_listened_can_be_deaf(when: str) -> None:
    """A connection that was made after the beat had left could not hear it."""
    clock = Clock(0.0)
    clock.now_s = 1.0
    committer = Asked(
        *(Alone(MemoryStore(LIVES)), Config(), LIVES, clock, Metrics()), on_rollback=lambda _: None
    )
    subscription: Any = Subscribed()
    heartbeat = Heartbeat(
        *(committer, committer.home, clock, RoomMetrics()),
        subscription=subscription,
        lapsed=lambda: None,
    )
    if when != "meanwhile":
        subscription.connect()
    heartbeat.tick(INBOX)
    if when != "before":
        subscription.connect()
    write = Write(NOBODY, NO_SESSION)
    write.result = Beaten(held=True, hearers=0, homes=1, first=INBOX)
    committer.done(write)
    assert heartbeat.unheard is (when == "before")
    assert subscription.resets == (when == "before")
