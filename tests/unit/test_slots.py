"""store/slots.py: the slots are Redis's, and each has a name."""

from __future__ import annotations

import pytest
import redis.crc
from hypothesis import given
from hypothesis import strategies as st

from echod.store.slots import ALL_SLOTS, SLOTS, slot_of, tag_of


@given(st.binary(min_size=1).filter(lambda name: b"{" not in name and b"}" not in name))
def test_the_slot_is_redis_s(name: bytes) -> None:
    """As another implementation says, which looks at the braces."""
    assert slot_of(name) == redis.crc.key_slot(b"x:{%b}:y" % name)


@pytest.mark.parametrize("name, slot", [(b"123456789", 0x31C3), (b"foo", 12182)])
def test_slots_of_the_manual(name: bytes, slot: int) -> None:
    """The examples of Redis's cluster specification."""
    assert slot_of(name) == slot


def test_every_slot_has_a_tag_of_its_own() -> None:
    """Which falls to it."""
    tags = [tag_of(slot) for slot in ALL_SLOTS]
    assert len(set(tags)) == SLOTS
    assert [slot_of(tag) for tag in tags] == list(ALL_SLOTS)
    assert all(len(tag) == 4 and set(tag) <= set(b"@ABCDEFGHIJKLMNO") for tag in tags)
