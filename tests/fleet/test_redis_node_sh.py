"""deploy/redis/node.sh: what it promises, on each Redis that users have (tests/redises.py)."""

from __future__ import annotations

import contextlib
import re
import shutil
import sys
from typing import TYPE_CHECKING

import pytest
import redis as redis_py

from lab.fleet.redis_node import DATA, IDENTITY, SETTINGS, UNFINISHED
from lab.wait import until
from tests.fleet.node_cluster import DEADLINE_S, KEYS, NAMES, Cluster
from tests.images import NotHereError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8"),
]


@pytest.fixture(scope="module", name="cluster")
def cluster_of_each(
    redis_program: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """Nodes that were all started at once, and which the tests break one after the other."""
    try:
        made = Cluster(tmp_path_factory.mktemp("cluster"), redis_program)
    except NotHereError as error:
        pytest.skip(str(error))
    with made:
        for name in NAMES:
            made.start(name)
        made.await_whole()
        yield made


@pytest.fixture(autouse=True)
def _whole(cluster: Cluster) -> None:
    """Each test begins with a cluster that is whole, whatever the one before has left."""
    for name in NAMES:
        if not cluster.processes[name].alive:
            cluster.start(name)
    cluster.await_whole()


def test_it_is_formed(cluster: Cluster) -> None:
    """All slots have a master, each shard its part, with the settings of cluster.conf."""
    bounds = {name: seen.slots for name in NAMES if (seen := cluster.myself(name)) and seen.slots}
    assert bounds == {
        "redis-0-0": (range(5461),),
        "redis-1-0": (range(5461, 10922),),
        "redis-2-0": (range(10922, 16384),),
    }
    assert [cluster.replica(shard) for shard in range(3)] == [
        f"redis-{shard}-1" for shard in range(3)
    ]
    for name in NAMES:
        for setting, value in SETTINGS.items():
            found = cluster.ask(name, "CONFIG", "GET", setting)
            size = re.fullmatch(r"(\d+)mb", value)
            assert found == [setting, str(int(size[1]) << 20) if size else value]


def test_a_killed_master_is_replaced(cluster: Cluster) -> None:
    """Its replica has its data, and it comes back as a replica, elsewhere."""
    former = cluster.master(0)
    cluster.write(KEYS[0], "replaced")
    cluster.kill(former)
    until(lambda: cluster.master(0) != former, DEADLINE_S, "another master")
    assert cluster.read(KEYS[0]) == "replaced"
    cluster.start(former)
    cluster.await_whole()
    assert cluster.replica(0) == former


@pytest.mark.parametrize("lost", ["files", "one file", "copy", "volume"])
def test_a_node_without_its_data_comes_back_as_a_replica(cluster: Cluster, lost: str) -> None:
    """A master killed, its data deleted and started at once: no acknowledged write is lost."""
    former = cluster.master(1)
    (identity,) = [seen.id for seen in [cluster.myself(former)] if seen]
    cluster.write(KEYS[1], lost)
    cluster.kill(former)
    data = cluster.data(former) / DATA
    if lost == "volume":
        shutil.rmtree(cluster.data(former))
    elif lost == "files":
        shutil.rmtree(data)
    elif lost == "one file":
        next(data.glob("*.incr.aof")).unlink()
    else:
        (data / UNFINISHED).touch()
    cluster.start(former)
    until(lambda: cluster.master(1) != former, DEADLINE_S, "another master")
    assert cluster.read(KEYS[1]) == lost
    cluster.await_whole()
    assert cluster.replica(1) == former
    assert identity not in {seen.id for name in NAMES for seen in cluster.view(name)}


def test_a_replica_without_its_data_copies_them_again(cluster: Cluster) -> None:
    """It waits for nobody."""
    replica = cluster.replica(2)
    cluster.write(KEYS[2], "copied")
    cluster.kill(replica)
    shutil.rmtree(cluster.data(replica) / DATA)
    cluster.start(replica)
    cluster.await_whole()
    assert cluster.replica(2) == replica


def test_without_another_master_it_stays_down(cluster: Cluster) -> None:
    """As long as nobody else has its slots, and it ends when it is told to."""
    master, replica = cluster.master(2), cluster.replica(2)
    cluster.write(KEYS[2], "kept")
    cluster.kill(replica)
    cluster.kill(master)
    shutil.rmtree(cluster.data(master) / DATA)
    cluster.start(master)
    until(lambda: "it waits" in cluster.log(master), DEADLINE_S, "it to wait")
    cluster.start(replica)
    until(lambda: cluster.view(replica), DEADLINE_S, "the replica")
    assert cluster.processes[master].terminate() in (143, -15)

    # Nobody elects a replica that was started after its master had ended (docs/adr/0027).
    cluster.start(master)
    until(lambda: cluster.forced(replica), DEADLINE_S, "the replica to be the master")
    cluster.await_whole()
    assert cluster.replica(2) == master
    assert cluster.read(KEYS[2]) == "kept"


def test_all_elsewhere_find_each_other(cluster: Cluster) -> None:
    """All killed and started where another was: one cluster again, with its data."""
    for shard, key in enumerate(KEYS):
        cluster.write(key, f"kept by {shard}")
    for name in NAMES:
        cluster.kill(name)
    places = [cluster.address(name) for name in NAMES]
    logged = {name: len(cluster.log(name)) for name in NAMES}
    for name, place in zip(NAMES, [*places[1:], places[0]], strict=True):
        cluster.place(name, place)
    for name in NAMES:
        cluster.start(name, elsewhere=False)
    cluster.await_whole()
    assert [cluster.read(key) for key in KEYS] == [f"kept by {shard}" for shard in range(3)]
    for name in NAMES:
        seen = cluster.myself(name)
        assert seen is not None
        assert seen.address.split(":")[0] == cluster.address(name)
        # Nor has it been copied by who looked for another master there.
        said = cluster.log(name)[logged[name] :]
        assert set(re.findall(r"Replica (\S+):\d+ asks for sync", said)) <= {
            cluster.address(other) for other in NAMES if other[:-1] == name[:-1]
        }


def test_an_old_name_makes_nobody_another_shards_replica(cluster: Cluster) -> None:
    """A new node finds another shard's master where its own was: it waits for the name."""
    master, replica = cluster.master(0), cluster.replica(0)
    cluster.write(KEYS[0], "its own")
    cluster.kill(replica)
    shutil.rmtree(cluster.data(replica))
    here = cluster.address(master)
    cluster.place(master, cluster.address(cluster.master(1)))
    logged = len(cluster.log(replica))
    cluster.start(replica)
    until(lambda: cluster.view(replica), DEADLINE_S, "the new node")
    until(
        lambda: re.search("not of its shard|is a replica", cluster.log(replica)[logged:]),
        DEADLINE_S,
        "it to look for its master",
    )
    cluster.place(master, here)
    cluster.await_whole()
    assert cluster.replica(0) == replica
    assert cluster.read(KEYS[0]) == "its own"


def test_data_without_an_identity_are_left_alone(cluster: Cluster) -> None:
    """Redis would take the slots of the keys in them: it does not start."""
    replica = cluster.replica(0)
    cluster.kill(replica)
    identity = cluster.data(replica) / IDENTITY
    text = identity.read_text()
    identity.unlink()
    cluster.start(replica)
    assert cluster.processes[replica].wait(DEADLINE_S)
    assert cluster.processes[replica].status == 1
    assert "whose are they" in cluster.log(replica)
    assert any((cluster.data(replica) / DATA).iterdir())
    identity.write_text(text)


def test_a_shard_without_any_disk_is_formed_anew_when_told(cluster: Cluster) -> None:
    """All of it is lost, and only people can know that: its slots are given to nobody before."""
    former = cluster.myself(cluster.master(1))
    assert former is not None
    shard = [name for name in NAMES if name.startswith("redis-1-")]
    for name in shard:
        cluster.kill(name)
        shutil.rmtree(cluster.data(name))
    for name in shard:
        cluster.start(name)
    others = [name for name in NAMES if name not in shard]

    def given_up() -> bool:
        return all(
            seen.flags >= {"fail"} and seen.slots
            for name in others
            for seen in cluster.view(name)
            if seen.id == former.id
        ) and all(len(cluster.view(name)) > len(NAMES) for name in NAMES)

    until(given_up, DEADLINE_S, "the loss to be known")
    assert not any(map(cluster.is_master, shard))
    for name in NAMES:
        with contextlib.suppress(redis_py.ResponseError):  # another has told it so
            cluster.ask(name, "CLUSTER", "FORGET", former.id)
    cluster.await_whole()
    assert cluster.master(1) == "redis-1-0"
    assert cluster.read(KEYS[1]) is None


def test_a_master_hands_over_before_it_ends(cluster: Cluster) -> None:
    """Another has its slots when it has left, and nobody had to take it for dead."""
    master, replica = cluster.master(0), cluster.replica(0)
    cluster.write(KEYS[0], "handed")
    cluster.leave(master)
    assert cluster.is_master(replica)
    assert not cluster.is_master(master)
    assert cluster.read(KEYS[0]) == "handed"
    assert all("fail" not in seen.flags for name in NAMES for seen in cluster.view(name))
    cluster.await_whole()


def test_who_has_nothing_to_hand_over_leaves(cluster: Cluster) -> None:
    """A replica, and a master whose replica is away, which keeps its slots."""
    master, replica = cluster.master(1), cluster.replica(1)
    cluster.leave(replica)
    assert cluster.is_master(master)
    cluster.kill(replica)
    cluster.leave(master)
    assert cluster.is_master(master)


def test_it_ends_in_order(cluster: Cluster) -> None:
    """On SIGTERM the server itself ends, and what ran beside it too."""
    replica = cluster.replica(0)
    assert cluster.processes[replica].terminate() == 0


def test_formed_once_though_one_ends_meanwhile(
    redis_program: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No part is given away before all answer; a master that ends then is that master again."""
    with Cluster(tmp_path_factory.mktemp("new"), redis_program) as new:
        *first, last = NAMES
        for name in first:
            new.start(name)
        until(lambda: all(len(new.view(name)) == len(first) for name in first), DEADLINE_S, "them")
        assert not any(map(new.is_master, first))
        new.start(last)
        until(lambda: any(map(new.is_master, NAMES)), DEADLINE_S, "the first part")
        new.kill("redis-1-0")
        new.start("redis-1-0")
        new.await_whole()
        assert all(new.master(shard) == f"redis-{shard}-0" for shard in range(3))
