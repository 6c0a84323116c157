"""Whether what objects name is there: pods behind selectors, files behind mounts, keys, ports."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.kubernetes.rendered import (
    POD_NAME,
    behind,
    called,
    containers_of,
    data_of,
    files_of,
    labels_of,
    meets,
    of_kind,
    pod_names,
    pod_of,
    ports_of,
    source_of,
    volumes_of,
    words_of,
    workloads,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.kubernetes.rendered import Object

    # What is wrong with the objects of an overlay, each in a line.
    Check = Callable[[list[Object]], Iterator[str]]

# Where a script finds its neighbours: `${0%/*}/cluster.conf`.
NEIGHBOUR = re.compile(r"\$\{0%/\*\}/([\w.-]+)")
# Where it finds its passwords: `$secrets/redis_admin`, and `{redis_echod}` in users.acl.
SECRET = re.compile(r"\$secrets/([\w.]+)|^user .*\{([\w.]+)\}", re.MULTILINE)


def unmet(objects: list[Object]) -> Iterator[str]:
    """Selectors that meet no pod, or another's, and names of objects that are not there."""
    made = workloads(objects)
    for one in made:
        yield from (f"{called(one)}: {said}" for said in _of_workload(one, objects))
    for one in of_kind(objects, "Service"):
        yield from (f"{called(one)}: {said}" for said in _of_service(one, objects))
    for one in of_kind(objects, "PodDisruptionBudget"):
        if not _met(one["spec"]["selector"], made):
            yield f"{called(one)}: selector meets no pod"
    for one in of_kind(objects, "NetworkPolicy"):
        yield from (f"{called(one)}: {said}" for said in _of_policy(one, made))
    for one in of_kind(objects, "HorizontalPodAutoscaler"):
        target = one["spec"]["scaleTargetRef"]
        named = f"{target['kind']} {target['name']}"
        scaled = [each for each in made if called(each) == named]
        if not scaled:
            yield f"{called(one)}: no {named}"
        if any("replicas" in each["spec"] for each in scaled):
            yield f"{called(one)}: {named} has a number of its own"
    for one in of_kind(objects, "ServiceMonitor"):
        yield from (f"{called(one)}: {said}" for said in _of_monitor(one, objects))


def _met(selector: Object, made: list[Object]) -> bool:
    return any(meets(selector, labels_of(one)) for one in made)


def _of_workload(one: Object, objects: list[Object]) -> Iterator[str]:
    spec = one["spec"]
    takes = [each for each in workloads(objects) if meets(spec["selector"], labels_of(each))]
    if one not in takes:
        yield "selector meets not its own pods"
    yield from (f"selector meets pods of {called(each)}" for each in takes if each is not one)
    for spread in pod_of(one)["spec"].get("topologySpreadConstraints", ()):
        if not meets(spread.get("labelSelector"), labels_of(one)):
            yield f"spread over {spread['topologyKey']} meets not its own pods"
    if one["kind"] == "StatefulSet":
        governing = [
            each
            for each in of_kind(objects, "Service")
            if each["metadata"]["name"] == spec["serviceName"]
        ]
        if not any(one in behind(each, objects) for each in governing):
            yield f"serviceName {spec['serviceName']} is no Service of its pods"
    ports = ports_of(one)
    for container in containers_of(one):
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            asked = container.get(probe, {}).get("httpGet")
            if asked and asked["port"] not in ports:
                yield f"{probe} asks port {asked['port']}, which it has not"


def _of_service(one: Object, objects: list[Object]) -> Iterator[str]:
    chosen = behind(one, objects)
    if not chosen:
        yield "selector meets no pod"
    # One by a pod's name chooses among the same pods again.
    if (
        len(chosen) > 1
        and len({each["metadata"].get("labels", {}).get("app") for each in chosen}) > 1
    ):
        yield f"selector meets {', '.join(map(called, chosen))}"
    for port in one["spec"]["ports"]:
        target = port.get("targetPort", port["port"])
        yield from (
            f"port {target} is none of {called(each)}"
            for each in chosen
            if target not in ports_of(each)
        )


def _of_policy(one: Object, made: list[Object]) -> Iterator[str]:
    spec = one["spec"]
    if not _met(spec["podSelector"], made):
        yield "podSelector meets no pod"
    chosen = [each for each in made if meets(spec["podSelector"], labels_of(each))]
    listened = {number for each in chosen for number in ports_of(each).values()}
    for side, peers in (("ingress", "from"), ("egress", "to")):
        for rule in spec.get(side, ()):
            for peer in rule.get(peers, ()):
                if "namespaceSelector" not in peer and not _met(peer["podSelector"], made):
                    yield f"{side}: meets no pod"
            if side == "ingress":
                yield from (
                    f"ingress: nobody listens at {port['port']}"
                    for port in rule.get("ports", ())
                    if port["port"] not in listened
                )


def _of_monitor(one: Object, objects: list[Object]) -> Iterator[str]:
    chosen = [
        each
        for each in of_kind(objects, "Service")
        if meets(one["spec"]["selector"], each["metadata"].get("labels", {}))
    ]
    if not chosen:
        yield "selector meets no Service"
    for endpoint in one["spec"]["endpoints"]:
        for service in chosen:
            if endpoint["port"] not in {port.get("name") for port in service["spec"]["ports"]}:
                yield f"{called(service)} has no port {endpoint['port']}"


def missing(objects: list[Object]) -> Iterator[str]:
    """Volumes, ConfigMaps, Secrets, keys, files and variables that are named and not there."""
    for one in workloads(objects):
        yield from (f"{called(one)}: {said}" for said in _volumes(one, objects))
        for container in containers_of(one):
            said = [
                *_mounts(one, container),
                *_variables(container, objects),
                *_files(one, container, objects),
            ]
            yield from (f"{called(one)}: {container['name']}: {each}" for each in said)


def _volumes(one: Object, objects: list[Object]) -> Iterator[str]:
    for name, volume in volumes_of(one).items():
        source = source_of(volume)
        if source is None:
            continue
        kind, owner, items = source
        found = [each for each in of_kind(objects, kind) if each["metadata"]["name"] == owner]
        if not found:
            yield f"no {kind} {owner}"
            continue
        yield from (
            f"{kind} {owner} has no key {item['key']}"
            for item in items or ()
            if item["key"] not in data_of(found[0])
        )
        if not any(
            mount["name"] == name
            for container in containers_of(one)
            for mount in container.get("volumeMounts", ())
        ):
            yield f"volume {name} is mounted nowhere"


def _mounts(one: Object, container: Object) -> Iterator[str]:
    mounts = container.get("volumeMounts", ())
    yield from (
        f"no volume {mount['name']}" for mount in mounts if mount["name"] not in volumes_of(one)
    )
    paths = [mount["mountPath"] for mount in mounts]
    yield from (f"{path} is mounted twice" for path in set(paths) if paths.count(path) > 1)


def _variables(container: Object, objects: list[Object]) -> Iterator[str]:
    defined: set[str] = set()
    for each in container.get("env", ()):
        # Only what stands above is expanded.
        yield from _undefined(each.get("value", ""), defined)
        defined.add(each["name"])
        for field, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
            ref = each.get("valueFrom", {}).get(field)
            if ref and not any(
                one["metadata"]["name"] == ref["name"] and ref["key"] in one["data"]
                for one in of_kind(objects, kind)
            ):
                yield f"{each['name']}: {kind} {ref['name']} has no key {ref['key']}"
    for word in container.get("args", ()):
        yield from _undefined(word, defined)


def _undefined(text: str, defined: set[str]) -> Iterator[str]:
    for name in re.findall(r"\$\(([A-Z_]+)\)", text):
        if name not in defined:
            yield f"$({name}) is not defined"


def _files(one: Object, container: Object, objects: list[Object]) -> Iterator[str]:
    """Files that a command, a probe, a variable or a mounted script names below a mount."""
    files = files_of(one, container, objects)
    volumes = volumes_of(one)
    mounts = [
        mount["mountPath"]
        for mount in container.get("volumeMounts", ())
        if source_of(volumes.get(mount["name"], {}))
    ]
    named = {
        path
        for word in words_of(container)
        for path in re.findall(r"/[\w./-]+", word)
        if any(path.startswith(f"{mount}/") for mount in mounts)
    }
    for path, file in files.items():
        folder = path.rpartition("/")[0]
        named |= {f"{folder}/{name}" for name in NEIGHBOUR.findall(file.text)}
        if file.kind == "ConfigMap" and folder == "/etc/redis":
            secrets = {first or second for first, second in SECRET.findall(file.text)}
            named |= {f"/run/secrets/{name}" for name in secrets}
    yield from (f"no file {path}" for path in sorted(named - set(files)))


def unaddressed(objects: list[Object]) -> Iterator[str]:
    """Pods of a StatefulSet whose Service by their own name is not there, where one has some."""
    named = {one["spec"]["selector"].get(POD_NAME) for one in of_kind(objects, "Service")} - {None}
    for one in of_kind(objects, "StatefulSet"):
        names = set(pod_names(one))
        if names & named:
            yield from (f"{called(one)}: no Service of {name}" for name in sorted(names - named))
