"""What a pod may be and do: the profile *restricted* of Kubernetes, and what Compose asks for beside.

The profile is https://kubernetes.io/docs/concepts/security/pod-security-standards/, each of its
controls once. The namespace's label has Kubernetes hold it too; here it is known before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.kubernetes.rendered import called, containers_of, pod_of, volumes_of, workloads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kubernetes.rendered import Object

VOLUMES = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral"),
    *("persistentVolumeClaim", "projected", "secret"),
}
SECCOMP = ("RuntimeDefault", "Localhost")
# Allowed with some values; none is needed here.
MACHINES = ("seLinuxOptions", "appArmorProfile", "windowsOptions")
HOSTS = ("hostNetwork", "hostPID", "hostIPC")


def unrestricted(objects: list[Object]) -> Iterator[str]:
    """What the profile *restricted* would refuse."""
    for one in workloads(objects):
        name, spec = called(one), pod_of(one)["spec"]
        pods = spec.get("securityContext", {})
        for field in HOSTS:
            if spec.get(field):
                yield f"{name}: {field}"
        if pods.get("sysctls"):
            yield f"{name}: sysctls"
        for volume in volumes_of(one).values():
            kinds = set(volume) - {"name", "claim"}
            if kinds - VOLUMES:
                yield f"{name}: volume {volume['name']} is {', '.join(sorted(kinds))}"
        for container in containers_of(one):
            for said in _of_container(container, pods):
                yield f"{name}: {container['name']}: {said}"


def _of_container(container: Object, pods: Object) -> Iterator[str]:
    own = container.get("securityContext", {})
    merged = pods | own
    capabilities = own.get("capabilities", {})
    controls = {
        "privileged": not own.get("privileged"),
        "allowPrivilegeEscalation is not false": own.get("allowPrivilegeEscalation") is False,
        "drops not ALL capabilities": "ALL" in capabilities.get("drop", ()),
        f"adds capabilities {capabilities.get('add')}": set(capabilities.get("add", ()))
        <= {"NET_BIND_SERVICE"},
        "runAsNonRoot is not true": merged.get("runAsNonRoot") is True,
        # A number: the name of an image's user tells the kubelet nothing.
        f"runAsUser is {merged.get('runAsUser')}": bool(merged.get("runAsUser")),
        "no seccompProfile": merged.get("seccompProfile", {}).get("type") in SECCOMP,
        "procMount": own.get("procMount", "Default") == "Default",
    }
    yield from (said for said, well in controls.items() if not well)
    yield from (f"{field} is set" for field in MACHINES if field in merged)
    yield from (
        f"hostPort {port['hostPort']}" for port in container.get("ports", ()) if "hostPort" in port
    )


def soft(objects: list[Object]) -> Iterator[str]:
    """What docker-compose.yml's x-service says of every container, and is not said here."""
    for one in workloads(objects):
        name, spec = called(one), pod_of(one)["spec"]
        # `init: true`.
        if spec.get("shareProcessNamespace") is not True:
            yield f"{name}: nobody waits for its orphans"
        # A way to Kubernetes, and variables named after Services.
        for field in ("automountServiceAccountToken", "enableServiceLinks"):
            if spec.get(field) is not False:
                yield f"{name}: {field} is not false"
        for container in containers_of(one):
            if container.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
                yield f"{name}: {container['name']}: its file system can be written"
            resources = container.get("resources", {})
            for kind, what in (("requests", "cpu"), ("requests", "memory"), ("limits", "memory")):
                if what not in resources.get(kind, {}):
                    yield f"{name}: {container['name']}: no {kind} of {what}"
            if container["image"].partition(":")[2] in ("", "latest"):
                yield f"{name}: {container['name']}: image {container['image']} has no version"
