"""A cluster with the users of deploy/redis/users.acl, on each Redis that users have.

tests/daemon/test_acl.py tries every command as each of them, on a single Redis.
"""

from __future__ import annotations

import binascii
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis as redis_py

from lab.fleet import redis_cluster, redis_server, secret_files
from lab.fleet.redis_cluster import SLOTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.fleet.redis_cluster import RedisCluster

KEY = "s:{name}"
SLOT = binascii.crc_hqx(b"name", 0) % SLOTS

# One of each thing that a daemon could do to a cluster.
FORBIDDEN = (
    "CLUSTER FAILOVER",
    "CLUSTER RESET",
    "CLUSTER MEET 127.0.0.1 1",
    "CLUSTER FORGET x",
    "CLUSTER DELSLOTS 1",
    "CLUSTER SETSLOT 1 STABLE",
    "MIGRATE 127.0.0.1 1 s:x 0 1",
    "REPLCONF ACK 1",
    "PSYNC ? -1",
)


@pytest.fixture
def cluster(
    redis_program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RedisCluster]:
    """Three shards with a replica each, and passwords."""
    monkeypatch.setenv(redis_server.BINARY.variable, str(redis_program))
    secret_files.make_passwords(tmp_path / "secrets")
    with redis_cluster.start(tmp_path, replicas=1, secrets=tmp_path / "secrets") as made:
        yield made


def as_a_daemon(cluster: RedisCluster, *commands: str) -> list[Any]:
    """What the key's master answers the daemons' user, an error too."""
    with redis_py.Redis(
        port=cluster.master(cluster.shard_of(SLOT)).port,
        username="echod",
        password=Path(cluster.password_file).read_text().strip(),
        protocol=2,
        decode_responses=True,
    ) as daemon:
        pipe = daemon.pipeline(transaction=False)
        for command in commands:
            pipe.execute_command(*command.split())
        answers: list[Any] = pipe.execute(raise_on_error=False)
        return answers


def test_daemons_use_it_and_cannot_change_it(cluster: RedisCluster) -> None:
    """They see who has which slots, wait for replicas and publish on a shard; no more."""
    assert cluster.url.startswith("redis+cluster://echod@127.0.0.1:")
    asked = as_a_daemon(cluster, f"SET {KEY} value", "WAIT 1 5000", "SPUBLISH c:{name} post")
    assert asked == [True, 1, 0]
    (nodes,) = as_a_daemon(cluster, "CLUSTER NODES")
    assert len(nodes.splitlines()) == 6

    refusals = as_a_daemon(cluster, *FORBIDDEN)
    assert {type(refusal).__name__ for refusal in refusals} == {"NoPermissionError"}, refusals

    # Replicas copy, masters change and slots move with the rights of the list.
    home = cluster.shard_of(SLOT)
    cluster.hand_over(cluster.replicas(home)[0])
    cluster.await_whole()
    cluster.move_slot(SLOT, (home + 1) % 3)
    assert as_a_daemon(cluster, f"GET {KEY}") == ["value"]
    refused = [entry for node in cluster.nodes for entry in node.ask("ACL", "LOG")]
    assert {dict(zip(entry[::2], entry[1::2], strict=True))["username"] for entry in refused} == {
        "echod"
    }
