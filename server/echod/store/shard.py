"""A shard's greenlet: it carries batch after batch to where the shard is served.

    connect ──▶ take, begin ──▶ finish ──▶ take, begin the next ──▶ replies leave ─┐
       ▲                          │ ▲                                             │
       │                          │ └─────────────────────────────────────────────┘
       └── reset, wait, count ◀───┘ in doubt: the same batch goes again, first

What is asked of it comes through the committer, which knows what lives here; the sweeper calls
`tick`. What is decided about batches is in batch.py; this is its shell.
"""

from __future__ import annotations

import logging
import random
import sys
from collections import OrderedDict
from time import perf_counter
from typing import TYPE_CHECKING

import gevent

from echod.loop.guard import guarded
from echod.loop.parking import Parking
from echod.store.base import StoreError
from echod.store.batch import NOBODY, Batcher, Sums
from echod.store.keys import NO_SESSION
from echod.store.operations import MEASURE, Fill
from echod.store.store_client import StoreClient

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from echod.config import Config
    from echod.loop.clock import Clock
    from echod.metrics import Metrics
    from echod.store.base import Lives, Place
    from echod.store.batch import Client, Write
    from echod.store.keys import Session
    from echod.store.operations import Operation

log = logging.getLogger(__name__)

# How full the store is, is asked so often, by an idle daemon too: that proves the store, shows
# the generation, and renews the daemon's marker, of whose life it is a quarter at most.
MEASURE_S = 1.0
MARKER_MEASURES = 4
# And before a daemon has sent a sixteenth of what is free: sixteen daemons that all write as
# fast as they can don't fill the store between two answers. But not for less than so much.
MEASURE_SHARE, MEASURE_BYTES_MIN = 1 / 16, 65_536
# Newcomers since the last answer: as many as one address may bring within the commit deadline
# (SECURITY.md). While the store does not answer, nobody knows what it has room for.
NEWCOMERS_MAX = 5_000
# Between attempts to connect, doubling, with jitter so that daemons don't come all at once. Not
# so long that it counts beside a failover, which takes some 2 s (ADR 24).
RETRY_S_MIN, RETRY_S_MAX = 0.05, 0.5
# A batch that takes longer than this makes the daemon degraded: a disk's worst fsyncs don't.
DEGRADED_S = 0.5
# Deletions that may wait for the store. Those beyond are left to the keys' own expiry.
FREES_MAX = 10_000


class Shard:
    """See the module. `place.store` is used by this greenlet alone.

    Attributes:
        sums: how much waits for the shard; `held_bytes_max` is its share of what may.
        add, add_answered: add lines to a write that `open` gave, see `Batcher`; its own
            methods, because each line calls one.
        fill: how full it said that it is, 0 to 1.
        tight: it is so full that nothing is taken which grows: no post, no longer line.
        deaf: what is published here does not reach this daemon (rooms/heartbeat.py).
        homes: daemons that have their home here, as its leases said last; `first_home` is the
            inbox of the first of them.
        metrics: its own, beside those of the daemon.
        leaving: slots that are served elsewhere, and where: nothing is sent before these and
            what waits of them are handed over (ADR 26).
    """

    def __init__(  # noqa: PLR0913 — its parts, each of which a daemon has one of
        self,
        place: Place,
        config: Config,
        lives: Lives,
        clock: Clock,
        metrics: Metrics,
        *,
        on_rollback: Callable[[Shard, Collection[int]], None],
        reroute: Callable[[], None],
    ) -> None:
        """`on_rollback`: what is in these slots may be lost; see `Committer`.

        `reroute` is called where slots can leave.
        """
        self.place = place
        self.number = place.number
        self.store = place.store
        self.sums = Sums()
        self.held_bytes_max = config.pending_bytes_max
        self._batcher = Batcher(self.sums)
        self.add = self._batcher.add
        self.add_answered = self._batcher.add_answered
        self.take_out = self._batcher.take_out
        self.adopt = self._batcher.adopt
        self.leaving: dict[int, Shard] = {}
        self._arrived: set[int] = set()  # slots that have come, and are not known yet
        self.deaf = False
        self.homes, self.first_home = 0, b""
        self._config = config
        self._measure_every_s = min(MEASURE_S, lives.marker_s / MARKER_MEASURES)
        self._measure_at = 0.0  # when it is asked next
        self._measuring = False
        self._measure_bytes = MEASURE_BYTES_MIN  # of those sent, when it is asked at the latest
        self._newcomers = 0  # since the last answer
        self.tight = False
        self._see(Fill())
        self._clock = clock
        self._metrics = metrics
        self.metrics = metrics.shard(place.number)
        self._on_rollback = on_rollback
        self._reroute = reroute
        self._idle = Parking()
        # When the batch on its way left, on the daemon's clock and on the machine's.
        self._begun_at: float | None = None
        self._sent_at = 0.0
        # Clients that are not read while it is full, longest waiting first: how each is read
        # on, since when it waits, and how it is told that it waited too long.
        self._held_back: OrderedDict[Callable[[], None], tuple[float, Callable[[], None]]] = (
            OrderedDict()
        )
        self._greenlet: gevent.Greenlet[..., None] | None = None

    # What the committer asks.

    def open(self, client: Client, session: Session, operation: Operation | None = None) -> Write:
        """See `Committer.open`."""
        write = self._batcher.open(client, session, operation)
        self._idle.wake()
        return write

    def submit(
        self,
        client: Client,
        session: Session,
        operation: Operation,
        then: Callable[[Write], bytes | None] | None = None,
    ) -> None:
        """See `Committer.submit`."""
        write = self._batcher.submit(client, session, operation, 0 if then is None else 1)
        write.then = then
        write.read_at = perf_counter()
        write.queued_at = self._clock.now_s
        self._idle.wake()

    def enqueue(self, session: Session, operation: Operation, client: Client = NOBODY) -> None:
        """See `Committer.enqueue`."""
        self._batcher.enqueue(session, operation, client)
        self._idle.wake()

    def arrive(self, slots: Iterable[int]) -> None:
        """They are served here from now on."""
        self._arrived.update(slots)
        self._idle.wake()

    def lose(self, what: str, slots: Collection[int] | None = None) -> None:
        """`what` was acknowledged, and is not there: in these slots, or all, others may miss too."""
        log.error("store-lacks shard=%d: %s", self.number, what)
        self.store.lose(slots)
        self.store.reset()  # the greenlet connects, and tells all

    def wake(self) -> None:
        """There is something to do."""
        self._idle.wake()

    @property
    def flying(self) -> bool:
        """Whether a batch is on its way, and not only in doubt."""
        return self._begun_at is not None

    # What connections ask.

    @property
    def full_up(self) -> bool:
        """Whether it takes no new session: those that are there need what is left."""
        return self.fill >= self._config.store_fill_max

    def newcomer(self) -> bool:
        """Somebody asks for a place in the store; whether there is one."""
        self._newcomers += 1
        return not self.full_up and self._newcomers <= NEWCOMERS_MAX

    def full(self) -> bool:
        """Whether so many bytes of replies wait that nobody should be read."""
        return self.sums.held_bytes >= self.held_bytes_max

    def hold_back(self, resume: Callable[[], None], unavailable: Callable[[], None]) -> None:
        """Call `resume` once, when `full` has ended and whoever came before has been resumed.

        Or `unavailable`, after the time in which a line is to be acknowledged: what the client
        has sent has waited so long. Who is held back already keeps its place.
        """
        self._held_back.setdefault(resume, (self._clock.now_s, unavailable))

    def let_go(self, resume: Callable[[], None]) -> None:
        """Its client has gone."""
        self._held_back.pop(resume, None)

    # What the agent, the metrics and the sweeper ask.

    def unstored_s(self) -> float:
        """Durability async: the age of the oldest line that a crash would lose; 0 for none."""
        answered_at = self._batcher.oldest_answered_at()
        return 0.0 if answered_at is None else self._clock.now_s - answered_at

    def degraded(self) -> bool:
        """Whether the store is away, or takes too long over a batch."""
        begun_at = self._begun_at
        return not self.store.connected or (
            begun_at is not None and self._clock.now_s - begun_at > DEGRADED_S
        )

    @property
    def serves(self) -> bool:
        """Whether a new session is well here."""
        return bool(self.place.slots) and not self.deaf and not self.degraded()

    def tick(self) -> None:
        """Measure the store, and tell clients whose lines have waited past the commit deadline."""
        if self._clock.now_s >= self._measure_at and self.place.slots:
            self._measure()
        if self.sums.lines_waiting or self._held_back or self.degraded():
            before_at = self._clock.now_s - self._config.commit_s_max
            for write in self._batcher.overdue(before_at):
                guarded(write.client.unavailable)
            # While nothing leaves, what gone clients left behind is let go of here.
            self._batcher.prune()
            self._release()
            self._give_up_on_held(before_at)

    def _measure(self) -> None:
        """Ask how full the store is, unless it has still to answer that."""
        if not self._measuring:
            self._measuring = True
            self._measure_at = self._clock.now_s + self._measure_every_s
            self.submit(StoreClient(self._measured), NO_SESSION, MEASURE)

    def _measured(self, write: Write | None) -> None:
        self._measuring = False
        if write is not None and isinstance(write.result, Fill):
            self._newcomers = 0
            self._see(write.result)

    def _see(self, fill: Fill) -> None:
        """The store is so full."""
        self.fill = fill.share
        self.tight = fill.share >= (1 + self._config.store_fill_max) / 2
        free_bytes = (fill.most_bytes or sys.maxsize) - fill.used_bytes
        self._measure_bytes = self.store.sent_bytes + max(
            MEASURE_BYTES_MIN, int(free_bytes * MEASURE_SHARE)
        )

    # The greenlet.

    def start(self) -> None:
        """Begin; the store may be away, and lines wait for it."""
        self._greenlet = gevent.spawn(self._run)

    def stop(self) -> None:
        """End: what has not been committed stays so."""
        if self._greenlet is not None:
            self._greenlet.kill()
        try:
            self.store.close()
        except StoreError as error:
            log.warning("store-close failed shard=%d kind=%s: %s", self.number, error.kind, error)

    def settled(self) -> bool:
        """Whether nothing waits for the store."""
        return not (self._batcher.pending or self._batcher.flying or self.store.owes)

    def _run(self) -> None:
        retry_s = RETRY_S_MIN
        while True:
            try:
                if self.leaving and self._begun_at is None:
                    self._reroute()
                if not self.place.slots and self._begun_at is None:
                    self._reset()
                    self._idle.park()  # it has gone, or is still to come
                    continue
                if not self.store.connected:
                    self._connect()
                    self._reroute()  # before anything is sent again
                self._turn()
                retry_s = RETRY_S_MIN
            except StoreError as error:
                self._metrics.store_error(error.kind)
                if error.kind == "oom":
                    self._see(Fill(1, 1))  # the answer to MEASURE may never come
                log.warning("store-failed shard=%d kind=%s waiting=%d: %s", self.number, error.kind,
                            self.sums.lines_waiting, error)  # fmt: skip
                self._reset()
                gevent.sleep(retry_s * random.uniform(0.5, 1.5))  # noqa: S311 — jitter
                retry_s = min(2 * retry_s, RETRY_S_MAX)
            except Exception:
                # A bug: the batch stays, and is tried again on a new connection.
                log.exception("shard failed number=%d", self.number)
                self._metrics.store_error("internal")
                self._reset()
                gevent.sleep(RETRY_S_MAX)

    def _reset(self) -> None:
        """What is on its way is in doubt from now on: the old link delivers nothing more."""
        self.store.reset()
        self._begun_at = None

    def _connect(self) -> None:
        lost = self.store.connect()
        self.metrics.connections += 1
        if lost:
            self.metrics.data_losses += 1
            log.error("store-lost-data shard=%d slots=%d generation=%d",
                      self.number, len(lost), self.store.generation)  # fmt: skip
            self._on_rollback(self, lost)
        if self.store.elsewhere:
            self._batcher.doubt()
        log.info("store-connected shard=%d waiting=%d", self.number, self.sums.lines_waiting)

    def _turn(self) -> None:
        """The answer to the batch on its way; the next batch out; then the first one's replies.

        In this order the store works on the one while clients are sent the other.
        """
        if self._begun_at is None:
            if self.settled() and not self._arrived:
                self._idle.park()
                return  # for new lines, or for slots that leave
            if self._arrived:
                arrived, self._arrived = self._arrived, set()
                self.store.learn(arrived)
            self._send()
        missing = self.store.finish()
        self._begun_at = None
        now_s = perf_counter()
        acknowledged = self._batcher.acknowledge(missing)
        if acknowledged:
            self._metrics.commit_seconds.observe(now_s - self._sent_at)
            self.metrics.commits += 1
            self.metrics.commit_s += now_s - self._sent_at
            self._metrics.batch_writes.observe(len(acknowledged))
        try:
            if (self._batcher.pending or self.store.owes) and not self.leaving:
                self._send()
        finally:
            self._deliver(acknowledged, now_s)

    def _send(self) -> None:
        batch = self._batcher.take(self._config.batch_writes_max)
        self._sent_at = perf_counter()
        self._begun_at = self._clock.now_s
        self.store.begin(batch)
        if self.store.sent_bytes >= self._measure_bytes:
            self._measure()

    def _deliver(self, writes: list[Write], now_s: float) -> None:
        for write in writes:
            try:
                write.client.acknowledged(write, now_s)
            except Exception:  # noqa: BLE001 — `broken` logs it; it ends one connection
                write.client.broken()
        if self._held_back:
            self._release()

    def _release(self) -> None:
        while self._held_back and not self.full():
            resume, _ = self._held_back.popitem(last=False)
            guarded(resume)

    def _give_up_on_held(self, before_at: float) -> None:
        """Tell those who have been held back since `before_at` or longer."""
        while self._held_back:
            held_at, unavailable = next(iter(self._held_back.values()))
            if held_at > before_at:
                return
            self._held_back.popitem(last=False)
            guarded(unavailable)
