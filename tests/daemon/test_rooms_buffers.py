"""A daemon too slow for its subscription: Redis cuts it off, the stream fills what is missing."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import redis as redis_py

from lab.wait import until
from tests.daemon.test_rooms import Person, fleet

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.fleet.redis_server import RedisServer
    from tests.conftest import Echod

__all__ = ["fleet"]

# Above what two kernels' buffers take on their own, some 10 MiB on loopback.
POSTS, TEXT = 3000, b"z" * 8000


def test_redis_cuts_a_frozen_subscriber_off(
    fleet: Callable[..., list[Echod]], own_redis: RedisServer
) -> None:
    """At its output buffer's limit; thawed, its member hears every message, none twice."""
    one, two = fleet(2, room_messages_max=2 * POSTS, outbox_bytes_max=64 << 20)
    ann, bob = Person(one.session_port), Person(two.session_port)
    ann.join(b"lobby")
    bob.join(b"lobby")
    ann.ask(b"PART lobby\n")
    with redis_py.Redis.from_url(own_redis.url) as client:
        client.config_set("client-output-buffer-limit", "pubsub 1mb 1mb 0")
        ann.join(b"other")
        two.process.signal(signal.SIGSTOP)
        try:
            poster = Person(one.session_port)
            poster.join(b"lobby")
            for n in range(1, POSTS + 1):
                poster.send(b"SAY lobby %d %b\n" % (n, TEXT))
                poster.lines(2)
            until(lambda: len(client.client_list(_type="pubsub")) == 1, 30, "Redis to cut it off")
        finally:
            two.process.signal(signal.SIGCONT)
    assert [int(line.split()[2]) for line in bob.lines(POSTS)] == list(range(1, POSTS + 1))
    assert two.metrics()["echod_subscriptions_total"] > 1
    assert two.metrics()['echod_room_messages_total{fate="lost"}'] == 0
