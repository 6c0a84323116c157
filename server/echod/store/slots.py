"""Where a key lives: its hash slot, and the names that fall to one (ADR 21). Pure.

Redis Cluster hashes what stands between a key's braces, and gives each slot to one shard.
One Redis is one shard, which has all of them.
"""

from __future__ import annotations

from binascii import crc_hqx
from functools import cache
from typing import Final

SLOTS: Final = 16_384
ALL_SLOTS: Final = range(SLOTS)


def slot_of(name: bytes) -> int:
    """The slot of a key that has `name` in braces: Redis's CRC16."""
    return crc_hqx(name, 0) % SLOTS


def slot_of_key(key: bytes) -> int:
    """The slot of a key or channel, by what stands between its first braces."""
    _, _, rest = key.partition(b"{")
    return slot_of(rest.partition(b"}")[0])


@cache
def _tags() -> dict[int, bytes]:
    """A name for each slot.

    The checksum is linear: over four characters that differ in four bits each it takes every
    value once in the first 16,384 (tests/unit/test_slots.py).
    """
    names = (bytes(0x40 + (n >> shift & 15) for shift in (12, 8, 4, 0)) for n in ALL_SLOTS)
    return {slot_of(name): name for name in names}


def tag_of(slot: int) -> bytes:
    """The name that stands in the braces of what a slot has of its own: four of @A-O."""
    return _tags()[slot]
