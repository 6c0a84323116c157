"""Sessions and a store that errs: cut short, refusing, forgetting its scripts, asked twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from echod.session import PlainSession
from echod.store.base import Lives
from echod.store.batch import NOBODY, Write
from echod.store.redis import RedisStore
from lab import redis_server

if TYPE_CHECKING:
    from pathlib import Path

    from lab.redis_server import RedisServer


def commit(store: RedisStore, *writes: Write) -> list[Write]:
    """One batch; those that were refused."""
    store.begin(writes)
    return store.finish()


def test_a_batch_cut_short_is_noticed(own_redis: RedisServer, tmp_path: Path) -> None:
    """A loss that begins in the middle of the last batch is one too: the marker ends it (D9)."""
    store = RedisStore(own_redis.url, "d1", Lives(60, 30), timeout_s=2.0)
    store.connect()
    write = Write(NOBODY, PlainSession((b"kind", b"plain")))
    write.seq, write.pair = 1, b"answered"
    assert commit(store, write) == []
    own_redis.process.kill()
    (log,) = (tmp_path / "redis").glob("**/*.incr.aof")
    kept = log.read_bytes()
    log.write_bytes(kept[: kept.index(b"answered")])
    with redis_server.start(tmp_path / "redis", port=own_redis.port):
        store.reset()
        assert store.connect() is True
