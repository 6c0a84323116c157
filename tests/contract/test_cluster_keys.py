"""Each operation on a real cluster: its node has all that it asks for (ADR 21).

Sessions, rooms and what is a shard's own are on three nodes, so that a command or a script that
touches another key's slot is refused: `CROSSSLOT`, `MOVED`, or "non local key".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from echod.store.base import Lives
from echod.store.keys import Session
from echod.store.operations import Open, Resume
from echod.store.redis.operations import SCRIPTS, RedisOperations
from echod.store.slots import slot_of
from tests.unit.test_operations import ANN, OPERATIONS, ROOM

if TYPE_CHECKING:
    from echod.store.operations import Operation
    from lab.fleet.redis_cluster import RedisCluster

SHARDS = 3


@pytest.mark.parametrize("operation, about", OPERATIONS, ids=lambda it: type(it).__name__)
def test_a_node_has_all_that_an_operation_asks_for(
    redis_cluster: RedisCluster, operation: Operation, about: bytes
) -> None:
    """It answers, and what it answers is no error."""
    homes = {redis_cluster.shard_of(slot_of(name)) for name in (ANN, ROOM)}
    assert len(homes) == SHARDS - 1
    session = Session(ANN, (b"inbox", b"x"))
    session.own(1)
    operations = RedisOperations(Lives(60, 60), publishes=True)
    node = redis_cluster.master(redis_cluster.shard_of(slot_of(about) if about else 0))
    for script in SCRIPTS:
        node.ask("SCRIPT", "LOAD", script.text)
    if isinstance(operation, Resume):  # it computes keys only of a session that is there
        node.ask(*operations.command(session, Open(operation.digest)))
        session = Session(ANN, (b"inbox", b"y"))
    node.ask(*operations.command(session, operation))  # raises what Redis refuses
    node.ask("FLUSHALL")
