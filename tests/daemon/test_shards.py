"""Daemons on a real Redis Cluster: what each rule of the shards is for (ADR 21, 24 to 26)."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from echod.store.keys import history_key, stream_key
from echod.store.slots import slot_of
from lab.fleet import redis_cluster
from lab.wait import until
from tests.daemon import raw
from tests.daemon.test_rooms import Person
from tests.daemon.test_session_port import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lab.fleet.redis_cluster import RedisCluster
    from tests.conftest import Echod

pytestmark = pytest.mark.heavy

SHARDS = 3


@pytest.fixture(scope="module", name="cluster")
def own_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """Three shards with two replicas each, which the tests break and mend."""
    with redis_cluster.start(tmp_path_factory.mktemp("cluster"), shards=SHARDS, replicas=2) as made:
        yield made


@pytest.fixture(autouse=True)
def _whole(cluster: RedisCluster) -> None:
    """Each test begins with a cluster that is whole, whatever the one before has left."""
    for node in cluster.nodes:
        if node.frozen:
            cluster.thaw(node)
        if not node.process.alive:
            cluster.start_again(node)
    cluster.await_whole()


@pytest.fixture
def fleet(echod: Callable[..., Echod], cluster: RedisCluster) -> Callable[..., list[Echod]]:
    """So many daemons, each of which knows the shards."""

    def start(count: int = 1, **settings: object) -> list[Echod]:
        daemons = [echod(store=cluster.url, name=f"d{n}", **settings) for n in range(count)]

        def linked() -> bool:
            return all(each.log().count("store-connected") >= SHARDS for each in daemons)

        until(linked, 20, "the daemons to know all shards")
        return daemons

    return start


def room_of(cluster: RedisCluster, shard: int, taken: str = "") -> bytes:
    """A room that lives on this shard."""
    names = (b"room-%b-%d" % (taken.encode(), n) for n in itertools.count())
    return next(name for name in names if cluster.shard_of(slot_of(name)) == shard)


def shard_of(cluster: RedisCluster, person: Person) -> int:
    """Where a session lives."""
    return cluster.shard_of(slot_of(person.name))


def test_sessions_are_born_at_home(
    fleet: Callable[..., list[Echod]], cluster: RedisCluster
) -> None:
    """A daemon's are on one shard, plain ones too; and three daemons are at home on three."""
    daemons = fleet(SHARDS)

    def homes() -> set[int]:
        return {shard_of(cluster, Person(daemon.session_port)) for daemon in daemons}

    until(lambda: len(homes()) == SHARDS, 20, "homes to be spread")
    for daemon in daemons:
        people = [Person(daemon.session_port) for _ in range(5)]
        assert len({shard_of(cluster, person) for person in people}) == 1
    raw.converse(daemons[0].port, [b"a\n", b"b\n"])


def test_shards_are_one_store(fleet: Callable[..., list[Echod]], cluster: RedisCluster) -> None:
    """A session goes on at another daemon; rooms of all shards, TELL and WHO span daemons."""
    one, two = fleet(2)
    ann, bob = Person(one.session_port), Person(two.session_port)

    def both(room: bytes) -> Callable[[], bool]:
        return lambda: ann.ask(b"WHO %b\n" % room) == b"WHO %b 2 2\n" % room

    for shard in range(SHARDS):
        room = room_of(cluster, shard)
        ann.join(room)
        bob.join(room)
        ann.send(b"SAY %b 1 x\n" % room)
        assert bob.line() == b"MSG %b 1 %b x\n" % (room, ann.name)
        assert sorted(ann.lines(2)) == [
            b"MSG %b 1 %b x" % (room, ann.name),
            b"SAID %b 1 1" % room,
        ]
        until(both(room), 10, "both to be there")
    assert ann.ask(b"TELL %b hi\n" % bob.name) == b"TOLD %b delivered\n" % bob.name
    assert bob.line() == b"FROM %b hi\n" % ann.name
    assert ann.ask(b"ECHO 1 a\nECHO 2 b\n", 3) == b"ECHO 1 a\nPREV 1 a\nECHO 2 b\n"
    moved = Client(two.session_port)
    moved.hello(b" " + ann.token)
    assert moved.line() == b"PREV 2 b\n"
    assert moved.ask(b"PING\n") == b"PONG\n"
    ann.send(b"PING\n")
    assert b"taken-over" in ann.end()


@pytest.mark.parametrize("how", ["kill", "freeze", "hand_over"])
def test_a_master_goes(fleet: Callable[..., list[Echod]], cluster: RedisCluster, how: str) -> None:
    """Its sessions and rooms wait until another has its place: nobody is told, nothing is lost."""
    (daemon,) = fleet(1)
    ann = Person(daemon.session_port)
    shard = shard_of(cluster, ann)
    here, there = room_of(cluster, shard, how), room_of(cluster, (shard + 1) % SHARDS, how)
    for room in (here, there):
        ann.join(room)
    assert ann.ask(b"ECHO 1 a\n") == b"ECHO 1 a\n"
    if how == "hand_over":
        cluster.hand_over(cluster.replicas(shard)[0])
    else:
        getattr(cluster, how)(cluster.master(shard))
    ann.send(b"ECHO 2 b\nSAY %b 1 x\nSAY %b 2 y\n" % (here, there))
    answers = ann.lines(6)
    said = [answer for answer in answers if not answer.startswith(b"MSG")]
    assert said == [
        *(b"PREV 1 a", b"ECHO 2 b"),
        *(b"SAID %b 1 1" % here, b"SAID %b 2 1" % there),
    ]
    assert daemon.metrics()["echod_store_generation"] == 0


def test_a_slot_moves_under_its_session(
    fleet: Callable[..., list[Echod]], cluster: RedisCluster
) -> None:
    """While it is on its way lines wait; then they go on, in order, and nobody is told."""
    one, two = fleet(2)
    ann, bob = Person(one.session_port), Person(two.session_port)
    room = room_of(cluster, 0, "moves")
    for person in (ann, bob):
        person.join(room)
    for name in (ann.name, room):
        slot = slot_of(name)
        target = (cluster.shard_of(slot) + 1) % SHARDS
        cluster.begin_move(slot, target)
        ann.send(b"ECHO 1 a\n" if name is ann.name else b"SAY %b 2 y\n" % room)
        cluster.finish_move(slot, target)
        if name is ann.name:
            assert ann.line() == b"ECHO 1 a\n"
            ann.send(b"SAY %b 1 x\n" % room)
        assert {line[:4] for line in ann.lines(2)} == {b"MSG ", b"SAID"}
        assert bob.line().startswith(b"MSG %b " % room)
    assert bob.ask(b"TELL %b hi\n" % ann.name) == b"TOLD %b delivered\n" % ann.name
    assert ann.line() == b"FROM %b hi\n" % bob.name
    moved = Client(two.session_port)
    assert moved.hello(b" " + ann.token) == (2, 1)
    assert one.metrics()["echod_store_generation"] == 0


def test_what_is_a_shards_own_moves(
    fleet: Callable[..., list[Echod]], cluster: RedisCluster
) -> None:
    """Markers, leases and inboxes in a slot that leaves: no loss is told, and all goes on."""
    one, two = fleet(2)
    ann, bob = Person(one.session_port), Person(two.session_port)
    shard = shard_of(cluster, bob)
    room = room_of(cluster, shard, "own")
    for person in (ann, bob):
        person.join(room)
    spans = cluster.master(shard).ask("CLUSTER", "SLOTS")
    own = min(first for first, *_ in spans if cluster.shard_of(first) == shard)
    cluster.move_slot(own, (shard + 1) % SHARDS)
    assert bob.ask(b"ECHO 1 a\n") == b"ECHO 1 a\n"
    until(lambda: ann.ask(b"WHO %b\n" % room) == b"WHO %b 2 2\n" % room, 20, "both to be there")
    until(
        lambda: ann.ask(b"TELL %b hi\n" % bob.name) == b"TOLD %b delivered\n" % bob.name,
        20,
        "bob to be reached",
    )
    assert bob.line() == b"FROM %b hi\n" % ann.name
    for daemon in (one, two):
        assert daemon.metrics()["echod_store_generation"] == 0


def test_a_shard_that_is_away_concerns_its_own(
    fleet: Callable[..., list[Echod]], cluster: RedisCluster
) -> None:
    """A session elsewhere goes on: its rooms there answer `room-unavailable`, and close nothing."""
    (daemon,) = fleet(1, commit_s_max=1)
    ann = Person(daemon.session_port)
    shard = shard_of(cluster, ann)
    away = (shard + 1) % SHARDS
    far, near, new = (room_of(cluster, each, "away") for each in (away, (shard + 2) % SHARDS, away))
    ann.join(far)
    ann.join(near)
    frozen = [node for node in cluster.nodes if node.shard == away]
    for node in frozen:
        cluster.freeze(node)
    ann.send(b"SAY %b 1 x\nSAY %b 2 y\nECHO 1 a\n" % (far, near))
    answers = [line for line in ann.lines(4) if not line.startswith(b"MSG")]
    assert answers[0].startswith(b"ERR room-unavailable ")
    assert answers[1:] == [b"SAID %b 2 1" % near, b"ECHO 1 a"]
    assert (
        ann.ask(b"PART %b\nJOIN %b\n" % (far, new), 2)
        .split(b"\n")[1]
        .startswith(b"ERR room-unavailable ")
    )
    assert ann.ask(b"PING\n") == b"PONG\n"
    # A new session is born where somebody serves.
    assert shard_of(cluster, Person(daemon.session_port)) != away
    for node in frozen:
        cluster.thaw(node)


def test_a_slot_that_lost_data_on_its_way_is_told_alone(
    fleet: Callable[..., list[Echod]], cluster: RedisCluster
) -> None:
    """Members of its rooms hear it, at every daemon; sessions of both shards go on (ADR 26)."""
    daemons = fleet(SHARDS, announcement_s=9, room_linger_s=4)  # the audit comes each second

    def spread() -> list[Person]:
        people = [Person(daemon.session_port) for daemon in daemons]
        return people if len({shard_of(cluster, each) for each in people}) == SHARDS else []

    people = until(spread, 20, "homes to be spread")
    room = room_of(cluster, 0, "alone")
    for person in people:
        person.join(room)
    people[0].send(b"SAY %b 1 x\n" % room)
    assert len(people[0].lines(2)) == 2
    for person in people[1:]:
        assert person.line().startswith(b"MSG %b 1 " % room)
    cluster.move_slot(slot_of(room), 1)
    until(
        lambda: all(daemon.metrics()["echod_slots_moved_total"] >= 1 for daemon in daemons),
        20,
        "all daemons to know where the slot is",
    )
    # What a master brings back that has an older copy of it.
    cluster.master(1).ask("HSET", history_key(room).decode(), "offset", "0")
    cluster.master(1).ask("DEL", stream_key(room).decode())
    for person in people:
        assert person.line().split()[-2:] == [b"0", b"lost"]
        assert person.ask(b"PING\n") == b"PONG\n"
