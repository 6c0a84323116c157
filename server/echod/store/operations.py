"""What can be asked of the store beside replacing a state. Pure: names and values.

A write (`batch.Write`) carries one of these, or none: then it replaces its session's
state. Each says by its `key` about which session or room it is. Each store carries them out
in its own way and says the same things (tests/contract/test_sessions_store.py); in Redis they
are the scripts in lua/.

    FORGET    delete record and state                  a plain connection has ended
    KEEP      let the state live on                    an answer that commits nothing
    Open      make record and state                    → Opened or None: the name is taken
    Resume    move the state to a new key              → Opened, RolledBack or None: unknown
    END       delete the state, leave a tombstone      QUIT
    INQUIRE   who owns it now?                         → whether somebody else
    Remember  let the record live on, with the rooms that its session posted in
    Renew     let the ids of its posts in a room live on
    Drop      delete them
    Find      where is it connected?                   → the inbox of its daemon, or None

and for rooms (PROTOCOL §3):

    Enter     a session's owner joins                  → whether: no later owner has
    Leave     and leaves
    Post      append to a room, and publish            → Posted; Stale, Conflict: no new id;
                                                         FENCED: who asks has not joined
    Who       which daemons have members in a room?    → members by inbox
    Read      a page of a room, which may begin with it → Page, or None
    Announce  how many members a daemon has in a room
    Leases    who is there?                            → inboxes of the daemons
    Beat      a daemon's heartbeat to itself           → Beaten
    Publish   write to a daemon's inbox                → whether anybody listens

and of a shard itself:

    MEASURE   how full is it?                          → Fill

Each is about one session, one room, one daemon or a shard, and so on one shard (ADR 21). A
line that is about another key than its session's asks for two: its own, and a KEEP, by which
the session's shard says that it is still this owner's (ADR 22).

A session that is not, or no longer, this owner's makes the write *refused*: a state's
replacement, KEEP, END. The others need to own none, and never are. Each may be carried out twice in a row, as it is when an answer was lost, and
says the same both times.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from echod.store.slots import slot_of, slot_of_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from echod.protocol.state import State
    from echod.store.keys import Session


class OfSession:
    """An operation about the session that it is asked for."""

    __slots__ = ()

    def key(self, session: Session) -> bytes:
        """Its name."""
        return session.name

    def slot(self, session: Session) -> int:
        """Where it lives."""
        return session.slot


class OfRoom:
    """An operation about a room."""

    __slots__ = ()

    room: bytes

    def key(self, session: Session) -> bytes:
        """The room's name, whoever asks."""
        del session
        return self.room

    def slot(self, session: Session) -> int:
        """Where the room lives."""
        del session
        return slot_of(self.room)


class OfDaemon:
    """An operation about a daemon; it has no key, but an inbox on one shard."""

    __slots__ = ()

    inbox: bytes

    def key(self, session: Session) -> bytes:
        """None."""
        del session
        return b""

    def slot(self, session: Session) -> int:
        """Where the inbox is."""
        del session
        return slot_of_key(self.inbox)


class Simple(OfSession, Enum):
    """The operations that need nothing but their session."""

    FORGET = "forget"
    KEEP = "keep"
    END = "end"
    INQUIRE = "inquire"


class OfShard(Enum):
    """The operation that is about a whole shard, and is asked of it alone."""

    MEASURE = "measure"

    def key(self, session: Session) -> bytes:
        """None."""
        del session
        return b""

    def slot(self, session: Session) -> int:
        """None: it stays where it was asked."""
        del session
        return -1


FORGET, KEEP, END, INQUIRE = Simple
(MEASURE,) = OfShard


@dataclass(frozen=True, slots=True)
class Remember(OfSession):
    """The record lives on for `Lives.record_s`, if the session is this owner's; else nothing.

    Attributes:
        posted: the rooms in which the ids of its posts are kept.
    """

    posted: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Renew(OfRoom):
    """The ids of the session's posts in `room` live on for `Lives.record_s`."""

    room: bytes


@dataclass(frozen=True, slots=True)
class Drop(OfRoom):
    """Delete the ids of the session's posts in `room`: it has ended."""

    room: bytes


@dataclass(frozen=True, slots=True)
class Fill:
    """How full a store is: bytes in use, and at the most; 0 where it has no bound of its own."""

    used_bytes: int = 0
    most_bytes: int = 0

    @property
    def share(self) -> float:
        """0 to 1."""
        return self.used_bytes / self.most_bytes if self.most_bytes else 0.0


@dataclass(frozen=True, slots=True)
class Open(OfSession):
    """A new session, with no line yet; `digest` is the hash of its secret."""

    digest: bytes


@dataclass(frozen=True, slots=True)
class Resume(OfSession):
    """Take a session over from whoever owns it (PROTOCOL §2.1, ADR 2).

    Attributes:
        digest: the hash of the secret that the client showed.
        acked: the highest number it was answered; 0 if it did not say.
    """

    digest: bytes
    acked: int


@dataclass(frozen=True, slots=True)
class Opened:
    """It is this owner's; `posted` as `Remember`'s.

    `epoch` counts the owners from 1, anew in each `generation` of the session's slot.
    """

    epoch: int
    state: State
    posted: tuple[bytes, ...] = ()
    generation: int = 0


@dataclass(frozen=True, slots=True)
class RolledBack:
    """The store holds less than the client was answered; nothing was changed."""

    seq: int


@dataclass(frozen=True, slots=True)
class Enter(OfRoom):
    """`JOIN`: from now on only the owner with this `fence` posts here in the sender's name."""

    room: bytes
    sender: bytes
    fence: bytes


@dataclass(frozen=True, slots=True)
class Leave(OfRoom):
    """This owner does not post here any more."""

    room: bytes
    sender: bytes
    fence: bytes


@dataclass(frozen=True, slots=True)
class Post(OfRoom):
    """`SAY`: `said` is `<sender> <text>`; `id` the sender's number for it."""

    room: bytes
    sender: bytes
    fence: bytes
    id: int
    said: bytes

    @property
    def digest(self) -> bytes:
        """What is remembered of the text beside the id: 64 bits of a hash, as hex."""
        return hashlib.blake2b(self.said, digest_size=8).hexdigest().encode()


@dataclass(frozen=True, slots=True)
class Stale:
    """An id that is neither new nor among the sender's last hundred."""

    next_id: int


@dataclass(frozen=True, slots=True)
class Conflict:
    """An id among the sender's last hundred, which had another text."""


class Posted(NamedTuple):
    """The result of a post.

    Attributes:
        offset: the message's.
        message: what is to be published of it; b"" where the store has done so.
    """

    offset: int
    message: bytes = b""


class Fenced(Enum):
    """The result of a post whose sender has not joined the room, or has as a later owner."""

    FENCED = "fenced"


(FENCED,) = Fenced


@dataclass(frozen=True, slots=True)
class Who(OfRoom):
    """`WHO`: members by the inbox of their daemon, as announced; some may be gone (LEASES)."""

    room: bytes


@dataclass(frozen=True, slots=True)
class Leases:
    """`WHO`: which daemons are there: their leases hold. They stand in the shard's first slot."""

    first_slot: int

    def key(self, session: Session) -> bytes:
        """None."""
        del session
        return b""

    def slot(self, session: Session) -> int:
        """The shard's first."""
        del session
        return self.first_slot


@dataclass(frozen=True, slots=True)
class Find:
    """`TELL`: where session `name` is connected."""

    name: bytes

    def key(self, session: Session) -> bytes:
        """The name of the session that is looked for."""
        del session
        return self.name

    def slot(self, session: Session) -> int:
        """Where that session lives."""
        del session
        return slot_of(self.name)


@dataclass(frozen=True, slots=True)
class Read(OfRoom):
    """A page of a room, from offset `first` on; `messages_max` at most.

    A room that is not there begins, unless `begin` is false: then there is no page.
    """

    room: bytes
    first: int
    messages_max: int
    begin: bool = True


class Page(NamedTuple):
    """A piece of a room's stream.

    Attributes:
        epoch: the room's history.
        last: the highest offset given in it.
        messages: offset and `<sender> <text>`, upwards from where it was asked for.
    """

    epoch: bytes
    last: int
    messages: Sequence[tuple[int, bytes]]


@dataclass(frozen=True, slots=True)
class Announce(OfRoom):
    """This daemon, `inbox`, has so many members in a room."""

    room: bytes
    inbox: bytes
    members: int


@dataclass(frozen=True, slots=True)
class Beat(OfDaemon):
    """Renew the lease of `inbox` and write `written` there.

    `home`: it is the daemon's home; new sessions are born on this shard (ADR 21).
    """

    inbox: bytes
    written: bytes
    home: bool = False


class Beaten(NamedTuple):
    """The result of a heartbeat.

    Attributes:
        held: its lease had held.
        hearers: of what was written.
        homes: daemons whose home this shard is, as their leases say.
        first: of their inboxes, in the order of bytes; b"" for none.
    """

    held: bool
    hearers: int
    homes: int
    first: bytes


@dataclass(frozen=True, slots=True)
class Publish(OfDaemon):
    """Write to a daemon's inbox; it may be gone."""

    inbox: bytes
    written: bytes


def gives_life(operation: Operation | None) -> bool:
    """Whether it is a sign of life of its session, or the replacement of a state is.

    Each is an answer to a line, or the owner's word for a client that it does not read now.
    """
    return operation is None or operation is KEEP


def needs_owner(operation: Operation | None) -> bool:
    """Whether it, or the replacement of a state, is refused to who does not own the session."""
    return operation is END or gives_life(operation)


def only_frees(operation: Operation | None) -> bool:
    """Whether it deletes what expires by itself, if it is never carried out."""
    return operation is FORGET or isinstance(operation, (Drop, Leave))


def size(operation: Operation) -> int:
    """Bytes of a client's, as long as a line may be, that it carries."""
    if isinstance(operation, Post):
        return len(operation.said)
    return len(operation.written) if isinstance(operation, Publish) else 0


Operation = (
    Simple | OfShard | Open | Resume | Remember | Renew | Drop | Find
    | Enter | Leave | Post | Who | Leases | Read | Announce | Beat | Publish
)  # fmt: skip
