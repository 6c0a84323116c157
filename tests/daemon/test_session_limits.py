"""The session port's limits: what one client, and all of them together, can make a daemon hold."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from lab.wait import until
from tests.daemon import raw
from tests.daemon.test_session_port import Client, client

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.fleet.redis_server import RedisServer
    from tests.conftest import Echod

__all__ = ["client"]

LONG = b"x" * 8000
# One receive holds a thousand of them, and each is answered with the long line before it.
AGAIN = b"ECHO 2 y\n"
ANSWER = b"PREV 1 " + LONG + b"\n" + AGAIN


def long_session(one: Client) -> Client:
    """A session whose last line is short to send and long to answer."""
    one.hello()
    assert one.ask(b"ECHO 1 " + LONG + b"\n" + AGAIN, 3).endswith(ANSWER)
    return one


def test_a_line_repeated_a_thousand_times(
    echod: Callable[..., Echod], client: Callable[[int], Client]
) -> None:
    """Its replies are eight hundred times its bytes; they come as they are taken, all of them."""
    daemon = echod()
    one = long_session(client(daemon.session_port))
    one.send(1000 * AGAIN + b"PING\n")
    until(lambda: daemon.metrics()["echod_unsent_bytes"] > 0, 30, "the client to be behind")
    expected = 1000 * ANSWER + b"PONG\n"
    assert raw.read(one.sock, len(expected)) == expected


def test_repeated_lines_while_the_store_is_away(
    echod: Callable[..., Echod], own_redis: RedisServer, client: Callable[[int], Client]
) -> None:
    """What all clients are owed stays near its limit, whatever they repeat."""
    limit = 2 << 20
    daemon = echod(store=own_redis.url, pending_bytes_max=limit, commit_s_max=60)
    clients = [long_session(client(daemon.session_port)) for _ in range(20)]
    own_redis.process.signal(signal.SIGSTOP)
    try:
        for each in clients:
            each.send(300 * AGAIN)
        held = until(
            lambda: (now := daemon.metrics()["echod_held_bytes"]) > limit and now, 30, "the limit"
        )
        assert held < limit + (1 << 20)
    finally:
        own_redis.process.signal(signal.SIGCONT)
    for each in clients:
        assert raw.read(each.sock, 300 * len(ANSWER)) == 300 * ANSWER
