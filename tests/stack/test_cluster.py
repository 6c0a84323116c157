"""deploy/cluster.yml for real: three shards with replicas, of which containers die and come back.

A client's session goes through HAProxy all the while. tests/fleet/test_redis_node_sh.py has
more ways to lose a node, of processes; here are the containers' own: addresses, volumes.
"""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import json
import subprocess
from binascii import crc_hqx
from typing import TYPE_CHECKING

import pytest

from lab.fleet.redis_cluster import SLOTS
from lab.fleet.redis_node import Seen
from lab.top.model import Model
from lab.top.sources import ComposeSource
from lab.wait import until
from loadtest.session_client import SessionClient
from loadtest.session_retry import Patience
from tests.stack.fleet import DAEMONS, DEADLINE_S, ComposeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.stack.fleet import Fleet

pytestmark = pytest.mark.heavy

NODES = [f"redis-{shard}-{number}" for shard in range(3) for number in range(3)]

ASK = 'REDISCLI_AUTH=$(cat /run/secrets/redis_admin) exec redis-cli -e --user admin "$@"'

# Above the daemons' commit_s_max, which is 6 s with a cluster.
PATIENCE = Patience(reply_s_max=8.0, give_up_s=60.0)

NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def client(cluster: Fleet) -> Iterator[SessionClient]:
    """One session, whose client resumes by itself."""
    with SessionClient(("127.0.0.1", cluster.port("haproxy", 1235)), patience=PATIENCE) as client:
        yield client


@pytest.fixture(autouse=True)
def _well(cluster: Fleet, client: SessionClient) -> Iterator[None]:
    """Each test ends with a cluster that is whole, and a session that goes on."""
    yield
    await_whole(cluster)
    say(client)


def say(client: SessionClient) -> None:
    """A line that nobody has said yet; its reply is checked against all before."""
    client.echo(b"%d" % next(NUMBERS))


def view(fleet: Fleet, node: str) -> list[Seen]:
    """Every node as one of them sees it; none if it does not answer."""
    with contextlib.suppress(ComposeError):
        said = fleet.compose("exec", "-T", node, "sh", "-c", ASK, "sh", "cluster", "nodes")
        return [Seen.read(line) for line in said.splitlines() if line]
    return []


def masters(fleet: Fleet) -> dict[str, str]:
    """The master of each shard, by the name of the shard, as they say."""
    return {
        name[:-2]: name
        for name in NODES
        for seen in view(fleet, name)
        if "myself" in seen.flags and "master" in seen.flags and seen.slots
    }


def home(fleet: Fleet, client: SessionClient) -> tuple[str, str]:
    """The shard where the session is, and its master."""
    slot = crc_hqx(client.memory.name.encode(), 0) % SLOTS
    return next(
        (name[:-2], name)
        for name in NODES
        for seen in view(fleet, name)
        if "myself" in seen.flags and any(slot in span for span in seen.slots)
    )


def await_whole(fleet: Fleet) -> None:
    """Wait until all nodes are healthy, and one of them sees nine of which none fails."""

    def whole() -> bool:
        health = {
            one["Service"]: one["Health"]
            for one in map(json.loads, fleet.compose("ps", "--format", "json").splitlines())
        }
        seen = view(fleet, "redis-0-0")
        return (
            all(health.get(name) == "healthy" for name in NODES)
            and len(seen) == len(NODES)
            and all(one.linked and not one.flags & {"fail", "fail?"} for one in seen)
        )

    until(whole, DEADLINE_S, "the nodes to be whole")


def docker(fleet: Fleet, word: str, *nodes: str) -> None:
    """Do to the containers of nodes, one after the other, what a command of Docker does."""
    ids = [fleet.containers(node)[0]["Id"] for node in nodes]
    subprocess.run(["docker", word, *ids], check=True, capture_output=True)


def addresses(fleet: Fleet) -> dict[str, str]:
    """Where each node is."""
    found = {}
    for container in fleet.containers(*NODES):
        (network,) = container["NetworkSettings"]["Networks"].values()
        found[container["Config"]["Labels"]["com.docker.compose.service"]] = network["IPAddress"]
    return found


def test_each_shard_has_its_first_node_as_master(cluster: Fleet) -> None:
    """A new cluster is formed by the names of its nodes, before daemons start."""
    assert masters(cluster) == {f"redis-{shard}": f"redis-{shard}-0" for shard in range(3)}
    assert len(cluster.servers()) == DAEMONS


def test_every_node_is_watched(cluster: Fleet) -> None:
    """The exporter is let in by each, and Prometheus knows them by their names."""

    def up() -> set[str]:
        rows = cluster.prometheus("query?query=redis_up==1")["result"]
        return {row["metric"]["instance"] for row in rows}

    until(lambda: up() == {f"{name}:6379" for name in NODES}, DEADLINE_S, "nine of Redis")


def test_fleet_top_sees_the_shards(cluster: Fleet) -> None:
    """Each node with its shard and its part, and how far replicas are behind."""
    source = ComposeSource(cluster.project, f"http://127.0.0.1:{cluster.port('prometheus', 9090)}")
    model = Model()

    def in_step() -> bool:
        masters = [row for row in model.take(source.look()).nodes if row["role"] == "master"]
        return [(row["shard"], row["in_step"]) for row in masters] == [(0, 2), (1, 2), (2, 2)]

    until(in_step, DEADLINE_S, "three masters with two replicas each")


def test_daemons_are_scaled(cluster: Fleet) -> None:
    """As with one Redis, and each new one finds the shards."""
    cluster.scale(DAEMONS + 1)
    cluster.scale(DAEMONS)


def test_a_master_is_killed(cluster: Fleet, client: SessionClient) -> None:
    """A replica takes its place, lines go on, and it comes back as a replica."""
    shard, former = home(cluster, client)
    docker(cluster, "kill", former)
    say(client)
    assert home(cluster, client)[1] != former
    docker(cluster, "start", former)
    await_whole(cluster)
    assert masters(cluster)[shard] != former


def test_all_come_back_with_addresses_of_others(cluster: Fleet, client: SessionClient) -> None:
    """Each starts where another was: they are the cluster that they were, with its data."""
    before, shards = addresses(cluster), masters(cluster)
    docker(cluster, "kill", *NODES)
    # Docker gives the first one started the lowest address that is free.
    first, *others = sorted(NODES, key=lambda name: ipaddress.ip_address(before[name]))
    docker(cluster, "start", *others, first)
    after = addresses(cluster)
    assert not [name for name in NODES if before[name] == after[name]]
    await_whole(cluster)
    assert masters(cluster) == shards
    say(client)


def test_a_master_loses_its_volume(cluster: Fleet, client: SessionClient) -> None:
    """Killed, emptied but for its identity, started at once: it is a replica, nothing is lost."""
    shard, former = home(cluster, client)
    docker(cluster, "kill", former)
    container = cluster.containers(former)[0]
    subprocess.run(
        [
            *("docker", "run", "--rm", "--network", "none", "--volumes-from", container["Id"]),
            *("--entrypoint", "sh", container["Image"], "-c", "rm -r /data/appendonlydir"),
        ],
        check=True,
        capture_output=True,
    )
    docker(cluster, "start", former)
    say(client)
    await_whole(cluster)
    assert masters(cluster)[shard] != former


def test_nothing_failed_unseen(cluster: Fleet) -> None:
    """No daemon was restarted or logged a bug, and no data were found lost."""
    assert not any(one["RestartCount"] for one in cluster.containers("server"))
    assert "Traceback" not in cluster.compose("logs", "--no-color", "server")
    losses = cluster.prometheus("query?query=echod_store_data_losses_total")["result"]
    assert {row["value"][1] for row in losses} == {"0"}
