"""The errors of the wire, PROTOCOL §4: `ERR <code> <text>`, one line.

The code is stable and programs act on it; the text is for people. An error is a
value that is answered, never an exception: it is the peer's doing or the store's,
and no traceback helps anybody. A bug of ours is `internal`, and that one is logged.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

STORE_FULL: Final = "the store is nearly full; retry later"
"""The text of `busy` where it is the store that has no place."""


class Code(Enum):
    """The codes; the table in PROTOCOL §4 says which of them close."""

    BAD_REQUEST = "bad-request"
    LINE_TOO_LONG = "line-too-long"
    UNKNOWN_SESSION = "unknown-session"
    TAKEN_OVER = "taken-over"
    ROLLED_BACK = "rolled-back"
    OUT_OF_ORDER = "out-of-order"
    CONFLICT = "conflict"
    NOT_IN_ROOM = "not-in-room"
    TOO_MANY_ROOMS = "too-many-rooms"
    IDLE_TIMEOUT = "idle-timeout"
    SLOW_CONSUMER = "slow-consumer"
    BUSY = "busy"
    ROOM_UNAVAILABLE = "room-unavailable"
    UNAVAILABLE = "unavailable"
    DRAINING = "draining"
    INTERNAL = "internal"


def error_line(code: Code, text: str) -> bytes:
    r"""`ERR <code> <text>\n`; `text` must not hold an LF."""
    return f"ERR {code.value} {text}\n".encode()
