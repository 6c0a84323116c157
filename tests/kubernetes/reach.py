"""Who may reach whom, as the NetworkPolicies have it, and whether all who look others up can.

A policy takes pods by their labels; a pod that any policy takes is reached, or reaches, only as
some policy says. Addresses (ipBlock) are nobody's here.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NamedTuple

import yaml

from tests.kubernetes.rendered import (
    behind,
    called,
    containers_of,
    environment,
    expand,
    files_of,
    labels_of,
    meets,
    of_kind,
    pod_names,
    ports_of,
    workloads,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kubernetes.rendered import Object

# Behind HAProxy's ports and the daemons': who is there may say whose connection it is.
CLIENT_PORTS = (1234, 1235)
# Of the profile `variants`, which only Compose has; Prometheus finds it where it is.
ONLY_IN_COMPOSE = {"haproxy-variants"}


class Lookup(NamedTuple):
    """A name that somebody looks up, to connect there."""

    who: str
    host: str
    port: int
    # Whole, as HAProxy needs them.
    whole: bool = False


def allows(objects: list[Object], who: Object, whom: Object, port: int) -> bool:
    """Whether pods of one workload may connect to those of another."""
    return _side(objects, "Egress", who, whom, port) and _side(objects, "Ingress", whom, who, port)


def _side(objects: list[Object], side: str, mine: Object, peer: Object, port: int) -> bool:
    policies = [
        one["spec"]
        for one in of_kind(objects, "NetworkPolicy")
        if side in one["spec"]["policyTypes"] and meets(one["spec"]["podSelector"], labels_of(mine))
    ]
    peers = "from" if side == "Ingress" else "to"
    return not policies or any(
        _rule(rule, peers, peer, port) for spec in policies for rule in spec.get(side.lower(), ())
    )


def _rule(rule: Object, peers: str, peer: Object, port: int) -> bool:
    ports = rule.get("ports")
    if ports is not None and port not in {each["port"] for each in ports}:
        return False
    return peers not in rule or any(
        "namespaceSelector" not in each and meets(each.get("podSelector"), labels_of(peer))
        for each in rule[peers]
    )


def from_elsewhere(objects: list[Object]) -> Iterator[tuple[str, int]]:
    """What other namespaces, or the world, may connect to: the workload and the port."""
    for one in workloads(objects):
        for policy in of_kind(objects, "NetworkPolicy"):
            if not meets(policy["spec"]["podSelector"], labels_of(one)):
                continue
            for rule in policy["spec"].get("ingress", ()):
                if "from" not in rule or any("namespaceSelector" in each for each in rule["from"]):
                    yield from (
                        (one["metadata"]["name"], port["port"])
                        for port in rule["ports"]
                        if port["port"] in ports_of(one)
                    )


def to_elsewhere(objects: list[Object]) -> Iterator[tuple[str, int]]:
    """What a policy lets pods reach outside the namespace, but names: the policy and the port."""
    for policy in of_kind(objects, "NetworkPolicy"):
        for rule in policy["spec"].get("egress", ()):
            if "to" not in rule or any(set(each) != {"podSelector"} for each in rule["to"]):
                for port in rule.get("ports", [{"port": 0}]):
                    yield policy["metadata"]["name"], port["port"]


def open_pods(objects: list[Object]) -> Iterator[str]:
    """Sides on which a pod that no other policy takes is free: no policy takes all and says nothing."""
    for side in ("Ingress", "Egress"):
        if not any(
            one["spec"]["podSelector"] == {}
            and side in one["spec"]["policyTypes"]
            and side.lower() not in one["spec"]
            for one in of_kind(objects, "NetworkPolicy")
        ):
            yield f"no policy holds every pod for {side}"


def believed(objects: list[Object]) -> Iterator[str]:
    """Pods, but HAProxy's and the daemons' own, from which a daemon would believe a PROXY header."""
    daemons = [one for one in workloads(objects) if labels_of(one)["app"] == "server"]
    for one in workloads(objects):
        if labels_of(one)["app"] in ("haproxy", "server"):
            continue
        for daemon in daemons:
            for port in CLIENT_PORTS:
                if allows(objects, one, daemon, port):
                    yield f"{called(one)} reaches {called(daemon)} at {port}"
    yield from (
        f"the world reaches server at {port}"
        for name, port in from_elsewhere(objects)
        if name == "server" and port in CLIENT_PORTS
    )


def lookups(objects: list[Object]) -> Iterator[Lookup]:
    """Every name that a daemon, HAProxy, Prometheus, Grafana, Locust or a node looks up."""
    for one in workloads(objects):
        for container in containers_of(one):
            env = environment(container, objects)
            args = [expand(word, env) for word in container.get("args", ())]
            files = files_of(one, container, objects)
            who = one["metadata"]["name"]
            for host, port in _places(env, args):
                yield Lookup(who, host, port)
            for variable in ("ECHOD_ADDRESS", "SESSION_ADDRESS"):
                if variable in env:
                    host, port = _place(env[variable])
                    yield Lookup(who, host, port, whole=True)
                    # The agent of the same daemon (haproxy.cfg).
                    yield Lookup(who, host, 8081, whole=True)
            for path, file in files.items():
                if path.endswith("prometheus.yml"):
                    yield from (Lookup(who, *place) for place in _of_prometheus(file.text))
    for probe in of_kind(objects, "Probe"):
        for target in probe["spec"]["targets"]["staticConfig"]["static"]:
            yield Lookup("redis-exporter", *_place(target))
        # By a Prometheus of another namespace, so the exporter's name has its own in it.
        yield Lookup("redis-exporter", *_place(probe["spec"]["prober"]["url"]), whole=True)


def _place(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def _places(env: dict[str, str], args: list[str]) -> Iterator[tuple[str, int]]:
    store = env.get("ECHOD_STORE", "")
    yield from (_place(each) for each in re.findall(r"[\w.-]+:\d+", store.partition("@")[2]))
    yield from ((name, port) for name in env.get("NODES", "").split() for port in (6379, 16379))
    for word in args:
        if match := re.fullmatch(r"--host=tcp://([\w.-]+):(\d+)", word):
            yield match[1], int(match[2])
        if match := re.fullmatch(r"--master-host=([\w.-]+)", word):
            yield match[1], 5557


def _of_prometheus(text: str) -> Iterator[tuple[str, int]]:
    """Of prometheus.yml and Grafana's datasource, which has the same name, in the end of its path."""
    config = yaml.safe_load(text)
    for source in config.get("datasources", ()):
        yield _place(source["url"].removeprefix("http://"))
    for manager in config.get("alerting", {}).get("alertmanagers", ()):
        for each in manager["static_configs"]:
            yield from (_place(target) for target in each["targets"])
    for job in config.get("scrape_configs", ()):
        for each in job.get("static_configs", ()):
            yield from (_place(t) for t in each["targets"] if not t.startswith("127."))
        for each in job.get("dns_sd_configs", ()):
            yield from (
                (name, each["port"]) for name in each["names"] if name not in ONLY_IN_COMPOSE
            )
        for each in job.get("relabel_configs", ()):
            if each.get("target_label") == "__address__":
                yield _place(each["replacement"])


def astray(objects: list[Object]) -> Iterator[str]:
    """Names that are looked up and are no Service with that port, or whose pods may not be reached."""
    services = {one["metadata"]["name"]: one for one in of_kind(objects, "Service")}
    namespace = of_kind(objects, "Namespace")[0]["metadata"]["name"]
    callers = {one["metadata"]["name"]: one for one in workloads(objects)}
    for each in lookups(objects):
        said = f"{each.who} looks up {each.host}:{each.port}"
        name, _, rest = each.host.partition(".")
        if each.whole != bool(rest) or (rest and not f"{rest}.".startswith(f"{namespace}.svc.")):
            yield f"{said}: no such name"
            continue
        service = services.get(name)
        if service is None:
            yield f"{said}: no Service {name}"
            continue
        if each.port not in {port["port"] for port in service["spec"]["ports"]}:
            yield f"{said}: no such port"
        who = callers[each.who]
        # Itself, or a node like it, to which the same policies apply.
        for whom in behind(service, objects):
            if who is not whom and not allows(objects, who, whom, each.port):
                yield f"{said}: no policy lets it reach {called(whom)}"


def unasked(objects: list[Object]) -> Iterator[str]:
    """Redis nodes that Prometheus does not ask the exporter for, or for which it has no password."""
    nodes = {
        name
        for one in workloads(objects)
        if labels_of(one)["app"] == "redis"
        for name in (["redis"] if one["metadata"]["name"] == "redis" else pod_names(one))
    }
    asked = set()
    for one in workloads(objects):
        for container in containers_of(one):
            asked |= set(environment(container, objects).get("REDIS_NODES", "").split())
    for probe in of_kind(objects, "Probe"):
        asked |= set(probe["spec"]["targets"]["staticConfig"]["static"])
    yield from (f"nobody asks for {name}" for name in sorted(nodes) if f"{name}:6379" not in asked)
    exporter = next(one for one in workloads(objects) if called(one) == "Deployment redis-exporter")
    files = files_of(exporter, containers_of(exporter)[0], objects)
    passwords = json.loads(files["/run/secrets/redis_exporter.json"].text)
    for place in sorted(asked):
        if f"redis://exporter@{place}" not in passwords:
            yield f"the exporter has no password for {place}"
