"""What a port does with all its connections, it does with each for itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from echod.client.connection import Connection
from echod.client.conversation import Conversation
from echod.client.directory import Directory
from echod.client.terms import Terms
from echod.config import Config
from echod.limits.capacity import Capacity
from echod.limits.sources import Sources
from echod.limits.unsent import Unsent
from echod.loop.clock import Clock
from echod.metrics import Metrics
from echod.ports.port import PlainPort, SessionPort
from echod.rooms.hub import Hub
from echod.rooms.subscription import LocalSubscription
from echod.store.base import Alone, Lives
from echod.store.committer import Committer
from echod.store.memory.store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


LIVES = Lives(60, 30)


@pytest.fixture
def terms() -> Iterator[Terms]:
    """What a port hands its connections."""
    config, clock, metrics = Config(), Clock(0.0), Metrics()
    committer = Committer(
        Alone(MemoryStore(LIVES)), config, LIVES, clock, metrics, on_rollback=lambda _: None
    )
    capacity = Capacity(10, clock, metrics)
    yield Terms.of(
        *(config, 30.0),
        clock=clock,
        committer=committer,
        metrics=metrics,
        capacity=capacity,
        sources=Sources(1_000_000),
        unsent=Unsent(1_000_000, 0, lambda shed: shed(), tuple),
    )
    capacity.files.close()


class Fragile:
    """A connection in whose every part there is a bug."""

    def __init__(self, seen: list[object], *, broken: bool) -> None:
        self._seen = seen
        self._broken = broken

    def sweep(self, now_s: float) -> None:
        """See `Connection`."""
        self._seen.append(now_s)
        raise ValueError("a bug in a sweep")

    def broken(self) -> None:
        """See `Connection`; even this may have one."""
        self._seen.append("broken")
        if self._broken:
            raise ValueError("a bug in ending")


@pytest.mark.parametrize("broken", [False, True])
def test_a_sweep_reaches_everyone(terms: Terms, *, broken: bool) -> None:
    """A connection that raises is ended, and those behind it are looked at all the same."""
    port, seen = PlainPort(terms, Config()), list[object]()
    port.connections |= {cast("Connection", Fragile(seen, broken=broken)) for _ in range(5)}
    port.sweep(7.0)
    assert seen == [7.0, "broken"] * 5


class Deaf(Conversation):
    """One with a bug in all that it is told."""

    def __init__(self, seen: list[object]) -> None:
        self._seen = seen

    def roll_back(self, concerns: Callable[[int], bool]) -> None:
        """See `Conversation`."""
        del concerns
        self.ask_to_leave()

    def ask_to_leave(self) -> None:
        """See `Conversation`."""
        self._seen.append(self)
        raise ValueError("a bug of this connection")


@pytest.mark.parametrize(
    "act",
    [lambda port: port.roll_back(port.terms.committer.home), lambda port: port.leave(1.0)],
    ids=["lost", "leave"],
)
def test_what_is_told_to_all_reaches_everyone(
    terms: Terms, act: Callable[[SessionPort], None]
) -> None:
    """That data was lost, that the daemon leaves: one client with a bug keeps it from no other."""
    seen: list[object] = []
    directory = Directory()
    hub = Hub(
        *(Config(), terms.clock, terms.committer, terms.metrics, (b"here", b"1")),
        subscription=lambda _: LocalSubscription(),
        deliver=directory.deliver,
        crowded=lambda: False,
    )
    port = SessionPort(terms, Config(), hub, directory)
    for _ in range(5):
        connection = object.__new__(Connection)
        connection.conversation = Deaf(seen)
        port.connections.add(connection)
    act(port)
    assert len(seen) == 5
