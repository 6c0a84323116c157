"""Shards come and go under daemons that serve (docs/shards.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from echod.store.slots import slot_of
from lab.fleet import redis_cluster
from lab.fleet.shards import membership
from lab.fleet.shards.cluster import Cluster, Login
from lab.fleet.shards.mover import Mover
from lab.wait import until
from tests.daemon.test_rooms import Person

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Echod

pytestmark = pytest.mark.heavy


def test_added_and_removed_under_sessions(echod: Callable[..., Echod], tmp_path: Path) -> None:
    """Sessions and a room go on, in order, and a move that was stopped half-way is finished."""
    with redis_cluster.start(tmp_path, shards=3, replicas=1) as store:
        daemon = echod(store=store.url, name="d0")
        until(lambda: daemon.log().count("store-connected") >= 3, 20, "links")
        people = [Person(daemon.session_port) for _ in range(10)]
        for person in people:
            person.join(b"lobby")

        def talk(number: int) -> None:
            for person in people:
                person.send(b"ECHO %d x\n" % number)
                lines = person.lines(1 if number == 1 else 2)
                assert lines[-1] == b"ECHO %d x" % number
            people[0].send(b"SAY lobby %d y\n" % number)
            heard = {b"MSG lobby %d %b y" % (number, people[0].name)}
            assert set(people[0].lines(2)) == heard | {b"SAID lobby %d %d" % (number, number)}
            for person in people[1:]:
                assert set(person.lines(1)) == heard

        talk(1)
        cluster = Cluster([node.address for node in store.nodes], Login())
        cluster.name_of = lambda address: next(
            (str(node.shard) for node in store.nodes if node.address == address), None
        )
        made = store.new_shard(1)
        membership.join(cluster, [node.address for node in made])
        slot = slot_of(people[0].name)
        store.begin_move(slot, (store.shard_of(slot) + 1) % 3)
        mover = Mover(cluster)
        picture = mover.level(empty=[made[0].address])
        assert {len(shard.slots) for shard in picture.shards.values()} == {4096}
        assert not picture.half_moved
        talk(2)
        Mover(cluster).level(leaving=["1"])
        membership.leave(cluster, [node.address for node in store.nodes if node.shard == 1])
        assert store.end_shard(1) == ["redis-1-0", "redis-1-1"]
        store.await_whole()
        talk(3)
        assert daemon.metrics()["echod_store_generation"] == 0


def test_the_source_was_replaced_while_a_slot_was_half_moved(tmp_path: Path) -> None:
    """And its former master is a replica: the target knows nobody then who has the slot."""
    with redis_cluster.start(tmp_path, shards=3, replicas=1) as store:
        slot = slot_of(b"name")
        source = store.shard_of(slot)
        target = (source + 1) % 3
        keys = [f"{number}:{{name}}" for number in range(4)]
        former = store.master(source)
        for key in keys:
            former.ask("SET", key, key)
        store.begin_move(slot, target, *keys[:2])
        store.await_whole()
        store.kill(former)
        until(lambda: store.master(source).reachable, redis_cluster.ELECTION_S_MAX, "an election")
        store.start_again(former)
        Mover(Cluster([node.address for node in store.nodes], Login())).level()
        assert store.shard_of(slot) == target
        assert [store.master(target).ask("GET", key) for key in keys] == keys
        store.await_whole()
