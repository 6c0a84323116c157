"""The two deaths in the middle of a move that are not covered, and who is told (docs/shards.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from echod.store.slots import slot_of
from lab.fleet import redis_cluster
from lab.fleet.shards.cluster import Cluster, Login
from lab.fleet.shards.mover import Mover
from lab.wait import until
from tests.daemon.test_rooms import Person
from tests.daemon.test_session_port import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lab.fleet.redis_cluster import RedisCluster
    from tests.conftest import Echod

pytestmark = pytest.mark.heavy

TOLD = (b"ERR unknown-session", b"ERR rolled-back")
LINKS_S, ELECTED_S = 20.0, redis_cluster.ELECTION_S_MAX


class HalfMoved(NamedTuple):
    """A session that was answered one line, and whose slot is on its way."""

    daemon: Echod
    store: RedisCluster
    person: Person
    slot: int
    source: int
    target: int

    def keys(self) -> list[str]:
        """Those of the slot, at its source."""
        found: list[str] = self.store.master(self.source).ask(
            "CLUSTER", "GETKEYSINSLOT", self.slot, 100
        )
        return found

    def migrate(self) -> None:
        """All of them go to the target's master."""
        target = self.store.master(self.target)
        words = ["MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *self.keys()]
        self.store.master(self.source).ask(*words)

    @property
    def cluster(self) -> Cluster:
        """As `fleet shards` sees it."""
        return Cluster([node.address for node in self.store.nodes], Login())

    def in_step(self) -> bool:
        """Whether all replicas have what their masters have."""
        cluster = self.cluster
        return not any(map(cluster.behind, cluster.look().shards.values()))

    def arrived(self) -> bool:
        """Whether all nodes of the target have keys of the slot, and none of the source.

        Redis 8.6's replicas show none before the slot is their master's.
        """
        return all(
            bool(node.ask("CLUSTER", "COUNTKEYSINSLOT", self.slot)) is (node.shard == self.target)
            for node in self.store.nodes
            if node.shard in (self.source, self.target)
        )

    def finish(self) -> None:
        """As `fleet shards` does it when it is run again."""
        Mover(self.cluster).level()

    def says(self) -> bytes:
        """What the session hears on its next line."""
        return self.person.ask(b"ECHO 2 y\n")

    def resumes(self) -> bytes:
        """What it hears on another connection, when it says that it was answered one line."""
        return Client(self.daemon.session_port).ask(b"HELLO %b 1\n" % self.person.token)


@pytest.fixture
def half(echod: Callable[..., Echod], tmp_path: Path) -> Iterator[HalfMoved]:
    """See `HalfMoved`."""
    with redis_cluster.start(tmp_path, shards=3, replicas=1) as store:
        daemon = echod(store=store.url, name="d0")
        until(lambda: daemon.log().count("store-connected") >= 3, LINKS_S, "links")
        person = Person(daemon.session_port)
        person.send(b"ECHO 1 x\n")
        assert person.line() == b"ECHO 1 x\n"
        slot = slot_of(person.name)
        source = store.shard_of(slot)
        store.begin_move(slot, (source + 1) % 3)
        yield HalfMoved(daemon, store, person, slot, source, (source + 1) % 3)


def test_the_targets_master_dies_before_its_replica_has_a_key(half: HalfMoved) -> None:
    """Nobody has the key then, and its session is told: that it is unknown, or that data are lost."""
    store = half.store
    (replica,) = store.replicas(half.target)
    dead = store.master(half.target)
    store.kill(replica)
    half.migrate()
    store.lose_data(dead)
    store.start_again(replica)
    store.hand_over(replica, force=True)  # it was started after its master's end: none elects it
    store.start_again(dead)
    half.finish()
    assert half.says().startswith(TOLD)
    assert half.resumes().startswith(TOLD)


def test_the_sources_master_dies_when_keys_have_left(half: HalfMoved) -> None:
    """Its successor does not know in Redis 7 that they have, and the session is told of a loss.

    Once the move is finished the session is there again, with all that was answered. Valkey's
    successor knows, and the line waits.
    """
    store = half.store
    half.migrate()
    until(half.in_step, LINKS_S, "the replicas of both")
    dead = store.master(half.source)
    store.kill(dead)
    until(lambda: store.master(half.source).reachable, ELECTED_S, "an election")
    store.start_again(dead)
    knows = f"[{half.slot}->-" in store.master(half.source).ask("CLUSTER", "NODES")
    said = half.says()
    assert said.startswith(b"ERR unavailable" if knows else b"ERR rolled-back")
    half.finish()
    until(half.arrived, LINKS_S, "all keys to be where the slot is")
    assert half.resumes().startswith(b"WELCOME")
