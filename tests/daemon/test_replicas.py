"""Daemons whose lines a replica must have too (ADR 23)."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import redis as redis_py

from lab.wait import until
from tests.daemon import raw
from tests.daemon.test_rooms import Person
from tests.daemon.test_session_port import Client

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.fleet.redis_server import RedisServer
    from tests.conftest import Echod

COMMIT_S_MAX = 1.0


def test_nothing_is_heard_that_the_replica_lacks(
    echod: Callable[..., Echod], own_redis: RedisServer, own_replica: RedisServer
) -> None:
    """A line is not answered, a post is neither answered nor heard; sent again, it is, once."""
    one, two = (
        echod(store=own_redis.url, store_replicas=1, commit_s_max=COMMIT_S_MAX) for _ in range(2)
    )
    assert raw.converse(one.port, [b"a\n", b"b\n"]) == b"a\na\nb\n"
    ann, bob = Person(one.session_port), Person(two.session_port)
    for person in (ann, bob):
        person.join(b"lobby")
    ann.send(b"SAY lobby 1 x\n")
    assert sorted(ann.lines(2)) == [b"MSG lobby 1 %b x" % ann.name, b"SAID lobby 1 1"]
    assert bob.lines(1) == [b"MSG lobby 1 %b x" % ann.name]

    own_replica.process.signal(signal.SIGSTOP)
    ann.send(b"SAY lobby 2 y\n")
    assert raw.read_all(ann.sock).startswith(b"ERR unavailable ")
    own_replica.process.signal(signal.SIGCONT)

    again = Client(one.session_port)
    again.hello(b" " + ann.token)
    again.send(b"JOIN lobby\n")
    assert again.line().startswith(b"JOINED lobby ")
    again.send(b"SAY lobby 2 y\nSAY lobby 3 z\n")
    last = {b"SAID lobby 3 3\n", b"MSG lobby 3 %b z\n" % ann.name}
    # Where it joined, the second may have been there already: it was in doubt, not undone.
    said: set[bytes] = set()
    while not last <= said:
        said.add(again.line())
    assert b"SAID lobby 2 2\n" in said
    assert bob.lines(2) == [
        b"MSG lobby %d %b %b" % (number, ann.name, text) for number, text in ((2, b"y"), (3, b"z"))
    ]
    assert bob.ask(b"PING\n") == b"PONG\n"


def test_more_replicas_than_there_are(echod: Callable[..., Echod], own_redis: RedisServer) -> None:
    """Nobody is answered, and the metrics say why."""
    daemon = echod(store=own_redis.url, store_replicas=1, commit_s_max=COMMIT_S_MAX)
    assert raw.converse(daemon.port, [b"a\n"]).startswith(b"ERR unavailable ")
    with redis_py.Redis.from_url(own_redis.url) as client:
        assert client.ping()
    until(
        lambda: daemon.metrics().get('echod_store_errors_total{kind="replicas"}'),
        5,
        "the error to be counted",
    )
