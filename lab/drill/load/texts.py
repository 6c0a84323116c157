"""Texts of a drill's lines: random, like no other, and as unlike each other as lines may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

# Of the lines: most are short, some fill a segment, a few come near `line_bytes_max` (8,192).
LONG_SHARE, LONG_BYTES = 0.01, 2_000
LONGEST_SHARE, LONGEST_BYTES = 0.001, 8_000
MARK_BYTES = 10


class Texts:
    """Random bytes without LF, of `size` bytes on average or a little more.

    Not ended by CR, which would belong to the line's end (PROTOCOL §2).
    """

    def __init__(self, chance: Random, size: int) -> None:
        self._chance = chance
        self._size = max(size, MARK_BYTES)

    def next(self) -> bytes:
        """Another one: its first bytes are random enough to be like no other's."""
        chance = self._chance
        kind = chance.random()
        if kind < LONGEST_SHARE:
            size = LONGEST_BYTES
        elif kind < LONGEST_SHARE + LONG_SHARE:
            size = LONG_BYTES
        else:
            size = chance.randint(MARK_BYTES, 2 * self._size - MARK_BYTES)
        if kind < 0.5:  # noqa: PLR2004 — half of them look like words
            return chance.randbytes(size // 2).hex().encode()
        return chance.randbytes(size).replace(b"\n", b" ").replace(b"\r", b"\0")
