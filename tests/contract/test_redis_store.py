"""What only a real Redis can do: lose data, refuse, and keep an old connection."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import pytest
import redis as redis_py

from echod.store.base import Lives, StoreError
from echod.store.keys import decode_state, generation_key
from echod.store.redis.link import Link
from echod.store.slots import ALL_SLOTS, slot_of_key
from echod.values import store_url
from lab.fleet import ports, redis_server, secret_files
from lab.fleet.ports import HOST
from lab.fleet.processes import StartError
from tests.contract.stores import REDISES, SHARDS, Daemon
from tests.contract.test_store import (
    OneShard,
    commit,
    redis_store,
    session,
    sessions_apart,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from echod.store.redis.store import RedisStore
    from lab.fleet.redis_server import RedisServer
    from tests.contract.stores import Stores


LIVES = Lives(state_s=60, unused_s=30)
TIMEOUT_S = 2.0


@dataclass(frozen=True)
class TlsRedis:
    """A server, where it speaks TLS, and the certificates."""

    server: RedisServer
    port: int
    folder: Path

    def url(self, host: str, options: str = "") -> str:
        """For a store: the authority is trusted, unless `options` say another, or "" for none."""
        trusted = f"&ssl_ca_certs={self.folder / secret_files.AUTHORITY_CERTIFICATE}"
        if "&ssl_ca_certs=" in options:
            trusted, options = "", options.replace("&ssl_ca_certs=", "")
        asked = (trusted + options).format(client=self.folder / secret_files.CLIENT)
        return f"rediss://{host}:{self.port}/0?{asked[1:]}".removesuffix("?")


ALL = pytest.mark.parametrize("stores_of_kind", REDISES, indirect=True, ids=lambda kind: kind.id)
"""One Redis, and a cluster, of which one shard is looked at, and disturbed."""


@pytest.fixture
def node(stores: Stores) -> redis_py.Redis:
    """The Redis of the shard that `OneShard` is a way to."""
    slots = stores.shard(LIVES, None).slots
    return stores.at(generation_key(slots[0]))


@pytest.fixture
def client(own_redis: RedisServer) -> Iterator[redis_py.Redis]:
    """Look at, and disturb, this test's Redis."""
    with redis_py.Redis.from_url(own_redis.url) as made:
        yield made


def settled(stores: Stores, name: str = "d1") -> OneShard:
    """A way to a shard, by which two batches were committed."""
    shard = OneShard(stores, name)
    shard.commit([write(shard.session(), 1)])
    shard.commit([write(shard.session(), 1)])
    return shard


def connected(server: RedisServer, name: str = "d1") -> RedisStore:
    """A store that has committed twice."""
    store = redis_store(server.url, name, LIVES, timeout_s=TIMEOUT_S)
    assert not store.connect()
    commit(store, [write(session(), 1)])
    commit(store, [write(session(), 1)])
    return store


def markers(client: redis_py.Redis, name: str = "d1") -> list[bytes]:
    """The keys of a daemon's markers."""
    return cast("list[bytes]", client.keys(f"d:{{*}}:{name}:*"))


@ALL
def test_lost_data_is_noticed_once_by_all(stores: Stores, node: redis_py.Redis) -> None:
    """A Redis that came back empty raises the generation, by one, whoever notices (ADR 17).

    In every slot of its shard, each of which may move to another; in no other shard's.
    """
    shards = [settled(stores, name) for name in ("d1", "d2")]
    node.flushall()
    for shard in shards:
        shard.store.reset()
        assert shard.store.connect()
        shard.commit([])
    slots = shards[0].place.slots
    assert len(slots) in (len(ALL_SLOTS), len(ALL_SLOTS) // SHARDS)
    with node.pipeline(transaction=False) as asked:
        for slot in slots:
            asked.get(generation_key(slot))
        assert asked.execute() == [b"1"] * len(slots)
    assert not any(other.keys("g:*") for other in stores.nodes if other is not node)
    assert [shard.store.generation for shard in shards] == [1, 1]
    shards[0].store.reset()
    assert not shards[0].store.connect()


@ALL
def test_a_loss_is_told_of_its_own_shard(stores: Stores) -> None:
    """Whoever lives on another goes on."""
    way = Daemon(stores.places(LIVES, None), LIVES, expected=frozenset({"rolled-back"}))
    sessions = sessions_apart()
    way.commit([write(each, 1) for each in sessions])
    stores.at(sessions[1].state_key).flushall()
    way.commit([write(each, 2) for each in sessions])
    (concerns,) = way.lost
    way.lost.clear()
    alone = len(stores.nodes) == 1
    assert [concerns(each.slot) for each in sessions] == [alone, True, alone]
    way.stop()


@ALL
def test_an_older_copy_is_noticed(stores: Stores, node: redis_py.Redis) -> None:
    """A marker that is behind is as telling as none."""
    shard = settled(stores)
    for marker in markers(node):
        node.set(marker, 1)
    shard.store.reset()
    assert shard.store.connect()


@ALL
def test_a_loss_under_a_living_connection_is_noticed(stores: Stores, node: redis_py.Redis) -> None:
    """Emptied while the connection stands: the next batch finds the marker before it gone."""
    shard = settled(stores)
    node.flushall()
    with pytest.raises(StoreError) as caught:
        shard.commit([write(shard.session(), 1)])
    assert caught.value.kind == "rolled-back"
    shard.store.reset()
    assert shard.store.connect()
    assert shard.commit([write(shard.session(), 1)]) == []
    shard.store.reset()
    assert not shard.store.connect()


@ALL
def test_two_daemons_of_one_name_lose_nothing(stores: Stores) -> None:
    """Each run has a marker of its own, so neither takes the other's for a loss."""
    shards = [settled(stores, "twin"), settled(stores, "twin")]
    for shard in (*shards, *shards):
        shard.commit([])
        shard.store.reset()
        assert not shard.store.connect()


@ALL
def test_generation_is_seen_with_the_next_batch(stores: Stores, node: redis_py.Redis) -> None:
    """Another daemon's finding reaches this one with its heartbeat, and is a loss to it, too."""
    shard = settled(stores)
    (marker, *_) = markers(node)
    node.set(generation_key(slot_of_key(marker)), 7)
    with pytest.raises(StoreError) as caught:
        shard.commit([])
    assert caught.value.kind == "rolled-back"
    shard.store.reset()
    assert shard.store.connect()
    assert shard.store.generation == 7
    shard.commit([])


@ALL
def test_the_former_connection_is_killed(stores: Stores, node: redis_py.Redis) -> None:
    """After a reset, a new connection ends the old one before it says anything (ADR 3)."""
    store = cast("RedisStore", settled(stores).store)
    link = store._link  # noqa: SLF001 — kept open on purpose, as a stalled network would
    assert link is not None
    store._link = None  # noqa: SLF001
    store.connect()
    assert str(link.id) not in {entry["id"] for entry in node.client_list()}
    with pytest.raises(StoreError) as caught:
        link.execute(("PING",))
    assert caught.value.kind == "closed"


@ALL
def test_close_takes_the_marker(stores: Stores, node: redis_py.Redis) -> None:
    """A daemon that leaves in order leaves no key."""
    shard = settled(stores)
    assert markers(node)
    shard.store.close()
    assert not markers(node)


def test_refusals_have_their_kind(own_redis: RedisServer, client: redis_py.Redis) -> None:
    """A full store, a wrong password, nobody there: each a word for the metric."""
    store = connected(own_redis)
    client.config_set("maxmemory", "1mb")
    with pytest.raises(StoreError) as caught:
        commit(store, [write(session(), 1, b"x" * 8000, b"y" * 8000) for _ in range(200)])
    assert caught.value.kind == "oom"
    client.config_set("requirepass", "secret")
    with pytest.raises(StoreError) as caught:
        redis_store(own_redis.url, "d", LIVES, timeout_s=2.0).connect()
    assert caught.value.kind == "noauth"
    with_password = own_redis.url.replace("redis://", "redis://:secret@")
    redis_store(with_password, "d", LIVES, timeout_s=2.0).connect()
    own_redis.stop()
    with pytest.raises(StoreError) as caught:
        redis_store(own_redis.url, "d", LIVES, timeout_s=2.0).connect()
    assert caught.value.kind == "refused"


@pytest.fixture
def tls_redis(tmp_path: Path) -> Iterator[TlsRedis]:
    """A Redis with TLS from its start, which asks its clients for certificates."""
    folder = tmp_path / "certificates"
    secret_files.make_certificates(folder, ["localhost"])
    pair = str(folder / secret_files.CERTIFICATE)
    settings = {
        "tls-cert-file": pair,
        "tls-key-file": pair,
        "tls-ca-cert-file": str(folder / secret_files.AUTHORITY_CERTIFICATE),
        "tls-auth-clients": "optional",
    }

    def listen(numbers: Sequence[int]) -> TlsRedis:
        (number,) = numbers
        more = {**settings, "tls-port": str(number)}
        return TlsRedis(redis_server.start(tmp_path / "redis", more=more), number, folder)

    try:
        made = ports.start_on([0], listen)
    except StartError as error:
        # The wheel's Valkey is built without, and Redis may be.
        if any(word in str(error) for word in ("Failed finding TLS support", "Bad directive")):
            pytest.skip(f"{redis_server.find()} has no TLS")
        raise
    with made.server:
        yield made


def test_with_tls(tls_redis: TlsRedis) -> None:
    """No record is waited for that has come already; a frozen Redis is given up."""
    store = redis_store(tls_redis.url("localhost"), "d1", LIVES, timeout_s=1.0)
    store.connect()
    line = b"x" * 8000
    assert not commit(store, [write(session(), 1, line, line) for _ in range(200)])
    link = cast("Link", store._link)  # noqa: SLF001
    assert link.execute(*[("ECHO", line)] * 200) == [line] * 200
    tls_redis.server.process.signal(signal.SIGSTOP)
    try:
        with pytest.raises(StoreError) as caught:
            commit(store, [write(session(), 1)])
    finally:
        tls_redis.server.process.signal(signal.SIGCONT)
    assert caught.value.kind == "timeout"


@pytest.mark.parametrize(
    "host,options,kind",
    [
        ("localhost", "", ""),
        ("localhost", "&ssl_certfile={client}", ""),
        (HOST, "", "refused"),  # the certificate is of another name …
        (HOST, "&ssl_check_hostname=no", ""),  # … and that may be asked for
        ("localhost", "&ssl_ca_certs=", "refused"),  # an authority that nobody here knows …
        ("localhost", "&ssl_ca_certs=&ssl_cert_reqs=none", ""),  # … and that too
    ],
)
def test_what_tls_looks_at(host: str, options: str, kind: str, tls_redis: TlsRedis) -> None:
    """Each option of the URL does what it says."""
    store = redis_store(tls_redis.url(host, options), "d1", LIVES, timeout_s=2.0)
    if kind:
        with pytest.raises(StoreError, match="certificate verify failed") as caught:
            store.connect()
        assert caught.value.kind == kind
    else:
        assert not store.connect()
        store.close()


def test_who_shows_no_certificate(tls_redis: TlsRedis) -> None:
    """A Redis that demands one takes who has one, and nobody else."""
    with redis_py.Redis.from_url(tls_redis.server.url) as client:
        client.config_set("tls-auth-clients", "yes")
    redis_store(
        tls_redis.url("localhost", "&ssl_certfile={client}"), "d1", LIVES, timeout_s=2.0
    ).connect()
    with pytest.raises(StoreError):
        redis_store(tls_redis.url("localhost"), "d1", LIVES, timeout_s=2.0).connect()


def test_begin_never_waits(own_redis: RedisServer, client: redis_py.Redis) -> None:
    """A stalled Redis takes none of a large batch; the caller is not held up by it."""
    store = connected(own_redis)
    one = session()
    line = b"x" * 8000
    batch = [write(one, seq, line, line) for seq in range(1, 2000)]
    own_redis.process.signal(signal.SIGSTOP)
    try:
        begin_s = time.monotonic()
        store.begin(batch)
        assert time.monotonic() - begin_s < TIMEOUT_S
    finally:
        own_redis.process.signal(signal.SIGCONT)
    assert store.finish() == []
    value = client.get(one.state_key)
    assert isinstance(value, bytes)
    assert decode_state(value).seq == 1999


@pytest.mark.parametrize("version, served", [(b"6.2.14", False), (b"7.0.0", True)])
def test_a_redis_without_sharded_publications_is_refused(version: bytes, *, served: bool) -> None:
    """With what is missing, not with an error of every batch."""
    info = b"redis_version:%b\r\nrun_id:x\r\n" % version
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            sock, _ = server.accept()
            with sock:
                sock.recv(1000)
                sock.sendall(b":1\r\n$%d\r\n%b\r\n" % (len(info), info))
                with contextlib.suppress(ConnectionResetError):  # it leaves so, refused
                    sock.recv(1000)

        thread = threading.Thread(target=answer)
        thread.start()
        place = store_url.StoreUrl("redis", "127.0.0.1", server.getsockname()[1])
        if served:
            Link(place, TIMEOUT_S).close()
        else:
            with pytest.raises(StoreError, match=r"6\.2\.14") as caught:
                Link(place, TIMEOUT_S)
            assert caught.value.kind == "version"
        thread.join()
