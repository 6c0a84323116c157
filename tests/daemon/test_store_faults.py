"""The store away, frozen, killed, empty, and a connection that speaks too late."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
import redis as redis_py

from echod.store.keys import decode_state
from lab.fleet import redis_server
from lab.fleet.links import OUT, Network
from lab.wait import until
from tests.daemon import raw
from tests.daemon.swarm import Swarm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lab.fleet.links import Link
    from lab.fleet.redis_server import RedisServer
    from tests.conftest import Echod

FORGETFUL = str(Path(__file__).parent / "forgetful.py")


class Dialogue:
    """One client that knows what it is owed."""

    def __init__(self, port: int) -> None:
        self.sock = raw.connect(port)
        self.host = ":".join(map(str, self.sock.getsockname()))
        self.previous = b""
        self.lines = 0

    def send(self, line: bytes) -> None:
        """Send without waiting."""
        self.sock.sendall(line)

    def expect(self, line: bytes) -> None:
        """The reply to `line`."""
        owed = self.previous + line
        assert raw.read(self.sock, len(owed)) == owed
        self.previous = line
        self.lines += 1

    def say(self, line: bytes) -> None:
        """A line and its reply."""
        self.send(line)
        self.expect(line)


@pytest.fixture
def link(own_redis: RedisServer) -> Iterator[Link]:
    """The way to this test's Redis, which can be cut."""
    with Network() as network:
        yield network.add("redis", f"127.0.0.1:{own_redis.port}")


def by(link: Link) -> str:
    """The store's URL."""
    (address,) = link.addresses.values()
    return f"redis://{address}/0"


def keys_of(url: str, peer: str) -> tuple[bytes, bytes] | None:
    """The keys of the state and the record of the connection from `peer`."""
    with redis_py.Redis.from_url(url) as client:
        for key in client.keys("r:*"):
            record = cast("dict[bytes, bytes]", client.hgetall(key))
            # A session of an earlier test may be left, whose client had the same port; what
            # has just expired has no fields.
            if record.get(b"kind") == b"plain" and record.get(b"peer") == peer.encode():
                (found,) = client.keys(key.replace(b"r:", b"s:", 1) + b":*")
                return found, key
    return None


def stored(url: str, peer: str) -> tuple[int, bytes] | None:
    """`seq` and last line of the connection from `peer`."""
    keys = keys_of(url, peer)
    if keys is None:
        return None
    with redis_py.Redis.from_url(url) as client:
        state = decode_state(cast("bytes", client.get(keys[0])))
        return state.seq, state.last


def test_an_answered_line_is_stored(echod: Callable[..., Echod], redis: RedisServer) -> None:
    """Each reply means that the store has the line; a daemon's death leaves it there."""
    daemons = [echod(store=redis.url) for _ in range(2)]
    clients = [Dialogue(daemon.port) for daemon in daemons]
    for number in range(1, 6):
        for client in clients:
            client.say(b"line %d\n" % number)
            assert stored(redis.url, client.host) == (number, b"line %d\n" % number)
    daemons[0].process.kill()
    assert raw.read_all(clients[0].sock) == b""
    assert stored(redis.url, clients[0].host) == (5, b"line 5\n")
    with redis_py.Redis.from_url(redis.url) as found:
        state, record = keys_of(redis.url, clients[1].host) or ("", "")
        assert 0 < found.ttl(state) <= 300
        # A record outlives its state (`base.Lives`).
        assert 300 < found.ttl(record) <= 900
    clients[1].say(b"the other goes on\n")
    clients[1].sock.close()
    until(lambda: stored(redis.url, clients[1].host) is None, 30, "its state to be deleted")


def test_an_answered_line_survives_redis(
    echod: Callable[..., Echod], own_redis: RedisServer, tmp_path: Path
) -> None:
    """`kill -9` of Redis right after a reply: what was answered is on disk, and it goes on."""
    daemon = echod(store=own_redis.url)
    client = Dialogue(daemon.port)
    for number in range(3):
        client.say(b"before %d\n" % number)
    own_redis.process.kill()
    with redis_server.start(tmp_path / "redis", port=own_redis.port) as again:
        assert stored(again.url, client.host) == (3, b"before 2\n")
        until(lambda: daemon.metrics()["echod_degraded"] == 0, 30, "the daemon to reconnect")
        client.say(b"after\n")
        assert stored(again.url, client.host) == (4, b"after\n")
        assert daemon.metrics()['echod_store_data_losses_total{shard="0"}'] == 0


def test_a_line_waits_for_a_store_that_comes_back(
    echod: Callable[..., Echod], own_redis: RedisServer, tmp_path: Path
) -> None:
    """Redis is restarted within the commit deadline: the client sees a slow reply, no error."""
    daemon = echod(store=own_redis.url, commit_s_max=60, echo_idle_s_max=60)
    client = Dialogue(daemon.port)
    client.say(b"before\n")
    own_redis.process.kill()
    client.send(b"meanwhile\n")
    until(lambda: daemon.metrics()["echod_lines_waiting"] == 1, 30, "the line to wait")
    with redis_server.start(tmp_path / "redis", port=own_redis.port) as again:
        client.expect(b"meanwhile\n")
        assert stored(again.url, client.host) == (2, b"meanwhile\n")


def test_unavailable_when_the_store_is_away(
    echod: Callable[..., Echod], own_redis: RedisServer, tmp_path: Path
) -> None:
    """Lines wait for the commit deadline, then hear `unavailable`; later it serves again."""
    daemon = echod(store=own_redis.url, commit_s_max=1)
    asleep = Dialogue(daemon.port)
    asleep.say(b"before\n")
    own_redis.process.kill()
    begin = time.monotonic()
    client = Dialogue(daemon.port)
    client.send(b"into the void\n")
    assert raw.read_all(client.sock).startswith(b"ERR unavailable ")
    # Its clock goes in ticks, so by this one it may be early; and a busy machine is late.
    assert 0.5 < time.monotonic() - begin < 1 + 5
    assert daemon.closed("unavailable") == 1
    assert daemon.metrics()["echod_degraded"] == 1
    assert daemon.metrics()['echod_store_errors_total{kind="refused"}'] >= 1
    with redis_server.start(tmp_path / "redis", port=own_redis.port) as again:
        until(lambda: daemon.metrics()["echod_degraded"] == 0, 30, "the daemon to reconnect")
        asleep.say(b"after\n")
        assert stored(again.url, asleep.host) == (2, b"after\n")
        assert stored(again.url, client.host) is None


def test_a_frozen_store(echod: Callable[..., Echod], own_redis: RedisServer) -> None:
    """SIGSTOP under load: clients hear `unavailable` or wait, and service resumes by itself."""
    daemon = echod(store=own_redis.url, commit_s_max=1)
    swarm = Swarm(daemon.port, 50)
    swarm.connect()
    swarm.run(lambda: swarm.answered() > 500, 30)
    own_redis.process.signal(signal.SIGSTOP)
    try:
        swarm.run(lambda: False, 30)
        assert swarm.ends() == {"unavailable": 50}
        assert daemon.metrics()["echod_degraded"] == 1
    finally:
        own_redis.process.signal(signal.SIGCONT)
    swarm.close()
    until(lambda: daemon.metrics()["echod_degraded"] == 0, 30, "the daemon to recover")
    again = Swarm(daemon.port, 50)
    again.connect()
    again.run(lambda: again.answered() > 500, 30)
    assert again.ends() == {"": 50}
    again.close()
    with redis_py.Redis.from_url(own_redis.url) as client:
        until(lambda: not client.keys("[sr]:*"), 30, "no key to be left of any of them")


def test_a_redis_that_lost_everything(
    echod: Callable[..., Echod], own_redis: RedisServer, tmp_path: Path
) -> None:
    """An empty Redis in its place: it is noticed, and plain connections go on (PROTOCOL §5)."""
    daemon = echod(store=own_redis.url)
    client = Dialogue(daemon.port)
    client.say(b"one\n")
    own_redis.process.kill()
    with redis_server.start(tmp_path / "empty", port=own_redis.port) as empty:
        until(lambda: daemon.metrics()["echod_degraded"] == 0, 30, "the daemon to reconnect")
        client.say(b"two\n")
        assert stored(empty.url, client.host) == (2, b"two\n")
        assert daemon.metrics()['echod_store_data_losses_total{shard="0"}'] == 1
        assert daemon.metrics()["echod_store_generation"] == 1


def send_and_hold(client: Dialogue, link: Link, line: bytes) -> None:
    """The line is on its way to the store, and no further."""
    link.hold(OUT)
    client.send(line)
    until(lambda: link.count()["held"][OUT], 30, "a batch to be on its way")
    if not link.find(line.decode().strip())["found"]:
        # A heartbeat's, and the line waits behind it.
        link.heal()
        client.expect(line)
        send_and_hold(client, link, line)


@pytest.mark.parametrize("program,survives", [(("-m", "echod"), True), ((FORGETFUL,), False)])
def test_the_stale_batch(
    echod: Callable[..., Echod],
    own_redis: RedisServer,
    link: Link,
    program: tuple[str, ...],
    survives: bool,  # noqa: FBT001 — pytest gives it
) -> None:
    """Bytes of a broken connection that Redis gets late must not undo newer lines (ADR 3).

    The second run leaves the rule out, and the newer line is overwritten: so this test
    sees what the rule is for.
    """
    daemon = echod(program, store=by(link), commit_s_max=60)
    client = Dialogue(daemon.port)
    client.say(b"one\n")
    send_and_hold(client, link, b"two\n")
    link.strand()
    client.expect(b"two\n")
    client.say(b"three\n")
    assert stored(own_redis.url, client.host) == (client.lines, b"three\n")
    link.heal()
    expected = (client.lines, b"three\n") if survives else (client.lines - 1, b"two\n")
    assert stored(own_redis.url, client.host) == expected


def test_async_is_bounded(echod: Callable[..., Echod], own_redis: RedisServer) -> None:
    """Durability async answers ahead of the store, up to its two bounds (PROTOCOL §5)."""
    oldest_s = 3.0
    bounds = {"async_lines_max": 20, "async_s_max": oldest_s}
    daemon = echod(store=own_redis.url, durability="async", commit_s_max=1, **bounds)
    client = Dialogue(daemon.port)
    client.say(b"stored\n")
    until(lambda: daemon.metrics()["echod_async_lines"] == 0, 30, "the line to be stored")
    own_redis.process.signal(signal.SIGSTOP)
    try:
        for number in range(20):
            client.say(b"%d\n" % number)
        assert daemon.metrics()["echod_async_lines"] == 20
        client.send(b"one more\n")
        assert raw.read_all(client.sock).startswith(b"ERR unavailable ")
        late = Dialogue(daemon.port)
        late.say(b"ahead\n")
        until(lambda: daemon.metrics()["echod_async_seconds"] > oldest_s, 30, "that line to be old")
        late.send(b"behind it\n")
        assert raw.read_all(late.sock).startswith(b"ERR unavailable ")
    finally:
        own_redis.process.signal(signal.SIGCONT)
    until(lambda: daemon.metrics()["echod_async_lines"] == 0, 30, "nothing to be unstored")


def test_none_needs_no_store(echod: Callable[..., Echod], own_redis: RedisServer) -> None:
    """Durability none writes nothing, and does not care whether the store is there."""
    daemon = echod(store=own_redis.url, durability="none")
    client = Dialogue(daemon.port)
    client.say(b"one\n")
    with redis_py.Redis.from_url(own_redis.url) as found:
        assert not found.keys("[sr]:*")
    own_redis.process.kill()
    client.say(b"two\n")


def test_the_deletions_that_wait_are_bounded(
    echod: Callable[..., Echod], own_redis: RedisServer, tmp_path: Path
) -> None:
    """Clients that come and go while the store is away leave nothing when it is back."""
    daemon = echod(store=own_redis.url, commit_s_max=1)
    before = [Dialogue(daemon.port) for _ in range(20)]
    for client in before:
        client.say(b"one\n")
    own_redis.process.kill()
    for client in before:
        client.sock.close()
    for _ in range(50):
        raw.connect(daemon.port).close()
    until(lambda: daemon.metrics()['echod_connections{port="echo"}'] == 0, 30, "all to have left")
    with (
        redis_server.start(tmp_path / "redis", port=own_redis.port) as again,
        redis_py.Redis.from_url(again.url) as found,
    ):
        until(lambda: not found.keys("[sr]:*"), 30, "the deletions")
