"""What the store keeps under which name: of a session a record, and a state that lines replace.

Pure: names and bytes. What stands in braces decides on which shard a key lives (slots.py):
all of a session's are together, and all of a room's (ADR 21). A session's keys (ADR 2) are
laid so that it can move from daemon to daemon: the state stands under a key of its own for
each ownership, and whoever takes over moves it to another, so that the earlier owner's writes
find nothing.

    r:{<name>}                  hash   kind, daemon, peer, balancer's id, since;
                                       of the session port also inbox, digest, epoch, owner, and
                                       posted: rooms, with a space between;
                                       of one that has ended owner and ended only
    s:{<name>}:<epoch>:<owner>  string "<seq> <length of previous> <previous><last>"

of a room (PROTOCOL §3):

    m:{<room>}                  hash   epoch, offset: a history and its last message
    x:{<room>}                  stream <offset>-<Unix ms>: m = "<sender> <text>"
    p:{<room>}                  hash   daemon → "<members there> <Unix ms of the announcement>"
    i:{<room>}:<name>           sorted id → "<offset>:<digest of the text>" of a sender's last
                                       posts; 0 → its fence: who may post in its name (ADR 22),
                                       without an owner once that one has left

of a slot:

    g:{<tag>}                   string the generation: how often it has lost data (ADR 17, 26)

and of a shard:

    l:{<tag>}                   hash   in its first slot: daemon → "<Unix ms until when> <home?>
                                       <mark>": leases
    d:{<tag>}:<daemon>:<run>    string the number of its last batch: a marker (ADR 17)

A plain connection is epoch 1 of a session that nobody can resume: it has no token.
"""

from __future__ import annotations

import os
from typing import ClassVar, Final

from echod.protocol.state import State
from echod.protocol.token import new_name
from echod.store.slots import slot_of, tag_of

# 40 random bits make an ownership unique even when an epoch is counted twice after a rollback.
OWNER_BYTES: Final = 5
# Failovers in a row, in each of which the move itself was in doubt.
FORMER_KEYS_MAX: Final = 8


def encode_state(seq: int, cut: int, pair: bytes) -> bytes:
    """The stored form of a state; `pair` is previous and last joined, `cut` where they meet."""
    return b"%d %d %b" % (seq, cut, pair)


def decode_state(value: bytes) -> State:
    """The inverse of `encode_state`.

    Raises:
        ValueError: for bytes that it did not make.
    """
    seq, cut, pair = value.split(b" ", 2)
    size = int(cut)
    if not 0 <= size <= len(pair):
        raise ValueError(f"a previous line of {size} bytes in {len(pair)}")
    return State(int(seq), pair[:size], pair[size:])


def record_key(name: bytes) -> bytes:
    """Of a session: whose it is, and where."""
    return b"r:{%b}" % name


def state_key(name: bytes, epoch: int, owner: bytes) -> bytes:
    """Of a session, while it is this owner's."""
    return b"s:{%b}:%d:%b" % (name, epoch, owner)


def history_key(room: bytes) -> bytes:
    """Of a room: its epoch and last offset."""
    return b"m:{%b}" % room


def stream_key(room: bytes) -> bytes:
    """Of a room: its messages."""
    return b"x:{%b}" % room


def presence_key(room: bytes) -> bytes:
    """Of a room: which daemons have how many members in it."""
    return b"p:{%b}" % room


def ids_key(room: bytes, sender: bytes) -> bytes:
    """Of a room: the ids of `sender`'s posts, and its fence."""
    return b"i:{%b}:%b" % (room, sender)


def generation_key(slot: int) -> bytes:
    """Of a slot: how often it has lost data."""
    return b"g:{%b}" % tag_of(slot)


def leases_key(slot: int) -> bytes:
    """Of the shard whose first slot this is: the daemons that are there."""
    return b"l:{%b}" % tag_of(slot)


def marker_key(slot: int, daemon: bytes, run: bytes) -> bytes:
    """Of a daemon, and of this run of it alone: what it knows the shard to have."""
    return b"d:{%b}:%b:%b" % (tag_of(slot), daemon, run)


class Session:
    """What one ownership of a session is to the store.

    Attributes:
        name: public, 10 of a-z2-7.
        slot: where it lives.
        owner: this ownership, like no other.
        fence: the same for rooms, where owners of one session are compared (ADR 22).
        epoch, generation: of this ownership, see `own`.
        state_key, record_key: where it is kept; the state's is known once the epoch is.
        record: the fields of the record that say whose it is, names and values in turn.
        stored: the store has, as far as is known, both keys.
        former_keys: where the state may still stand, while it moves to its new key.
        sent: a write of it may have reached the store.
        posted: the rooms in which it posted last: the ids of its posts there live as long as
            its record.
        renew_at: when, on the daemon's clock, a sign of life renews the record and these.
        lives_until: so long, on that clock, the state does not expire, by the sign of life
            before the last renewal.
        seq: lines answered or waiting to be.
        wire_prefix: what the store's client likes to keep beside the key; its own business.
        restored: whether its daemon writes it anew when the store does not have it.
            Not on the session port: there it has ended, or is another daemon's.
    """

    __slots__ = (
        "epoch",
        "fence",
        "former_keys",
        "generation",
        "lives_until",
        "name",
        "owner",
        "posted",
        "record",
        "record_key",
        "renew_at",
        "sent",
        "seq",
        "slot",
        "state_key",
        "stored",
        "wire_prefix",
    )

    restored: ClassVar[bool] = False

    def __init__(self, name: bytes, record: tuple[bytes, ...]) -> None:
        self.name = name
        self.slot = slot_of(name)
        self.owner = os.urandom(OWNER_BYTES).hex().encode()
        self.fence = b""
        self.epoch = self.generation = 0
        self.former_keys: tuple[bytes, ...] = ()
        self.record_key = record_key(name)
        self.state_key = b""
        self.record = record
        self.stored = True
        self.sent = False
        self.posted: tuple[bytes, ...] = ()
        self.renew_at = self.lives_until = 0.0
        self.seq = 0
        self.wire_prefix = b""

    def key_of(self, epoch: int) -> bytes:
        """Where the state stands while this is owner number `epoch`."""
        return state_key(self.name, epoch, self.owner)

    def ids_key(self, room: bytes) -> bytes:
        """Where the ids of its posts in `room` are kept."""
        return ids_key(room, self.name)

    def own(self, epoch: int, generation: int = 0) -> None:
        """Be owner number `epoch`, counted in a generation of the session's slot."""
        self.epoch, self.generation = epoch, generation
        self.state_key = self.key_of(epoch)
        self.fence = b"%d:%d:%b" % (generation, epoch, self.owner)

    def move(self) -> None:
        """Be the same owner under another name: no late write reaches the state's new key."""
        self.former_keys = (*self.former_keys[-FORMER_KEYS_MAX + 1 :], self.state_key)
        self.owner = os.urandom(OWNER_BYTES).hex().encode()
        self.own(self.epoch, self.generation)
        self.wire_prefix = b""
        self.stored = False


class PlainSession(Session):
    """A plain connection's: its first owner is its only one."""

    __slots__ = ()

    restored = True

    def __init__(self, record: tuple[bytes, ...], name: bytes = b"") -> None:
        """With any name, where none is given."""
        super().__init__(name or new_name(), record)
        self.stored = False
        self.own(1)


NO_SESSION: Final = Session(b"", ())
"""Of operations that need none."""


def record(
    kind: bytes, daemon: str, peer: str, balancer_id: str, since: float
) -> tuple[bytes, ...]:
    """The fields of a record that say whose it is; `since` is Unix time, texts may be empty."""
    return (
        b"kind", kind, b"daemon", daemon.encode(), b"peer", peer.encode(),
        b"id", balancer_id.encode(), b"since", b"%.3f" % since,
    )  # fmt: skip
