"""All rooms that have members here: entered, kept whole, heard, let go (ADR 9).

    enter ─▶ subscribe, announce ─▶ confirmed ─▶ read ─▶ ready ─▶ members
    subscription ─▶ receive: next ─▶ gathered ─▶ flush: one send a member
                        │ hole, other history, rebuilt subscription, lapsed lease
                        └─▶ read the stream until its end ─▶ members

The ledger (`Metrics.rooms`, docs/metrics.md) counts every message by what became of it.
Nothing here waits; the store is asked through the committer, as for everything.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from typing import TYPE_CHECKING, Any

import gevent

from echod.loop.clock import TICK_S
from echod.loop.guard import guarded
from echod.protocol.rooms import message
from echod.rooms.heartbeat import Heartbeat
from echod.rooms.pages import RECOVERY_PAGES_MAX, ROOM_PAGES_MAX, Pages
from echod.rooms.room import Heard, Position
from echod.store.keys import NO_SESSION
from echod.store.operations import Announce, Page, Publish, Read

if TYPE_CHECKING:
    from collections.abc import Callable

    from echod.config import Config
    from echod.loop.clock import Clock
    from echod.metrics import Metrics
    from echod.rooms.member import Member, Recovery
    from echod.rooms.subscription import Subscription
    from echod.store.batch import Write
    from echod.store.committer import Committer

log = logging.getLogger(__name__)

# Of a stream at once: bounds what a batch carries for a room to some 100 lines.
PAGE_MESSAGES = 100
# Publications that overtake a page, and messages since the last page of who recovers: kept,
# so that neither a hole nor a recovery takes for ever where posts never pause.
OVERTAKING_MAX = PAGE_MESSAGES
# A message that the store has and nobody published here, for so long, was lost.
LATE_S = 1.0
# Each room is held against the store every `Lives.audit_s`: a message that left no trace here
# shows. After so many of these audits, three times in its life, an announcement is made anew.
ANNOUNCE_AUDITS = 3
# Of all rooms: what is kept for those who are on their way to it. Above it they read more pages.
KEPT_BYTES_MAX = 8 << 20
# What gathers in a tick (`room_tick_s`) before it is sent sooner.
GATHERED_BYTES_MAX = 1 << 20


class RoomHere:
    """A room that has, or just had, members here.

    Attributes:
        position: what the members have been sent, `gathered` included.
        members: those who are sent what comes; `recovering` are on their way there.
        coming: those who asked to enter, until they have arrived or given up.
        ready: it is subscribed, and read to the end: members may come in.
        early: what was published beyond a hole, while the stream is read.
        tail: the last lines that members were sent, while somebody recovers.
        kept_bytes: of `early` and `tail`, see `KEPT_BYTES_MAX`.
        announced: members as the store was last told; -1 if nobody knows whether it was.
    """

    __slots__ = (
        "announced", "announcing", "coming", "confirmed", "early", "empty_since_s", "entering",
        "gathered", "kept_bytes", "late", "members", "name", "position", "read_again", "reading", "ready",
        "recovering", "tail",
    )  # fmt: skip

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.position = Position(name)
        self.members: dict[Member, None] = {}
        self.recovering: dict[Member, Recovery] = {}
        self.entering: list[tuple[float, Callable[[RoomHere | None], None]]] = []
        self.gathered: list[bytes] = []
        self.early: list[tuple[bytes, int, bytes]] = []
        self.tail: list[bytes] = []
        self.confirmed = self.ready = self.reading = self.read_again = False
        self.coming = self.announced = self.announcing = self.kept_bytes = 0
        self.empty_since_s = 0.0
        self.late: tuple[bytes, int, float] | None = None

    @property
    def interested(self) -> int:
        """Members, and those who will be."""
        return len(self.members) + len(self.recovering) + self.coming


class Hub:
    """See the module."""

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
        self.clock = clock
        self.metrics = metrics.rooms
        self.rooms: dict[bytes, RoomHere] = {}
        self._subscription = subscription
        self._heartbeat = None
        if subscription.remote:
            self._heartbeat = Heartbeat(
                *(inbox, committer, clock, self.metrics),
                subscription=subscription,
                lapsed=self.read_all,
            )
        self.recoveries = Pages(committer, RECOVERY_PAGES_MAX)
        self._pages = Pages(committer, ROOM_PAGES_MAX)
        self.page_bytes_max = config.outbox_bytes_max // 16
        """Of what was missed, sent at once: many rooms' fit an outbox beside what is live."""
        self._deliver_to = deliver
        self.crowded = crowded
        self.rooms_max = config.rooms_max
        self.memberships = 0
        """Those on their way in included; at most `_memberships_max`."""
        self._memberships_max = config.memberships_max
        self._kept_bytes = self._gathered_bytes = 0
        self._route = config.room_route
        self._linger_s = config.room_linger_s
        self._enter_s_max = config.commit_s_max
        self._tick_s = config.room_tick_s
        self._timer: Any = None
        self._dirty: dict[RoomHere, None] = {}
        self._tells: dict[int, tuple[float, Callable[[bool], None]]] = {}
        self._tell_number = 0
        self._watched: dict[RoomHere, None] = {}  # those that `tick` has to look at
        self._waiting: dict[Recovery, None] = {}
        self._audits: deque[RoomHere] = deque()
        self._audits_s = committer.lives.audit_s
        self._audit_s, self._audit_number, self._audits_per_tick = 0.0, 0, 0

    # Members come and go.

    def refuses(self, name: bytes) -> str:
        """Why nobody more can enter: this daemon has enough; "" if he can."""
        if self.memberships >= self._memberships_max:
            return f"{self._memberships_max} memberships on this daemon"
        if len(self.rooms) >= self.rooms_max and name not in self.rooms:
            return f"{self.rooms_max} rooms on this daemon"
        return ""

    def enter(self, name: bytes, then: Callable[[RoomHere | None], None]) -> None:
        """Call `then` with the room once it is ready; with None if that takes too long.

        Whoever got the room must `arrive`, or `cancel`.
        """
        here = self.rooms.get(name)
        if here is None:
            here = self.rooms[name] = RoomHere(name)
            if self._route == "room":
                self._subscription.subscribe(name)
            else:
                here.confirmed = self.connected
        here.coming += 1
        self.memberships += 1
        if here.ready:
            then(here)
            return
        first = not here.entering
        here.entering.append((self.clock.now_s + self._enter_s_max, then))
        self._watched[here] = None
        if not first:
            self.announce(here)  # the first one's read is for all who wait
            return
        self._announce(here)
        if here.confirmed:
            self.read(here)

    def arrive(self, here: RoomHere, member: Member, recovery: Recovery | None = None) -> None:
        """`member` is one from now on; with a `recovery`, on its way through what it missed."""
        here.coming -= 1
        if recovery is None:
            self.add(here, member)
        else:
            here.recovering[member] = recovery
            self.announce(here)

    def cancel(self, here: RoomHere) -> None:
        """Who asked to enter does not come."""
        here.coming -= 1
        self.memberships -= 1
        self.announce(here)

    def add(self, here: RoomHere, member: Member) -> None:
        """From now on `member` is sent what comes after the room's position."""
        self._flush_room(here)
        self._recovers_no_more(here, member)
        here.members[member] = None
        self.announce(here)

    def remove(self, here: RoomHere, member: Member) -> None:
        """It has left."""
        self.memberships -= 1
        here.members.pop(member, None)
        self._recovers_no_more(here, member)
        self.announce(here)

    def _recovers_no_more(self, here: RoomHere, member: Member) -> None:
        recovery = here.recovering.pop(member, None)
        if recovery is not None:
            recovery.gone = True
            self.recoveries.give_up(recovery)
            if not here.recovering:
                here.tail.clear()
                self._count_kept(here)

    def catch_up(self, here: RoomHere, cursor: Position) -> bytes | None:
        """What is missing between `cursor` and the room's position; None if it is not at hand."""
        self._flush_room(here)
        missing = here.position.offset - cursor.offset
        if cursor.epoch != here.position.epoch or not 0 <= missing <= len(here.tail):
            return None
        data = b"".join(here.tail[len(here.tail) - missing :])
        if len(data) > self.page_bytes_max:
            return None
        self.metrics.counts.recovered += missing
        self.metrics.deliveries += missing
        return data

    def announce(self, here: RoomHere) -> None:
        """Let the fleet know how many are here, once for many changes."""
        if not here.interested:
            here.empty_since_s = self.clock.now_s
            self._watched[here] = None
            if self._route == "directed":
                here.ready = False  # from here on posts pass this daemon by
        if not here.announcing and here.announced != here.interested:
            self._announce(here)

    def _announce(self, here: RoomHere) -> None:
        """At once: whatever is read behind it, posts find this daemon from then on."""
        here.announcing += 1
        here.announced = here.interested

        def done(write: Write | None) -> None:
            here.announcing -= 1
            if write is None:
                here.announced = -1  # `tick` says it again
                self._watched[here] = None
            else:
                self.announce(here)

        self.committer.call(Announce(here.name, self.inbox, here.interested), done)

    # What arrives.

    @property
    def connected(self) -> bool:
        """Whether publications can reach this daemon, as far as its connection says."""
        return self._subscription.connected

    @property
    def deaf(self) -> bool:
        """Whether they don't, although the store is there."""
        heartbeat = self._heartbeat
        return not self.connected or (heartbeat is not None and heartbeat.unheard)

    def receive(self, written: bytes) -> None:
        """A publication. `flush` must follow the last of those that came together."""
        kind, _, rest = written.partition(b" ")
        if kind == b"m":
            epoch, offset, room, said = rest.split(b" ", 3)
            self._hear(epoch, int(offset), room, said)
        elif kind == b"b":
            if self._heartbeat is not None:
                self._heartbeat.heard(int(rest))
        elif kind == b"t":
            inbox, number, name, line = rest.split(b" ", 3)
            delivered = self._deliver_to(name, line + b"\n")
            answer = b"d %b %d" % (number, delivered)
            self.committer.enqueue(NO_SESSION, Publish(inbox, answer))
        elif kind == b"d":
            number, _, delivered_word = rest.partition(b" ")
            _, then = self._tells.pop(int(number), (0.0, None))
            if then is not None:
                then(delivered_word == b"1")

    def _hear(self, epoch: bytes, offset: int, room: bytes, said: bytes) -> None:
        metrics = self.metrics
        metrics.publications += 1
        here = self.rooms.get(room)
        if here is None or not here.interested:
            metrics.publications_vain += 1
            if here is None:
                return
        heard = here.position.hear(epoch, offset)
        if heard is Heard.NEXT:
            metrics.counts.published += 1
            if not here.gathered:
                self._dirty[here] = None
            here.gathered.append(message(room, offset, said))
            self._gathered_bytes += len(said)
        elif heard is Heard.KNOWN:
            metrics.counts.known += 1
        else:
            self._overtaken(here, epoch, offset, said)

    def _overtaken(self, here: RoomHere, epoch: bytes, offset: int, said: bytes) -> None:
        """A publication that is not the next one: read, or keep it until what is read comes."""
        if here.position.epoch:
            self.metrics.holes += 1
        elif not here.reading:
            return  # it will be in the first page
        room_left = len(here.early) < OVERTAKING_MAX and self._kept_bytes < KEPT_BYTES_MAX
        if here.reading and room_left:
            here.early.append((epoch, offset, said))
            self._count_kept(here)
        else:
            self.read(here)

    def flush(self) -> None:
        """Send what has gathered: at once, or at the end of the tick (`room_tick_s`)."""
        if not self._dirty:
            return
        if not self._tick_s or self._gathered_bytes > GATHERED_BYTES_MAX:
            self._flush_now()
        elif self._timer is None:
            self._timer = gevent.get_hub().loop.timer(self._tick_s)
            self._timer.start(self._tick_over)

    def _tick_over(self) -> None:
        self._timer.close()
        self._timer = None
        self._flush_now()

    def _flush_now(self) -> None:
        dirty, self._dirty = self._dirty, {}
        self._gathered_bytes = 0
        if len(dirty) == 1:
            self._flush_room(*dirty)
            return
        # Several rooms: still one send a member.
        owed: dict[Member, list[bytes]] = {}
        for here in dirty:
            lines, here.gathered = here.gathered, []
            if here.recovering:
                self._keep(here, lines)
            data = b"".join(lines)
            self.metrics.deliveries += len(lines) * len(here.members)
            for member in here.members:
                if member in owed:
                    owed[member].append(data)
                else:
                    owed[member] = [data]
        for member, parts in owed.items():
            member.push(parts[0] if len(parts) == 1 else b"".join(parts))

    def _flush_room(self, here: RoomHere) -> None:
        if lines := here.gathered:
            here.gathered = []
            self._dirty.pop(here, None)
            if here.recovering:
                self._keep(here, lines)
            self._deliver(here, b"".join(lines), len(lines))

    def _keep(self, here: RoomHere, lines: list[bytes]) -> None:
        """For those who recover: they arrive with what came since their last page."""
        here.tail += lines
        del here.tail[:-OVERTAKING_MAX]
        self._count_kept(here)
        if self._kept_bytes > KEPT_BYTES_MAX:
            here.tail.clear()  # whole: it must reach up to the position
            self._count_kept(here)

    def _count_kept(self, here: RoomHere) -> None:
        """`early` or `tail`, of a hundred each at most, have changed."""
        kept = sum(map(len, here.tail)) + sum(len(said) for _, _, said in here.early)
        self._kept_bytes += kept - here.kept_bytes
        here.kept_bytes = kept

    def _deliver(self, here: RoomHere, data: bytes, messages: int) -> None:
        self.metrics.deliveries += messages * len(here.members)
        for member in tuple(here.members):
            member.push(data)

    # Reading the stream.

    def read(self, here: RoomHere) -> None:
        """Read on until the end: what was not published here."""
        if here.reading:
            here.read_again = True
            return
        here.reading, here.read_again = True, False
        position = here.position
        known = bool(position.epoch)
        # While the store is tight no room begins, unless under those who are in it.
        operation = Read(
            *(here.name, position.offset + 1, PAGE_MESSAGES if known else 1),
            begin=known or not self.committer.tight,
        )

        def done(write: Write | None) -> None:
            here.reading = False
            if write is not None and write.result is None:
                self._turn_away(here, math.inf)
            elif write is None or not isinstance(write.result, Page):
                here.read_again = True  # the store is away: `tick` tries again
                self._watched[here] = None
            else:
                self._take(here, write.result)

        if known:
            self._pages.submit(here, operation, done)
        else:
            self.committer.call(operation, done)

    def _take(self, here: RoomHere, page: Page) -> None:
        """A page has come."""
        self._flush_room(here)
        position = here.position
        before, offset = position.epoch, position.offset
        data, at_end = position.read(page, self.metrics.counts)
        if before and position.epoch != before:
            self.metrics.histories_lost += 1
            for member, recovery in tuple(here.recovering.items()):
                if recovery.epoch != position.epoch:
                    self.add(here, member)
        if at_end and here.early:
            data += self._replay(here)
        if data:
            here.tail.clear()
            self._count_kept(here)
            self._deliver(here, data, max(0, position.offset - offset))
        if not at_end or here.read_again:
            self.read(here)
        if at_end and here.confirmed and (here.interested or self._route != "directed"):
            # Whatever is read again, it follows the position at which they come in. Where
            # nobody is left posts pass this daemon by: who comes next reads first.
            here.ready = True
            self._admit(here)

    def _replay(self, here: RoomHere) -> bytes:
        """What overtook the page, as far as it follows it."""
        early, here.early = here.early, []
        self._count_kept(here)
        parts = []
        for epoch, offset, said in early:
            heard = here.position.hear(epoch, offset)
            if heard is Heard.NEXT:
                self.metrics.counts.published += 1
                parts.append(message(here.name, offset, said))
            elif heard is Heard.KNOWN:
                self.metrics.counts.known += 1
            else:
                here.read_again = True
        return b"".join(parts)

    def _admit(self, here: RoomHere) -> None:
        entering, here.entering = here.entering, []
        for _, then in entering:
            guarded(then, here)

    def _turn_away(self, here: RoomHere, now_s: float) -> None:
        """Those for whom it takes too long."""
        overdue = [then for until_s, then in here.entering if until_s <= now_s]
        here.entering = here.entering[len(overdue) :]
        for then in overdue:
            here.coming -= 1
            self.memberships -= 1
            guarded(then, None)
        self.announce(here)

    # What the subscription says.

    def up(self) -> None:
        """It is connected; of the rooms, each is confirmed apart if it is subscribed apart."""
        log.info("subscription-connected rooms=%d", len(self.rooms))
        self.metrics.subscriptions += 1
        if self._route != "room":
            for name in self.rooms:
                self.confirmed(name)

    def confirmed(self, name: bytes) -> None:
        """From now on a room's posts arrive; what came before is read."""
        here = self.rooms.get(name)
        if here is not None:
            here.confirmed = True
            self.read(here)

    def down(self) -> None:
        """It has failed: nobody comes in until each room is read to its end again."""
        for here in self.rooms.values():
            here.confirmed = here.ready = False

    def subscribed(self) -> list[bytes]:
        """The rooms that are subscribed apart."""
        return list(self.rooms) if self._route == "room" else []

    def roll_back(self) -> None:
        """The store has lost data: nobody comes in before each room's history is known anew."""
        for here in self.rooms.values():
            here.ready = False
            self._announce(here)
            self.read(here)

    def read_all(self) -> None:
        """Something may have passed this daemon by."""
        for here in self.rooms.values():
            self._announce(here)
            self.read(here)

    # TELL.

    def expect(self, until_s: float, then: Callable[[bool], None]) -> int:
        """A `TELL` waits for its answer, under the number that is returned."""
        self._tell_number += 1
        self._tells[self._tell_number] = (until_s, then)
        return self._tell_number

    def give_up(self, number: int) -> None:
        """It does not wait any more."""
        self._tells.pop(number, None)

    # Once a tick.

    def tick(self) -> None:
        """Deadlines, retries, the audit, rooms that nobody is in any more."""
        if self._heartbeat is not None:
            guarded(self._heartbeat.tick)
        now_s = self.clock.now_s
        for number, (until_s, then) in tuple(self._tells.items()):
            if now_s >= until_s:
                del self._tells[number]
                guarded(then, False)  # noqa: FBT003 — not delivered
        if now_s - self._audit_s >= self._audits_s and not self._audits:
            self._audit_s = now_s
            self._audit_number += 1
            self._audits.extend(self.rooms.values())
            # All of them within the time to the next audit, however many they are.
            self._audits_per_tick = math.ceil(len(self._audits) * TICK_S / self._audits_s)
        for _ in range(min(self._audits_per_tick, len(self._audits))):
            guarded(self._audit, self._audits.popleft())
        watched, self._watched = self._watched, {}
        for here in watched:
            guarded(self._look, here, now_s)
        waiting, self._waiting = self._waiting, {}
        for recovery in waiting:
            guarded(recovery.step)

    def later(self, recovery: Recovery) -> None:
        """The store is away, or this room behind: `recovery` tries again with the next tick."""
        self._waiting[recovery] = None

    def _look(self, here: RoomHere, now_s: float) -> None:
        """What a room waits for."""
        if self.rooms.get(here.name) is not here:
            return
        if here.read_again and not here.reading:
            self.read(here)
        if here.announced < 0 and not here.announcing:
            self._announce(here)
        if here.late is not None and now_s >= here.late[2]:
            self._judge(here, *here.late[:2])
        if here.entering and now_s >= here.entering[0][0]:
            self._turn_away(here, now_s)
        # With half of its rooms taken, a daemon keeps none for who may be on his way back.
        linger_s = self._linger_s if len(self.rooms) <= self.rooms_max // 2 else 0.0
        lingered = not here.interested and now_s - here.empty_since_s >= linger_s
        if lingered and not here.announced and not here.announcing:
            self._let_go(here)
        elif (
            here.entering or here.late is not None or here.read_again
            or here.announced < 0 or not here.interested
        ):  # fmt: skip
            self._watched[here] = None

    def _let_go(self, here: RoomHere) -> None:
        del self.rooms[here.name]
        self._kept_bytes -= here.kept_bytes
        if self._route == "room":
            self._subscription.unsubscribe(here.name)

    def _audit(self, here: RoomHere) -> None:
        """Say who is here, so that room and announcement live on; ask how far the room is."""
        if here.name not in self.rooms or not here.interested:
            return
        if self._audit_number % ANNOUNCE_AUDITS == 0:
            self._announce(here)
        else:
            self.announce(here)
        if not here.ready:
            return

        def done(write: Write | None) -> None:
            page = None if write is None else write.result
            if not isinstance(page, Page):
                return
            if page.epoch != here.position.epoch:
                self.read(here)  # another history, of which nobody has told
            elif page.last > here.position.offset:
                here.late = (page.epoch, page.last, self.clock.now_s + LATE_S)
                self._watched[here] = None

        self.committer.call(Read(here.name, here.position.offset + 1, 1), done)

    def _judge(self, here: RoomHere, epoch: bytes, last: int) -> None:
        """What the audit found late has come meanwhile, or was lost without a trace."""
        here.late = None
        lost = last - here.position.offset
        if epoch == here.position.epoch and lost > 0 and here.ready and not here.reading:
            self.metrics.silent += lost
            log.error("room-messages-lost room=%s count=%d", here.name.decode(), lost)
            self.read(here)
