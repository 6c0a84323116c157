"""store/operations.py: about which session or room each is, and that Redis is asked of no other."""

from __future__ import annotations

from types import UnionType
from typing import get_args

import pytest

from echod import config
from echod.store.base import Lives
from echod.store.keys import GENERATION_KEY, Session, lease_key
from echod.store.operations import (
    MEASURE,
    Announce,
    Beat,
    Drop,
    OfStore,
    Open,
    Operation,
    Post,
    Publish,
    Read,
    Remember,
    Renew,
    Resume,
    Simple,
    Tell,
    Who,
)
from echod.store.redis.operations import RedisOperations
from echod.store.routes import ROUTES

ANN, BOB, ROOM, INBOX = b"annannanna", b"bobbobbobb", b"lobby", b"d:1"
OPERATIONS: list[tuple[Operation, bytes]] = [
    *((simple, ANN) for simple in Simple),
    (Remember((ROOM,)), ANN),
    (Open(b"digest"), ANN),
    (Resume(b"digest", 0), ANN),
    (Renew(ROOM), ROOM),
    (Drop(ROOM), ROOM),
    (Post(ROOM, ANN, 1, ANN + b" x"), ROOM),
    (Who(ROOM), ROOM),
    (Read(ROOM, 1, 1), ROOM),
    (Announce(ROOM, INBOX, 1), ROOM),
    (Tell(BOB, b"t x"), BOB),
    (Beat(INBOX, b"b 1"), b""),
    (Publish(INBOX, b"x"), b""),
    (MEASURE, b""),
]
# Refused to who does not own the session that asks: its state is looked at as well.
OWNED = (Post, Who, Tell)


def test_every_operation_is_here() -> None:
    """A new one needs a line above."""
    assert isinstance(Operation, UnionType)
    assert {type(operation) for operation, _ in OPERATIONS} == set(get_args(Operation))
    assert {operation for operation, _ in OPERATIONS} >= {*Simple, *OfStore}


@pytest.mark.parametrize("operation, about", OPERATIONS, ids=lambda it: type(it).__name__)
def test_redis_is_asked_for_keys_of_what_it_is_about(operation: Operation, about: bytes) -> None:
    """No command names a key of another session or room, or the daemon would ask a wrong shard."""
    session = Session(ANN, ())
    session.own(1)
    assert operation.key(session) == about
    command = RedisOperations(Lives(60, 60)).command(session, operation)
    if command[0] == "EVALSHA":
        count = int(command[2])
        keys = command[3 : 3 + count]
    else:
        keys = () if command[0] in {"INFO", "PUBLISH"} else command[1:2]
    allowed = {GENERATION_KEY}
    if isinstance(operation, OWNED):
        allowed.add(session.state_key)
    if isinstance(operation, Beat):
        allowed.add(lease_key(INBOX))
    for key in set(keys) - allowed:
        assert isinstance(key, bytes)
        assert key.split(b":")[1] == about, key


def test_every_route_has_its_setting() -> None:
    """And the other way round."""
    assert set(ROUTES) == set(config.ROUTES)
