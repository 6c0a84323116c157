"""Never healthy and deaf: a daemon proves that what is published reaches it (ADR 9).

Eight times in the life of its lease, twice a second, it publishes to itself through Redis, from the connection that posts take
to the one that they arrive on. A beat that the store has and that does not arrive means
that the subscription is deaf, whatever its socket says: a half-open connection, a
subscription that Redis dropped, one that it does not have.

The same beat renews the daemon's lease: who is found by it is there.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from echod.store.operations import Beat, Beaten

if TYPE_CHECKING:
    from collections.abc import Callable

    from echod.loop.clock import Clock
    from echod.metrics import RoomMetrics
    from echod.rooms.subscription import Subscription
    from echod.store.batch import Write
    from echod.store.committer import Committer
    from echod.store.shard import Shard

log = logging.getLogger(__name__)

# Between the store's word that it was published and its arrival: a loaded Redis needs
# milliseconds, a pause of this process none (its clock stands still too).
DEAF_S = 1.5


class Heartbeat:
    """See the module. `unheard` is whether the last beat has not come in time."""

    def __init__(  # noqa: PLR0913 — its parts, each of which a shard has one of
        self,
        committer: Committer,
        shard: Shard,
        clock: Clock,
        metrics: RoomMetrics,
        *,
        subscription: Subscription,
        lapsed: Callable[[], None],
    ) -> None:
        """`lapsed` is called when the lease had: posts may have passed this daemon by."""
        self.unheard = False
        self._committer = committer
        self._shard = shard
        self._clock = clock
        self._metrics = metrics
        self._subscription = subscription
        self._lapsed = lapsed
        self._number = self._heard = 0
        self._flying = self._unsure = False
        self._inbox = b""
        self._made = 0  # of the subscription's connections, that of the last beat
        self._beat_s = committer.lives.beat_s
        self._next_at = 0.0
        self._published: tuple[int, float] | None = None  # the oldest unheard, and since when

    def tick(self, inbox: bytes) -> None:
        """Called ten times a second, with this daemon's name on the shard."""
        now_s = self._clock.now_s
        if inbox != self._inbox:
            self._inbox, self._unsure = inbox, True  # a lease of its own, which no one had yet
        if self._published is not None and now_s - self._published[1] >= DEAF_S:
            self._deafened("a heartbeat did not arrive")
        if now_s >= self._next_at and not self._flying:
            self._next_at = now_s + self._beat_s
            self._flying = True
            self._made = self._subscription.made
            self._number += 1
            home = self._committer.home is self._shard
            beat = Beat(inbox, b"b %d %d" % (self._shard.number, self._number), home=home)
            self._committer.call(beat, self._done)

    def heard(self, number: int) -> None:
        """A beat has come."""
        self._heard = max(self._heard, number)
        if self._published is not None and self._heard >= self._published[0]:
            self._published = None
        self.unheard = False

    def _done(self, write: Write | None) -> None:
        self._flying = False
        if write is None or not isinstance(write.result, Beaten):
            # It may have been carried out: the next one would find the lease that it made.
            self._unsure = True
            return
        held, hearers, homes, first = write.result
        self._shard.homes, self._shard.first_home = homes, first
        if self._committer.home is self._shard:
            self._committer.spread_homes(self._inbox)
        held, self._unsure = held and not self._unsure, False
        if not held and self._number > 1:
            # Posts that look for daemons have passed this one by.
            self._metrics.leases_lapsed += 1
            self._lapsed()
        if not hearers:
            # A connection that was made since could not hear it.
            if self._subscription.connected and self._subscription.made == self._made:
                self._deafened("nobody heard a heartbeat")
        elif self._number > self._heard and self._published is None:
            self._published = (self._number, self._clock.now_s)

    def _deafened(self, why: str) -> None:
        self._published = None
        self.unheard = True
        self._metrics.deafened += 1
        log.error("subscription-deaf shard=%d: %s", self._shard.number, why)
        self._subscription.reset()
