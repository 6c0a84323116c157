"""What is renewed with a session's signs of life, read off Redis; `fleet drill soak` lives it."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest
import redis as redis_py

from echod.config import Config
from lab.wait import until
from tests.daemon import raw
from tests.daemon.test_rooms import Person
from tests.daemon.test_session_port import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lab.fleet.redis_server import RedisServer
    from tests.conftest import Echod

# What is made to be left of a life, and less than any renewal gives.
NEARLY_OVER_MS = 60_000


@pytest.fixture
def keys(own_redis: RedisServer) -> Iterator[Any]:
    """Redis, to look at keys and their lives; its client's types are not strict."""
    with redis_py.Redis.from_url(own_redis.admin_url) as client:
        yield client


def test_ids_live_with_a_session_that_moved(
    echod: Callable[..., Echod],
    own_redis: RedisServer,
    keys: Any,  # noqa: ANN401 — as above
) -> None:
    """Resumed elsewhere, and not in the room any more: its posts there are known all the same."""
    one, two = echod(store=own_redis.url), echod(store=own_redis.url)
    ann = Person(one.session_port)
    ann.join(b"lobby")
    ann.ask(b"SAY lobby 1 x\n", 2)
    ids = b"i:{lobby}:" + ann.name
    ann.sock.close()
    again = Client(two.session_port)
    again.hello(b" " + ann.token)
    keys.pexpire(ids, NEARLY_OVER_MS)
    keys.pexpire(b"r:{%b}" % ann.name, NEARLY_OVER_MS)
    assert again.ask(b"PING\n") == b"PONG\n"
    # PONG does not wait for them.
    until(lambda: keys.pttl(ids) > NEARLY_OVER_MS, 30, "the ids to be renewed")
    until(lambda: keys.pttl(b"r:{%b}" % ann.name) > NEARLY_OVER_MS, 30, "its record to be renewed")
    assert again.ask(b"QUIT\n") == b"BYE\n"
    until(lambda: not keys.exists(ids), 30, "the ids to go with their session")
    # Of the session a tombstone is left, for as long as its first owner may take it for alive.
    assert keys.hexists(b"r:{%b}" % ann.name, "ended")
    assert keys.pttl(b"r:{%b}" % ann.name) <= 1000 * Config().session_ttl_s


def test_who_is_answered_is_remembered(
    echod: Callable[..., Echod],
    own_redis: RedisServer,
    keys: Any,  # noqa: ANN401 — as above
) -> None:
    """It may go on elsewhere at once: where it posts is stored before its first post is answered."""
    ann = Person(echod(store=own_redis.url).session_port)
    ann.join(b"lobby")
    with keys.monitor() as seen:
        ann.ask(b"SAY lobby 1 x\n", 2)
        # What the scripts do is seen too, in the order in which it is done.
        done = (said["command"].split() for said in seen.listen())
        first = next(words for words in done if words[0] in {"XADD", "HSET"})
    assert first == ["HSET", f"r:{{{ann.name.decode()}}}", "posted", "lobby"]


def test_ids_of_a_room_that_is_joined_are_kept_first(
    echod: Callable[..., Echod],
    own_redis: RedisServer,
    keys: Any,  # noqa: ANN401 — as above
) -> None:
    """Whoever passes through other rooms is known where it stays."""
    daemon = echod(store=own_redis.url, rooms_joined_max=3)
    ann = Person(daemon.session_port)
    ann.join(b"lobby")
    ann.ask(b"SAY lobby 1 x\n", 2)
    for room in (b"a", b"b", b"c", b"d"):
        ann.join(room)
        ann.ask(b"SAY %b 1 x\n" % room, 2)
        ann.ask(b"PART %b\n" % room)
    assert ann.ask(b"PING\n") == b"PONG\n"
    until(
        lambda: keys.hget(b"r:{%b}" % ann.name, "posted") == b"lobby c d", 30, "it to be remembered"
    )


def test_a_session_left_unread_is_kept(
    echod: Callable[..., Echod],
    own_redis: RedisServer,
    keys: Any,  # noqa: ANN401 — as above
) -> None:
    """Its client takes a long history slowly: what it says meanwhile is not read.

    When it has said QUIT, it is not kept: a KEEP behind the END would be refused, and the
    client told `unknown-session` in the place of BYE.
    """
    # Renewed every 15 / 4 s; the kernels' buffers are full long before 5 s of silence are over.
    daemon = echod(
        store=own_redis.url, session_ttl_s=15, session_idle_s_max=5, send_s_max=60, commit_s_max=1
    )
    bob, slow = Person(daemon.session_port), Person(daemon.session_port)
    bob.join(b"lobby")
    slow.join(b"lobby")
    slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    text = b"x" * 8000
    for number in range(1, 2001):
        if daemon.metrics()["echod_unsent_bytes"] > 200_000:  # with its kernel's buffer
            break
        bob.ask(b"SAY lobby %d %b\n" % (number, text), 2)
    record = b"r:{%b}" % slow.name
    lives_ms = keys.pttl(record)

    def renewed() -> bool:
        nonlocal lives_ms
        before_ms, lives_ms = lives_ms, keys.pttl(record)
        assert lives_ms > 0
        return bool(lives_ms > before_ms)

    for _ in range(2):
        until(renewed, 30, "its record to be renewed")
    slow.send(b"QUIT\n")
    # A renewal falls due before the tombstone's 5 s are over.
    until(lambda: not keys.exists(record), 30, "the tombstone to expire")
    received = raw.read_all(slow.sock)
    assert received.endswith(b"\nBYE\n")
    assert daemon.closed("quit", "session") == 1
