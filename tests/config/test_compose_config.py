"""docker-compose.yml: what every container is held to, and who can reach whom."""

from __future__ import annotations

import ipaddress
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from echod.config import Config, parse
from lab.fleet.redis_node import SETTINGS
from lab.fleet.secret_files import EXPORTER_ADDRESSES, EXPORTER_PASSWORD
from loadtest.client import REPLY_S_MAX
from tests.config.checks import ROOT, check

DEFAULTS = ROOT / ".env"

# What is added to docker-compose.yml for three shards.
CLUSTER = ("--file", "docker-compose.yml", "--file", "deploy/cluster.yml")


def document(compose: list[str], *profiles: str) -> dict[str, Any]:
    """The whole file, with .env's values in their places, whatever the shell says."""
    settings = {line.split("=", 1)[0] for line in DEFAULTS.read_text().splitlines()}
    env = {name: value for name, value in os.environ.items() if name not in settings}
    text = check([*compose, *profiles, "config", "--format", "json"], env=env)
    found: dict[str, Any] = json.loads(text)
    return found


def configured(compose: list[str], *profiles: str) -> dict[str, dict[str, Any]]:
    """The services of it."""
    found: dict[str, dict[str, Any]] = document(compose, *profiles)["services"]
    return found


@pytest.fixture(scope="module")
def services(compose: list[str]) -> dict[str, dict[str, Any]]:
    """What `docker compose up` starts."""
    return configured(compose)


@pytest.fixture(scope="module")
def cluster(compose: list[str]) -> dict[str, dict[str, Any]]:
    """The same on three shards."""
    return configured(compose, *CLUSTER)


@pytest.fixture(scope="module")
def nodes(cluster: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The nodes of it, in their order."""
    return {name: one for name, one in sorted(cluster.items()) if re.match(r"redis-\d", name)}


@pytest.fixture(scope="module")
def variants(compose: list[str], services: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the profile adds."""
    everything = configured(compose, "--profile", "variants")
    return {name: service for name, service in everything.items() if name not in services}


def test_everything_is_there(services: dict[str, dict[str, Any]]) -> None:
    """The whole fleet is one file."""
    assert set(services) == {
        *("redis", "server", "haproxy", "loadtest", "loadtest-worker"),
        *("prometheus", "redis-exporter", "alertmanager", "grafana"),
    }


def test_every_variant_has_a_port(variants: dict[str, dict[str, Any]]) -> None:
    """Each of the article's servers runs, and HAProxy has a port for it on loopback."""
    files = {
        path.name
        for path in (ROOT / "server" / "variants").iterdir()
        if path.suffix in (".py", ".mjs")
        and not path.name.startswith(("__", "client_"))
        and path.stem != "timeout"
    }
    balancer = variants["haproxy-variants"]
    servers = {name: one for name, one in variants.items() if one is not balancer}
    assert {one["command"][1] for one in servers.values()} == files
    assert set(balancer["depends_on"]) == set(servers)
    config = (ROOT / "haproxy" / "variants.cfg").read_text()
    for name in servers:
        assert f" {name}:1234\n" in config
    assert {port["host_ip"] for port in balancer["ports"]} == {"127.0.0.1"}
    bound = {int(line.split(":")[1]) for line in config.splitlines() if " bind :12" in line}
    assert {port["target"] for port in balancer["ports"]} == bound
    assert len(bound) == len(files)


def test_hardened(
    services: dict[str, dict[str, Any]],
    variants: dict[str, dict[str, Any]],
    cluster: dict[str, dict[str, Any]],
) -> None:
    """No container can gain rights, write outside its volumes, or take all the memory."""
    for name, service in [*services.items(), *variants.items(), *cluster.items()]:
        assert service["read_only"], name
        assert service["init"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert int(service["mem_limit"]) > 0, name
        assert 0 < service["pids_limit"] <= 2048, name
        assert not service.get("privileged"), name
        # At most one CPU, which every machine has; who serves clients has the right of way.
        path = name.startswith(("redis", "haproxy")) and name != "redis-exporter"
        assert service.get("cpus", 0) <= 1, name
        assert service["cpu_shares"] > 1024 if path else service["cpus"] > 0, name


def test_published_on_loopback_only(services: dict[str, dict[str, Any]]) -> None:
    """Ports are published on 127.0.0.1, and only those that people use."""
    published = {
        (name, port["host_ip"], port["target"])
        for name, service in services.items()
        for port in service.get("ports", [])
    }
    assert published == {
        ("haproxy", "127.0.0.1", 1234),
        ("haproxy", "127.0.0.1", 1235),
        ("haproxy", "127.0.0.1", 2234),
        ("haproxy", "127.0.0.1", 2235),
        ("haproxy", "127.0.0.1", 8404),
        ("loadtest", "127.0.0.1", 8089),
        ("prometheus", "127.0.0.1", 9090),
        ("alertmanager", "127.0.0.1", 9093),
        ("grafana", "127.0.0.1", 3000),
    }


def test_who_shares_a_network(
    services: dict[str, dict[str, Any]],
    variants: dict[str, dict[str, Any]],
    cluster: dict[str, dict[str, Any]],
    nodes: dict[str, dict[str, Any]],
) -> None:
    """Each network has those that need each other, and nobody else; only one has a way out."""
    everyone = services | variants
    members = {
        network: {name for name in everyone if network in everyone[name]["networks"]}
        for network in ("store", "balance", "watch")
    }
    assert members["store"] == {"redis", "server", "redis-exporter"}
    assert members["balance"] == {"haproxy", "server"}
    assert members["watch"] == {"server", "redis-exporter", "prometheus"}
    near_redis = {name for name in cluster if "store" in cluster[name]["networks"]}
    assert near_redis == {"server", "redis-exporter", *nodes}
    # By name HAProxy finds the daemons' addresses in the networks that both are in: one.
    assert set(services["haproxy"]["networks"]) & set(services["server"]["networks"]) == {"balance"}


def test_networks_have_no_way_out(compose: list[str]) -> None:
    """A daemon that was taken over can reach nothing outside."""
    networks = document(compose)["networks"]
    assert {name for name in networks if not networks[name].get("internal")} == {"fleet"}


def test_a_header_is_believed_from_the_balance_only(
    compose: list[str], services: dict[str, dict[str, Any]]
) -> None:
    """The daemons take PROXY headers from the subnet of that network, and it is one of their own."""
    (pool,) = document(compose)["networks"]["balance"]["ipam"]["config"]
    assert f"--proxy-networks={pool['subnet']}" in services["server"]["command"]
    assert ipaddress.ip_network(pool["subnet"]).num_addresses >= 64


def test_secrets_are_files(compose: list[str], services: dict[str, dict[str, Any]]) -> None:
    """Each goes to who needs it, and to nobody else; none is in an environment."""
    handed = {
        name: {secret["source"] for secret in service["secrets"]}
        for name, service in services.items()
        if service.get("secrets")
    }
    assert handed == {
        "redis": {"redis_echod", "redis_exporter.json", "redis_replica", "redis_admin"},
        "server": {"redis_echod"},
        "redis-exporter": {"redis_exporter.json"},
        "haproxy": {"haproxy.pem", "clients_ca.pem"},
    }
    whole = json.dumps(services)
    for secret in document(compose)["secrets"].values():
        text = Path(secret["file"]).read_text().strip()
        assert text not in whole
        assert "default-" in text or "No certificate" in text


def test_daemons_can_be_many(services: dict[str, dict[str, Any]]) -> None:
    """Nothing that only one container can have: a name, a published port."""
    assert services["server"]["deploy"]["replicas"] == 4
    for key in ("container_name", "ports", "hostname"):
        assert key not in services["server"]


def test_stopping_takes_longer_than_the_drain(
    services: dict[str, dict[str, Any]], cluster: dict[str, dict[str, Any]]
) -> None:
    """A daemon that is stopped is not killed while it lets its clients finish."""
    for server in (services["server"], cluster["server"]):
        settings = daemon(server)
        # After the drain: what is due is committed, and sent, and waited for.
        needed_s = settings.drain_s + 2 * settings.commit_s_max + settings.linger_s_max
        assert needed_s < int(server["stop_grace_period"].removesuffix("s")) <= 30


def test_clients_are_more_patient_than_a_commit(cluster: dict[str, dict[str, Any]]) -> None:
    """The load's clients hear `ERR unavailable` before they give up."""
    assert "LOADTEST_REPLY_S_MAX" not in cluster["loadtest"]["environment"]
    assert daemon(cluster["server"]).commit_s_max < REPLY_S_MAX


def daemon(server: dict[str, Any]) -> Config:
    """The settings of a daemon of this service."""
    environment = {name: str(value) for name, value in server["environment"].items()}
    return parse(server["command"], environment)


def test_a_store_of_one_and_of_three_shards(
    services: dict[str, dict[str, Any]], cluster: dict[str, dict[str, Any]]
) -> None:
    """Without a word one Redis; with the file a node of each shard at least, and one replica."""
    one, three = daemon(services["server"]), daemon(cluster["server"])
    assert one.store == "redis://echod@redis:6379/0"
    assert not one.store_replicas
    scheme, addresses = three.store.split("://echod@")
    assert scheme == "redis+cluster"
    assert {f"redis-{shard}-0:6379" for shard in range(3)} <= set(addresses.split(","))
    assert three.store_replicas == 1
    assert three.commit_s_max > one.commit_s_max


def test_nodes_are_the_one_redis_nine_times(
    services: dict[str, dict[str, Any]], nodes: dict[str, dict[str, Any]]
) -> None:
    """Three of each shard, each under its name and with its volume; all else is the same."""
    assert list(nodes) == [f"redis-{shard}-{number}" for shard in range(3) for number in range(3)]
    for name, node in nodes.items():
        assert node["environment"] == {"NODE": name, "NODES": " ".join(nodes)}
        assert {mount["source"] for mount in node["volumes"]} == {
            name,
            str(ROOT / "deploy" / "redis"),
        }
        mebibytes = int(SETTINGS["maxmemory"].removesuffix("mb"))
        assert 2 * mebibytes * 2**20 < int(node["mem_limit"])
        # A stop waits for the replicas, for Redis's shutdown-timeout of 10 s at most.
        assert node["stop_grace_period"] == "15s"
        own = {"environment", "volumes", "entrypoint", "healthcheck"}
        own |= {"stop_grace_period", "pids_limit"}
        same = {key: value for key, value in node.items() if key not in own}
        assert same == {key: value for key, value in services["redis"].items() if key not in own}


def test_everyone_waits_for_and_knows_every_node(
    services: dict[str, dict[str, Any]],
    cluster: dict[str, dict[str, Any]],
    nodes: dict[str, dict[str, Any]],
) -> None:
    """Daemons and exporter start after all are healthy; Prometheus asks for each, with a password."""
    assert "redis" not in cluster
    for name in ("server", "redis-exporter"):
        waits = cluster[name]["depends_on"]
        assert {other: how["condition"] for other, how in waits.items()} == dict.fromkeys(
            nodes, "service_healthy"
        )
    for fleet, redises in ((services, ["redis"]), (cluster, list(nodes))):
        asked = fleet["prometheus"]["environment"]["REDIS_NODES"].split()
        assert asked == [f"{name}:6379" for name in redises]
        assert {f"redis://exporter@{place}" for place in asked} <= set(EXPORTER_ADDRESSES)
    default = json.loads((ROOT / "secrets" / "default" / EXPORTER_PASSWORD).read_text())
    assert set(default) == set(EXPORTER_ADDRESSES)


def test_redis_keeps_what_it_acknowledged(services: dict[str, dict[str, Any]]) -> None:
    """On disk before the answer, an error when full, and well below the container's memory."""
    redis = services["redis"]
    options = dict(word.removeprefix("--").split(" ", 1) for word in redis["command"])
    assert options["appendonly"] == "yes"
    assert options["appendfsync"] == "always"
    assert options["save"] == '""'
    assert options["maxmemory-policy"] == "noeviction"
    mebibytes = int(options["maxmemory"].removesuffix("mb"))
    assert 2 * mebibytes * 2**20 < int(redis["mem_limit"])


def test_images_are_pinned_in_one_place(services: dict[str, dict[str, Any]]) -> None:
    """Every image has a version, and .env is where it stands."""
    pinned = dict(
        line.split("=", 1)
        for line in DEFAULTS.read_text().splitlines()
        if re.match(r"[A-Z_]+_IMAGE=", line)
    )
    used = {service["image"] for service in services.values() if "build" not in service}
    used |= {
        service["build"]["args"]["PYTHON_IMAGE"]
        for service in services.values()
        if "build" in service
    }
    assert used == set(pinned.values())
    for image in used:
        assert any(digit.isdigit() for digit in image.partition(":")[2]), image
