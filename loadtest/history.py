r"""What clients saw, as JSON lines: what a load writes and a checker reads.

    SessionClient ──record──▶ HistoryFile ──JSON lines──▶ read ──▶ the drills' checker

One object an event, appended in the order in which its client saw it:

    t   float   CLOCK_MONOTONIC, seconds: comparable between processes of one machine
    c   str     the client, which owns at most one session at a time
    k   int     its connection, from 1, raised by every attempt to connect
    e   str     what happened, one of:

    connect    to                       an attempt to connect to "host:port" begins
    connected                           TCP is there
    hello      name, acked              HELLO goes out: the public name (never the token),
                                        "" for a new session; `acked` null without the number
    welcome    name, epoch, seq, text   `text` is PREV's, null for seq 0
    sent       n, text                  ECHO goes out. Recorded before it does: what was not
                                        recorded was not sent
    answered   n, previous, text        the whole reply; `previous` null for n = 1
    ping, pong text
    quit, bye
    drain      ms
    error      code, text               an ERR line
    closed     how                      "end of stream", an errno's name, "by client", …
    accept     acked                    rolled back: the next HELLO goes without the number

Rooms (PROTOCOL §3), each with `room` where its line has one:

    join       life, offset             both null without a position; `life` is the room's
                                        epoch: a word, and no number
    joined     life, offset, how        "fresh", "recovered", "lost"
    say        id, text
    said       id, offset
    msg        offset, sender, text
    gap        first, last
    part, parted, who
    members    members, daemons         the answer to `who`
    tell       name, text
    told       name, how                "delivered", "absent"
    from       sender, text

Texts are bytes on the wire; here they are decoded as latin-1, which keeps every byte.
"""

from __future__ import annotations

import gzip
import json
import time
from typing import TYPE_CHECKING, Any, Protocol, Self, TypedDict, cast

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Written at once when so much has gathered: a few thousand events, so that a system call
# is no part of an event's cost, and a process that is killed loses under a second.
_BUFFER_BYTES = 256 * 1024

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


class _Stamp(TypedDict):
    t: float
    c: str
    k: int
    e: str


class Event(_Stamp, total=False):
    """One line of a history; which of these fields it has, its `e` says (see above)."""

    to: str
    name: str
    acked: int | None
    epoch: int
    seq: int
    n: int
    text: str | None
    previous: str | None
    ms: int
    code: str
    how: str
    room: str
    life: str | None
    offset: int | None
    id: int
    sender: str
    first: int
    last: int
    members: int
    daemons: int


class Recorder(Protocol):
    """Where a client says what it sees."""

    def record(self, kind: str, /, **fields: object) -> None:
        """Note one event, now; `fields` has `c`, `k` and the kind's own, texts as bytes."""


class HistoryFile:
    """A `Recorder` that appends to a file; many clients, greenlets and threads may share it.

    What gathers is written with `flush` and at the end of its `with` block at the latest.

    Raises:
        OSError: when the file can't be opened or written.
    """

    def __init__(self, path: Path) -> None:
        # A write to a buffered binary file is atomic among threads: lines stay whole.
        self._file = path.open("ab", buffering=_BUFFER_BYTES)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def record(self, kind: str, /, **fields: object) -> None:
        """As `Recorder.record`, with the time."""
        event = {"t": time.monotonic(), "e": kind, **fields}
        for name, value in fields.items():
            if isinstance(value, bytes):
                event[name] = value.decode("latin-1")
        self._file.write(_encode(event).encode("ascii") + b"\n")

    def flush(self) -> None:
        """Hand what has gathered to the kernel."""
        self._file.flush()

    def close(self) -> None:
        """Write what has gathered and close; may be called again."""
        self._file.close()


def read(path: Path) -> Iterator[Event]:
    """The events of a history in its order, one at a time; `.gz` is read as such.

    A last line without its LF is left out: whoever wrote it was killed.

    Raises:
        ValueError: for any other line that is no event, with its number.
    """
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                event: Any = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from None
            if not isinstance(event, dict) or not {"t", "c", "k", "e"} <= event.keys():
                raise ValueError(f"{path}, line {number}: not an event")
            yield cast("Event", event)
