"""The stores that the contract suites run on, a daemon's way to each, and a look behind it.

    memory          in this process
    redis-<place>   one Redis, of each place in tests/redises.py
    cluster-<place> a cluster of three shards, no two neighbouring slots of which are on one node:
                    what needs two slots, or asks the wrong node, is refused by Redis

    a test's writes ─▶ Daemon.commit ─▶ Committer ─by slot─▶ Shard ─▶ store

What a store itself promises, whoever calls it, is asked of one shard's (`Stores.shard`). The
fixture `stores` (conftest.py) gives each in turn.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest
import redis as redis_py
from gevent.event import AsyncResult

from echod.config import Config
from echod.loop.clock import Clock
from echod.metrics import Metrics
from echod.store.base import Alone
from echod.store.batch import Nobody
from echod.store.committer import Committer
from echod.store.operations import MEASURE, only_frees
from echod.store.redis.cluster import Cluster
from echod.store.redis.door import ClusterShards, OneRedis
from echod.store.redis.store import RedisStore
from echod.store.slots import slot_of_key
from echod.values import store_url
from lab.fleet import redis_cluster, redis_server
from tests.redises import PLACES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from echod.store.base import Lives, Place, Places
    from echod.store.batch import Write
    from echod.store.memory.store import MemoryStore

SHARDS: Final = 3

# A batch on loopback takes milliseconds; a machine that is full needs more.
COMMIT_S_MAX = 10.0
# What a machine that is full may do to a link, and the shard's greenlet mends.
PASSING = frozenset(("unreachable", "timeout", "refused", "closed"))


class Kind(NamedTuple):
    """Of a store: `memory`, `redis` or `cluster`, and of the last two whose program it is."""

    what: str
    place: str = ""

    @property
    def id(self) -> str:
        """In the names of tests."""
        return "-".join(filter(None, self))


REDISES: Final = [Kind(what, place) for what in ("redis", "cluster") for place in PLACES]
KINDS: Final = [Kind("memory"), *REDISES]


class Stores:
    """One of them, empty at each test's begin.

    Attributes:
        url: as `--store` takes it.
        nodes: a client of each node that has keys; none in memory. Slot n is on node n, counted
            round.
    """

    def __init__(self, url: str, nodes: Sequence[redis_py.Redis] = ()) -> None:
        self.url = url
        self.nodes = nodes

    def at(self, key: bytes) -> redis_py.Redis:
        """The node that has the key, or would have it."""
        return self.nodes[slot_of_key(key) % len(self.nodes)]

    def empty(self) -> None:
        """Nothing is left of a test."""
        for node in self.nodes:
            node.flushall()

    def places(self, lives: Lives, memory: MemoryStore | None, daemon: str = "d") -> Places:
        """What `echod.daemon` makes of the URL; in memory, of the store that the test has made."""
        if memory is not None:
            return Alone(memory)
        url = store_url.parse(self.url)
        new_store = partial(RedisStore, daemon=daemon, lives=lives, timeout_s=COMMIT_S_MAX)
        if url.nodes:
            return ClusterShards(Cluster(url, COMMIT_S_MAX), new_store)
        return Alone(new_store(OneRedis(url, COMMIT_S_MAX)))

    def shard(self, lives: Lives, memory: MemoryStore | None, daemon: str = "d") -> Place:
        """One shard, whose store the test calls itself; not the first, where there are several."""
        places = self.places(lives, memory, daemon)
        places.look()
        return places.all()[-1]


@contextlib.contextmanager
def start(what: str, program: Path, directory: Path) -> Iterator[Stores]:
    """One Redis, or a cluster, that runs `program`."""
    with contextlib.ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(redis_server.BINARY.variable, str(program))
            if what == "redis":
                server = stack.enter_context(redis_server.start(directory))
                url, urls = server.url, [server.url]
            else:
                cluster = redis_cluster.start(
                    directory, shards=SHARDS, replicas=0, interleaved=True
                )
                stack.enter_context(cluster)
                url, urls = cluster.url, [node.url for node in cluster.nodes]
        nodes = [stack.enter_context(redis_py.Redis.from_url(each)) for each in urls]
        yield Stores(url, nodes)


class Daemon:
    """A daemon's way to the store: a committer whose shards' greenlets run while a test waits.

    Attributes:
        failures: what the store said that it may not say here, as words for the metric.
        lost: of each loss of data that was told, which slots it concerns.
    """

    def __init__(
        self, places: Places, lives: Lives, *, expected: frozenset[str] = frozenset()
    ) -> None:
        """With the errors that are `expected`: a test's own doing."""
        self._passing = PASSING | expected
        clock = Clock(0.0)
        clock.now_s = -1.0  # before the first renewal is due: a test asks for its own
        self._waiting: list[_Asked] = []
        self.failures: list[str] = []
        self.lost: list[Callable[[int], bool]] = []
        self.committer = Committer(
            *(places, Config(), lives, clock, _Watched(self._failed)), on_rollback=self.lost.append
        )
        self.committer.start()

    def commit(self, writes: Sequence[Write]) -> list[Write]:
        """Ask for all at once; those that were refused. All have their `result`."""
        self._waiting = [_Asked() for _ in writes]
        for asked, write in zip(self._waiting, writes, strict=True):
            self._ask(asked, write)
        for asked, write in zip(self._waiting, writes, strict=True):
            done = asked.done()
            write.result, write.refused = done.result, done.refused
        return [write for write in writes if write.refused]

    def _ask(self, asked: _Asked, write: Write) -> None:
        """In the way in which connections do."""
        committer, session, operation = self.committer, write.session, write.operation
        if operation is None:
            session.seq = write.seq
            queued = committer.open(asked, session)
            committer.routes[session.slot].add(queued, b"", 1, write.pair, write.cut)
        elif only_frees(operation):
            committer.enqueue(session, operation, asked)
        elif operation is MEASURE:
            committer.home.submit(asked, session, operation)
        else:
            committer.submit(asked, session, operation)

    def _failed(self, kind: str) -> None:
        if kind not in self._passing:
            self.failures.append(kind)
            for asked in self._waiting:
                asked.told.set_exception(AssertionError(f"the store said {kind}: see the log"))

    def stop(self) -> None:
        """Leave; nothing may have gone wrong that the test has not looked at."""
        self.committer.stop()
        assert not self.failures
        assert not self.lost


class _Asked(Nobody):
    """The client of one write."""

    def __init__(self) -> None:
        self.told: AsyncResult[Write] = AsyncResult()

    def done(self) -> Write:
        """Wait for the write."""
        done = self.told.get(timeout=COMMIT_S_MAX)
        assert done is not None
        return done

    def acknowledged(self, write: Write, now_s: float) -> None:
        """See `store.batch.Client`."""
        del now_s
        self.told.set(write)

    def broken(self) -> None:
        """See `store.batch.Client`."""
        raise AssertionError


class _Watched(Metrics):
    """Tells of each error of the store."""

    def __init__(self, failed: Callable[[str], None]) -> None:
        super().__init__()
        self._failed = failed

    def store_error(self, kind: str) -> None:
        """See `Metrics`."""
        super().store_error(kind)
        self._failed(kind)
