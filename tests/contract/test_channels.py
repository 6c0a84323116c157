"""A shard's subscription on a real cluster: a channel of another shard concerns that one alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from gevent.event import Event

from echod.rooms.subscription import RedisSubscription
from echod.store.base import Lives
from echod.store.routes import ROUTES, inbox_channel, inbox_name
from echod.store.slots import SLOTS, slot_of_key, tag_of
from tests.contract.stores import KINDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from echod.store.redis.door import ClusterShards
    from tests.contract.stores import Stores

WAIT_S_MAX = 10.0


class Listener:
    """Notes what it is told; see `Subscriber`."""

    def __init__(self, inbox: bytes) -> None:
        self._own = inbox_channel(inbox)
        self.downs = 0
        self.told: dict[object, Event] = {}

    def at(self, what: object) -> Event:
        """Set once it was told so."""
        return self.told.setdefault(what, Event())

    def own_channels(self) -> Sequence[bytes]:
        """See `Subscriber`."""
        return (self._own,)

    def subscribed(self) -> Sequence[bytes]:
        """See `Subscriber`."""
        return ()

    def up(self) -> None:
        """See `Subscriber`."""
        self.at("up").set()

    def down(self) -> None:
        """See `Subscriber`."""
        self.downs += 1

    def confirmed(self, channel: bytes) -> None:
        """See `Subscriber`."""
        self.at(channel).set()

    def unsubscribed(self, channel: bytes) -> None:
        """See `Subscriber`."""

    def moved(self, slot: int) -> None:
        """See `Subscriber`."""
        self.at(slot).set()

    def receive(self, written: bytes) -> None:
        """See `Subscriber`."""

    def flush(self) -> None:
        """See `Subscriber`."""


@pytest.mark.parametrize(
    "stores_of_kind",
    [kind for kind in KINDS if kind.what == "cluster"],
    indirect=True,
    ids=lambda kind: kind.id,
)
def test_a_channel_of_another_shard_concerns_that_one(stores: Stores) -> None:
    """It is told where its slot is not; the link stays, and the next channel is heard."""
    places: ClusterShards = stores.places(Lives(60, 30), None)  # type: ignore[assignment] # a cluster's
    places.look()
    shard = places.all()[-1]
    listener = Listener(inbox_name(shard.slots[0], b"d", b"1"))
    subscription = RedisSubscription(places.door(shard.number).link, 10)
    subscription.start(listener)
    assert listener.at("up").wait(WAIT_S_MAX)
    channel = ROUTES["room"].channel
    elsewhere = channel(tag_of((shard.slots[0] + 1) % SLOTS))
    here = channel(tag_of(shard.slots[1]))
    for asked in (elsewhere, here):
        subscription.subscribe(asked)
    assert listener.at(slot_of_key(elsewhere)).wait(WAIT_S_MAX)
    assert listener.at(here).wait(WAIT_S_MAX)
    assert not listener.at(elsewhere).is_set()
    assert (listener.downs, subscription.made) == (0, 1)
    subscription.stop()
