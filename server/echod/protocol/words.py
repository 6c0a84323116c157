"""What the session port's lines have in common: words, numbers, refusals. Pure.

A control line is words separated by single spaces; a CR right before the LF belongs to
the terminator. Numbers are decimal, without sign or leading zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from echod.protocol.errors import Code, error_line

# Beyond it a number could not be counted exactly everywhere: Redis's Lua and JavaScript know
# doubles only.
NUMBER_MAX: Final = 2**53 - 1
NUMBER_DIGITS_MAX: Final = len(str(NUMBER_MAX))


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error that is answered."""

    code: Code
    text: str

    def line(self) -> bytes:
        """`ERR <code> <text>`."""
        return error_line(self.code, self.text)


def bad(text: str) -> Refusal:
    """`bad-request`, with the form that the line must have."""
    return Refusal(Code.BAD_REQUEST, text)


def body_of(line: bytes) -> bytes:
    r"""The line without its terminator, LF or CR LF.

    >>> body_of(b"PING a\r\r\n")
    b'PING a\r'
    """
    return line[:-2] if line.endswith(b"\r\n") else line[:-1]


def number(word: bytes, least: int = 1) -> int | None:
    """The number that `word` is; None for anything else, and below `least`."""
    if not word.isdigit() or len(word) > NUMBER_DIGITS_MAX or (word[:1] == b"0" and word != b"0"):
        return None
    value = int(word)
    return value if least <= value <= NUMBER_MAX else None
