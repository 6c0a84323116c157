"""What a client shows to resume a session: its token, PROTOCOL §2.1. Pure but for its dice."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from dataclasses import dataclass, field
from typing import Final

# 50 random bits name a session among those alive.
NAME_BYTES: Final = 7
NAME_LENGTH: Final = 10
# 130 random bits: nobody guesses them (PROTOCOL §2.1 asks for 128).
SECRET_BYTES: Final = 17
SECRET_LENGTH: Final = 26

_TOKEN = re.compile(rb"([a-z2-7]{%d})\.([a-z2-7]{%d})" % (NAME_LENGTH, SECRET_LENGTH))


def _random_word(size: int, length: int) -> bytes:
    """`length` characters of a-z2-7 from `size` random bytes."""
    return base64.b32encode(os.urandom(size))[:length].lower()


def new_name() -> bytes:
    """A session's public name, drawn at random: 10 of a-z2-7."""
    return _random_word(NAME_BYTES, NAME_LENGTH)


@dataclass(frozen=True, slots=True)
class Token:
    """`<name>.<secret>`: the name is public, the secret is the client's alone."""

    name: bytes
    secret: bytes = field(repr=False)

    @classmethod
    def new(cls, name: bytes) -> Token:
        """A token like no other, of a session with a name like no other."""
        return cls(name, _random_word(SECRET_BYTES, SECRET_LENGTH))

    @classmethod
    def parse(cls, word: bytes) -> Token | None:
        """The token that `word` is, None if it can't be one."""
        found = _TOKEN.fullmatch(word)
        return cls(found[1], found[2]) if found else None

    def digest(self) -> bytes:
        """What the store keeps in the secret's place: it is random, so one hash is enough."""
        return hashlib.sha256(self.secret).hexdigest().encode()

    def encode(self) -> bytes:
        """The word on the wire."""
        return b"%b.%b" % (self.name, self.secret)
