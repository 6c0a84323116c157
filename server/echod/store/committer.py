"""What connections and rooms ask of the store: each thing of the shard where it lives (ADR 26).

    open, submit, … ─▶ routes[slot] ─▶ Shard ─▶ batch after batch
                          ▲
              topology ───┘ a slot's route changes when nothing of it is on its way

One Redis, or memory, is one shard that has every slot.
"""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING

import gevent

from echod.loop.guard import guarded
from echod.protocol.token import new_name
from echod.store.batch import NOBODY, Sums
from echod.store.keys import NO_SESSION
from echod.store.operations import FORGET, Remember, Renew, gives_life
from echod.store.shard import FREES_MAX, Shard
from echod.store.slots import SLOTS, slot_of
from echod.store.store_client import StoreClient

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from echod.config import Config
    from echod.loop.clock import Clock
    from echod.metrics import Metrics
    from echod.store.base import Lives, Places
    from echod.store.batch import Client, Write
    from echod.store.keys import Session
    from echod.store.operations import Operation

log = logging.getLogger(__name__)

# So often a daemon looks for shards that have come or gone, and at the nodes' clocks.
LOOK_S = 5.0
# Names drawn until one falls to the home: with sixteen even shards one session of six hundred is
# born elsewhere, and a shard that has few slots yet costs no more than this.
DRAWS_MAX = 100
# A home that has so many daemons more than the emptiest gives one up.
HOMES_APART = 2


class Committer:
    """See the module.

    Attributes:
        lives: how long the store keeps what.
        shards: by number; one that has no slots any more stays, and has nothing to do.
        routes: by slot, who has it; `routes_version` is another one after each change.
        home: where new sessions are born; see `choose_home`.
    """

    def __init__(  # noqa: PLR0913 — its parts, each of which a daemon has one of
        self,
        places: Places,
        config: Config,
        lives: Lives,
        clock: Clock,
        metrics: Metrics,
        *,
        on_rollback: Callable[[Callable[[int], bool]], None],
    ) -> None:
        """`on_rollback` is called when the store has lost data, with what says of which slots.

        Before anything that was in flight goes again, and before anyone hears of what is
        committed since.
        """
        self.lives = lives
        self.places = places
        self._config = config
        self._clock = clock
        self._metrics = metrics
        self._on_rollback = on_rollback
        self._started = False
        self._look_at = 0.0
        self._looking: gevent.Greenlet[..., None] | None = None
        self.shards: list[Shard] = []
        self._meet_new_shards()
        self.home = self.shards[0]
        self.routes = [self.home] * SLOTS
        self.routes_version = 0
        self._moved_at: dict[int, float] = {}
        self._placed = False  # it was seen where everything is: from then on slots move
        self._version = -1
        self._reroute()

    # What connections ask.

    def open(self, client: Client, session: Session, operation: Operation | None = None) -> Write:
        """Queue a write for `client`, to which it may add lines until it leaves."""
        if self._clock.now_s >= session.renew_at:
            self._renew(client, session)
        return self.routes[session.slot].open(client, session, operation)

    def submit(
        self,
        client: Client,
        session: Session,
        operation: Operation,
        then: Callable[[Write], bytes | None] | None = None,
    ) -> None:
        """Queue an operation for `client`, behind everything that it has queued on that shard.

        `then` makes the answer to the line that asks for it (`Write`); None if no line does.
        """
        if self._clock.now_s >= session.renew_at and gives_life(operation):
            self._renew(client, session)
        self.routes[operation.slot(session)].submit(client, session, operation, then)

    def free(self, session: Session, operation: Operation = FORGET) -> None:
        """Delete what the store may have of a session that has ended, or of its part in a room."""
        if operation is FORGET and not session.sent:
            return
        if sum(shard.sums.frees for shard in self.shards) >= FREES_MAX:
            self._metrics.store_error("frees_full")
            return
        self.enqueue(session, operation)

    def enqueue(self, session: Session, operation: Operation, client: Client = NOBODY) -> None:
        """Queue an operation that nobody waits for."""
        self.routes[operation.slot(session)].enqueue(session, operation, client)

    def call(self, operation: Operation, done: Callable[[Write | None], None]) -> None:
        """Queue an operation of the daemon's own, about no session.

        `done` gets the write that was acknowledged, with its `result`; None if that took
        longer than a line may.
        """
        self.submit(StoreClient(done), NO_SESSION, operation)

    def _renew(self, client: Client, session: Session) -> None:
        """A sign of life, whichever verb brings it: the state's life is its own write's business.

        What stands beside the state lives longer, and is renewed a few times in a life.
        """
        if session.renew_at:
            session.lives_until = session.renew_at - self.lives.renewal_s + self.lives.state_s
        session.renew_at = self._clock.now_s + self.lives.renewal_s
        if session.restored:
            session.stored = False
            return
        self.enqueue(session, Remember(session.posted), client)
        for room in session.posted:
            self.enqueue(session, Renew(room), client)

    def shard_of(self, name: bytes) -> Shard:
        """Where a session or a room of this name lives."""
        return self.routes[slot_of(name)]

    def new_name(self) -> bytes:
        """A session's, drawn until one falls to the home (ADR 21)."""
        self.choose_home()
        routes, home = self.routes, self.home
        name = new_name()
        for _ in range(DRAWS_MAX):
            if routes[slot_of(name)] is home:
                break
            name = new_name()
        return name

    def newcomer(self) -> bool:
        """Somebody asks for a place in the store; whether there is one."""
        self.choose_home()
        return self.home.newcomer()

    def may_defer(self, lines: int) -> bool:
        """Durability async: whether so many lines more may be answered before they are stored."""
        answered = sum(shard.sums.lines_answered for shard in self.shards)
        return (
            answered + lines <= self._config.async_lines_max
            and self.unstored_s() < self._config.async_s_max
        )

    # The home.

    def choose_home(self) -> None:
        """One that serves and has room, while there is one; of those the one with fewest daemons."""
        if self.home.serves and not self.home.full_up:
            return
        serving = [shard for shard in self.shards if shard.serves]
        with_room = [shard for shard in serving if not shard.full_up]
        if with_room or (serving and not self.home.serves):
            self._move_home(_emptiest(with_room or serving))

    def spread_homes(self, inbox: bytes) -> None:
        """After a heartbeat: move, if this home has too many daemons and this is its first.

        `inbox` is this daemon's at its home. One at a time, or all would come back together.
        """
        home = self.home
        others = [shard for shard in self.shards if shard.serves and not shard.full_up]
        emptiest = _emptiest(others or [home])
        if home.homes >= emptiest.homes + HOMES_APART and home.first_home == inbox:
            home.homes -= 1
            emptiest.homes += 1
            self._move_home(emptiest)

    def _move_home(self, shard: Shard) -> None:
        if shard is not self.home:
            log.info("home-moved from=%d to=%d", self.home.number, shard.number)
            self.home = shard

    # What the agent, the metrics and the sweeper ask.

    def sums(self) -> Sums:
        """How much waits for the store, all shards together."""
        sums = Sums()
        for shard in self.shards:
            sums.add(shard.sums)
        return sums

    def unstored_s(self) -> float:
        """Durability async: the age of the oldest line that a crash would lose; 0 for none."""
        return max(shard.unstored_s() for shard in self.shards)

    def degraded(self) -> bool:
        """Whether no shard is there for a new session: each is away, or takes too long."""
        return all(shard.degraded() for shard in self.shards if shard.place.slots)

    def serves(self) -> bool:
        """Whether there is a home for a new session: a shard that serves."""
        return any(shard.serves for shard in self.shards)

    def tick(self) -> None:
        """What each shard does ten times a second; and look for shards that have come or gone."""
        if self.places.version != self._version:
            guarded(self._reroute)
        for shard in self.shards:
            guarded(shard.tick)
        now_s = self._clock.now_s
        if self._started and now_s >= self._look_at and not self._looking:
            self._look_at = now_s + LOOK_S
            self._looking = gevent.spawn(self.places.look)

    def look_soon(self) -> None:
        """Something has moved: look for where it is now."""
        self._look_at = 0.0

    # Shards come and go, and slots move.

    def _meet_new_shards(self) -> None:
        for place in self.places.all()[len(self.shards) :]:
            shard = Shard(
                *(place, self._config, self.lives, self._clock, self._metrics),
                on_rollback=self._rolled_back,
                reroute=self._reroute,
            )
            self.shards.append(shard)
            if self._started:
                shard.start()
        for shard in self.shards:
            shard.held_bytes_max = self._config.pending_bytes_max // len(self.shards)

    def _reroute(self) -> None:
        """Take what the topology says, as far as nothing stands against it.

        A slot stays routed to its shard while something of it may be on its way there: the
        shard sends nothing more before it has handed it over.
        """
        if self.places.version != self._version:
            self._version = self.places.version
            self._meet_new_shards()
            for shard in self.shards:
                for slot in shard.place.slots:
                    if (before := self.routes[slot]) is shard:
                        shard.leaving.pop(slot, None)
                    else:
                        before.leaving[slot] = shard
        for shard in self.shards:
            if shard.leaving:
                self._hand_over(shard)
        self._placed = self._version > 0

    def _hand_over(self, shard: Shard) -> None:
        """What leaves `shard` goes in order, what is in doubt first, before anything newer."""
        if shard.flying:
            shard.wake()
            return
        leaving, shard.leaving = shard.leaving, {}
        targets = list(dict.fromkeys(leaving.values()))
        for slot, writes in shard.take_out(leaving).items():
            leaving[slot].adopt(writes)
        for room, messages in shard.store.give_unpublished(leaving).items():
            leaving[slot_of(room)].store.take_unpublished(room, messages)
        for slot, target in leaving.items():
            self.routes[slot] = target
        log.info(
            "slots-moved count=%d from=%d to=%s", len(leaving), shard.number,
            ",".join(str(target.number) for target in targets),
        )  # fmt: skip
        self.routes_version += 1
        if self._placed:
            self._moved_at.update(dict.fromkeys(leaving, self._clock.now_s))
        for target in targets:
            target.arrive([slot for slot, to in leaving.items() if to is target])

    def lose(self, name: bytes, what: str) -> None:
        """`what` of a room or session of this name was acknowledged, and is not there.

        Then its shard has lost data. Or its slot alone has, if that has just moved: who took it
        may have died before its replicas had it.
        """
        slot = slot_of(name)
        self.routes[slot].lose(what, (slot,) if self._has_moved(slot) else None)

    def _rolled_back(self, shard: Shard, slots: Collection[int]) -> None:
        """`shard` has lost data of these slots. Those that have moved say so where they are now."""
        self._on_rollback(frozenset(slots).intersection(shard.place.slots).__contains__)
        for other in self.shards:
            theirs = frozenset(slots).intersection(other.place.slots)
            if theirs and other is not shard:
                other.lose(f"slots of shard {shard.number}", theirs)

    def _has_moved(self, slot: int) -> bool:
        """Whether the slot has come to its shard within the life of a session."""
        moved_at = self._moved_at.get(slot)
        return moved_at is not None and self._clock.now_s - moved_at < self.lives.state_s

    # Beginning and end.

    def start(self) -> None:
        """Begin; the store may be away, and lines wait for it."""
        self._started = True
        for shard in self.shards:
            shard.start()

    def stop(self) -> None:
        """End: what has not been committed stays so."""
        if self._looking is not None:
            self._looking.kill()
        for shard in self.shards:
            shard.stop()

    def settled(self) -> bool:
        """Whether nothing waits for the store."""
        return all(shard.settled() for shard in self.shards)


def _emptiest(shards: Sequence[Shard]) -> Shard:
    """Of those with the fewest daemons any: all that begin together must not choose one."""
    return min(shards, key=lambda shard: (shard.homes, random.random()))  # noqa: S311 — a choice
