"""What `kubectl kustomize` makes of deploy/kubernetes, and the views on it that the checks share.

Nothing here needs a cluster: an overlay is built, and read as the list of its objects.
"""

from __future__ import annotations

import base64
import functools
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tests.config.checks import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Object = dict[str, Any]

KUBERNETES = ROOT / "deploy" / "kubernetes"
KUBECTL = Path(sys.executable).parent / "kubectl"
OVERLAYS = ("single", "cluster", "monitoring-operator")
# Those with Prometheus, Alertmanager, Grafana and Locust of their own, as Compose has them.
WHOLE = ("single", "cluster")

# The files that an overlay reads are few and small.
BUILD_S_MAX = 60.0

PODS = ("Deployment", "StatefulSet", "DaemonSet")

# libyaml's is twenty times as fast, where PyYAML was built with it.
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def build(folder: Path) -> str:
    """The YAML of an overlay."""
    argv = [str(KUBECTL), "kustomize", "--load-restrictor", "LoadRestrictionsNone", str(folder)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=BUILD_S_MAX, check=False)
    assert done.returncode == 0, f"{folder}: {done.stderr}"
    assert not done.stderr, done.stderr
    return done.stdout


def read(text: str) -> list[Object]:
    """The objects of some YAML."""
    return [each for each in yaml.load_all(text, Loader=LOADER) if each]


@functools.cache
def _overlay(name: str) -> str:
    return json.dumps(read(build(KUBERNETES / name)))


def overlay(name: str) -> list[Object]:
    """The objects of an overlay; the caller may change them."""
    objects: list[Object] = json.loads(_overlay(name))
    return objects


def called(one: Object) -> str:
    """`Deployment server`."""
    return f"{one['kind']} {one['metadata']['name']}"


def of_kind(objects: Iterable[Object], *kinds: str) -> list[Object]:
    """Those of these kinds."""
    return [one for one in objects if one["kind"] in kinds]


def the(objects: Iterable[Object], kind: str, name: str) -> Object:
    """The one with this name; a generated name may end in its content's hash."""
    found = [
        one
        for one in of_kind(objects, kind)
        if re.fullmatch(rf"{re.escape(name)}(-[a-z0-9]{{10}})?", one["metadata"]["name"])
    ]
    assert len(found) == 1, f"{kind} {name}: {len(found)}"
    return found[0]


def workloads(objects: Iterable[Object]) -> list[Object]:
    """What makes pods."""
    return of_kind(objects, *PODS)


def pod_of(workload: Object) -> Object:
    """The pod that it makes: its template."""
    pod: Object = workload["spec"]["template"]
    return pod


def labels_of(workload: Object) -> dict[str, str]:
    """Its pods' labels."""
    labels: dict[str, str] = pod_of(workload)["metadata"]["labels"]
    return labels


def containers_of(workload: Object) -> list[Object]:
    """All of a pod's, those that run before the others too."""
    spec = pod_of(workload)["spec"]
    return [
        each
        for kind in ("initContainers", "containers", "ephemeralContainers")
        for each in spec.get(kind, ())
    ]


def pod_names(workload: Object) -> list[str]:
    """The names of a StatefulSet's pods, by which Services choose them."""
    if workload["kind"] != "StatefulSet":
        return []
    name = workload["metadata"]["name"]
    return [f"{name}-{number}" for number in range(workload["spec"].get("replicas", 1))]


def meets(selector: Object | None, labels: dict[str, str]) -> bool:
    """Whether a label selector takes these labels; an empty one takes all, none takes none."""
    if selector is None:
        return False
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    for wanted in selector.get("matchExpressions", ()):
        has = labels.get(wanted["key"])
        said = {
            "In": has in wanted.get("values", ()),
            "NotIn": has not in wanted.get("values", ()),
            "Exists": has is not None,
            "DoesNotExist": has is None,
        }
        if not said[wanted["operator"]]:
            return False
    return True


POD_NAME = "statefulset.kubernetes.io/pod-name"


def behind(service: Object, objects: Iterable[Object]) -> list[Object]:
    """The workloads whose pods a Service chooses; by one pod's name, its StatefulSet."""
    selector = dict(service["spec"].get("selector") or {})
    name = selector.pop(POD_NAME, None)
    return [
        one
        for one in workloads(objects)
        if meets({"matchLabels": selector}, labels_of(one))
        and (name is None or name in pod_names(one))
    ]


def ports_of(workload: Object) -> dict[str | int, int]:
    """A pod's ports, by name and by number."""
    listed = [port for each in containers_of(workload) for port in each.get("ports", ())]
    by_number: dict[str | int, int] = {
        port["containerPort"]: port["containerPort"] for port in listed
    }
    return by_number | {port["name"]: port["containerPort"] for port in listed if "name" in port}


def environment(container: Object, objects: Iterable[Object]) -> dict[str, str]:
    """A container's variables with their values, as Kubernetes would expand them.

    A field of the pod itself has its name in braces: `{metadata.name}`; the namespace, which is
    known, its value.
    """
    objects = list(objects)
    found: dict[str, str] = {}
    for each in container.get("env", ()):
        source = each.get("valueFrom", {})
        if "configMapKeyRef" in source:
            ref = source["configMapKeyRef"]
            found[each["name"]] = the(objects, "ConfigMap", ref["name"])["data"][ref["key"]]
        elif "fieldRef" in source:
            field = source["fieldRef"]["fieldPath"]
            namespace = of_kind(objects, "Namespace")[0]["metadata"]["name"]
            found[each["name"]] = namespace if field == "metadata.namespace" else "{" + field + "}"
        else:
            found[each["name"]] = expand(each.get("value", ""), found)
    return found


def expand(text: str, variables: dict[str, str]) -> str:
    """$(NAME) by its value; a name that is not defined stays, as in Kubernetes."""
    return re.sub(r"\$\((\w+)\)", lambda match: variables.get(match[1], match[0]), text)


@dataclass(frozen=True)
class File:
    """A file that a container finds."""

    text: str
    # A Secret's, or a ConfigMap's.
    kind: str


def volumes_of(workload: Object) -> dict[str, Object]:
    """A pod's volumes by name, those of its claims too."""
    listed = list(pod_of(workload)["spec"].get("volumes", ()))
    claims = [
        {"name": claim["metadata"]["name"], "claim": claim}
        for claim in workload["spec"].get("volumeClaimTemplates", ())
    ]
    return {volume["name"]: volume for volume in listed + claims}


def source_of(volume: Object) -> tuple[str, str, list[Object] | None] | None:
    """The kind and the name of what a volume's files come from, and its items, if it has any."""
    if "configMap" in volume:
        return "ConfigMap", volume["configMap"]["name"], volume["configMap"].get("items")
    if "secret" in volume:
        return "Secret", volume["secret"]["secretName"], volume["secret"].get("items")
    return None


def data_of(one: Object) -> dict[str, str]:
    """A ConfigMap's or a Secret's files."""
    if one["kind"] == "Secret":
        return {key: base64.b64decode(text).decode() for key, text in one["data"].items()}
    data: dict[str, str] = one["data"]
    return data


def files_of(workload: Object, container: Object, objects: list[Object]) -> dict[str, File]:
    """The files that a container is handed, by their paths; what is missing is left out."""
    found: dict[str, File] = {}
    volumes = volumes_of(workload)
    for mount in container.get("volumeMounts", ()):
        source = source_of(volumes.get(mount["name"], {}))
        if source is None:
            continue
        kind, name, items = source
        owner = [one for one in of_kind(objects, kind) if one["metadata"]["name"] == name]
        data = data_of(owner[0]) if owner else {}
        places = {key: key for key in data}
        if items is not None:
            places = {item["path"]: item["key"] for item in items if item["key"] in data}
        for path, key in places.items():
            found[f"{mount['mountPath']}/{path}"] = File(data[key], kind)
    return found


def words_of(container: Object) -> Iterator[str]:
    """Every text that a container is started, asked or stopped with."""
    yield from container.get("command", ())
    yield from container.get("args", ())
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        yield from container.get(probe, {}).get("exec", {}).get("command", ())
    before = container.get("lifecycle", {}).get("preStop", {})
    yield from before.get("exec", {}).get("command", ())
    for each in container.get("env", ()):
        yield each.get("value", "")
