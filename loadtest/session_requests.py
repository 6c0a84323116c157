"""What a client of the session port asks (PROTOCOL §2, §3): values, and their lines.

Pure. Each request is answered by one reply, in order (`session_events.py`). The token's
secret is in no `repr`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

# PROTOCOL, before §1: a line, its LF included. The server's default; one that takes less says so.
LINE_BYTES_MAX: Final = 8_192

# §3.
_ROOM = re.compile(rb"[A-Za-z0-9_.:-]{1,64}")
# §2.1: `<name>.<secret>`. 128 random bits take at least 20 printable characters.
_TOKEN = re.compile(rb"([a-z2-7]{10})\.([!-~]{20,})")
_NAME = re.compile(rb"[a-z2-7]{10}")
_WORD = re.compile(rb"[!-~]{1,64}")


@dataclass(frozen=True, slots=True)
class Hello:
    """§2.1: a new session without a token, else one to resume; `acked` None: accept a loss."""

    token: bytes = field(default=b"", repr=False)
    acked: int | None = None

    @property
    def name(self) -> bytes:
        """The public part of the token; empty for a new session."""
        return self.token.partition(b".")[0]


@dataclass(frozen=True, slots=True)
class Echo:
    """§2.2: line `n`."""

    n: int
    text: bytes


@dataclass(frozen=True, slots=True)
class Ping:
    """§2.4: keeps connection and session."""

    text: bytes = b""


@dataclass(frozen=True, slots=True)
class Quit:
    """§2.4: ends the session for good."""


@dataclass(frozen=True, slots=True)
class Join:
    """§3: enter a room, at the last position seen if there is one."""

    room: bytes
    life: bytes | None = None  # the room's epoch
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class Say:
    """§3: post; `id` counts this session's messages."""

    room: bytes
    id: int
    text: bytes


@dataclass(frozen=True, slots=True)
class Part:
    """§3: leave a room."""

    room: bytes


@dataclass(frozen=True, slots=True)
class Who:
    """§3: how many are in a room."""

    room: bytes


@dataclass(frozen=True, slots=True)
class Tell:
    """§3: a line to one session, by its public name."""

    name: bytes
    text: bytes


Request = Hello | Echo | Ping | Quit | Join | Say | Part | Who | Tell


def encode(request: Request) -> bytes:
    """The line of a request, its LF included.

    Raises:
        ValueError: for what the protocol can't carry: an LF in a text, a CR at its end
            (it would belong to the terminator), a name of a room that is none, a line of
            more than `LINE_BYTES_MAX` bytes.
    """
    line = _encode(request)
    if len(line) > LINE_BYTES_MAX:
        raise ValueError(f"a line is at most {LINE_BYTES_MAX} bytes, this one has {len(line)}")
    return line


def _encode(request: Request) -> bytes:
    match request:
        case Echo(n, text):
            return b"ECHO %d %b\n" % (n, _text(text))
        case Hello(b"", _):
            return b"HELLO\n"
        case Hello(token, acked):
            if not _TOKEN.fullmatch(token):
                raise ValueError("not a token")  # and not shown
            return b"HELLO %b\n" % token if acked is None else b"HELLO %b %d\n" % (token, acked)
        case Ping(text):
            return b"PING %b\n" % _text(text) if text else b"PING\n"
        case Quit():
            return b"QUIT\n"
        case _:
            return _encode_room(request)


def _encode_room(request: Join | Say | Part | Who | Tell) -> bytes:
    match request:
        case Tell(name, text):
            return b"TELL %b %b\n" % (_matching(_NAME, name), _text(text))
        case Join(room, None, _):
            return b"JOIN %b\n" % _matching(_ROOM, room)
        case Join(room, life, offset):
            position = _matching(_WORD, life or b""), offset or 0
            return b"JOIN %b %b %d\n" % (_matching(_ROOM, room), *position)
        case Say(room, id_, text):
            return b"SAY %b %d %b\n" % (_matching(_ROOM, room), id_, _text(text))
        case Part(room):
            return b"PART %b\n" % _matching(_ROOM, room)
        case Who(room):
            return b"WHO %b\n" % _matching(_ROOM, room)


def _text(text: bytes) -> bytes:
    if b"\n" in text or text.endswith(b"\r"):
        raise ValueError(f"not a text: {text[:80]!r}")
    return text


def _matching(pattern: re.Pattern[bytes], word: bytes) -> bytes:
    if not pattern.fullmatch(word):
        raise ValueError(f"not {pattern.pattern!r}: {word[:80]!r}")
    return word
