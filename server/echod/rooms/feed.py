"""What one shard publishes to this daemon: its subscription, the heartbeat that proves it, an inbox.

    subscription ─▶ feed ─▶ hub: rooms, mailbox
         ▲           │
         └ heartbeat ┘ deaf: made anew

A daemon has one for each shard. Its inbox is in the shard's first slot, as the shard's leases
are; if that slot moves, the inbox goes along, and the shard gets another one (ADR 26).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from echod.rooms.heartbeat import Heartbeat
from echod.store.routes import inbox_channel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from echod.loop.clock import Clock
    from echod.metrics import RoomMetrics
    from echod.rooms.subscription import Subscription
    from echod.store.committer import Committer
    from echod.store.shard import Shard

log = logging.getLogger(__name__)


class Listener(Protocol):
    """Who has rooms on the shards: the hub. `feed` is the one that says so."""

    def own_channels(self, feed: Feed) -> Sequence[bytes]:
        """Inboxes that are there, and what is listened to whichever rooms there are."""

    def up(self, feed: Feed) -> None:
        """It is connected."""

    def down(self, feed: Feed) -> None:
        """It has failed, and does not hear until it is up again."""

    def subscribed(self, feed: Feed) -> Sequence[bytes]:
        """The channels of the rooms that are there."""

    def confirmed(self, feed: Feed, channel: bytes) -> None:
        """From now on what is published there arrives."""

    def unsubscribed(self, feed: Feed, channel: bytes) -> None:
        """It does not any more."""

    def moved(self, feed: Feed, slot: int) -> None:
        """Its rooms live elsewhere, or are about to."""

    def receive(self, written: bytes) -> None:
        """A publication; `flush` must follow the last one."""

    def flush(self) -> None:
        """No more has come."""

    def lapsed(self, feed: Feed) -> None:
        """Its lease had: posts may have passed this daemon by."""


class Feed:
    """See the module, and `subscription.Subscriber`.

    Attributes:
        inbox: this daemon's name on this shard, and where it is reached there; b"" while nobody
            knows which slots the shard has.
    """

    def __init__(  # noqa: PLR0913 — its parts
        self,
        shard: Shard,
        subscription: Subscription,
        listener: Listener,
        *,
        committer: Committer,
        clock: Clock,
        metrics: RoomMetrics,
    ) -> None:
        self.shard = shard
        self.subscription = subscription
        self.inbox = b""
        self._listener = listener
        self._heartbeat = (
            Heartbeat(
                *(committer, shard, clock, metrics),
                subscription=subscription,
                lapsed=self._lapsed,
            )
            if subscription.remote
            else None
        )

    @property
    def deaf(self) -> bool:
        """Whether publications don't reach this daemon, although the shard may be there."""
        heartbeat = self._heartbeat
        return not self.subscription.connected or (heartbeat is not None and heartbeat.unheard)

    def move_inbox(self, inbox: bytes) -> None:
        """From now on the daemon is reached here under this name."""
        self.inbox = inbox
        self.subscription.subscribe(inbox_channel(inbox))

    def tick(self) -> None:
        """Ten times a second."""
        self.shard.deaf = self.deaf
        if self._heartbeat is not None and self.inbox:
            self._heartbeat.tick(self.inbox)

    def heard(self, number: int) -> None:
        """A heartbeat has come."""
        if self._heartbeat is not None:
            self._heartbeat.heard(number)

    def _lapsed(self) -> None:
        self._listener.lapsed(self)

    # What the subscription says.

    def own_channels(self) -> Sequence[bytes]:
        """See `Subscriber`."""
        return self._listener.own_channels(self)

    def up(self) -> None:
        """See `Subscriber`."""
        log.info("subscription-connected shard=%d", self.shard.number)
        self._listener.up(self)

    def down(self) -> None:
        """See `Subscriber`."""
        self._listener.down(self)

    def subscribed(self) -> Sequence[bytes]:
        """See `Subscriber`."""
        return self._listener.subscribed(self)

    def confirmed(self, channel: bytes) -> None:
        """See `Subscriber`."""
        self._listener.confirmed(self, channel)

    def unsubscribed(self, channel: bytes) -> None:
        """See `Subscriber`."""
        self._listener.unsubscribed(self, channel)

    def moved(self, slot: int) -> None:
        """See `Subscriber`."""
        self._listener.moved(self, slot)

    def receive(self, written: bytes) -> None:
        """See `Subscriber`."""
        self._listener.receive(written)

    def flush(self) -> None:
        """See `Subscriber`."""
        self._listener.flush()
