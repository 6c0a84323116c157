"""`--store-replicas`: acknowledged is on the master and on k replicas, and heard only then (ADR 23).

Of one Redis, and of a shard of a cluster.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import pytest
import redis as redis_py

from echod.store.base import Lives, StoreError
from echod.store.batch import NOBODY, Write
from echod.store.keys import NO_SESSION
from echod.store.operations import Enter, Post, Posted, Publish, Read
from echod.store.redis.cluster import Cluster
from echod.store.redis.door import OneRedis, ShardOfCluster
from echod.store.redis.store import RedisStore
from echod.store.routes import inbox_channel, inbox_name
from echod.store.slots import slot_of
from echod.values import store_url
from lab.fleet import redis_cluster, redis_server
from lab.wait import until
from tests.contract.test_store import commit, session, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from echod.store.keys import PlainSession
    from echod.store.redis.door import Door
    from lab.fleet.redis_node import ClusterNode
    from lab.fleet.redis_server import RedisServer

LIVES = Lives(state_s=60, unused_s=30)
# A batch waits so long for a replica; one that thaws meanwhile is in time.
TIMEOUT_S = 3.0
THAWS_S = 0.8
# A replica that is being made copies its master after a second or two.
WHOLE_S_MAX = 20.0
ANN, FENCE, INBOX = b"annannanna", b"0:1:0123456789", inbox_name(slot_of(b"r"), b"d", b"1")


class Pair(NamedTuple):
    """A master, its replica, and a door to who serves."""

    master: RedisServer | ClusterNode
    replica: RedisServer | ClusterNode
    new_door: Callable[[], Door]
    whole: Callable[[], None]


class Replicated:
    """A master, its replica, and a store that waits for it."""

    def __init__(self, pair: Pair) -> None:
        self.replica = pair.replica
        self.thawed = threading.Event()
        self.client = redis_py.Redis.from_url(pair.master.url)
        self.client.flushall()
        self.pubsub: Any = self.client.pubsub()  # type: ignore[no-untyped-call] # redis-py leaves it so
        for channel in (b"c:{r}", inbox_channel(INBOX)):
            self.pubsub.ssubscribe(channel)
            assert self.pubsub.get_message(timeout=5)
        self._door = pair.new_door()
        self.store = RedisStore(self._door, "d", LIVES, TIMEOUT_S, replicas=1)
        self.store.connect()
        self.ask(Enter(b"r", ANN, FENCE))

    def session(self) -> PlainSession:
        """A new one that lives there."""
        return next(one for one in iter(session, None) if one.slot in self._door.slots)

    def close(self) -> None:
        """Leave."""
        self.thaw()
        self.store.reset()
        self.pubsub.close()
        self.client.close()

    def freeze(self) -> None:
        """The replica acknowledges nothing."""
        self.replica.process.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        self.thawed.set()
        self.replica.process.signal(signal.SIGCONT)

    def thaw_later(self) -> threading.Timer:
        """In `THAWS_S`."""
        timer = threading.Timer(THAWS_S, self.thaw)
        timer.start()
        return timer

    def ask(self, *operations: Any) -> list[object]:  # noqa: ANN401 — any of them
        """Commit them in one batch; their results."""
        writes = [Write(NOBODY, NO_SESSION, operation) for operation in operations]
        assert commit(self.store, writes) == []
        return [write.result for write in writes]

    def again(self) -> None:
        """What the committer does after an error."""
        self.store.reset()
        assert not self.store.connect()

    def heard(self) -> list[bytes]:
        """All that has been published."""
        self.client.execute_command("SPUBLISH", inbox_channel(INBOX), "end")  # type: ignore[no-untyped-call] # redis-py leaves it so
        found: list[bytes] = []
        while (got := self.pubsub.get_message(timeout=5)) and got["data"] != b"end":
            found.append(got["data"])
        return found


def _one(directory: Path, stack: contextlib.ExitStack) -> Pair:
    """One Redis, which has a replica."""
    master = stack.enter_context(redis_server.start(directory / "master"))
    more = {"replicaof": f"127.0.0.1 {master.port}", "repl-diskless-sync-delay": "0"}
    replica = stack.enter_context(redis_server.start(directory / "replica", more=more))
    client = stack.enter_context(redis_py.Redis.from_url(master.url))

    def whole() -> None:
        until(lambda: cast("int", client.wait(1, 100)) == 1, WHOLE_S_MAX, "the replica")

    def new_door() -> Door:
        return OneRedis(store_url.parse(master.url), TIMEOUT_S)

    return Pair(master, replica, new_door, whole)


def _shard(directory: Path, stack: contextlib.ExitStack) -> Pair:
    """The shard of a cluster where the room is."""
    cluster = stack.enter_context(redis_cluster.start(directory, replicas=1))
    number = cluster.shard_of(slot_of(b"r"))

    def new_door() -> Door:
        seen = Cluster(store_url.parse(cluster.url), TIMEOUT_S)
        seen.refresh()
        (shard,) = (each for each in seen.topology.shards if slot_of(b"r") in each.slots)
        return ShardOfCluster(seen, shard)

    (replica,) = cluster.replicas(number)
    return Pair(cluster.master(number), replica, new_door, cluster.await_whole)


@pytest.fixture(scope="module", params=[_one, _shard], ids=["redis", "cluster"])
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    """Of both doors."""
    with contextlib.ExitStack() as stack:
        yield request.param(tmp_path_factory.mktemp("replicated"), stack)


@pytest.fixture
def replicated(pair: Pair) -> Iterator[Replicated]:
    """In step, at first."""
    pair.whole()
    made = Replicated(pair)
    yield made
    made.close()


def post(number: int, text: bytes = b"x") -> Post:
    """`SAY`."""
    return Post(b"r", ANN, FENCE, number, ANN + b" " + text)


def test_a_batch_waits_for_the_replica(replicated: Replicated) -> None:
    """Acknowledged when it has it; the replica's own word is taken, not the master's."""
    one = replicated.session()
    replicated.freeze()
    timer = replicated.thaw_later()
    assert commit(replicated.store, [write(one, 1, b"", b"a\n")]) == []
    assert replicated.thawed.is_set()
    timer.join()
    with redis_py.Redis.from_url(replicated.replica.url) as replica:
        assert one.state_key in cast("list[bytes]", replica.keys())  # a GET would be sent on


def test_without_the_replica_nothing_is_acknowledged(replicated: Replicated) -> None:
    """In time it is not there: the batch is in doubt, and goes again."""
    one = replicated.session()
    replicated.freeze()
    with pytest.raises(StoreError) as caught:
        commit(replicated.store, [write(one, 1, b"", b"a\n")])
    assert caught.value.kind == "replicas"
    replicated.thaw()
    replicated.again()
    assert commit(replicated.store, [write(one, 1, b"", b"a\n")]) == []


def test_only_the_waiting_is_repeated(replicated: Replicated) -> None:
    """A batch that waits is not sent again: a TELL in it would be heard twice."""
    replicated.freeze()
    timer = replicated.thaw_later()
    replicated.ask(Publish(INBOX, b"t x"))
    timer.join()
    assert replicated.heard() == [b"t x"]


def test_a_post_is_heard_when_the_replica_has_it(replicated: Replicated) -> None:
    """Not before; then once, with the next batch, which leaves by itself."""
    (posted,) = replicated.ask(post(1))
    assert isinstance(posted, Posted)
    assert posted.offset == 1
    assert replicated.store.owes
    assert replicated.heard() == []
    replicated.ask()
    assert not replicated.store.owes
    assert replicated.heard() == [posted.message]
    replicated.ask()
    assert replicated.heard() == []


def test_a_post_in_doubt_is_not_heard(replicated: Replicated) -> None:
    """Its master may die with it. Found by its id, once it is on the replica, it is heard."""
    replicated.freeze()
    with pytest.raises(StoreError):
        replicated.ask(post(1))
    assert replicated.heard() == []
    replicated.thaw()
    replicated.again()
    (posted,) = replicated.ask(post(1))
    replicated.ask()
    assert isinstance(posted, Posted)
    assert replicated.heard() == [posted.message]
    page = replicated.ask(Read(b"r", 1, 10))[0]
    assert page is not None


def test_posts_of_a_batch_are_one_publication(replicated: Replicated) -> None:
    """In order, a line each."""
    posts = replicated.ask(post(1, b"a"), post(2, b"b"), post(3, b"c"))
    replicated.ask()
    messages = [posted.message for posted in posts if isinstance(posted, Posted)]
    assert [message.split()[2] for message in messages] == [b"1", b"2", b"3"]
    assert replicated.heard() == [b"\n".join(messages)]


def test_what_was_not_published_is_published_after_a_fault(replicated: Replicated) -> None:
    """The batch that carried the publication broke: it goes again, with the one after."""
    (posted,) = replicated.ask(post(1))
    replicated.freeze()
    with pytest.raises(StoreError):
        replicated.ask()
    replicated.heard()
    replicated.thaw()
    replicated.again()
    replicated.ask()
    assert isinstance(posted, Posted)
    assert posted.message in replicated.heard()


def test_a_marker_that_is_another_batch_s_acknowledges_nothing(replicated: Replicated) -> None:
    """This Redis was demoted while it waited, and handed back: the batch is gone, and WAIT says 1."""
    markers = cast("list[bytes]", replicated.client.keys("d:*"))
    one = replicated.session()
    replicated.freeze()
    before = {marker: cast("bytes", replicated.client.get(marker)) for marker in markers}
    assert before

    def back() -> None:
        for marker, number in before.items():
            replicated.client.set(marker, number)
        replicated.thaw()

    timer = threading.Timer(THAWS_S, back)
    timer.start()
    with pytest.raises(StoreError) as caught:
        commit(replicated.store, [write(one, 1, b"", b"a\n")])
    timer.join()
    assert caught.value.kind == "overwritten"
    replicated.again()
    assert commit(replicated.store, [write(one, 1, b"", b"a\n")]) == []
