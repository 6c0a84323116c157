"""What an old link still holds, when its node is master again (ADR 24).

The bytes are taken from a store as it sends a batch, and are delivered later: as a network, or a
frozen peer, may deliver them. The node has been a replica meanwhile, and the daemon has not been
there again yet, so that nobody could have killed that connection.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from echod.store.base import Lives
from echod.store.batch import NOBODY, Batcher, Sums
from echod.store.keys import PlainSession, Session, encode_state
from echod.store.operations import Open
from echod.store.redis.cluster import Cluster
from echod.store.redis.door import ShardOfCluster
from echod.store.redis.link import Link
from echod.store.redis.store import RedisStore
from echod.values import store_url
from lab.fleet import redis_cluster

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from echod.store.operations import Operation
    from lab.fleet.redis_cluster import RedisCluster

TIMEOUT_S = 6.0
SHARD = 0


@pytest.fixture(scope="module", name="cluster")
def own_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """Masters are handed over in it."""
    with redis_cluster.start(tmp_path_factory.mktemp("cluster"), replicas=1) as made:
        yield made


class Way:
    """A daemon's way to one shard: batcher and store, driven by hand."""

    def __init__(self, cluster: RedisCluster) -> None:
        seen = Cluster(store_url.parse(cluster.url), TIMEOUT_S)
        seen.refresh()
        shard = seen.topology.shards[SHARD]
        self.batcher = Batcher(Sums())
        self.store = RedisStore(
            ShardOfCluster(seen, shard), "d", Lives(60, 30), TIMEOUT_S, replicas=1
        )
        assert not self.store.connect()

    def write(self, session: Session, seq: int) -> None:
        """Queue a state."""
        write = self.batcher.open(NOBODY, session)
        session.seq = seq
        self.batcher.add(write, b"", 1, b"x%d" % seq, 0)

    def ask(self, session: Session, operation: Operation) -> None:
        """Queue an operation."""
        self.batcher.enqueue(session, operation)

    def commit(self) -> None:
        """There and back; nothing is refused."""
        self.store.begin(self.batcher.take(100))
        assert not self.store.finish()
        self.batcher.acknowledge([])

    def begin_held(self, monkeypatch: pytest.MonkeyPatch) -> bytes:
        """A batch leaves and does not arrive; its bytes."""
        sent: list[bytes] = []
        with monkeypatch.context() as patch:
            patch.setattr(Link, "send", lambda _, packed: sent.append(packed))
            self.store.begin(self.batcher.take(100))
        self.store.reset()
        return sent[0]

    def connect(self) -> Collection[int]:
        """As `Shard._connect`; what it takes for lost."""
        lost = self.store.connect()
        if self.store.elsewhere:
            self.batcher.doubt()
        return lost


def session_here(cluster: RedisCluster, kind: type[Session] = Session) -> Session:
    """A new one on the shard."""
    while True:
        plain = PlainSession((b"kind", b"plain"))
        session = plain if kind is PlainSession else Session(plain.name, (b"kind", b"session"))
        if cluster.shard_of(session.slot) == SHARD:
            return session


def deliver(cluster: RedisCluster, held: bytes) -> None:
    """The node that is master now gets the bytes, and works on all of them."""
    host, _, port = cluster.master(SHARD).address.rpartition(":")
    with socket.create_connection((host, int(port)), 5) as late:
        late.sendall(held + b"*1\r\n$4\r\nPING\r\n")
        answers = b""
        while not answers.endswith(b"+PONG\r\n"):
            answers += late.recv(65536)
    cluster.await_whole()


@pytest.mark.parametrize("kind", [Session, PlainSession])
def test_late_lines_set_nothing_back(
    cluster: RedisCluster, monkeypatch: pytest.MonkeyPatch, kind: type[Session]
) -> None:
    """Neither a session's nor a plain connection's; nor is data taken for lost."""
    way = Way(cluster)
    session = session_here(cluster, kind)
    if kind is Session:
        way.ask(session, Open(b"digest"))
        way.commit()
        session.own(1)
    way.write(session, 1)
    way.commit()
    way.write(session, 2)
    held = way.begin_held(monkeypatch)
    cluster.hand_over(cluster.replicas(SHARD)[0])
    assert not way.connect()
    way.commit()
    way.write(session, 3)
    way.commit()
    cluster.hand_over(cluster.replicas(SHARD)[0])  # the first one is master again
    deliver(cluster, held)
    assert not way.connect()
    state = cluster.master(SHARD).ask("GET", session.state_key)
    assert state == encode_state(3, 0, b"x3").decode()


def test_a_late_opening_makes_no_session_anew(
    cluster: RedisCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that has lines is not begun again by the HELLO that was in doubt."""
    way = Way(cluster)
    session = session_here(cluster)
    way.ask(session, Open(b"digest"))
    held = way.begin_held(monkeypatch)
    cluster.hand_over(cluster.replicas(SHARD)[0])
    assert not way.connect()
    way.commit()
    session.own(1)
    way.write(session, 1)
    way.commit()
    cluster.hand_over(cluster.replicas(SHARD)[0])
    deliver(cluster, held)
    assert not way.connect()
    state = cluster.master(SHARD).ask("GET", session.state_key)
    assert state == encode_state(1, 0, b"x1").decode()


def test_a_loss_between_two_masters_is_noticed(cluster: RedisCluster) -> None:
    """What the former link has acknowledged counts until this one has acknowledged something."""
    way = Way(cluster)
    way.write(session_here(cluster, PlainSession), 1)
    way.commit()
    way.store.reset()
    cluster.hand_over(cluster.replicas(SHARD)[0])
    assert not way.connect()
    master = cluster.master(SHARD)
    for marker in master.ask("KEYS", "d:*"):
        master.ask("DEL", marker)
    way.store.reset()
    assert way.connect()


def test_a_link_is_killed_when_its_node_is_master_again(cluster: RedisCluster) -> None:
    """Though there has been another one since, on another node."""
    way = Way(cluster)
    link = way.store._link  # noqa: SLF001 — kept open, as a stalled network would
    assert link is not None
    way.store._link = None  # noqa: SLF001
    node = cluster.master(SHARD)

    def alive() -> bool:
        told = node.ask("CLIENT", "LIST").splitlines()
        return any(line.startswith(f"id={link.id} ") for line in told)

    cluster.hand_over(cluster.replicas(SHARD)[0])
    assert not way.connect()
    way.store.reset()
    cluster.hand_over(node)
    assert alive()
    assert not way.connect()
    assert not alive()
    link.reset()
