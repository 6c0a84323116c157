"""No check of deploy/kubernetes takes everything: each mistake below is found, and named.

A mistake is made in the objects of an overlay, as a wrong line in a file of it would make it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.kubernetes import hardened, reach, references, schemas
from tests.kubernetes.rendered import (
    POD_NAME,
    containers_of,
    of_kind,
    overlay,
    pod_of,
    the,
    volumes_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.kubernetes.rendered import Object


class Mistake(NamedTuple):
    """What is done, which check finds it, and what that says of it."""

    make: Callable[[list[Object]], object]
    check: references.Check
    named: str
    overlay: str = "cluster"


def newest(objects: list[Object]) -> Iterator[str]:
    """The schemas' check, of the newest version."""
    return schemas.misfits(objects, schemas.VERSIONS[-1])


def server(objects: list[Object]) -> Object:
    """The daemons' pod."""
    spec: Object = pod_of(the(objects, "Deployment", "server"))["spec"]
    return spec


def container(objects: list[Object], kind: str = "Deployment", name: str = "server") -> Object:
    """The one container of a workload."""
    return containers_of(the(objects, kind, name))[0]


def spec(objects: list[Object], kind: str, name: str) -> Object:
    """What an object says."""
    said: Object = the(objects, kind, name)["spec"]
    return said


def without(objects: list[Object], kind: str, name: str) -> None:
    """Leave an object out."""
    objects.remove(the(objects, kind, name))


def variable(objects: list[Object], kind: str, name: str, named: str) -> Object:
    """A container's variable."""
    return next(each for each in container(objects, kind, name)["env"] if each["name"] == named)


def policies_without_ports(objects: list[Object], name: str) -> None:
    """A policy that lets its members reach every port of each other."""
    for side in ("ingress", "egress"):
        for rule in spec(objects, "NetworkPolicy", name)[side]:
            del rule["ports"]


MISTAKES = {
    # What Kubernetes itself would refuse.
    "a field misspelt": Mistake(
        lambda o: server(o).update(restartPolcy="Always"), newest, "Deployment server: $.spec"
    ),
    "a number in words": Mistake(
        lambda o: spec(o, "StatefulSet", "redis-0").update(replicas="three"), newest, "redis-0: $.spec.replicas"
    ),
    "a kind of no version": Mistake(
        lambda o: the(o, "PodDisruptionBudget", "server").update(apiVersion="policy/v1beta1"), newest, "policy/v1beta1"
    ),
    "an operator's field misspelt": Mistake(
        lambda o: spec(o, "ServiceMonitor", "echod")["endpoints"][0].update(intervall="5s"), newest, "intervall", "monitoring-operator"
    ),
    "a rule without an expression": Mistake(
        lambda o: spec(o, "PrometheusRule", "balance")["groups"][0]["rules"][0].pop("expr"), newest, "expr", "monitoring-operator"
    ),
    "a kind without a schema": Mistake(
        lambda o: the(o, "Probe", "redis").update(kind="Prober"), newest, "no schema for Prober", "monitoring-operator"
    ),
    # What a pod may do.
    "a privileged container": Mistake(
        lambda o: container(o)["securityContext"].update(privileged=True), hardened.unrestricted, "server: privileged"
    ),
    "rights that grow": Mistake(
        lambda o: container(o)["securityContext"].pop("allowPrivilegeEscalation"), hardened.unrestricted, "allowPrivilegeEscalation"
    ),
    "a capability": Mistake(
        lambda o: container(o)["securityContext"]["capabilities"].update(add=["NET_ADMIN"]), hardened.unrestricted, "NET_ADMIN"
    ),
    "capabilities kept": Mistake(
        lambda o: container(o)["securityContext"].pop("capabilities"), hardened.unrestricted, "drops not ALL"
    ),
    "root": Mistake(
        lambda o: server(o)["securityContext"].update(runAsUser=0), hardened.unrestricted, "runAsUser is 0"
    ),
    "a user by an image's name": Mistake(
        lambda o: server(o)["securityContext"].pop("runAsUser"), hardened.unrestricted, "runAsUser is None"
    ),
    "maybe root": Mistake(
        lambda o: server(o)["securityContext"].pop("runAsNonRoot"), hardened.unrestricted, "runAsNonRoot"
    ),
    "every system call": Mistake(
        lambda o: server(o)["securityContext"].pop("seccompProfile"), hardened.unrestricted, "seccomp"
    ),
    "the machine's network": Mistake(
        lambda o: server(o).update(hostNetwork=True), hardened.unrestricted, "hostNetwork"
    ),
    "a port of the machine": Mistake(
        lambda o: container(o, "DaemonSet", "haproxy")["ports"][0].update(hostPort=1234), hardened.unrestricted, "hostPort 1234"
    ),
    "a folder of the machine": Mistake(
        lambda o: server(o)["volumes"].append({"name": "root", "hostPath": {"path": "/"}}), hardened.unrestricted, "volume root is hostPath"
    ),
    "a privileged container before the others": Mistake(
        lambda o: server(o).update(initContainers=[{"name": "first", "securityContext": {"privileged": True}}]), hardened.unrestricted, "first: privileged"
    ),
    "a file system that can be written": Mistake(
        lambda o: container(o)["securityContext"].pop("readOnlyRootFilesystem"), hardened.soft, "can be written"
    ),
    "no bound of memory": Mistake(
        lambda o: container(o)["resources"]["limits"].pop("memory"), hardened.soft, "no limits of memory"
    ),
    "a way to Kubernetes": Mistake(
        lambda o: server(o).pop("automountServiceAccountToken"), hardened.soft, "automountServiceAccountToken"
    ),
    "variables of Services": Mistake(
        lambda o: server(o).pop("enableServiceLinks"), hardened.soft, "enableServiceLinks"
    ),
    "nobody for orphans": Mistake(
        lambda o: server(o).pop("shareProcessNamespace"), hardened.soft, "orphans"
    ),
    "an image without a version": Mistake(
        lambda o: container(o).update(image="echofleet-server"), hardened.soft, "has no version"
    ),
    # What is named and not there.
    "a Service's selector misspelt": Mistake(
        lambda o: spec(o, "Service", "server")["selector"].update(app="sever"), references.unmet, "Service server: selector meets no pod"
    ),
    "a Service of a pod that is not there": Mistake(
        lambda o: spec(o, "Service", "redis-2-2")["selector"].update({POD_NAME: "redis-2-3"}), references.unmet, "Service redis-2-2: selector meets no pod"
    ),
    "a Service of everyone": Mistake(
        lambda o: spec(o, "Service", "server")["selector"].clear(), references.unmet, "Service server: selector meets"
    ),
    "a workload's selector misspelt": Mistake(
        lambda o: spec(o, "Deployment", "server")["selector"]["matchLabels"].update(app="sever"), references.unmet, "Deployment server: selector meets not its own pods"
    ),
    "a shard that takes another's nodes": Mistake(
        lambda o: spec(o, "StatefulSet", "redis-0")["selector"]["matchLabels"].pop("shard"), references.unmet, "StatefulSet redis-0: selector meets pods of StatefulSet redis-1"
    ),
    "a budget's selector misspelt": Mistake(
        lambda o: spec(o, "PodDisruptionBudget", "redis")["selector"]["matchLabels"].update(app="rediss"), references.unmet, "PodDisruptionBudget redis"
    ),
    "a spread over other pods": Mistake(
        lambda o: pod_of(the(o, "StatefulSet", "redis-1"))["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"].update(shard="0"), references.unmet, "StatefulSet redis-1: spread over kubernetes.io/hostname"
    ),
    "a policy of nobody": Mistake(
        lambda o: spec(o, "NetworkPolicy", "balance")["podSelector"]["matchLabels"].update({"network/balance": "no"}), references.unmet, "NetworkPolicy balance: podSelector meets no pod"
    ),
    "a policy for nobody": Mistake(
        lambda o: spec(o, "NetworkPolicy", "store")["ingress"][0]["from"][0]["podSelector"]["matchLabels"].update({"network/store": "no"}), references.unmet, "NetworkPolicy store: ingress: meets no pod"
    ),
    "a policy for a port of nobody": Mistake(
        lambda o: spec(o, "NetworkPolicy", "watch")["ingress"][0]["ports"][0].update(port=8082), references.unmet, "nobody listens at 8082"
    ),
    "a Service's port of nobody": Mistake(
        lambda o: spec(o, "Service", "prometheus")["ports"][0].update(targetPort="web"), references.unmet, "Service prometheus: port web is none of"
    ),
    "an autoscaler of nothing": Mistake(
        lambda o: spec(o, "HorizontalPodAutoscaler", "server")["scaleTargetRef"].update(name="echod"), references.unmet, "no Deployment echod"
    ),
    "two who say how many": Mistake(
        lambda o: spec(o, "Deployment", "server").update(replicas=4), references.unmet, "has a number of its own"
    ),
    "a StatefulSet without its Service": Mistake(
        lambda o: spec(o, "StatefulSet", "redis-0").update(serviceName="nodes"), references.unmet, "serviceName nodes"
    ),
    "a probe of no port": Mistake(
        lambda o: container(o)["readinessProbe"]["httpGet"].update(port="http"), references.unmet, "readinessProbe asks port http"
    ),
    "a monitor of nothing": Mistake(
        lambda o: spec(o, "ServiceMonitor", "echod")["selector"]["matchLabels"].update(app="echod"), references.unmet, "ServiceMonitor echod: selector meets no Service", "monitoring-operator"
    ),
    "a monitor of no port": Mistake(
        lambda o: spec(o, "ServiceMonitor", "haproxy")["endpoints"][0].update(port="metrics"), references.unmet, "has no port metrics", "monitoring-operator"
    ),
    "a key that the secret has not": Mistake(
        lambda o: the(o, "Secret", "passwords")["data"].pop("redis_echod"), references.missing, "has no key redis_echod"
    ),
    "a password that Redis's users need": Mistake(
        lambda o: the(o, "Secret", "passwords")["data"].pop("redis_replica"), references.missing, "StatefulSet redis-0: redis: no file /run/secrets/redis_replica"
    ),
    "no secret": Mistake(
        lambda o: without(o, "Secret", "certificates"), references.missing, "DaemonSet haproxy: no Secret certificates"
    ),
    "a key that the settings have not": Mistake(
        lambda o: the(o, "ConfigMap", "cluster")["data"].pop("DOMAIN"), references.missing, "has no key DOMAIN"
    ),
    "a script's neighbour left out": Mistake(
        lambda o: the(o, "ConfigMap", "redis")["data"].pop("cluster.conf"), references.missing, "no file /etc/redis/cluster.conf"
    ),
    "a file left out that a command names": Mistake(
        lambda o: the(o, "ConfigMap", "haproxy")["data"].pop("haproxy.cfg"), references.missing, "no file /usr/local/etc/haproxy/haproxy.cfg"
    ),
    "a rule file left out": Mistake(
        lambda o: the(o, "ConfigMap", "prometheus")["data"].pop("store.yml"), references.missing, "has no key store.yml"
    ),
    "a script's name misspelt": Mistake(
        lambda o: container(o, "StatefulSet", "redis-0")["lifecycle"]["preStop"]["exec"].update(
            command=["sh", "/etc/redis/nodes.sh", "leave"]
        ),
        references.missing,
        "no file /etc/redis/nodes.sh",
    ),
    "a mount of no volume": Mistake(
        lambda o: container(o)["volumeMounts"][0].update(name="secret"), references.missing, "no volume secret"
    ),
    "a volume that nobody mounts": Mistake(
        lambda o: container(o, "StatefulSet", "grafana")["volumeMounts"].pop(0), references.missing, "is mounted nowhere"
    ),
    "a ConfigMap's name misspelt": Mistake(
        lambda o: volumes_of(the(o, "StatefulSet", "alertmanager"))["config"]["configMap"].update(name="alerts"), references.missing, "no ConfigMap alerts"
    ),
    "a variable that nothing defines": Mistake(
        lambda o: container(o)["env"].remove(variable(o, "Deployment", "server", "POD_NETWORKS")), references.missing, "$(POD_NETWORKS) is not defined"
    ),
    "a variable that is defined too late": Mistake(
        lambda o: container(o, "DaemonSet", "haproxy")["env"].reverse(), references.missing, "$(NAMESPACE) is not defined"
    ),
    "a node without its name": Mistake(
        lambda o: without(o, "Service", "redis-1-2"), references.unaddressed, "no Service of redis-1-2"
    ),
    # Who reaches whom.
    "no policy that holds everybody": Mistake(
        lambda o: without(o, "NetworkPolicy", "nobody"), reach.open_pods, "no policy holds every pod for Ingress"
    ),
    "a label of a network left out": Mistake(
        lambda o: pod_of(the(o, "DaemonSet", "haproxy"))["metadata"]["labels"].pop("network/balance"), reach.astray, "haproxy looks up server.echofleet.svc.cluster.local:1234: no policy"
    ),
    "a policy left out": Mistake(
        lambda o: without(o, "NetworkPolicy", "store"), reach.astray, "server looks up redis-0-0:6379: no policy"
    ),
    "the nodes' own port closed": Mistake(
        lambda o: without(o, "NetworkPolicy", "store-nodes"), reach.astray, "redis-0 looks up redis-1-0:16379: no policy"
    ),
    "Prometheus among those who are believed": Mistake(
        lambda o: policies_without_ports(o, "watch"), reach.believed, "StatefulSet prometheus reaches Deployment server at 1234"
    ),
    "the world among those who are believed": Mistake(
        lambda o: spec(o, "NetworkPolicy", "clients")["podSelector"].pop("matchLabels"), reach.believed, "the world reaches server at 1234"
    ),
    "a name that is not whole": Mistake(
        lambda o: variable(o, "DaemonSet", "haproxy", "ECHOD_ADDRESS").update(value="server:1234"), reach.astray, "haproxy looks up server:1234: no such name"
    ),
    "a name of another namespace": Mistake(
        lambda o: variable(o, "DaemonSet", "haproxy", "ECHOD_ADDRESS").update(value="server.fleet.svc.cluster.local:1234"), reach.astray, "no such name"
    ),
    "a Service that HAProxy asks for": Mistake(
        lambda o: the(o, "Service", "server")["metadata"].update(name="daemons"), reach.astray, "no Service server"
    ),
    "a Service that Prometheus asks for": Mistake(
        lambda o: without(o, "Service", "alertmanager"), reach.astray, "prometheus looks up alertmanager:9093: no Service"
    ),
    "a Service that Grafana asks for": Mistake(
        lambda o: spec(o, "Service", "prometheus")["ports"][0].update(port=80), reach.astray, "grafana looks up prometheus:9090: no such port"
    ),
    "a Service that Locust's workers ask for": Mistake(
        lambda o: spec(o, "Service", "loadtest")["ports"].pop(1), reach.astray, "loadtest-worker looks up loadtest:5557: no such port"
    ),
    "a Redis that daemons ask for": Mistake(
        lambda o: without(o, "Service", "redis"), reach.astray, "server looks up redis:6379: no Service redis", "single"
    ),
    "an exporter in another namespace": Mistake(
        lambda o: spec(o, "Probe", "redis")["prober"].update(url="redis-exporter.fleet.svc:9121"), reach.astray, "no such name", "monitoring-operator"
    ),
    "a node that nobody asks for": Mistake(
        lambda o: spec(o, "Probe", "redis")["targets"]["staticConfig"]["static"].pop(), reach.unasked, "nobody asks for redis-2-2", "monitoring-operator"
    ),
    "a node without a password": Mistake(
        lambda o: variable(o, "StatefulSet", "prometheus", "REDIS_NODES").update(value="redis-9:6379"), reach.unasked, "no password for redis-9:6379"
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_it_is_found_and_named(mistake: str) -> None:
    """By the check that it is about."""
    wrong = MISTAKES[mistake]
    objects = overlay(wrong.overlay)
    wrong.make(objects)
    said = list(wrong.check(objects))
    assert any(wrong.named in each for each in said), said


def test_every_check_is_tried() -> None:
    """No check is without a mistake that it finds."""
    of = {
        *(hardened.unrestricted, hardened.soft),
        *(references.unmet, references.missing, references.unaddressed),
        *(reach.open_pods, reach.believed, reach.astray, reach.unasked),
    }
    assert {mistake.check for mistake in MISTAKES.values()} == {*of, newest}
    assert of_kind(overlay("single"), "StatefulSet")
