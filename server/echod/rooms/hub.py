"""All rooms that have members here: where their parts meet (ADR 9).

    enter ─▶ subscribe, announce ─▶ confirmed ─▶ read ─▶ ready ─▶ members
    feed of its shard ─▶ receive: next ─▶ delivery.gather ─▶ flush ─▶ members
                           │ hole, other history, rebuilt subscription, lapsed lease
                           └─▶ catching_up.read ─▶ members

The ledger (`Metrics.rooms`, docs/metrics.md) counts every message by what became of it.
Nothing here waits; the store is asked through the committer, as for everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from echod.loop.guard import guarded
from echod.protocol.wire import LF
from echod.rooms.admission import Admission
from echod.rooms.audit import Audit
from echod.rooms.catching_up import HOLE_S, CatchingUp
from echod.rooms.delivery import Delivery
from echod.rooms.feed import Feed
from echod.rooms.kept import Kept
from echod.rooms.mailbox import Mailbox
from echod.rooms.position import Heard
from echod.rooms.presence import Presence
from echod.rooms.recovery import Recoveries
from echod.rooms.room import Room
from echod.store.routes import ROUTES, inbox_channel, inbox_name
from echod.store.slots import slot_of, slot_of_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from echod.config import Config
    from echod.loop.clock import Clock
    from echod.metrics import Metrics
    from echod.rooms.subscription import Subscription
    from echod.store.committer import Committer
    from echod.store.shard import Shard

# Names under which this daemon is still reached, where slots have moved: sessions' records and
# letters on their way have them.
INBOXES_MAX = 256


class Hub:
    """See the module, and `feed.Listener`.

    Attributes:
        names: of this daemon and of this run of it, of which its inboxes are made.
        feeds: of each shard one, by the shard's number.
    """

    def __init__(  # noqa: PLR0913 — its parts, each of which a daemon has one of
        self,
        config: Config,
        clock: Clock,
        committer: Committer,
        metrics: Metrics,
        names: tuple[bytes, bytes],
        *,
        subscription: Callable[[Shard], Subscription],
        deliver: Callable[[bytes, bytes], bool],
        crowded: Callable[[], bool],
    ) -> None:
        """Begin with no room.

        `subscription` makes a shard's, where its publications come from. `deliver` puts
        a line into the outbox of the session so named, if it is here. `crowded` says whether
        too much waits for clients to send them what can wait (unsent.py).
        """
        self.names = names
        self.committer = committer
        self.metrics = metrics.rooms
        self.rooms: dict[bytes, Room] = {}
        self._clock = clock
        self._new_subscription = subscription
        self._route = ROUTES[config.room_route]
        self._rooms_max = config.rooms_max
        self._linger_s = config.room_linger_s
        self._empty: dict[Room, None] = {}
        self.kept = kept = Kept()
        self.delivery = delivery = Delivery(self.metrics, kept, config.room_tick_s)
        # Its own method, because every batch of publications ends with it.
        self.flush = delivery.flush
        self._presence = presence = Presence(committer)
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
            hole_s=HOLE_S if config.store_replicas else 0.0,
        )
        self.recoveries = Recoveries(
            *(committer, self.metrics, config.outbox_bytes_max // 16),
            admission=admission,
            catching_up=self.catching_up,
            delivery=delivery,
            crowded=crowded,
        )
        self.mailbox = Mailbox(committer, clock, self._inbox, deliver)
        self._audit = Audit(
            *(committer, clock, self.metrics, self.rooms),
            presence=presence,
            catching_up=self.catching_up,
        )
        self._inboxes: dict[bytes, None] = {}
        self._astray: dict[Room, None] = {}
        self._routes_version = -1
        self._started = False
        self.feeds: list[Feed] = []
        self._follow_routes()

    def start(self) -> None:
        """Listen, to each shard from when it is known."""
        self._started = True
        for feed in self.feeds:
            feed.subscription.start(feed)

    def stop(self) -> None:
        """Listen no more."""
        for feed in self.feeds:
            feed.subscription.stop()

    # Where what lives.

    def feed_of(self, name: bytes) -> Feed:
        """The shard's where a room or a session of this name lives."""
        self._follow_routes()
        return self.feeds[self.committer.shard_of(name).number]

    def inbox_of(self, name: bytes) -> bytes:
        """Where a session of this name is reached: on its own shard."""
        return self.feed_of(name).inbox

    def _inbox(self) -> bytes:
        """Where this daemon is reached: at home."""
        self._follow_routes()
        return self.feeds[self.committer.home.number].inbox

    def _follow_routes(self) -> None:
        """Shards have come, or slots have moved: rooms and inboxes are listened to where they are."""
        new = self.committer.shards[len(self.feeds) :]
        if self._routes_version == self.committer.routes_version and not new:
            return
        self._routes_version = self.committer.routes_version
        for shard in new:
            feed = Feed(
                *(shard, self._new_subscription(shard), self),
                committer=self.committer,
                clock=self._clock,
                metrics=self.metrics,
            )
            self.feeds.append(feed)
            if self._started:
                feed.subscription.start(feed)
        for feed in self.feeds:
            self._place_inbox(feed)
        for room in self.rooms.values():
            feed = self.feed_of(room.name)
            if feed is not room.feed:
                room.feed.subscription.unsubscribe(self._route.channel(room.name))
                room.feed = feed
                self._listen_to(room)
        for inbox in self._inboxes:
            feed = self.feeds[self.committer.routes[slot_of_key(inbox)].number]
            feed.subscription.subscribe(inbox_channel(inbox))

    def _place_inbox(self, feed: Feed) -> None:
        """It is in the shard's first slot, as the leases are: that may be another one now."""
        slots = feed.shard.place.slots
        if not slots or self.committer.routes[slots[0]] is not feed.shard:
            return
        inbox = inbox_name(slots[0], *self.names)
        if inbox != feed.inbox:
            self._inboxes[inbox] = None
            while len(self._inboxes) > INBOXES_MAX:
                del self._inboxes[next(iter(self._inboxes))]
            feed.move_inbox(inbox)
            for room in self.rooms.values():
                if room.feed is feed:
                    self._presence.announce(room)  # under the name that it has now

    def _listen_to(self, room: Room) -> None:
        """Nobody comes in before its posts arrive and it is read to its end."""
        room.confirmed = room.ready = False
        subscription = room.feed.subscription
        if self._route.subscribed_apart:
            subscription.subscribe(self._route.channel(room.name))
        else:
            room.confirmed = subscription.connected

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
            room = self.rooms[name] = Room(name, self.feed_of(name))
            self._listen_to(room)
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
                room.feed.subscription.unsubscribe(self._route.channel(room.name))

    # What a feed says.

    @property
    def deaf(self) -> bool:
        """Whether publications of a shard don't reach this daemon, although it may be there."""
        return any(feed.deaf for feed in self.feeds if feed.shard.place.slots)

    def own_channels(self, feed: Feed) -> list[bytes]:
        """See `Listener`."""
        routes = self.committer.routes
        inboxes = [each for each in self._inboxes if routes[slot_of_key(each)] is feed.shard]
        return [*map(inbox_channel, inboxes), *self._route.common]

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
        heard = room.position.hear(epoch, offset, said)
        if heard is Heard.NEXT:
            metrics.counts.published += 1
            self.delivery.gather(room, offset, said)
            if room.early and not room.reading:
                self.catching_up.closed(room)
        elif heard is Heard.KNOWN:
            metrics.counts.known += 1
        else:
            self.catching_up.overtaken(room, epoch, offset, said)

    def _receive_other(self, kind: bytes, rest: bytes) -> None:
        if kind != b"b":
            self.mailbox.receive(kind, rest)
        else:
            shard, _, number = rest.partition(b" ")
            self.feeds[int(shard)].heard(int(number))

    def up(self, feed: Feed) -> None:
        """See `Listener`; of the rooms, each is confirmed apart if it is subscribed apart."""
        self.metrics.subscriptions += 1
        if not self._route.subscribed_apart:
            for room in self._rooms_of(feed):
                self._confirm(room)

    def down(self, feed: Feed) -> None:
        """See `Listener`: nobody comes in until each room is read to its end again."""
        for room in self._rooms_of(feed):
            room.confirmed = room.ready = False

    def subscribed(self, feed: Feed) -> list[bytes]:
        """See `Listener`."""
        if not self._route.subscribed_apart:
            return []
        return [self._route.channel(room.name) for room in self._rooms_of(feed)]

    def confirmed(self, feed: Feed, channel: bytes) -> None:
        """See `Listener`: what came before is read."""
        room = self.rooms.get(self._route.room_of(channel))
        if room is not None and room.feed is feed:
            self._confirm(room)

    def _confirm(self, room: Room) -> None:
        room.confirmed = True
        self.catching_up.read(room)

    def unsubscribed(self, feed: Feed, channel: bytes) -> None:
        """See `Listener`. Of a room that is still here nobody asked for it: its slot has moved."""
        room = self.rooms.get(self._route.room_of(channel))
        if room is not None and room.feed is feed:
            self._lose(room)
        elif channel.startswith(inbox_channel(b"")):
            self.committer.look_soon()

    def moved(self, feed: Feed, slot: int) -> None:
        """See `Listener`."""
        for room in self._rooms_of(feed):
            if slot_of(room.name) == slot:
                self._lose(room)

    def _lose(self, room: Room) -> None:
        """It is not heard any more: ask for it again, where it is by then."""
        room.confirmed = room.ready = False
        self._astray[room] = None
        self.committer.look_soon()

    def _rooms_of(self, feed: Feed) -> list[Room]:
        return [room for room in self.rooms.values() if room.feed is feed]

    def _find_the_astray(self) -> None:
        astray, self._astray = self._astray, {}
        for room in astray:
            if not room.gone and not room.confirmed:
                self._listen_to(room)

    # What the committer, the heartbeat and the sweeper say.

    def roll_back(self, concerns: Callable[[int], bool]) -> None:
        """The store has lost data: nobody comes in before each room's history is known anew."""
        rooms = [room for room in self.rooms.values() if concerns(slot_of(room.name))]
        for room in rooms:
            room.ready = False
        self._read_all(rooms)

    def lapsed(self, feed: Feed) -> None:
        """See `Listener`."""
        self._read_all(self._rooms_of(feed))

    def _read_all(self, rooms: Iterable[Room]) -> None:
        """Something may have passed this daemon by."""
        for room in rooms:
            self._presence.announce(room)
            self.catching_up.read(room)

    def tick(self) -> None:
        """Ten times a second: deadlines, retries, the audit, rooms that nobody is in any more."""
        for tick in (
            self._follow_routes,
            *(feed.tick for feed in self.feeds),
            self._find_the_astray,
            self.mailbox.tick,
            self.catching_up.tick,
            self._presence.tick,
            self._audit.tick,
            self.admission.tick,
            self._let_go,
            self.recoveries.tick,
        ):
            guarded(tick)
