"""store/operations.py: about which session or room each is, and that Redis is asked of no other."""

from __future__ import annotations

from types import UnionType
from typing import TYPE_CHECKING, get_args

import pytest
import redis.crc

from echod import config
from echod.store.base import Lives
from echod.store.keys import Session
from echod.store.operations import (
    MEASURE,
    Announce,
    Beat,
    Drop,
    Enter,
    Find,
    Leases,
    Leave,
    OfShard,
    Open,
    Operation,
    Post,
    Publish,
    Read,
    Remember,
    Renew,
    Resume,
    Simple,
    Who,
)
from echod.store.redis.operations import RedisOperations
from echod.store.routes import ROUTES, inbox_channel, inbox_name
from echod.store.slots import slot_of

if TYPE_CHECKING:
    from echod.store.routes import Route

ANN, BOB, ROOM = b"annannanna", b"bobbobbobb", b"lobby"
FIRST_SLOT = 7
INBOX = inbox_name(FIRST_SLOT, b"d", b"1")
FENCE = b"0:1:0123456789"
OPERATIONS: list[tuple[Operation, bytes]] = [
    *((simple, ANN) for simple in Simple),
    (Remember((ROOM,)), ANN),
    (Open(b"digest"), ANN),
    (Resume(b"digest", 0), ANN),
    (Renew(ROOM), ROOM),
    (Drop(ROOM), ROOM),
    (Enter(ROOM, ANN, FENCE), ROOM),
    (Leave(ROOM, ANN, FENCE), ROOM),
    (Post(ROOM, ANN, FENCE, 1, ANN + b" x"), ROOM),
    (Who(ROOM), ROOM),
    (Read(ROOM, 1, 1), ROOM),
    (Announce(ROOM, INBOX, 1), ROOM),
    (Find(BOB), BOB),
    (Beat(INBOX, b"b 0 1"), b""),
    (Publish(INBOX, b"x"), b""),
    (MEASURE, b""),
    (Leases(FIRST_SLOT), b""),
]
WITHOUT_KEYS = {"INFO", "SPUBLISH"}


def test_every_operation_is_here() -> None:
    """A new one needs a line above."""
    assert isinstance(Operation, UnionType)
    assert {type(operation) for operation, _ in OPERATIONS} == set(get_args(Operation))
    assert {operation for operation, _ in OPERATIONS} >= {*Simple, *OfShard}


def asked(operation: Operation) -> tuple[list[bytes], list[bytes]]:
    """The keys and the channels of an operation's command."""
    session = Session(ANN, ())
    session.own(1)
    command = [
        word if isinstance(word, bytes) else word.encode()
        for word in RedisOperations(Lives(60, 60), publishes=True).command(session, operation)
    ]
    keys = command[1:2]
    if command[0] == b"EVALSHA":
        keys = command[3 : 3 + int(command[2])]
    elif command[0].decode() in WITHOUT_KEYS:
        keys = []
    channels = [word for word in command if word.startswith((b"c:", b"inbox:"))]
    return keys, channels


@pytest.mark.parametrize("operation, about", OPERATIONS, ids=lambda it: type(it).__name__)
def test_all_that_redis_is_asked_for_is_in_one_slot(operation: Operation, about: bytes) -> None:
    """That of what the operation is about, or a shard would be asked that does not have it.

    The others are a shard's own: its first slot's, or none's.
    """
    session = Session(ANN, ())
    assert operation.key(session) == about
    keys, channels = asked(operation)
    slots = {redis.crc.key_slot(name) for name in (*keys, *channels)}
    if operation is MEASURE:
        assert (slots, operation.slot(session)) == (set(), -1)
        return
    assert slots == {operation.slot(session)}
    assert slots == {slot_of(about) if about else FIRST_SLOT}
    if isinstance(operation, Post):
        assert channels
    if isinstance(operation, (Beat, Publish)):
        assert channels == [inbox_channel(INBOX)]


@pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES)
def test_a_channel_says_its_room(route: Route) -> None:
    """Where a room has one of its own."""
    channel = route.channel(ROOM)
    assert route.room_of(channel) == (ROOM if route.subscribed_apart else b"")
    assert all(route.room_of(own) == b"" for own in (*route.common, inbox_channel(INBOX)))


def test_every_route_has_its_setting() -> None:
    """And the other way round."""
    assert set(ROUTES) == set(config.ROUTES)
