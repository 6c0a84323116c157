"""The lines of rooms, PROTOCOL §3: what a client asks for, and what it is told. Pure.

`PARSERS` is the rooms' part of `session.VERBS`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from echod.protocol.errors import Code
from echod.protocol.words import NUMBER_MAX, Refusal, bad, number

if TYPE_CHECKING:
    from collections.abc import Callable

_ROOM = re.compile(rb"[A-Za-z0-9_.:-]{1,64}")
_NAME = re.compile(rb"[a-z2-7]{10}")
# An epoch is the store's word; this bounds what a client may send in its place.
_EPOCH = re.compile(rb"[a-z0-9-]{1,40}")


@dataclass(frozen=True, slots=True)
class Join:
    """`JOIN <room> [<epoch> <offset>]`; without a position, `epoch` is empty."""

    room: bytes
    epoch: bytes = b""
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Say:
    """`SAY <room> <id> <text>`."""

    room: bytes
    id: int
    text: bytes


@dataclass(frozen=True, slots=True)
class Part:
    """`PART <room>`."""

    room: bytes


@dataclass(frozen=True, slots=True)
class Who:
    """`WHO <room>`."""

    room: bytes


@dataclass(frozen=True, slots=True)
class Tell:
    """`TELL <name> <text>`."""

    name: bytes
    text: bytes


RoomRequest = Join | Say | Part | Who | Tell

NOT_IN_ROOM: Final = Refusal(Code.NOT_IN_ROOM, "join it first")


def _join(words: list[bytes]) -> Join | Refusal:
    if len(words) == 1 and _ROOM.fullmatch(words[0]):
        return Join(words[0])
    if len(words) == 3 and _ROOM.fullmatch(words[0]) and _EPOCH.fullmatch(words[1]):  # noqa: PLR2004 — as written
        offset = number(words[2], 0)
        if offset is not None:
            return Join(words[0], words[1], offset)
    return bad("JOIN <room> [<epoch> <offset>]")


def _say(words: list[bytes]) -> Say | Refusal:
    if len(words) == 3 and _ROOM.fullmatch(words[0]):  # noqa: PLR2004 — as written
        said = number(words[1])
        if said is not None:
            return Say(words[0], said, words[2])
        return bad(f"SAY <room> <id> <text>: an id is 1 to {NUMBER_MAX}")
    return bad("SAY <room> <id> <text>")


def _part(words: list[bytes]) -> Part | Refusal:
    return Part(words[0]) if _is_room(words) else bad("PART <room>")


def _who(words: list[bytes]) -> Who | Refusal:
    return Who(words[0]) if _is_room(words) else bad("WHO <room>")


def _tell(words: list[bytes]) -> Tell | Refusal:
    if len(words) == 2 and _NAME.fullmatch(words[0]):  # noqa: PLR2004 — as written
        return Tell(words[0], words[1])
    return bad("TELL <name> <text>")


def _is_room(words: list[bytes]) -> bool:
    return len(words) == 1 and _ROOM.fullmatch(words[0]) is not None


# As `session.VERBS`.
PARSERS: dict[bytes, tuple[int, Callable[[list[bytes]], RoomRequest | Refusal]]] = {
    b"JOIN": (4, _join),
    b"SAY": (3, _say),
    b"PART": (2, _part),
    b"WHO": (2, _who),
    b"TELL": (2, _tell),
}


def joined(room: bytes, epoch: bytes, offset: int, how: bytes) -> bytes:
    """`how` is fresh, recovered or lost."""
    return b"JOINED %b %b %d %b\n" % (room, epoch, offset, how)


def message(room: bytes, offset: int, said: bytes) -> bytes:
    """`said` is `<sender> <text>`."""
    return b"MSG %b %d %b\n" % (room, offset, said)


def gap(room: bytes, first: int, last: int) -> bytes:
    """Messages that can't be had any more, in their place."""
    return b"GAP %b %d %d\n" % (room, first, last)


def said(room: bytes, id_: int, offset: int) -> bytes:
    """A post was committed."""
    return b"SAID %b %d %d\n" % (room, id_, offset)


def parted(room: bytes) -> bytes:
    """No longer a member."""
    return b"PARTED %b\n" % room


def who(room: bytes, members: int, daemons: int) -> bytes:
    """Who is there, over all daemons."""
    return b"WHO %b %d %d\n" % (room, members, daemons)


def told(name: bytes, *, delivered: bool) -> bytes:
    """What became of a `TELL`."""
    return b"TOLD %b %b\n" % (name, b"delivered" if delivered else b"absent")


def from_(sender: bytes, text: bytes) -> bytes:
    """A `TELL` at the session that it names."""
    return b"FROM %b %b\n" % (sender, text)
