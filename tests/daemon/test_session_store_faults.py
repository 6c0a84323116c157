"""Sessions and a store that errs: cut short, refusing, forgetting its scripts, asked twice."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

import pytest
import redis as redis_py

from echod.store.base import Lives
from echod.store.batch import NOBODY, Write
from echod.store.keys import PlainSession
from echod.store.redis.door import OneRedis
from echod.store.redis.store import RedisStore
from echod.values import store_url
from lab.fleet import redis_server
from lab.fleet.links import IN
from lab.wait import until
from tests.daemon import raw
from tests.daemon.test_session_port import WELCOME, Client, client, pair
from tests.daemon.test_store_faults import by, link

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lab.fleet.links import Link
    from lab.fleet.redis_server import RedisServer
    from tests.conftest import Echod

__all__ = ["client", "link", "pair"]


@pytest.fixture
def store(own_redis: RedisServer) -> Iterator[redis_py.Redis]:
    """Look at, and disturb, this test's Redis."""
    with redis_py.Redis.from_url(own_redis.url) as made:
        yield made


def commit(store: RedisStore, *writes: Write) -> list[Write]:
    """One batch; those that were refused."""
    store.begin(writes)
    return store.finish()


def test_a_batch_cut_short_is_noticed(own_redis: RedisServer, tmp_path: Path) -> None:
    """A loss that begins in the middle of the last batch is one too: the marker ends it (ADR 17)."""
    door = OneRedis(store_url.parse(own_redis.url), 2.0)
    store = RedisStore(door, "d1", Lives(60, 30), timeout_s=2.0)
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
        assert store.connect()


def resumed(daemon: Echod, token: bytes, acked: int) -> tuple[bytes, bytes]:
    """`HELLO <token> <acked>` on a new connection; the first line, and what follows it."""
    with raw.connect(daemon.session_port) as sock:
        sock.sendall(b"HELLO %b %d\n" % (token, acked))
        sock.shutdown(socket.SHUT_WR)
        first, _, rest = raw.read_all(sock).partition(b"\n")
        return first, rest


def test_scripts_forgotten(
    pair: tuple[Echod, Echod], client: Callable[[int], Client], store: redis_py.Redis
) -> None:
    """SCRIPT FLUSH: whoever needs one waits a moment; all others in its batch are served too."""
    one, other = client(pair[0].session_port), client(pair[0].session_port)
    for each in (one, other):
        each.hello()
        each.ask(b"ECHO 1 a\n")
    for n in range(2, 6):
        store.script_flush()
        two = client(pair[n % 2].session_port)
        two.send(b"HELLO\n")
        other.send(b"ECHO %d b\n" % n)
        assert WELCOME.fullmatch(two.line())
        assert other.line().startswith(b"PREV %d " % (n - 1))
        assert other.line() == b"ECHO %d b\n" % n
    store.script_flush()
    assert one.ask(b"ECHO 2 b\nQUIT\n", 3) == b"PREV 1 a\nECHO 2 b\nBYE\n"
    assert pair[0].metrics()['echod_store_errors_total{kind="noscript"}'] >= 1


@pytest.mark.parametrize("kind", ["oom", "readonly"])
def test_a_store_that_refuses(
    pair: tuple[Echod, Echod], client: Callable[[int], Client], store: redis_py.Redis, kind: str
) -> None:
    """Full, or made a replica: `unavailable`, nothing is lost, and it serves again by itself."""
    one = client(pair[0].session_port)
    one.hello()
    one.ask(b"ECHO 1 a\n")
    if kind == "oom":
        store.config_set("maxmemory", "1")
    else:
        store.slaveof("127.0.0.1", 1)
    newcomer = client(pair[0].session_port)
    newcomer.send(b"HELLO\n")
    one.send(b"ECHO 2 b\nPING\n")
    for each in (one, newcomer):
        assert re.fullmatch(rb"ERR unavailable [^\n]+\n", each.end())
    assert pair[0].metrics()[f'echod_store_errors_total{{kind="{kind}"}}'] >= 1
    if kind == "oom":
        store.config_set("maxmemory", "0")
    else:
        store.slaveof()
    until(lambda: not pair[0].metrics()["echod_degraded"], 30, "the store to be used again")
    first, rest = resumed(pair[0], one.token, 1)
    match = WELCOME.fullmatch(first + b"\n")
    assert match
    assert rest in (b"PREV 1 a\n", b"PREV 2 b\n")


def test_a_key_of_another_kind(
    pair: tuple[Echod, Echod], client: Callable[[int], Client], store: redis_py.Redis
) -> None:
    """What a script can't read harms its own client, and the others for its deadline only."""
    one, other = client(pair[0].session_port), client(pair[1].session_port)
    for each in (one, other):
        each.hello()
        each.ask(b"ECHO 1 a\n")
    record = b"r:{%b}" % one.token.split(b".")[0]
    store.delete(record)
    store.rpush(record, "no hash")
    two = client(pair[0].session_port)
    two.send(b"HELLO %b 1\n" % one.token)
    assert re.fullmatch(rb"ERR unavailable [^\n]+\n", two.end())
    assert other.ask(b"ECHO 2 b\n", 2) == b"PREV 1 a\nECHO 2 b\n"
    until(lambda: not pair[0].metrics()["echod_degraded"], 30, "the store to be used again")
    assert client(pair[0].session_port).hello() == (1, 0)


@pytest.mark.parametrize("stage", ["open", "resume", "line", "end"])
def test_the_link_breaks_before_the_answer(
    echod: Callable[..., Echod],
    link: Link,
    own_redis: RedisServer,
    client: Callable[[int], Client],
    stage: str,
) -> None:
    """Carried out, the answer lost, asked again on a new connection: the same answer, once."""
    daemon = echod(store=by(link), commit_s_max=60)
    direct = echod(store=own_redis.url)
    one = client(direct.session_port)
    one.hello()
    one.ask(b"ECHO 1 a\n")
    two = client(daemon.session_port)
    if stage in ("line", "end"):
        two.hello(b" %b 1" % one.token)
        two.line()
    asked = {
        "open": b"HELLO\nECHO 1 x\n",
        "resume": b"HELLO %b 1\nECHO 2 b\n" % one.token,
        "line": b"ECHO 2 b\nPING\nECHO 2 b\n",
        "end": b"ECHO 2 b\nQUIT\n",
    }[stage]
    link.hold(IN)
    two.send(asked)
    until(lambda: daemon.metrics()["echod_degraded"] == 1, 30, "the answer to be missed")
    link.reset()
    link.heal()
    got = b"".join(two.line() for _ in range({"open": 2, "resume": 4, "line": 5, "end": 3}[stage]))
    patterns = {
        "open": rb"WELCOME \S+ 1 0 300\nECHO 1 x\n",
        "resume": rb"WELCOME \S+ 2 1 300\nPREV 1 a\nPREV 1 a\nECHO 2 b\n",
        "line": rb"PREV 1 a\nECHO 2 b\nPONG\nPREV 1 a\nECHO 2 b\n",
        "end": rb"PREV 1 a\nECHO 2 b\nBYE\n",
    }
    assert re.fullmatch(patterns[stage], got), got
