"""deploy/kubernetes is docker-compose.yml in Kubernetes' words: what both say is the same.

Images, commands, users, limits, ports, variables, files, secrets, networks. What Kubernetes has
and Compose has not is listed here, each with its reason.
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any

import pytest

from lab.fleet.redis_node import SETTINGS
from tests.config.checks import ROOT
from tests.kubernetes import composed, reach
from tests.kubernetes.rendered import (
    OVERLAYS,
    WHOLE,
    containers_of,
    data_of,
    environment,
    expand,
    files_of,
    labels_of,
    of_kind,
    overlay,
    pod_of,
    ports_of,
    the,
    volumes_of,
    workloads,
)

if TYPE_CHECKING:
    from tests.kubernetes.rendered import Object

COMPOSE = composed.services("docker-compose.yml")
CLUSTER = composed.services("deploy/cluster.yml")
# Without the article's servers, which are there to be compared on one machine.
SERVICES = [name for name, service in COMPOSE.items() if "profiles" not in service]

# The users of images of ours and of HAProxy's, which Compose leaves to the image.
IMAGES_USERS = {"server": "10001:10001", "loadtest": "10001:10001", "haproxy": "99:99"}
# Beside Compose's: where daemons and HAProxy look for each other in a cluster.
MORE_VARIABLES = {
    "server": {"POD_NETWORKS"},
    "haproxy": {"NAMESPACE", "DOMAIN", "ECHOD_ADDRESS", "SESSION_ADDRESS"},
}


def workload(objects: list[Object], service: str) -> Object:
    """What runs a service of Compose."""
    (found,) = (one for one in workloads(objects) if one["metadata"]["name"] == service)
    return found


@pytest.fixture(scope="module", params=SERVICES)
def both(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any], Object, list[Object]]:
    """A service by its name, as Compose has it, as Kubernetes has it, and all of Kubernetes'."""
    objects = overlay("single")
    return request.param, COMPOSE[request.param], workload(objects, request.param), objects


Both = tuple[str, dict[str, Any], "Object", "list[Object]"]


def test_every_service_is_there() -> None:
    """And nothing beside."""
    assert sorted(one["metadata"]["name"] for one in workloads(overlay("single"))) == sorted(
        SERVICES
    )


def test_the_same_image(both: Both) -> None:
    """Of .env, or built from the same folder, at the project's version."""
    name, service, one, _ = both
    image = containers_of(one)[0]["image"]
    if "build" not in service:
        assert image == service["image"]
        return
    (version,) = re.findall(
        r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE
    )
    assert image == f"echofleet-{service['build']['context']}:{version}"
    assert name.startswith(service["build"]["context"])


def test_the_same_command(both: Both) -> None:
    """Of the daemons' all but the networks that they believe."""
    name, service, one, _ = both
    container = containers_of(one)[0]
    assert container.get("command") == service.get("entrypoint")
    wanted: list[str] | None = service.get("command")
    if name == "server" and wanted:
        balance = f"--proxy-networks={composed.settings()['BALANCE_SUBNET']}"
        wanted = ["--proxy-networks=$(POD_NETWORKS)" if w == balance else w for w in wanted]
    assert container.get("args") == wanted


def test_the_same_variables(both: Both) -> None:
    """Each with the same value, and only those that a cluster needs beside."""
    name, service, one, objects = both
    found = environment(containers_of(one)[0], objects)
    more = MORE_VARIABLES.get(name, set())
    assert more <= set(found)
    assert {key: text for key, text in found.items() if key not in more} == composed.environment(
        service
    )


def test_the_same_user(both: Both) -> None:
    """By number."""
    name, service, one, _ = both
    context = pod_of(one)["spec"]["securityContext"]
    said = service.get("user") or IMAGES_USERS[name.removesuffix("-worker")]
    assert f"{context['runAsUser']}:{context['runAsGroup']}" == said


@pytest.mark.parametrize("folder", ["server", "loadtest"])
def test_our_images_have_that_user(folder: str) -> None:
    """The number of the Dockerfile."""
    assert f"\nUSER {IMAGES_USERS[folder]}\n" in (ROOT / folder / "Dockerfile").read_text()


def test_the_same_limits(both: Both) -> None:
    """Memory, and CPU where Compose has a limit; who serves clients has none, and asks for some."""
    _, service, one, _ = both
    resources = containers_of(one)[0]["resources"]
    assert composed.mebibytes(resources["limits"]["memory"]) == composed.mebibytes(
        service["mem_limit"]
    )
    limit = resources["limits"].get("cpu")
    assert (limit and composed.cores(limit)) == service.get("cpus")
    asked = composed.cores(resources["requests"]["cpu"])
    if "cpu_shares" in service:
        assert asked >= 0.5
    assert asked <= service.get("cpus", asked)
    assert composed.mebibytes(resources["requests"]["memory"]) <= composed.mebibytes(
        service["mem_limit"]
    )


def test_the_same_time_to_stop(both: Both) -> None:
    """At least as long, if Compose says one."""
    _, service, one, _ = both
    grace_s = pod_of(one)["spec"].get("terminationGracePeriodSeconds", 30)
    assert grace_s >= composed.seconds(service.get("stop_grace_period", "10s"))


def test_the_same_ports(both: Both) -> None:
    """Whatever Compose publishes, a pod has."""
    _, service, one, _ = both
    published = {int(str(port).rsplit(":", 1)[1]) for port in service.get("ports", ())}
    assert published <= set(ports_of(one).values())


def test_the_same_question_about_health(both: Both) -> None:
    """The same command, or the same page that Compose's command asks for."""
    name, service, one, _ = both
    asked = service.get("healthcheck", {}).get("test")
    container = containers_of(one)[0]
    # HAProxy's is asked at its start only (docs/adr/0028).
    probe: Object = container.get("startupProbe" if name == "haproxy" else "readinessProbe", {})
    if asked is None:
        assert not probe
    elif "exec" in probe:
        assert ["CMD", *probe["exec"]["command"]] == asked
    elif name != "alertmanager":  # amtool asks for alerts, and there is a page for the question
        assert f"{probe['httpGet']['path']}" in asked[-1]


def test_the_same_networks(both: Both) -> None:
    """As labels."""
    _, service, one, _ = both
    labels = {key.partition("/")[2] for key in labels_of(one) if key.startswith("network/")}
    assert labels == set(service["networks"])


def test_the_same_secrets(both: Both) -> None:
    """Each is handed the secrets that it needs, and no other."""
    _, service, one, objects = both
    files = files_of(one, containers_of(one)[0], objects)
    handed = {path.removeprefix("/run/secrets/") for path, f in files.items() if f.kind == "Secret"}
    assert handed == set(service.get("secrets", ()))
    for name in handed:
        text = files[f"/run/secrets/{name}"].text
        assert text == (ROOT / "secrets" / "default" / name).read_text()


def test_the_same_files(both: Both) -> None:
    """At the same places, with the repository's content; a volume is a claim, tmpfs a medium."""
    name, service, one, objects = both
    container = containers_of(one)[0]
    files = {p: f for p, f in files_of(one, container, objects).items() if f.kind == "ConfigMap"}
    volumes = volumes_of(one)
    mounted = (
        {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
        if ("volumeMounts" in container)
        else {}
    )
    wanted: set[str] = set()
    for words in service.get("volumes", ()):
        source, target = words.split(":")[:2]
        if not source.startswith("."):
            assert "claim" in mounted[target]
            continue
        folder = ROOT / source
        for path in folder.rglob("*"):
            place = f"{target}/{path.relative_to(folder).as_posix()}"
            if path.is_file() and (name, path.name) not in LEFT_OUT and path.parent.name != "tests":
                wanted.add(place)
                assert files[place].text == path.read_text(), place
    assert set(files) == wanted
    for path in service.get("tmpfs", ()):
        assert mounted[path]["emptyDir"]["medium"] == "Memory"


# Of mounted folders: the variants are Compose's alone, and a cluster's files a cluster's.
LEFT_OUT = {
    ("haproxy", "variants.cfg"),
    ("redis", "node.sh"),
    ("redis", "cluster.conf"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_the_same_numbers(name: str) -> None:
    """Of daemons the fewest, of workers all."""
    objects = overlay(name)
    replicas = int(composed.settings()["ECHOD_REPLICAS"])
    assert the(objects, "HorizontalPodAutoscaler", "server")["spec"]["minReplicas"] == replicas
    workers = int(composed.settings()["LOCUST_WORKERS"])
    assert the(objects, "Deployment", "loadtest-worker")["spec"]["replicas"] == workers


def test_the_operator_expects_as_many() -> None:
    """In the place of start.sh."""
    rule = the(overlay("monitoring-operator"), "PrometheusRule", "expected")["spec"]["groups"][0]
    replicas = composed.settings()["ECHOD_REPLICAS"]
    assert rule["rules"] == [{"record": "fleet:daemons:expected", "expr": f"vector( {replicas} )"}]


@pytest.mark.parametrize("name", ["cluster", "monitoring-operator"])
def test_the_same_cluster(name: str) -> None:
    """The nodes of deploy/cluster.yml, with their settings; daemons and Prometheus know them."""
    objects = overlay(name)
    node = CLUSTER["redis-0-0"]
    names = node["environment"]["NODES"]
    for shard in range(3):
        one = the(objects, "StatefulSet", f"redis-{shard}")
        container = containers_of(one)[0]
        assert environment(container, objects) == {"NODE": "{metadata.name}", "NODES": names}
        assert container["command"] == node["entrypoint"]
        assert container["args"] == COMPOSE["redis"]["command"]
        assert container["image"] == COMPOSE["redis"]["image"]
        assert ["CMD", *container["readinessProbe"]["exec"]["command"]] == node["healthcheck"][
            "test"
        ]
        assert 2 * int(SETTINGS["maxmemory"].removesuffix("mb")) < composed.mebibytes(
            container["resources"]["limits"]["memory"]
        )
        files = files_of(one, container, objects)
        for script in ("start.sh", "node.sh", "users.acl", "cluster.conf"):
            text = (ROOT / "deploy" / "redis" / script).read_text()
            assert files[f"/etc/redis/{script}"].text == text
    assert [f"redis-{s}-{n}" for s, n in itertools.product(range(3), repeat=2)] == names.split()
    server = environment(containers_of(the(objects, "Deployment", "server"))[0], objects)
    assert server["ECHOD_STORE"] == CLUSTER["server"]["environment"]["ECHOD_STORE"]
    if name == "cluster":
        asks = environment(containers_of(the(objects, "StatefulSet", "prometheus"))[0], objects)
        assert asks["REDIS_NODES"] == CLUSTER["prometheus"]["environment"]["REDIS_NODES"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_only_who_shares_a_network_meets(name: str) -> None:
    """No policy lets a pod reach one with which Compose gives its container no network."""
    objects = overlay(name)
    for who, whom in itertools.permutations(workloads(objects), 2):
        mine, others = (
            {key for key in labels_of(one) if key.startswith("network/")} for one in (who, whom)
        )
        reached = [p for p in ports_of(whom).values() if reach.allows(objects, who, whom, p)]
        assert not reached or mine & others, (who["metadata"]["name"], whom["metadata"]["name"])


def test_from_outside_clients_come_and_nobody_else() -> None:
    """To HAProxy's client ports; and an operator's Prometheus to the metrics, and nothing else."""
    clients = {("haproxy", port) for port in (1234, 1235, 2234, 2235)}
    for name in WHOLE:
        assert set(reach.from_elsewhere(overlay(name))) == clients
    metrics = {("server", 8080), ("haproxy", 8404), ("redis-exporter", 9121)}
    assert set(reach.from_elsewhere(overlay("monitoring-operator"))) == clients | metrics


@pytest.mark.parametrize("name", OVERLAYS)
def test_nothing_goes_out_but_questions_for_names(name: str) -> None:
    """No pod reaches another namespace, but the DNS."""
    assert set(reach.to_elsewhere(overlay(name))) == {("names", 53)}


@pytest.mark.parametrize("name", OVERLAYS)
def test_dashboards_and_rules_are_all_there(name: str) -> None:
    """Every file of monitoring/ is in some object, as it is."""
    objects = overlay(name)
    texts = {text for one in of_kind(objects, "ConfigMap") for text in data_of(one).values()}
    dashboards = sorted((ROOT / "monitoring" / "grafana" / "dashboards").glob("*.json"))
    rules = sorted((ROOT / "monitoring" / "prometheus" / "rules").glob("*.yml"))
    assert dashboards
    assert rules
    assert all(path.read_text() in texts for path in dashboards)
    if name == "monitoring-operator":
        made = {one["metadata"]["name"] for one in of_kind(objects, "PrometheusRule")}
        assert made == {path.stem for path in rules} | {"expected"}
        labelled = {
            one["metadata"]["name"]
            for one in of_kind(objects, "ConfigMap")
            if "grafana_dashboard" in one["metadata"].get("labels", {})
        }
        assert labelled == {f"dashboard-{path.stem}" for path in dashboards}
    else:
        assert all(path.read_text() in texts for path in rules)


def test_variables_are_expanded_as_kubernetes_does() -> None:
    """What the other tests read variables with."""
    assert expand("a$(B)c$(D)", {"B": "1"}) == "a1c$(D)"
