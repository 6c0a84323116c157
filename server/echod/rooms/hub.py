"""All rooms that have members here: where their parts meet (ADR 9).

    enter ─▶ subscribe, announce ─▶ confirmed ─▶ read ─▶ ready ─▶ members
    subscription ─▶ receive: next ─▶ delivery.gather ─▶ flush ─▶ members
                        │ hole, other history, rebuilt subscription, lapsed lease
                        └─▶ catching_up.read ─▶ members

The ledger (`Metrics.rooms`, docs/metrics.md) counts every message by what became of it.
Nothing here waits; the store is asked through the committer, as for everything.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from echod.loop.guard import guarded
from echod.protocol.wire import LF
from echod.rooms.admission import Admission
from echod.rooms.audit import Audit
from echod.rooms.catching_up import CatchingUp
from echod.rooms.delivery import Delivery
from echod.rooms.heartbeat import Heartbeat
from echod.rooms.kept import Kept
from echod.rooms.mailbox import Mailbox
from echod.rooms.position import Heard
from echod.rooms.presence import Presence
from echod.rooms.recovery import Recoveries
from echod.rooms.room import Room
from echod.store.routes import ROUTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from echod.config import Config
    from echod.loop.clock import Clock
    from echod.metrics import Metrics
    from echod.rooms.subscription import Subscription
    from echod.store.committer import Committer

log = logging.getLogger(__name__)


class Hub:
    """See the module, and `subscription.Subscriber`."""

    def __init__(  # noqa: PLR0913 — its parts, each of which a daemon has one of
        self,
        config: Config,
        clock: Clock,
        committer: Committer,
        metrics: Metrics,
        inbox: bytes,
        *,
        subscription: Subscription,
        deliver: Callable[[bytes, bytes], bool],
        crowded: Callable[[], bool],
    ) -> None:
        """Begin with no room; `inbox` is this daemon's name among all runs of all daemons.

        Publications come from `subscription`, which is started with this hub. `deliver` puts
        a line into the outbox of the session so named, if it is here. `crowded` says whether
        too much waits for clients to send them what can wait (unsent.py).
        """
        self.inbox = inbox
        self.committer = committer
        self.metrics = metrics.rooms
        self.rooms: dict[bytes, Room] = {}
        self._clock = clock
        self._subscription = subscription
        self._route = ROUTES[config.room_route]
        self._rooms_max = config.rooms_max
        self._linger_s = config.room_linger_s
        self._empty: dict[Room, None] = {}
        self.kept = kept = Kept()
        self.delivery = delivery = Delivery(self.metrics, kept, config.room_tick_s)
        # Its own method, because every batch of publications ends with it.
        self.flush = delivery.flush
        self._presence = presence = Presence(committer, inbox)
        self.admission = admission = Admission(
            *(config, clock),
            presence=presence,
            delivery=delivery,
            kept=kept,
            emptied=self._emptied,
        )
        self.catching_up = CatchingUp(
            *(committer, self.metrics, self._route),
            admission=admission,
            delivery=delivery,
            kept=kept,
        )
        self.recoveries = Recoveries(
            *(committer, self.metrics, config.outbox_bytes_max // 16),
            admission=admission,
            catching_up=self.catching_up,
            delivery=delivery,
            crowded=crowded,
        )
        self.mailbox = Mailbox(committer, clock, inbox, deliver)
        self._audit = Audit(
            *(committer, clock, self.metrics, self.rooms),
            presence=presence,
            catching_up=self.catching_up,
        )
        self._heartbeat = None
        if subscription.remote:
            self._heartbeat = Heartbeat(
                *(inbox, committer, clock, self.metrics),
                subscription=subscription,
                lapsed=self._read_all,
            )

    # Rooms come and go.

    @property
    def memberships(self) -> int:
        """Of all rooms, those on their way in included."""
        return self.admission.memberships

    def refusal(self, name: bytes) -> str:
        """Why nobody more can enter this room: this daemon has enough; "" if he can."""
        if not (why := self.admission.refusal()):
            full = len(self.rooms) >= self._rooms_max and name not in self.rooms
            why = f"{self._rooms_max} rooms on this daemon" if full else ""
        return why

    def enter(self, name: bytes, then: Callable[[Room | None], None]) -> None:
        """Call `then` with the room once it is ready; see `Admission.enter`."""
        room = self.rooms.get(name)
        if room is None:
            room = self.rooms[name] = Room(name)
            if self._route.subscribed_apart:
                self._subscription.subscribe(name)
            else:
                room.confirmed = self._subscription.connected
        if self.admission.enter(room, then) and room.confirmed:
            self.catching_up.read(room)

    def _emptied(self, room: Room) -> None:
        """Nobody is interested in it any more: it stays for a while, for who comes back."""
        room.empty_at = self._clock.now_s
        self._empty[room] = None
        if self._route.needs_members:
            room.ready = False  # from here on posts pass this daemon by

    def _let_go(self) -> None:
        """Of rooms that have been empty for long enough, once the fleet has been told so."""
        # With half of its rooms taken, a daemon keeps none for who may be on his way back.
        linger_s = self._linger_s if len(self.rooms) <= self._rooms_max // 2 else 0.0
        empty_before = self._clock.now_s - linger_s
        empty, self._empty = self._empty, {}
        for room in empty:
            if room.interested:
                continue
            if room.empty_at > empty_before or room.announced or room.announcing:
                self._empty[room] = None
                continue
            room.gone = True
            del self.rooms[room.name]
            self.kept.forget(room)
            if self._route.subscribed_apart:
                self._subscription.unsubscribe(room.name)

    # What the subscription says.

    @property
    def deaf(self) -> bool:
        """Whether publications don't reach this daemon, although the store may be there."""
        heartbeat = self._heartbeat
        return not self._subscription.connected or (heartbeat is not None and heartbeat.unheard)

    def receive(self, written: bytes) -> None:
        """A publication, of a line or, of messages, many. `flush` must follow the last one."""
        kind, _, rest = written.partition(b" ")
        if kind != b"m":
            self._receive_other(kind, rest)
        elif LF in rest:
            for line in written.split(LF):
                self._receive_message(line[2:])
        else:
            self._receive_message(rest)

    def _receive_message(self, rest: bytes) -> None:
        epoch, word, name, said = rest.split(b" ", 3)
        metrics = self.metrics
        metrics.publications += 1
        room = self.rooms.get(name)
        if room is None or not room.interested:
            metrics.publications_vain += 1
            if room is None:
                return
        offset = int(word)
        heard = room.position.hear(epoch, offset)
        if heard is Heard.NEXT:
            metrics.counts.published += 1
            self.delivery.gather(room, offset, said)
        elif heard is Heard.KNOWN:
            metrics.counts.known += 1
        else:
            self.catching_up.overtaken(room, epoch, offset, said)

    def _receive_other(self, kind: bytes, rest: bytes) -> None:
        if kind != b"b":
            self.mailbox.receive(kind, rest)
        elif self._heartbeat is not None:
            self._heartbeat.heard(int(rest))

    def up(self) -> None:
        """It is connected; of the rooms, each is confirmed apart if it is subscribed apart."""
        log.info("subscription-connected rooms=%d", len(self.rooms))
        self.metrics.subscriptions += 1
        if not self._route.subscribed_apart:
            for name in self.rooms:
                self.confirmed(name)

    def confirmed(self, name: bytes) -> None:
        """From now on a room's posts arrive; what came before is read."""
        room = self.rooms.get(name)
        if room is not None:
            room.confirmed = True
            self.catching_up.read(room)

    def down(self) -> None:
        """It has failed: nobody comes in until each room is read to its end again."""
        for room in self.rooms.values():
            room.confirmed = room.ready = False

    def subscribed(self) -> list[bytes]:
        """The rooms that are subscribed apart."""
        return list(self.rooms) if self._route.subscribed_apart else []

    # What the committer, the heartbeat and the sweeper say.

    def roll_back(self) -> None:
        """The store has lost data: nobody comes in before each room's history is known anew."""
        for room in self.rooms.values():
            room.ready = False
        self._read_all()

    def _read_all(self) -> None:
        """Something may have passed this daemon by."""
        for room in self.rooms.values():
            self._presence.announce(room)
            self.catching_up.read(room)

    def tick(self) -> None:
        """Ten times a second: deadlines, retries, the audit, rooms that nobody is in any more."""
        for tick in (
            *(() if self._heartbeat is None else (self._heartbeat.tick,)),
            self.mailbox.tick,
            self.catching_up.tick,
            self._presence.tick,
            self._audit.tick,
            self.admission.tick,
            self._let_go,
            self.recoveries.tick,
        ):
            guarded(tick)
