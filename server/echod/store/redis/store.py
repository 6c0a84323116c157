"""Redis as the store: a batch is one pipeline on one connection.

    state     SET <state key> <state> XX PX ttl               nil: the session is not there (ADR 2)
    plain     HSET record, PEXPIRE record, SET state PX ttl   a plain connection's first
    others    one command or one script each: operations.py
    publish   SPUBLISH of what the batch before has posted        with replicas (ADR 23)
    marker    SET d:{…}:<daemon>:<run> <batch number> PX … GET  proves what Redis remembers (ADR 17)

    confirm   WAIT k, GET d:{…}                                    with replicas (ADR 23)

The marker is the last write: a log that was cut off anywhere in the batch has lost it too, and data
lost while the batch is carried out is seen before any of it is answered. Where slots move there are
two, in two slots: the one that has stayed decides (ADR 26).

How durable an acknowledged batch is, is Redis's setting: with `appendfsync always` it is
on disk before Redis answers (redis.io, "Redis persistence"). With `--store-replicas k` it is
on k replicas too. A post is published only then: what a dying master takes with it, nobody
must have heard.
"""

from __future__ import annotations

import os
from time import monotonic
from typing import TYPE_CHECKING, TypeAlias

from echod.store.base import StoreError
from echod.store.keys import encode_state, generation_key, marker_key
from echod.store.operations import KEEP, Post, Posted, needs_owner
from echod.store.redis.link import pack
from echod.store.redis.operations import (
    MOVE,
    RAISE_GENERATION,
    SCRIPTS,
    RedisOperations,
    milliseconds,
    result,
)
from echod.store.slots import slot_of

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterable, Sequence

    from echod.store.base import Lives
    from echod.store.batch import Write
    from echod.store.keys import Session
    from echod.store.redis.door import Door
    from echod.store.redis.link import Link, Reply
    from echod.store.redis.operations import Command

# What the connection before this one can have been, for the name of the marker's key.
RUN_BYTES = 4
HSET_REPLIES = 3
# One WAIT at most, and half of the deadline at most: then the deadline is looked at. Shorter than
# a silence after which the link counts as dead (`cluster.SILENCE_S`).
WAIT_MS = 300
# A batch as it leaves: its writes, and what `RedisStore._pack` said of it.
Begun: TypeAlias = "tuple[Sequence[Write], list[int] | None, int]"
NOTHING: Begun = ((), None, 0)
# Nodes whose connection before is remembered: the shard's, and those that took their place.
FORMERS_MAX = 32


class Marker:
    """What proves what a shard remembers: a key that each batch of one link writes.

    Attributes:
        slot: where it stands, with the generation that is looked at.
        acknowledged: the last number that was, 0 while none was.
        ask: the packed command that reads the generation.
    """

    __slots__ = ("_head", "_tail", "acknowledged", "ask", "generation_key", "key", "slot")

    def __init__(self, slot: int, daemon: bytes, run: bytes, life_ms: bytes) -> None:
        self.slot = slot
        self.key = marker_key(slot, daemon, run)
        self.generation_key = generation_key(slot)
        self.acknowledged = 0
        self.ask = pack(b"GET", self.generation_key)
        self._head = b"*6\r\n$3\r\nSET\r\n$%d\r\n%b\r\n" % (len(self.key), self.key)
        self._tail = b"\r\n$2\r\nPX\r\n$%d\r\n%b\r\n$3\r\nGET\r\n" % (len(life_ms), life_ms)

    def write(self, number: bytes) -> bytes:
        """The packed command that writes it, and answers what stood there."""
        return b"%b$%d\r\n%b%b" % (self._head, len(number), number, self._tail)


def behind(kept: Iterable[tuple[Marker, Reply]]) -> bool:
    """Whether what is kept of one link's markers, which are in the shard, shows a loss.

    One that is right is enough: the other's slot may have been elsewhere, and have come back.
    """
    witnesses = [
        _number(value) < marker.acknowledged for marker, value in kept if marker.acknowledged
    ]
    return bool(witnesses) and all(witnesses)


class RedisStore:
    """See `Store`."""

    def __init__(
        self, door: Door, daemon: str, lives: Lives, timeout_s: float, *, replicas: int = 0
    ) -> None:
        """So many `replicas` must have a batch, too, and within `timeout_s`."""
        self.connected = self.owes = self.elsewhere = False
        self.generation = self.sent_bytes = 0
        self._door = door
        self._timeout_s = timeout_s
        self._link: Link | None = None
        self._formers: dict[bytes, int] = {}
        self._run_id = b""  # of the Redis at the other end of the last link
        self._batch = 0  # the last number given
        self._markers: list[Marker] = []
        self._marker_number = 0
        # Those of links before this one, of which it is not known whether they are dead; until
        # a batch is acknowledged with this link's own.
        self._markers_before: list[list[Marker]] = []
        # The shard's slots: whose generations are known, and as a batch was acknowledged last.
        self._known: set[int] = set()
        self._acknowledged_slots: Collection[int] = ()
        self._lost = False
        self._lost_slots: set[int] = set()
        # The generation above which it was raised, and in which slots, until replicas have that:
        # the master may die with it, and the number must stay, or one loss would be told twice.
        self._raised: tuple[int, frozenset[int]] | None = None
        self._begun = NOTHING  # the batch on its way
        # Of this process alone: two daemons of one name must not take each other for a loss.
        self._daemon, self._run = daemon.encode(), os.urandom(RUN_BYTES).hex().encode()
        self._operations = RedisOperations(lives, publishes=not replicas)
        self._replicas = replicas
        self._wait_ms = b"%d" % max(1, min(WAIT_MS, round(500 * timeout_s)))
        self._confirmation: tuple[tuple[bytes | str, ...], ...] = ()
        # By channel, what was posted and is on the replicas; the first so many are on their way.
        self._unpublished: dict[bytes, list[bytes]] = {}
        self._publishing = 0
        self._marker_ms = milliseconds(lives.marker_s)
        # What follows the value in the packed `SET key value XX PX ttl`: always the same.
        state_ms = self._operations.state_ms
        self._tail = b"\r\n$2\r\nXX\r\n$2\r\nPX\r\n$%d\r\n%b\r\n" % (len(state_ms), state_ms)

    def connect(self) -> Collection[int]:
        """See `Store.connect`."""
        link = self._door.link()
        slots = self._door.slots
        if not slots:
            link.reset()
            raise StoreError("moved", "the shard has no slots any more")
        try:
            self._silence_former(link)
            elsewhere = bool(self._run_id) and self._run_id != link.run_id
            # With another master the link before may still be alive, and write its markers late.
            self._place_markers(slots, anew=elsewhere)
            link.execute(*(("SCRIPT", "LOAD", script.text) for script in SCRIPTS))
            lost = self._lost_on(link, slots)
            if not lost:
                self._learn(link, slots)
            elif self._raised is None:
                self._raised = self.generation, frozenset(lost)
            else:
                self._raised = self._raised[0], self._raised[1].union(lost)
            if self._raised is not None:
                self._raise(link, slots, *self._raised)
            if lost:
                self._lost = self._lost and not lost.issuperset(slots)
                # What was found missing meanwhile is told after the next connect (`_remembered`).
                self._lost_slots.difference_update(lost)
                self._markers_before.clear()
                for marker in self._markers:
                    marker.acknowledged = 0
        except StoreError:
            link.reset()
            raise
        self.elsewhere = elsewhere
        self._run_id = link.run_id
        self._link = link
        self._remember(link)
        self.connected = True
        return lost

    def _place_markers(self, slots: Sequence[int], *, anew: bool) -> None:
        """In slots that the shard has; all `anew`, or those whose slot has left it."""
        if anew and any(marker.acknowledged for marker in self._markers):
            self._markers_before.append(self._markers)
        here = frozenset(slots)
        markers = [] if anew else [each for each in self._markers if each.slot in here]
        # Slots leave in order, from one end or the other: those of the markers not at once.
        third = len(slots) // 3
        places = (0,) if self._door.fixed else (third, 2 * third, 0)
        for slot in (slots[place] for place in places):
            if len(markers) < len(places[:2]) and all(slot != each.slot for each in markers):
                self._marker_number += 1
                run = b"%b.%d" % (self._run, self._marker_number)
                markers.append(Marker(slot, self._daemon, run, self._marker_ms))
        self._markers = markers
        self._confirmation = (
            ("WAIT", b"%d" % self._replicas, self._wait_ms),
            ("GET", markers[0].key),
        )

    def _lost_on(self, link: Link, slots: Sequence[int]) -> frozenset[int]:
        """The slots that have lost data, as far as this daemon knows or the shard shows."""
        here = frozenset(slots)
        groups = [
            [marker for marker in group if marker.slot in here]
            for group in (self._markers, *self._markers_before)
        ]
        known = [marker for marker in self._markers if marker.slot in self._known]
        asked = [marker.generation_key for marker in known]
        asked += [marker.key for group in groups for marker in group]
        replies = iter(link.execute(*(("GET", key) for key in asked)))
        raised = any(_number(next(replies)) > self.generation for _ in known)
        behind_of = [behind([(each, next(replies)) for each in group]) for group in groups]
        if raised or any(behind_of) or self._lost:
            # Those that were there when it was acknowledged: some may have moved since.
            return here.union(self._acknowledged_slots)
        return frozenset(self._lost_slots)

    def learn(self, slots: Collection[int]) -> None:
        """See `Store.learn`."""
        if self._link is None:
            raise StoreError("closed", "not connected")
        self._known.difference_update(slots)
        self._learn(self._link, slots)

    def _learn(self, link: Link, slots: Collection[int]) -> None:
        """How often slots have lost data that come from other shards: a loss is told above that."""
        self._known.intersection_update(self._door.slots)
        new = [slot for slot in slots if slot not in self._known]
        if self._door.fixed:
            # None ever came from elsewhere: whoever raised one raised all.
            new = new[:1]
        if new:
            known = link.execute(*(("GET", generation_key(slot)) for slot in new))
            self.generation = max(self.generation, *map(_number, known))
            self._known.update(slots)

    def lose(self, slots: Collection[int] | None = None) -> None:
        """See `Store.lose`."""
        if slots is None:
            self._lost = True
        else:
            self._lost_slots.update(slots)

    def _raise(self, link: Link, here: Sequence[int], above: int, lost: frozenset[int]) -> None:
        """Data are lost: say so in each slot that is here (ADR 26); other shards do in theirs.

        In those of the markers last: whoever finds it raised there finds it raised everywhere.
        Above what this daemon knew, not above what it has just read: another daemon may have
        seen the same loss before.
        """
        known = b"%d" % above
        markers = {marker.slot for marker in self._markers}
        slots = [slot for slot in here if slot in lost and slot not in markers]
        slots += [slot for slot in markers if slot in lost]
        if slots:
            raised = link.execute(
                *(RAISE_GENERATION.command([generation_key(slot)], known) for slot in slots)
            )
            self.generation = max(self.generation, *map(_number, raised))

    def _silence_former(self, link: Link) -> None:
        """Kill the connection that this process had before: what it still holds must not run.

        It may have been reset and yet be alive there: Redis was frozen, or something
        between holds its bytes. Each node is remembered until it has been killed there: a
        master that was a replica meanwhile is master again with the bytes it held (ADR 24).
        """
        former = self._formers.get(link.run_id)
        if former is not None:
            link.execute(("CLIENT", "KILL", "ID", str(former)))
            del self._formers[link.run_id]

    def _remember(self, link: Link) -> None:
        self._formers[link.run_id] = link.id
        while len(self._formers) > FORMERS_MAX:
            del self._formers[next(iter(self._formers))]

    def begin(self, writes: Sequence[Write]) -> None:
        """See `Store.begin`."""
        if self._link is None:
            raise StoreError("closed", "not connected")
        self._batch += 1
        packed, counts, total = self._pack(writes)
        if self._replicas:
            packed, total = self._with_replicas(packed, total)
        self._begun = (writes, counts, total)
        self.sent_bytes += len(packed)
        self._link.send(packed)

    def _with_replicas(self, packed: bytes, total: int) -> tuple[bytes, int]:
        """The batch between what is published of the one before, and its confirmation."""
        route = self._operations.route
        publish = [
            pack(b"SPUBLISH", route.channel(room), b"\n".join(messages))
            for room, messages in self._unpublished.items()
        ]
        self._publishing = len(publish)
        confirmation = [pack(*command) for command in self._confirmation]
        count = len(publish) + total + len(confirmation)
        return b"".join((*publish, packed, *confirmation)), count

    def _confirmed(self, link: Link, replies: list[Reply]) -> list[Reply]:
        """The batch's own replies, once so many replicas have it.

        Too few: it is asked again, on the same link. The batch is not sent again for that.

        Raises:
            StoreError: of kind `replicas`, they did not come in time; of kind `overwritten`,
                the marker is not this batch's any more: this Redis was a replica meanwhile.
        """
        *replies, reached, marker = replies
        until_s = monotonic() + self._timeout_s
        while reached < self._replicas:
            if monotonic() >= until_s:
                raise StoreError("replicas", f"{reached} of {self._replicas} have the batch")
            self._door.check()
            reached, marker = link.execute(*self._confirmation)
        if marker is None or int(marker) != self._batch:
            raise StoreError("overwritten", f"batch {self._batch} is not there any more")
        published, self._publishing = self._publishing, 0
        for room in tuple(self._unpublished)[:published]:
            del self._unpublished[room]
        self.owes = False
        return replies[published:]

    def _remembered(self, replies: list[Reply]) -> list[Reply]:
        """The replies without those about markers, which show that nothing is lost.

        Raises:
            StoreError: of kind `rolled-back`, something is. The batch goes again once all are
                told, and it is raised everywhere: who raised it may have died in the middle.
        """
        if self._lost or self._lost_slots:
            raise StoreError("rolled-back", "something was found missing while it connected")
        markers = self._markers
        count = len(markers)
        if behind(zip(markers, replies[-count:], strict=True)):
            # The marker of the batch before is gone, and with it who knows what.
            self._lost = True
            raise StoreError("rolled-back", f"the marker before batch {self._batch} is not there")
        for generation in replies[-2 * count : -count]:
            if _number(generation) > self.generation:
                raise StoreError("rolled-back", "another daemon has found a loss")
        for marker in markers:
            marker.acknowledged = self._batch
        self._acknowledged_slots = self._door.slots
        self._raised = None
        if self._markers_before:
            self._markers_before.clear()  # their keys expire
        return replies[: -2 * count]

    def _publish_next(self, write: Write, posted: Posted) -> None:
        """With the next batch."""
        if posted.message and isinstance(write.operation, Post):
            self._unpublished.setdefault(write.operation.room, []).append(posted.message)
            self.owes = True

    def finish(self) -> list[Write]:
        """See `Store.finish`."""
        if self._link is None:
            raise StoreError("closed", "not connected")
        # Let go of here: until the next batch it would keep clients that have gone.
        (writes, counts, total), self._begun = self._begun, NOTHING
        replies = self._link.receive(total)
        if self._replicas:
            replies = self._confirmed(self._link, replies)
        replies = self._remembered(replies)
        if counts is None:
            return [write for write, reply in zip(writes, replies, strict=True) if not reply]
        at = 0
        missing = []
        for write, count in zip(writes, counts, strict=True):
            at += count
            if not replies[at - 1] and needs_owner(write.operation):
                missing.append(write)
            else:
                self._take(write, replies[at - 1], whole=count == HSET_REPLIES)
        return missing

    def _take(self, write: Write, reply: Reply, *, whole: bool) -> None:
        """A write was carried out; `whole`: record and state."""
        session, operation = write.session, write.operation
        if operation is not None:
            write.result = result(session, operation, reply)
            if isinstance(write.result, Posted):
                self._publish_next(write, write.result)
        elif whole:
            # Only who was written so: `stored` may be off again, for its renewal.
            session.stored = True
        elif session.former_keys:
            session.former_keys = ()
            session.stored = not session.restored

    def _pack(self, writes: Sequence[Write]) -> tuple[bytes, list[int] | None, int]:
        """The batch as bytes; replies of each write, None for one each; replies in all."""
        parts: list[bytes] = []
        append, tail = parts.append, self._tail
        counts = None
        for at, write in enumerate(writes):
            session = write.session
            operation = write.operation
            if operation is None and session.stored:
                value = encode_state(write.seq, write.cut, write.pair)
                prefix = session.wire_prefix or self._prefix(session)
                append(b"%b$%d\r\n%b%b" % (prefix, len(value), value, tail))
            elif operation is KEEP:
                append(pack(b"PEXPIRE", session.state_key, self._operations.state_ms))
            else:
                if counts is None:
                    counts = [1] * at
                if operation is not None:
                    append(pack(*self._operations.command(session, operation)))
                elif session.former_keys:
                    append(pack(*self._moved(session, write)))
                else:
                    append(self._first(session, write))
                    counts.append(HSET_REPLIES)
                    continue
            if counts is not None:
                counts.append(1)
        number = b"%d" % self._batch
        markers = self._markers
        parts += [marker.ask for marker in markers]
        parts += [marker.write(number) for marker in markers]
        replies = len(writes) if counts is None else sum(counts)
        return b"".join(parts), counts, 2 * len(markers) + replies

    def _prefix(self, session: Session) -> bytes:
        """What every `SET` of this state begins with."""
        key = session.state_key
        session.wire_prefix = b"*6\r\n$3\r\nSET\r\n$%d\r\n%b\r\n" % (len(key), key)
        return session.wire_prefix

    def _moved(self, session: Session, write: Write) -> Command:
        """The state of a session that goes on under a new key."""
        keys = (session.record_key, session.state_key, *session.former_keys)
        value = encode_state(write.seq, write.cut, write.pair)
        return MOVE.command(keys, session.owner, value, self._operations.state_ms)

    def _first(self, session: Session, write: Write) -> bytes:
        """Record and state of a session that the store does not have."""
        state = encode_state(write.seq, write.cut, write.pair)
        operations = self._operations
        return b"".join(
            (
                pack(b"HSET", session.record_key, *session.record),
                pack(b"PEXPIRE", session.record_key, operations.record_ms),
                pack(b"SET", session.state_key, state, b"PX", operations.state_ms),
            )
        )

    def give_unpublished(self, slots: Container[int]) -> dict[bytes, list[bytes]]:
        """See `Store.give_unpublished`."""
        given = {
            room: messages for room, messages in self._unpublished.items() if slot_of(room) in slots
        }
        for room in given:
            del self._unpublished[room]
        self.owes = bool(self._unpublished)
        return given

    def take_unpublished(self, room: bytes, messages: Sequence[bytes]) -> None:
        """See `Store.take_unpublished`."""
        if self._replicas:
            self._unpublished.setdefault(room, []).extend(messages)
            self.owes = True

    def kept(self) -> dict[str, int]:
        """See `Store.kept`."""
        return {}

    def reset(self) -> None:
        """See `Store.reset`."""
        self.connected = False
        if self._link is not None:
            self._link.reset()
            self._link = None

    def close(self) -> None:
        """See `Store.close`; the marker goes too: this daemon will not compare again."""
        if self._link is not None:
            try:
                self._link.execute(*(("DEL", marker.key) for marker in self._markers))
            finally:
                self._link.close()
                self._link = None
                self.connected = False


def _number(reply: Reply) -> int:
    """A count, of a reply that may be nil."""
    return int(reply or 0)
