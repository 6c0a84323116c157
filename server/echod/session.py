"""What the store keeps of one connection: a record, and a state that each line replaces.

Pure: names and bytes. The keys (DESIGN D3) are laid so that a session can later move
from daemon to daemon: the state stands under a key of its own for each ownership, and
whoever takes over moves it to another, so that the earlier owner's writes find nothing.

    r:<name>                  hash   kind, daemon, peer, balancer's id, since
    s:<name>:<epoch>:<owner>  string "<seq> <length of previous> <previous><last>"

A plain connection is epoch 1 of a session that nobody can resume: it has no token.
"""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from typing import Final

# 50 random bits name a session among those alive; 40 more make an ownership unique even
# when an epoch is counted twice after a rollback.
NAME_BYTES: Final = 7
NAME_LENGTH: Final = 10
OWNER_BYTES: Final = 5


@dataclass(frozen=True, slots=True)
class State:
    """`seq` lines were committed; the last two of them (DESIGN D4)."""

    seq: int
    previous: bytes
    last: bytes


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


class Session:
    """One connection's identity in the store.

    Attributes:
        name: public, 10 of a-z2-7.
        state_key, record_key: where it is kept.
        record: the fields of the record, names and values in turn.
        stored: the store has, as far as is known, both keys.
        sent: a write of it may have reached the store, so it must be deleted.
        restate_s: when, on the daemon's clock, the record's life must be renewed.
        seq: lines answered or waiting to be.
        wire_prefix: what the store's client likes to keep beside the key; its own business.
    """

    __slots__ = (
        "name",
        "record",
        "record_key",
        "restate_s",
        "sent",
        "seq",
        "state_key",
        "stored",
        "wire_prefix",
    )

    def __init__(self, daemon: str, peer: str, balancer_id: str, since_s: float) -> None:
        """`since_s` is Unix time; `peer` and `balancer_id` may be empty."""
        name = base64.b32encode(os.urandom(NAME_BYTES))[:NAME_LENGTH].lower()
        owner = os.urandom(OWNER_BYTES).hex().encode()
        self.name = name
        self.record_key = b"r:%b" % name
        self.state_key = b"s:%b:1:%b" % (name, owner)
        self.record = (
            b"kind", b"plain", b"daemon", daemon.encode(), b"peer", peer.encode(),
            b"id", balancer_id.encode(), b"since", b"%.3f" % since_s,
        )  # fmt: skip
        self.stored = False
        self.sent = False
        self.restate_s = 0.0
        self.seq = 0
        self.wire_prefix = b""
