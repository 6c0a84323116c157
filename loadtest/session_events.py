"""What a server of the session port says (PROTOCOL §2 to §4): values, and the lines' forms.

Pure. `session.py` makes events of lines: only it knows what a line answers, and whether
it may stand where it does. The token's secret is in no `repr`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from loadtest.session_requests import Request

# §4: does this code close the connection?
CODES: Final = {
    "bad-request": False,
    "line-too-long": True,
    "unknown-session": True,
    "taken-over": True,
    "rolled-back": True,
    "out-of-order": False,
    "conflict": False,
    "not-in-room": False,
    "too-many-rooms": False,
    "room-unavailable": False,
    "idle-timeout": True,
    "slow-consumer": True,
    "busy": True,
    "unavailable": True,
    "draining": True,
    "internal": True,
}


@dataclass(frozen=True, slots=True)
class Welcome:
    """The session is this connection's; `text` is line `seq`'s, None for seq 0."""

    token: bytes = field(repr=False)
    epoch: int
    seq: int
    ttl_s: int
    text: bytes | None

    @property
    def name(self) -> bytes:
        """The public part of the token."""
        return self.token.partition(b".")[0]


@dataclass(frozen=True, slots=True)
class Answered:
    """Line `n` is committed; `previous` is line n - 1's text, None for n = 1."""

    n: int
    previous: bytes | None
    text: bytes


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to `Ping`."""

    text: bytes


@dataclass(frozen=True, slots=True)
class Bye:
    """The answer to `Quit`: the session has ended."""


@dataclass(frozen=True, slots=True)
class Drain:
    """The daemon is leaving: reconnect within `ms`, at a random moment."""

    ms: int


@dataclass(frozen=True, slots=True)
class ErrorLine:
    """`ERR <code> <text>` (§4).

    Attributes:
        number: the number that the text begins with: the expected one of `out-of-order`,
            the store's of `rolled-back`.
        request: what it answers; None where it is said of the whole connection.
    """

    code: str
    text: str
    number: int | None = None
    request: Request | None = None

    @property
    def closes(self) -> bool:
        """Whether the connection ends with it."""
        return CODES[self.code]


@dataclass(frozen=True, slots=True)
class Joined:
    """In the room, from `offset` on; `how` is `fresh`, `recovered` or `lost`.

    Attributes:
        life: the room's epoch, a word.
        asked: False where the server says it unasked: the room has lost its history.
    """

    room: bytes
    life: bytes
    offset: int
    how: str
    asked: bool = True


@dataclass(frozen=True, slots=True)
class Msg:
    """A message of a room."""

    room: bytes
    offset: int
    sender: bytes
    text: bytes


@dataclass(frozen=True, slots=True)
class Gap:
    """Messages that can no longer be had, `first` to `last`."""

    room: bytes
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Said:
    """The post `id` is committed at `offset`."""

    room: bytes
    id: int
    offset: int


@dataclass(frozen=True, slots=True)
class Parted:
    """Out of the room."""

    room: bytes


@dataclass(frozen=True, slots=True)
class Members:
    """The answer to `Who`."""

    room: bytes
    members: int
    daemons: int


@dataclass(frozen=True, slots=True)
class Told:
    """The answer to `Tell`; `how` is `delivered` or `absent`."""

    name: bytes
    how: str


@dataclass(frozen=True, slots=True)
class From:
    """A line that another session told this one."""

    sender: bytes
    text: bytes


Event = (
    Welcome | Answered | Pong | Bye | Drain | ErrorLine
    | Joined | Msg | Gap | Said | Parted | Members | Told | From
)  # fmt: skip


# The forms of a server's lines, without their LF. Numbers have at most the 16 digits of
# 2^53, so that every language counts them exactly; no sign, no leading zero.
_N = rb"(0|[1-9][0-9]{0,15})"
_R = rb"([A-Za-z0-9_.:-]{1,64})"
_S = rb"([a-z2-7]{10})"
_FORMS: Final = {
    verb: re.compile(verb + form, re.DOTALL)
    for verb, form in {
        b"WELCOME": rb" ([a-z2-7]{10}\.[!-~]{20,}) " + _N + b" " + _N + b" " + _N,
        b"PREV": b" " + _N + b" (.*)",
        b"ECHO": b" " + _N + b" (.*)",
        b"PONG": rb"(?: (.+))?",
        b"BYE": b"",
        b"DRAIN": b" " + _N,
        b"ERR": rb" ([a-z-]+)(?: (.*))?",
        b"JOINED": b" " + _R + rb" ([!-~]{1,64}) " + _N + rb" (fresh|recovered|lost)",
        b"MSG": b" " + _R + b" " + _N + b" " + _S + b" (.*)",
        b"GAP": b" " + _R + b" " + _N + b" " + _N,
        b"SAID": b" " + _R + b" " + _N + b" " + _N,
        b"PARTED": b" " + _R,
        b"WHO": b" " + _R + b" " + _N + b" " + _N,
        b"TOLD": b" " + _S + rb" (delivered|absent)",
        b"FROM": b" " + _S + b" (.*)",
    }.items()
}
_NUMBER = re.compile(_N + rb"(?: .*)?", re.DOTALL)


def words(line: bytes) -> tuple[bytes, tuple[bytes, ...]] | None:
    """A server's line without its LF, as its verb and arguments; None if it has no form."""
    verb = line.partition(b" ")[0]
    form = _FORMS.get(verb)
    found = form.fullmatch(line) if form else None
    return (verb, found.groups(b"")) if found else None


def error(code: bytes, text: bytes, request: Request | None) -> ErrorLine | None:
    """An ERR line from its words; None for a code that there is not."""
    if code.decode() not in CODES:
        return None
    number = _NUMBER.fullmatch(text)
    shown = text.decode("ascii", "backslashreplace")
    return ErrorLine(code.decode(), shown, int(number[1]) if number else None, request)
