"""What deploy/kubernetes promises in numbers: who leaves has the time for it, and fits in its slot.

The numbers of the other side are read where they stand: the daemon's settings, haproxy.cfg.
"""

from __future__ import annotations

import json
import math
import os
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from echod.config import PRIVATE_NETWORKS, Config, parse
from echod.values import addresses
from lab import web
from lab.fleet import haproxy_server, secret_files
from lab.wait import until
from tests.config.checks import ROOT
from tests.kubernetes import composed, references
from tests.kubernetes.rendered import (
    KUBERNETES,
    OVERLAYS,
    build,
    containers_of,
    data_of,
    environment,
    expand,
    files_of,
    of_kind,
    overlay,
    pod_names,
    pod_of,
    read,
    the,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.kubernetes.rendered import Object

HAPROXY = ROOT / "haproxy" / "haproxy.cfg"
GUIDE = ROOT / "docs" / "kubernetes.md"

# What kubectl writes into an annotation when it applies an object, and what Kubernetes stores.
ANNOTATION_BYTES_MAX = 262_144


def daemon(objects: list[Object]) -> Config:
    """The settings of a daemon."""
    container = containers_of(the(objects, "Deployment", "server"))[0]
    env = environment(container, objects)
    return parse([expand(word, env) for word in container["args"]], env)


def leaves_s(settings: Config) -> float:
    """From a daemon's SIGTERM to its end, at most."""
    return settings.drain_s + 2 * settings.commit_s_max + settings.linger_s_max


def seconds(words: str) -> int:
    """What haproxy.cfg says of a time."""
    return int(re.findall(rf"^ +{words} (\d+)s$", HAPROXY.read_text(), re.MULTILINE)[0])


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_daemon_has_the_time_to_leave(name: str) -> None:
    """It is not killed while it lets its clients finish."""
    objects = overlay(name)
    spec = pod_of(the(objects, "Deployment", "server"))["spec"]
    assert leaves_s(daemon(objects)) < spec["terminationGracePeriodSeconds"] <= 30


@pytest.mark.parametrize("name", OVERLAYS)
def test_haproxy_has_the_time_to_leave(name: str) -> None:
    """It goes on accepting until balancers have heard, and is not killed while clients finish."""
    spec = pod_of(the(overlay(name), "DaemonSet", "haproxy"))["spec"]
    waits_s = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert waits_s >= 15
    assert waits_s + seconds("hard-stop-after") < spec["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("name", ["cluster", "monitoring-operator"])
def test_a_master_has_the_time_to_hand_over(name: str) -> None:
    """To either of its replicas, before it is stopped as in deploy/cluster.yml."""
    script = (ROOT / "deploy" / "redis" / "node.sh").read_text()
    ask_s, look_s, looks = (
        int(re.findall(rf"^{word}=(\d+)$", script, re.MULTILINE)[0])
        for word in ("ASK_S_MAX", "LOOK_S", "HANDOVER_LOOKS")
    )
    hands_over_s = 2 * (2 * ask_s + looks * look_s)
    stops_s = composed.seconds(
        composed.services("deploy/cluster.yml")["redis-0-0"]["stop_grace_period"]
    )
    for number in range(3):
        spec = pod_of(the(overlay(name), "StatefulSet", f"redis-{number}"))["spec"]
        asked = spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        assert asked == ["sh", "/etc/redis/node.sh", "leave", "/run/secrets"]
        assert hands_over_s + stops_s <= spec["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_daemons_fit_in_haproxys_slots(name: str) -> None:
    """While all are replaced too: who has left holds a slot until HAProxy has forgotten it."""
    objects = overlay(name)
    (slots,) = {int(n) for n in re.findall(r"server-template \w+ 1-(\d+)", HAPROXY.read_text())}
    spec = the(objects, "Deployment", "server")["spec"]
    rolling = spec["strategy"]["rollingUpdate"]
    assert rolling["maxUnavailable"] == 0
    held_s = leaves_s(daemon(objects)) + seconds("hold obsolete")
    left = math.ceil(held_s / spec["minReadySeconds"]) * rolling["maxSurge"]
    most = the(objects, "HorizontalPodAutoscaler", "server")["spec"]["maxReplicas"]
    assert most + rolling["maxSurge"] + left <= slots


@pytest.mark.parametrize("name", OVERLAYS)
def test_daemons_go_slowly(name: str) -> None:
    """One at a time, when it has long been too many, and its clients have long gone elsewhere."""
    objects = overlay(name)
    down = the(objects, "HorizontalPodAutoscaler", "server")["spec"]["behavior"]["scaleDown"]
    (policy,) = down["policies"]
    assert policy["type"] == "Pods"
    assert policy["value"] == 1
    assert policy["periodSeconds"] > leaves_s(daemon(objects)) + seconds("hold obsolete")
    assert down["stabilizationWindowSeconds"] >= 300


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_header_is_believed_from_pods_only(name: str) -> None:
    """The pods' range, a private one."""
    objects = overlay(name)
    believed = daemon(objects).networks()
    assert believed == addresses.networks(
        data_of(the(objects, "ConfigMap", "cluster"))["POD_NETWORKS"]
    )
    private = addresses.networks(PRIVATE_NETWORKS)
    for network in believed:
        assert any(network.version == p.version and network.subnet_of(p) for p in private)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", OVERLAYS)
def test_dns_tells_of_those_that_leave(name: str) -> None:
    """And of nodes that are not ready: they look for each other. Clients come by their machine."""
    objects = overlay(name)
    for service in of_kind(objects, "Service"):
        if service["metadata"]["name"].startswith(("server", "redis")) and "exporter" not in str(
            service["metadata"]["name"]
        ):
            assert service["spec"]["clusterIP"] == "None"
            assert service["spec"]["publishNotReadyAddresses"]
    assert the(objects, "Service", "entrance")["spec"]["externalTrafficPolicy"] == "Local"


@pytest.mark.parametrize("name", ["cluster", "monitoring-operator"])
def test_a_machine_has_one_node_of_a_shard(name: str) -> None:
    """At any price; and one node of all goes at a time."""
    objects = overlay(name)
    for number in range(3):
        one = the(objects, "StatefulSet", f"redis-{number}")
        assert pod_names(one) == [f"redis-{number}-{n}" for n in range(3)]
        first = pod_of(one)["spec"]["topologySpreadConstraints"][0]
        assert first["whenUnsatisfiable"] == "DoNotSchedule"
        assert (first["maxSkew"], first["minDomains"]) == (1, 3)
        assert first["labelSelector"]["matchLabels"]["shard"] == str(number)
        assert one["spec"]["podManagementPolicy"] == "Parallel"
        assert one["spec"]["updateStrategy"] == {"type": "OnDelete"}
    budget = the(objects, "PodDisruptionBudget", "redis")["spec"]
    assert budget == {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "redis"}}}


@pytest.mark.parametrize("name", OVERLAYS)
def test_objects_are_small_enough(name: str) -> None:
    """To be applied, in whichever way."""
    for one in overlay(name):
        assert len(json.dumps(one)) < ANNOTATION_BYTES_MAX


def probes(objects: list[Object], kind: str, name: str) -> dict[str, str]:
    """The pages that a pod is asked for, by probe."""
    container = containers_of(the(objects, kind, name))[0]
    return {
        probe: container[probe]["httpGet"]["path"]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe")
        if probe in container
    }


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_daemon_is_well_without_its_store(name: str, echod: Callable[..., Any]) -> None:
    """Both pages say so, of a daemon whose Redis nobody answers for (docs/adr/0004)."""
    asked = probes(overlay(name), "Deployment", "server")
    assert asked == {"livenessProbe": "/livez", "readinessProbe": "/readyz"}
    lonely = echod(store="redis://127.0.0.1:1/0")
    assert [lonely.get(page)[0] for page in asked.values()] == [200, 200]


@pytest.mark.parametrize("name", OVERLAYS)
def test_haproxy_is_well_without_daemons(name: str, tmp_path: Path) -> None:
    """But has not started: it must have seen one."""
    asked = probes(overlay(name), "DaemonSet", "haproxy")
    nobody = haproxy_server.Daemon("nobody", "127.0.0.1:1", "127.0.0.1:1", "127.0.0.1:1")
    with haproxy_server.start(tmp_path, HAPROXY, [nobody]) as haproxy:

        def status(probe: str) -> int:
            try:
                with web.page(f"http://{haproxy.ready['stats']}{asked[probe]}", timeout=10) as page:
                    return int(page.status)
            except OSError as error:
                return int(getattr(error, "code", 0))

        assert status("readinessProbe") == status("livenessProbe") == 200
        until(lambda: status("startupProbe") == 503, 20, "HAProxy to see that nobody is there")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> list[Object]:
    """The overlay that docs/kubernetes.md has people write, with secrets of their own."""
    folder = tmp_path_factory.mktemp("own")
    mine = folder / "secrets"
    mine.mkdir()
    for name in ("redis_echod", "redis_replica", "redis_admin"):
        (mine / name).write_text(f"my-{name}")
    (mine / "redis_exporter.json").write_text(
        json.dumps(dict.fromkeys(secret_files.EXPORTER_ADDRESSES, "my-exporter"))
    )
    secret_files.make_certificates(mine, secret_files.NAMES)
    (text,) = re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    text = text.replace("../../../secrets/own", "secrets")
    text = text.replace("../cluster", os.path.relpath(KUBERNETES / "cluster", folder.resolve()))
    (folder / "kustomization.yaml").write_text(text)
    return read(build(folder))


def test_what_the_guide_has_people_write(own: list[Object]) -> None:
    """Replaces what it says, and leaves the rest as it is."""
    assert list(references.missing(own)) == []
    haproxy, server = the(own, "DaemonSet", "haproxy"), the(own, "Deployment", "server")
    handed = files_of(server, containers_of(server)[0], own)
    assert handed["/run/secrets/redis_echod"].text == "my-redis_echod"
    handed = files_of(haproxy, containers_of(haproxy)[0], own)
    assert "PRIVATE KEY" in handed["/run/secrets/haproxy.pem"].text
    assert containers_of(server)[0]["image"].startswith("registry.example/")
    assert [str(network) for network in daemon(own).networks()] == ["10.244.0.0/16"]
    assert data_of(the(own, "ConfigMap", "cluster"))["DOMAIN"] == "cluster.local"
    usual = overlay("cluster")
    assert sorted(one["kind"] for one in own) == sorted(one["kind"] for one in usual)


def test_the_guide_names_what_there_is() -> None:
    """Each overlay, with the command that applies it."""
    text = GUIDE.read_text()
    assert all(f"deploy/kubernetes/{name}" in text for name in OVERLAYS)
    assert yaml.safe_load((KUBERNETES / "single" / "kustomization.yaml").read_text())
