"""What a store is: the one place that outlives daemons.

`memory/` and `redis/` are held to the same behaviour by
tests/contract/test_store.py. The committer is the only caller.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

from echod.store.slots import ALL_SLOTS

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Mapping, Sequence

    from echod.config import Config
    from echod.store.batch import Write

# Of the session port's idle time: a session that has no line yet is kept so long, 90 s.
UNUSED_IDLE_TIMES = 1.5
# Of the commit deadline: after it nobody waits for a session's end any more.
TOMBSTONE_COMMITS = 5
# A store in this process frees what has expired so often in a session's life: 10 s.
SWEEPS = 30


@dataclass(frozen=True, slots=True)
class Lives:
    """How long a store keeps what, in seconds, and how much of a room.

    What is renewed, and how often, is said here too, so that both stand side by side.
    `fleet drill soak` lets many of each life pass (docs/adr/0014).

    Attributes:
        state_s: a session after its last sign of life.
        unused_s: the same from `HELLO` to the first line.
        tombstone_s: what is left of a session that has ended: as long as its end may be
            asked for again, because the answer was lost; see `ended_s`.
        room_s: a room's oldest message, and the room after its last one or last member.
        room_messages_max: of a room, about.
        announcement_s: how many members a daemon has in a room.
        lease_s: a daemon after its last heartbeat: so long it counts as there.
        marker_s: what proves to a daemon that the store remembers: one that was cut off for
            longer can't tell a lost marker from an expired one, and takes it as lost, which
            is safe. Each batch renews it, and an idle daemon sends one each second.
        route: how a post finds its members' daemons; see `config.ROUTES`.
    """

    state_s: float
    unused_s: float
    tombstone_s: float = 10.0
    room_s: float = 3600.0
    room_messages_max: int = 1000
    announcement_s: float = 90.0
    lease_s: float = 4.0
    marker_s: float = 86_400.0
    route: str = "room"

    @classmethod
    def of(cls, config: Config) -> Self:
        """As a daemon's settings say."""
        return cls(
            state_s=config.session_ttl_s,
            unused_s=UNUSED_IDLE_TIMES * config.session_idle_s_max,
            tombstone_s=TOMBSTONE_COMMITS * config.commit_s_max,
            room_s=config.room_s_max,
            room_messages_max=config.room_messages_max,
            announcement_s=config.announcement_s,
            lease_s=config.lease_s,
            marker_s=config.marker_s,
            route=config.room_route,
        )

    @property
    def renewal_s(self) -> float:
        """A session's signs of life renew what stands beside its state so often, at most."""
        return self.state_s / 4

    @property
    def record_s(self) -> float:
        """What stands beside a state: its record, and the ids of its posts in a room.

        Longer than the state by the time between two renewals, and by as much again, which
        the clock of a daemon that was frozen may be slow.
        """
        return self.state_s + 2 * self.renewal_s

    def ended_s(self, epoch: int) -> float:
        """What is left of a session that owner number `epoch` has ended.

        An earlier owner is told that it was taken over, not that it was lost, for as long as it
        may take the session for alive.
        """
        return self.tombstone_s if epoch == 1 else max(self.tombstone_s, self.state_s)

    @property
    def unused_record_s(self) -> float:
        """A record until the first line, which renews it."""
        return self.unused_s + self.renewal_s

    @property
    def unused_room_s(self) -> float:
        """A room in which nothing was said yet, after the last announcement of a member."""
        return min(self.room_s, self.announcement_s)

    @property
    def audit_s(self) -> float:
        """A room that has members is held against the store so often: 10 s."""
        return self.announcement_s / 9

    @property
    def beat_s(self) -> float:
        """A daemon's heartbeat, which renews its lease: eight to a life."""
        return self.lease_s / 8

    @property
    def sweep_s(self) -> float:
        """What has expired is noticed when it is asked for; this frees the rest."""
        return self.state_s / SWEEPS


class StoreError(Exception):
    """The store did not do, or may not have done, what it was asked.

    `kind` is one lower-case word of few, for the metric: `timeout`, `closed`,
    `refused`, or the store's own word (`oom`, `loading`, `readonly` …).
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Place(Protocol):
    """A shard, and this daemon's way to it.

    Attributes:
        number: its name here; others may count otherwise.
        slots: what lives there, lowest first; none if it is no part of the store any more.
        store: used by the shard's greenlet alone.
        master: host:port of who serves it, for people; "" if nobody is known, or needed.
        replicas: how many it has that nobody calls dead; None if this is not known.
        failovers: how often another node has become its master, as far as was seen.
    """

    number: int
    store: Store

    @property
    def slots(self) -> Sequence[int]:
        """See the class; it may be another each time."""

    @property
    def master(self) -> str:
        """See the class."""

    @property
    def replicas(self) -> int | None:
        """See the class."""

    @property
    def failovers(self) -> int:
        """See the class."""


class Places(Protocol):
    """The shards that there are, as far as they are known."""

    @property
    def clocks_apart_s(self) -> float:
        """Between the nodes' clocks, the one ahead and the one behind, as they were seen last."""

    @property
    def slots_moving(self) -> int:
        """Slots that are on their way from one shard to another, as nodes said last."""

    @property
    def slots_moved(self) -> int:
        """Slots that have come to another shard since the shards were seen first."""

    @property
    def version(self) -> int:
        """Another one after each change; 0 before anything was seen."""

    def all(self) -> Sequence[Place]:
        """By number; there is always one, and every slot may be at none."""

    def look(self) -> None:
        """Ask whether anything has changed; may wait, and raises nothing."""


class Alone:
    """One store is a shard that has everything; see `Place` and `Places`."""

    number = version = 0
    clocks_apart_s = 0.0
    slots_moving = slots_moved = failovers = 0
    replicas: int | None = None  # a Redis that has some does not say so to its daemons
    slots: Sequence[int] = ALL_SLOTS

    def __init__(self, store: Store, master: str = "") -> None:
        self.store = store
        self.master = master

    def all(self) -> Sequence[Place]:
        """See `Places`."""
        return (self,)

    def look(self) -> None:
        """See `Places`: nothing ever changes."""


class Store(Protocol):
    """One daemon's way to a shard of the store. Not for two greenlets at once."""

    connected: bool
    owes: bool  # it has to send something, whether there is a write or not
    elsewhere: bool  # the last connection led to another process than the one before
    sent_bytes: int  # of all batches, so that the committer knows when to ask for the fill
    generation: int  # raised by whoever finds that the store lost data (ADR 17)

    def connect(self) -> Collection[int]:
        """Connect, and silence the connection before this one (ADR 3).

        Returns:
            Slots that may have lost what was acknowledged in them: it has said so where they
            are here (ADR 26). Some may have moved since.

        Raises:
            StoreError: it can't be had now; try again later.
        """

    def begin(self, writes: Sequence[Write]) -> None:
        """Send the batch, to be written in order; an empty one proves that the store is there.

        Raises:
            StoreError: as `finish`.
        """

    def finish(self) -> list[Write]:
        """Wait until the batch that was begun is written.

        Returns:
            The writes whose session the store does not have, although it was `stored`,
            or whose operation needs to own what it does not own any more: they were not
            written. All others are as durable as the store makes them, and have their
            `result`.

        Raises:
            StoreError: the batch was written in whole, in part or not at all; the
                store must be `reset` before anything else is asked of it.
        """

    def lose(self, slots: Collection[int] | None = None) -> None:
        """Something is not there that was acknowledged: the next connection counts it as lost.

        In these slots, or in all of the shard's.
        """

    def learn(self, slots: Collection[int]) -> None:
        """These have come from another shard: how often they have lost data.

        Raises:
            StoreError: as `finish`.
        """

    def give_unpublished(self, slots: Container[int]) -> dict[bytes, list[bytes]]:
        """Let go of what is still to be published of these slots' rooms, by room (ADR 26)."""

    def take_unpublished(self, room: bytes, messages: Sequence[bytes]) -> None:
        """Publish what another shard had still to publish; before anything newer of the room."""

    def kept(self) -> Mapping[str, int]:
        """How many keys this process itself keeps, by kind; none where a server does."""

    def reset(self) -> None:
        """Drop the connection at once, with what it has not delivered."""

    def close(self) -> None:
        """Take leave: after the last commit."""
