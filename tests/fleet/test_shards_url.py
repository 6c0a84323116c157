"""`fleet shards --url`: of a cluster that no `fleet up` has, and what it refuses (docs/shards.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis as redis_py

from lab.cli import main
from lab.fleet import redis_cluster, secret_files
from lab.fleet.redis_cluster import SLOTS
from lab.fleet.shards import membership
from lab.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lab.fleet.redis_cluster import RedisCluster
    from lab.fleet.redis_node import ClusterNode

    Command = Callable[..., tuple[int, str]]

pytestmark = pytest.mark.heavy

KEYS = 300
WAIT_S = 20.0
NOWHERE = "127.0.0.1:1"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """Three shards with a replica each, users with passwords, and some keys."""
    directory = tmp_path_factory.mktemp("store")
    secret_files.make_passwords(directory / "secrets")
    with redis_cluster.start(directory, replicas=1, secrets=directory / "secrets") as made:
        write(made)
        yield made


@pytest.fixture(scope="module")
def spare(store: RedisCluster) -> list[ClusterNode]:
    """Two nodes that run, empty and alone."""
    nodes = store.new_shard(1)
    assert [len(node.view()) for node in nodes] == [1, 1]
    return nodes


@pytest.fixture
def shards(store: RedisCluster, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run `fleet shards` on the store; returns its exit status, and what it has said."""

    def run(
        *words: str, url: str = "", password: str = secret_files.ADMIN_PASSWORD
    ) -> tuple[int, str]:
        url = url or f"redis+cluster://admin@{store.nodes[0].address}"
        file = store.nodes[0].options["secrets"] / password
        verb, *others = words
        status = main(["shards", verb, *others, "--url", url, "--password-file", str(file)])
        said = capsys.readouterr()
        return status, said.out + said.err

    return run


def write(store: RedisCluster) -> None:
    """So many keys, in all shards."""
    client = redis_py.RedisCluster.from_url(store.nodes[0].admin_url)
    with client:
        for number in range(KEYS):
            client.set(f"key{number}", number)


def whole(store: RedisCluster) -> bool:
    """Whether every key is where the slots are."""
    with redis_py.RedisCluster.from_url(store.masters()[0].admin_url) as client:
        return all(client.get(f"key{number}") == b"%d" % number for number in range(KEYS))


def seen(store: RedisCluster) -> list[set[tuple[object, ...]]]:
    """Who is in the cluster with which slots, as each node has it."""
    return [{(one.id, one.address, one.slots) for one in node.view()} for node in store.nodes]


REFUSED: list[tuple[Callable[[RedisCluster, list[ClusterNode]], tuple[str, ...]], str]] = [
    (lambda store, _: ("add", store.master(1).address), "already, and has slots"),
    (lambda store, new: ("add", new[0].address, store.replicas(1)[0].address), "as a replica"),
    (lambda _, new: ("add", new[0].address, new[0].address), "a node is named twice"),
    (lambda _, new: ("add", new[0].address, NOWHERE), f"{NOWHERE}. Connection refused"),
    (lambda _, new: ("add", f"{new[0].address}0"), "must be HOST:PORT"),
    (lambda store, _: ("remove", store.master(1).address), "without shard"),
    (lambda *_: ("remove", NOWHERE), f"there is no shard {NOWHERE}"),
]


@pytest.mark.parametrize("words, why", REFUSED, ids=[why for _, why in REFUSED])
def test_what_is_refused_changes_nothing(
    words: Callable[[RedisCluster, list[ClusterNode]], tuple[str, ...]],
    why: str,
    store: RedisCluster,
    spare: list[ClusterNode],
    shards: Command,
) -> None:
    """Before anything is asked to change; the text says which node, and why."""
    before = seen(store)
    status, said = shards(*words(store, spare))
    assert status == 1
    assert why in said
    assert seen(store) == before


def test_nodes_that_are_not_new(
    store: RedisCluster, spare: list[ClusterNode], shards: Command
) -> None:
    """One with keys, one with slots, one that knows others: each would bring something along."""
    node, other = spare
    node.ask("CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1)
    assert "has slots" in shards("add", node.address)[1]
    until(lambda: "cluster_state:ok" in node.ask("CLUSTER", "INFO"), WAIT_S, "it to take writes")
    node.ask("SET", "x", "y")
    assert "has 1 keys" in shards("add", node.address)[1]
    node.ask("FLUSHALL")
    node.ask("CLUSTER", "RESET", "HARD")
    node.ask("CLUSTER", "MEET", "127.0.0.1", other.port, other.bus_port)
    until(lambda: len(other.view()) == 2, WAIT_S, "the meeting")
    assert "is in another cluster" in shards("add", node.address)[1]
    both = f"redis+cluster://admin@{store.nodes[0].address},{node.address}"
    assert "are of different clusters" in shards("status", url=both)[1]
    for one in spare:
        one.ask("CLUSTER", "RESET", "HARD")
    until(lambda: all(len(one.view()) == 1 for one in spare), WAIT_S, "them to be alone")
    for one in spare:
        one.id = one.ask("CLUSTER", "MYID")


def test_who_may_not(store: RedisCluster, shards: Command) -> None:
    """A wrong password, no node that answers, and a Redis that is no cluster's address."""
    status, said = shards("status", password=secret_files.REPLICA_PASSWORD)
    assert status == 1
    assert f"{store.nodes[0].address}: invalid username-password pair" in said
    assert "no node of the store answers" in shards("status", url=f"redis+cluster://{NOWHERE}")[1]
    some = f"redis+cluster://admin@{NOWHERE},{store.nodes[0].address}"
    assert shards("status", url=some)[0] == 0


def test_of_two_at_once_one_gives_up(store: RedisCluster, shards: Command) -> None:
    """Whichever node the other one is connected to; when its connection ends, it is over."""
    node = store.replicas(2)[0]
    with redis_py.Redis.from_url(node.admin_url, client_name="fleet-shards-other") as other:
        other.ping()
        before = seen(store)
        status, said = shards("remove", store.master(0).address)
        assert status == 1
        assert f"another `fleet shards` moves slots here ({node.address} says so)" in said
        assert seen(store) == before
        assert shards("status")[0] == 0
    assert "another" not in shards("remove", store.master(0).address)[1]


def test_added_and_removed(store: RedisCluster, spare: list[ClusterNode], shards: Command) -> None:
    """By names too; every key stays, and the nodes that were removed are empty and alone."""
    status, said = shards("add", *(f"localhost:{node.port}" for node in spare))
    assert (status, "done: 4096 slots" in said) == (0, True), said
    store.await_whole()
    assert whole(store)
    status, said = shards("status")
    assert [line.split()[-3] for line in said.splitlines()[1:]] == ["4096"] * 4

    leaving = [store.master(1), *store.replicas(1)]
    for node in leaving:
        node.ask("CONFIG", "SET", membership.MIGRATION, "yes")
    before = seen(store)
    status, said = shards("remove", leaving[0].address)
    assert (status, "would become a replica of another shard" in said) == (1, True), said
    assert seen(store) == before
    for node in leaving:
        node.ask("CONFIG", "SET", membership.MIGRATION, "no")
    status, said = shards("remove", leaving[1].address)
    assert (status, "are empty, and in no cluster" in said) == (0, True), said
    assert whole(store)
    assert [(len(node.view()), node.ask("DBSIZE")) for node in leaving] == [(1, 0), (1, 0)]
    assert not {node.id for node in leaving} & {one.id for n in store.nodes for one in n.view()}
