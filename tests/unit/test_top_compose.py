"""What Docker and Prometheus say of a container, put together."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from lab.fleet.docker import DockerError
from lab.fleet.metrics import Reading, Samples
from lab.top import sources, words
from lab.top.model import Model, State
from lab.top.sources import READING_S_MAX, ComposeSource, part_of

if TYPE_CHECKING:
    from lab.top.model import View

NOW_S = 1_700_000_000.0

READINGS = [Reading(at_s, Samples()) for at_s in (10.0, 15.0, 20.0)]


def container(status: str) -> dict[str, object]:
    """As `docker container inspect` describes it."""
    return {"State": {"Status": status}, "Id": "0123456789abcdef" * 4}


@pytest.mark.parametrize(
    "status,state",
    [
        ("running", State.UP),
        ("paused", State.FROZEN),
        ("exited", State.DOWN),
        ("restarting", State.DOWN),
        ("created", State.DOWN),
    ],
)
def test_dockers_word_is_ours(status: str, state: State) -> None:
    """Whatever does not run is down."""
    part = part_of("server-1", container(status), [], 20.0)
    assert (part.state, part.where) == (state, "0123456789ab")


@pytest.mark.parametrize(
    "age_s,readings", [(1.0, READINGS[-2:]), (READING_S_MAX, READINGS[-2:]), (15.1, [])]
)
def test_an_old_answer_is_none(age_s: float, readings: list[Reading]) -> None:
    """Prometheus keeps what a silent container said; the last two scrapes are enough."""
    part = part_of("server-1", container("running"), READINGS, 20.0 + age_s)
    assert list(part.readings) == readings


def described(name: str, service: str, address: str, status: str = "running") -> dict[str, object]:
    """A container of a service, at an address."""
    return {
        **container(status),
        "Name": f"/f-{name}",
        "State": {"Status": status},
        "Config": {"Labels": {"com.docker.compose.service": service}},
        "NetworkSettings": {"Networks": {"store": {"IPAddress": address}}},
    }


def series(instance: str, metric: str, value: float, **labels: str) -> dict[str, object]:
    """What Prometheus has of one sample of the job `redis`, at two scrapes."""
    return {
        "metric": {"__name__": metric, "job": "redis", "instance": instance, **labels},
        "values": [[NOW_S - 5, str(value)], [NOW_S, str(value)]],
    }


def view_of(monkeypatch: pytest.MonkeyPatch, containers: list[object], said: list[object]) -> View:
    """What is shown of what Docker and Prometheus say."""

    def docker(*words: str, wait_s: float) -> str:
        del wait_s
        return "one two" if words[0] == "ps" else json.dumps(containers)

    answer = json.dumps({"data": {"result": said}}).encode()
    monkeypatch.setattr(sources, "docker", docker)
    monkeypatch.setattr("lab.web.read", lambda *_: answer)
    monkeypatch.setattr("time.time", lambda: NOW_S)
    return Model().take(ComposeSource("f", "http://prometheus").look())


def test_a_clusters_containers_are_its_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each by its service, with the role that it has and what its master says of its copy."""
    link = {"slave_ip": "10.0.0.3", "slave_port": "6379", "slave_state": "online"}
    view = view_of(
        monkeypatch,
        [
            described("server-1", "server", "10.0.0.9"),
            described("redis-1-0-1", "redis-1-0", "10.0.0.2"),
            described("redis-1-1-1", "redis-1-1", "10.0.0.3"),
            described("redis-1-2-1", "redis-1-2", "", "exited"),
            described("redis-exporter-1", "redis-exporter", "10.0.0.8"),
        ],
        [
            series("redis-1-0:6379", "redis_instance_info", 1, role="master"),
            series("redis-1-0:6379", "redis_connected_slave_lag_seconds", 1, **link),
            series("redis-1-1:6379", "redis_instance_info", 1, role="slave"),
            series("redis-1-1:6379", "redis_connected_clients", 7),
        ],
    )

    rows = [(row["name"], row["state"], row["shard"], row["role"]) for row in view.nodes]
    assert rows == [
        ("f-redis-1-0-1", State.UP, 1, "master"),
        ("f-redis-1-1-1", State.UP, 1, "replica"),
        ("f-redis-1-2-1", State.DOWN, 1, None),
    ]
    links = [words.replication(row) for row in view.nodes]
    assert links == ["1 of 2 in step", "in step", "away"]
    assert view.redis["clients"] == 7


@pytest.mark.parametrize("instance", ["redis-exporter:9121", "redis:6379"])
def test_one_redis_is_one_node(monkeypatch: pytest.MonkeyPatch, instance: str) -> None:
    """Whether its exporter speaks as itself, or for the one it was asked for."""
    containers: list[object] = [
        described("server-1", "server", "10.0.0.9"),
        described("redis-1", "redis", "10.0.0.2"),
    ]
    view = view_of(monkeypatch, containers, [series(instance, "redis_connected_clients", 7)])

    (row,) = view.nodes
    assert (row["name"], row["state"], row["shard"], row["role"], row["clients"]) == (
        *("f-redis-1", State.UP, 0, "master", 7),
    )
    assert view.redis["clients"] == 7


def test_a_container_is_not_handed_over() -> None:
    """What only `fleet up` does is refused in words, before Docker is asked."""
    with pytest.raises(DockerError, match="hand-over: of containers"):
        ComposeSource("f", "http://prometheus").act("hand-over", "f-redis-1-0-1")
