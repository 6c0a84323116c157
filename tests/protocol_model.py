"""PROTOCOL §2 once more, written from its words and with nothing of the daemon's code.

Every test of the session port compares with this: what a line is answered, what it does,
what a first line asks for. Where the protocol leaves a text free, so does the model: an
expected `ERR <code>` agrees with that code and any text.
"""

from __future__ import annotations

import re

# "Decimal, without sign or leading zero", 2^53 - 1 at most.
NUMBER_MAX = 9007199254740991
ECHO = re.compile(rb"ECHO ([1-9][0-9]{0,15}) (.*)", re.DOTALL)
PING = re.compile(rb"PING( .*)?", re.DOTALL)
HELLO = re.compile(rb"HELLO(?: ([^ ]*)(?: (0|[1-9][0-9]{0,15}))?)?", re.DOTALL)
TOKEN = re.compile(rb"[a-z2-7]{10}\.[a-z2-7]{26}")

BAD_REQUEST = b"ERR bad-request"
CONFLICT = b"ERR conflict"
UNKNOWN = b"ERR unknown-session"
# What `Model.answer` says of QUIT: BYE, once the session has ended.
ENDS = b"BYE"


def unterminated(line: bytes) -> bytes:
    """A line without its LF, and without the CR right before it."""
    assert line.endswith(b"\n")
    body = line[:-1]
    return body[:-1] if body.endswith(b"\r") else body


def opening(line: bytes) -> bytes | tuple[bytes | None, int]:
    """What a first line is: an error's beginning, or token (None: a new session) and acked."""
    found = HELLO.fullmatch(unterminated(line))
    if not found or int(found[2] or 0) > NUMBER_MAX:
        return BAD_REQUEST
    token, acked = found.groups()
    if token is not None and not TOKEN.fullmatch(token):
        return UNKNOWN
    return token, int(acked or 0)


class Model:
    """A session after `WELCOME`.

    Attributes:
        texts: of every line it knows of, by number.
        seq: the last of them, 0 for none.
    """

    def __init__(self, seq: int = 0, previous: bytes = b"", last: bytes = b"") -> None:
        self.seq = seq
        self.texts = {seq: last, seq - 1: previous} if seq else {}

    def answer(self, line: bytes) -> list[bytes]:
        """The lines, without LF, that `line` is answered; an error's text is left out."""
        body = unterminated(line)
        if body == b"QUIT":
            return [ENDS]
        if found := PING.fullmatch(body):
            return [b"PONG" + (found[1] or b"")]
        found = ECHO.fullmatch(body)
        if not found or int(found[1]) > NUMBER_MAX:
            return [BAD_REQUEST]
        n, text = int(found[1]), found[2]
        if n == self.seq + 1:
            self.seq, self.texts[n] = n, text
        elif n != self.seq:
            return [b"ERR out-of-order %d" % (self.seq + 1)]
        elif text != self.texts[n]:
            return [CONFLICT]
        before = [b"PREV %d %b" % (n - 1, self.texts[n - 1])] if n > 1 else []
        return [*before, b"ECHO %d %b" % (n, text)]


def agrees(said: bytes, expected: list[bytes]) -> bool:
    """Whether `said`, whole lines, is what was expected."""
    *lines, rest = said.split(b"\n")
    return (
        not rest
        and len(lines) == len(expected)
        and all(
            line == wanted or (wanted in (BAD_REQUEST, CONFLICT) and line.startswith(wanted + b" "))
            for line, wanted in zip(lines, expected, strict=True)
        )
    )
