"""deploy/swarm is docker-compose.yml in Swarm's words: what both say is the same.

Images, commands, users, limits, health checks, networks, files, secrets, volumes, ports. What
Swarm needs and Compose does not is listed here, each with its reason. No engine is asked:
whether it runs is another question (docs/swarm.md).
"""

from __future__ import annotations

import math
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import swarm
from lab.fleet.docker import docker
from tests.config.test_compose_config import CLUSTER, DEFAULTS, configured, daemon, document
from tests.config.test_haproxy_config import OUT_OF_DNS_S, seconds

OWN_IMAGES = {
    "SERVER_IMAGE": "registry.example/server:1",
    "LOADTEST_IMAGE": "registry.example/loadtest:1",
}
ARGUMENTS = {"redis": [], "cluster": [*CLUSTER]}

# What both have under the same name and with the same value.
SAME = (
    *("command", "entrypoint", "user", "init", "read_only", "cap_drop", "logging"),
    *("stop_grace_period", "ulimits"),
)
# What is compared by a test of its own, or has a reason in stack.yml why it can't be the same.
COMPARED = {
    *("image", "build", "environment", "mem_limit", "cpus", "pids_limit", "deploy"),
    *("networks", "secrets", "volumes", "tmpfs", "healthcheck", "ports"),
}
# What `docker stack deploy` gives a service; it takes more words, and leaves them out silently.
GIVEN = {
    *(*SAME, "image", "environment", "deploy", "healthcheck"),
    *("networks", "ports", "volumes", "configs", "secrets"),
}
ABSENT = {"cpu_shares", "security_opt", "restart", "depends_on"}
# Swarm ends who fails a check.
OWN_CHECK = re.compile(r"haproxy|redis|redis-\d-\d")
OWN_VARIABLES = {"haproxy": {"ECHOD_ADDRESS", "SESSION_ADDRESS"}}
# In Compose's folders, and nothing for the service that has the folder.
UNUSED = {"variants.cfg", "tests"}

Service = dict[str, Any]


@pytest.fixture(scope="module")
def program() -> None:
    """The program; no engine."""
    if shutil.which("docker") is None:
        pytest.skip("docker is not on PATH")


def variables() -> dict[str, str]:
    """Those of .env, whatever the shell says; our images have names."""
    shell = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**swarm.settings(DEFAULTS.read_text(), shell), **OWN_IMAGES}


def rendered(store: str, *, pages: bool = False, **more: str) -> dict[str, Any]:
    """The stack as `docker stack config` gives it."""
    stack_files = swarm.files(store, pages=pages)
    env = swarm.environment(stack_files, "fleet", {**variables(), **more})
    return swarm.configured(stack_files, env)


@pytest.fixture(scope="module", params=swarm.STORES)
def store(request: pytest.FixtureRequest) -> str:
    """One Redis, and three shards."""
    return str(request.param)


@pytest.fixture(scope="module")
def stack(program: None, store: str) -> dict[str, Any]:  # noqa: ARG001 — it may skip
    """The stack on this store, with its pages."""
    return rendered(store, pages=True)


@pytest.fixture(scope="module")
def both(
    stack: dict[str, Any], store: str, compose: list[str]
) -> dict[str, tuple[Service, Service]]:
    """Each service by its name, as Compose and as Swarm have it."""
    composed = configured(compose, *ARGUMENTS[store])
    assert set(composed) == set(stack["services"])
    return {name: (one, stack["services"][name]) for name, one in composed.items()}


Both = dict[str, tuple[Service, Service]]


def test_nothing_of_compose_is_forgotten(both: Both) -> None:
    """Whatever is new in docker-compose.yml is compared, or said to be Compose's alone."""
    for name, (composed, _) in both.items():
        assert set(composed) <= {*SAME, *COMPARED, *ABSENT}, name


def test_no_word_is_left_out(stack: dict[str, Any]) -> None:
    """`docker stack config` takes words that a deployed service never gets: tmpfs, security_opt."""
    for name, service in stack["services"].items():
        assert set(service) <= GIVEN, name


def test_the_same_words(both: Both) -> None:
    """Command, user, rights, logs, time to stop, open files."""
    for name, (composed, swarmed) in both.items():
        for key in SAME:
            assert swarmed.get(key) == composed.get(key), (name, key)


def test_the_same_images(both: Both) -> None:
    """Of .env; where Compose builds, the image has the name of one's own."""
    for name, (composed, swarmed) in both.items():
        wanted = composed.get("image")
        if "build" in composed:
            wanted = OWN_IMAGES[f"{Path(composed['build']['context']).name.upper()}_IMAGE"]
        assert swarmed["image"] == wanted, name


def test_the_same_variables(both: Both) -> None:
    """Each with the same value; HAProxy has where Swarm's DNS lists the daemons beside."""
    for name, (composed, swarmed) in both.items():
        found = swarmed.get("environment") or {}
        more = OWN_VARIABLES.get(name, set())
        assert more <= set(found)
        wanted = composed.get("environment") or {}
        assert {key: found[key] for key in found if key not in more} == wanted, name
    haproxy = both["haproxy"][1]["environment"]
    assert haproxy["ECHOD_ADDRESS"] == "tasks.server:1234"
    assert haproxy["SESSION_ADDRESS"] == "tasks.server:1235"


def test_the_same_limits(both: Both) -> None:
    """Memory, processes, and CPU where Compose limits it; as many of each."""
    for name, (composed, swarmed) in both.items():
        limits = swarmed["deploy"]["resources"]["limits"]
        assert int(limits["memory"]) == int(composed["mem_limit"]), name
        assert limits["pids"] == composed["pids_limit"], name
        assert float(limits.get("cpus", 0)) == composed.get("cpus", 0), name
        replicas = composed.get("deploy", {}).get("replicas", 1)
        assert swarmed["deploy"].get("replicas", 1) == replicas, name


def test_the_same_networks(both: Both, compose: list[str], stack: dict[str, Any]) -> None:
    """Who shares one, which have no way out, and from where PROXY headers are believed."""
    for name, (composed, swarmed) in both.items():
        assert set(swarmed["networks"]) == set(composed["networks"]), name
    composed_networks = document(compose)["networks"]
    assert set(stack["networks"]) == set(composed_networks)
    for name, network in composed_networks.items():
        assert stack["networks"][name].get("internal") == network.get("internal"), name
        subnets = [pool["subnet"] for pool in network["ipam"].get("config", [])]
        pools = stack["networks"][name].get("ipam", {}).get("config", [])
        assert [pool["subnet"] for pool in pools] == subnets, name


def test_the_same_checks(both: Both) -> None:
    """But for those who would be ended by one that fails where a restart does not help."""
    for name, (composed, swarmed) in both.items():
        found = dict(swarmed.get("healthcheck") or {})
        found.pop("start_period", None)
        if not OWN_CHECK.fullmatch(name):
            assert found == composed.get("healthcheck", {}), name
        elif name == "haproxy":
            # The same question; any answer will do.
            asked, kept = composed["healthcheck"]["test"][-1], found["test"][-1]
            assert asked.replace("grep -q ' 200 OK'", "grep -q '^HTTP/1'") == kept
        else:
            assert found["test"][-1].endswith("exec redis-cli --user admin ping"), name


def bound(composed: Service) -> dict[str, Path]:
    """Path in the container → file, of the folders of the repository that it has."""
    folders = [one for one in composed.get("volumes", []) if one["type"] == "bind"]
    return {
        f"{one['target']}/{path.relative_to(one['source'])}": path
        for one in folders
        for path in Path(one["source"]).rglob("*")
        if path.is_file() and not UNUSED & set(path.relative_to(one["source"]).parts)
    }


def test_the_same_files(both: Both, stack: dict[str, Any]) -> None:
    """Each of Compose's folders file by file; what is a secret has the same name."""
    for name, (composed, swarmed) in both.items():
        found = {
            one["target"]: Path(stack["configs"][one["source"]]["file"]).resolve()
            for one in swarmed.get("configs", [])
        }
        wanted = bound(composed)
        if name == "redis":
            wanted = {path: one for path, one in wanted.items() if one.stem in ("start", "users")}
        assert found == wanted, name
        names = {
            one.get("target", one["source"]): Path(stack["secrets"][one["source"]]["file"])
            for one in swarmed.get("secrets", [])
        }
        assert set(names) == {one["source"] for one in composed.get("secrets", [])}, name
        for inside, path in names.items():
            assert inside == path.name
        mounts = swarmed.get("volumes", [])
        temporary = [one["target"] for one in mounts if one["type"] == "tmpfs"]
        assert temporary == (composed.get("tmpfs") or []), name
        named = {one["source"]: one["target"] for one in mounts if one["type"] == "volume"}
        assert named == {
            one["source"]: one["target"]
            for one in composed.get("volumes", [])
            if one["type"] == "volume"
        }, name


def published(service: Service) -> set[tuple[int, int]]:
    """Which port is published as which."""
    return {(port["target"], int(port["published"])) for port in service.get("ports", [])}


def test_the_same_ports(both: Both, store: str) -> None:
    """By each machine itself; without pages.yml only those of clients."""
    for name, (composed, swarmed) in both.items():
        assert published(swarmed) == published(composed), name
        assert {port["mode"] for port in swarmed.get("ports", [])} <= {"host"}, name
    bare = rendered(store)["services"]
    assert {name for name in bare if bare[name].get("ports")} == {"haproxy"}
    assert {target for target, _ in published(bare["haproxy"])} == {1234, 1235, 2234, 2235}


def test_whatever_is_named_is_there(stack: dict[str, Any]) -> None:
    """Configs, secrets, volumes and networks; and none that nobody uses, but a replica's."""
    services = stack["services"].values()
    for kind in ("configs", "secrets", "volumes"):
        named = [one for service in services for one in service.get(kind, [])]
        used = {one["source"] for one in named if one.get("type") != "tmpfs"}
        assert used == set(stack.get(kind, {})), kind
    assert {name for one in services for name in one["networks"]} == set(stack["networks"])
    for kind in ("configs", "secrets"):
        for one in stack[kind].values():
            assert Path(one["file"]).is_file()


def test_names_are_resolved_to_every_address(stack: dict[str, Any]) -> None:
    """A virtual address would be one daemon to HAProxy, and one HAProxy to Prometheus."""
    assert {one["deploy"]["endpoint_mode"] for one in stack["services"].values()} == {"dnsrr"}


def test_haproxy_is_on_every_machine(stack: dict[str, Any]) -> None:
    """It alone; whatever ends is started again."""
    for name, service in stack["services"].items():
        mode = "global" if name == "haproxy" else "replicated"
        assert service["deploy"].get("mode", "replicated") == mode, name
        assert service["deploy"]["restart_policy"]["condition"] == "any", name


def test_who_has_a_disk_stays_on_its_machine(stack: dict[str, Any], store: str) -> None:
    """By a label that `make swarm` gives; no shard has two nodes on a machine."""
    places: dict[str, str] = {}
    for name, service in stack["services"].items():
        constraints = service["deploy"].get("placement", {}).get("constraints", [])
        if any(one["type"] == "volume" for one in service.get("volumes", [])):
            (places[name],) = constraints
    given = {
        f"node.labels.{label}=={value}"
        for machine in swarm.labels({name: {} for name in "abc"}, "abc", store)
        for label, value in [machine[1].split("=")]
    }
    assert set(places.values()) == given
    if store == "cluster":
        for shard in range(3):
            assert len({places[f"redis-{shard}-{number}"] for number in range(3)}) == 3
        assert len({places[f"redis-{shard}-0"] for shard in range(3)}) == 3


def test_updates(stack: dict[str, Any]) -> None:
    """Daemons: the new one first. HAProxy and who has a disk: the old one first."""
    services = stack["services"]
    for name in ("server", "haproxy"):
        update = services[name]["deploy"]["update_config"]
        assert update["failure_action"] == "rollback"
        assert update["parallelism"] == 1
        assert update["order"] == ("start-first" if name == "server" else "stop-first")
        assert services[name]["deploy"]["rollback_config"]["order"] == update["order"]
    for name, service in services.items():
        if any(one["type"] == "volume" for one in service.get("volumes", [])):
            update = service["deploy"].get("update_config", {})
            assert update.get("order", "stop-first") == "stop-first", name
            assert update.get("failure_action", "pause") == "pause", name


def test_an_update_fits_haproxys_slots(stack: dict[str, Any]) -> None:
    """A daemon that has left keeps its slot; docs/swarm.md says how many daemons leave room."""
    server = stack["services"]["server"]
    held_s = OUT_OF_DNS_S + seconds("hold obsolete")
    pace_s = float(server["deploy"]["update_config"]["delay"].removesuffix("s"))
    pace_s += float(server["healthcheck"]["interval"].removesuffix("s"))
    page = (swarm.ROOT / "docs" / "swarm.md").read_text()
    (most,) = re.findall(r"at most (\d+) daemons", page)
    assert int(most) + math.ceil(held_s / pace_s) <= 32
    assert int(server["deploy"]["replicas"]) <= int(most)


def test_haproxy_lets_a_leaving_daemon_finish(stack: dict[str, Any]) -> None:
    """Swarm takes it out of DNS first: its slot is kept until it must have gone."""
    server = stack["services"]["server"]
    settings = daemon(server)
    leaves_s = settings.drain_s + 2 * settings.commit_s_max + settings.linger_s_max
    assert OUT_OF_DNS_S + leaves_s < seconds("hold obsolete")
    assert leaves_s < float(server["stop_grace_period"].removesuffix("s"))


def test_names_change_with_the_content(program: None, tmp_path: Path) -> None:  # noqa: ARG001 — it may skip
    """Of the one secret whose file has changed, and of no other."""
    secrets = tmp_path / "secrets"
    shutil.copytree(swarm.ROOT / "secrets" / "default", secrets)
    before = rendered("redis", SECRETS=str(secrets))
    (secrets / "redis_admin").write_text("another\n")
    after = rendered("redis", SECRETS=str(secrets))
    for kind in ("configs", "secrets"):
        named = {one["name"] for one in before[kind].values()}
        assert len(named) == len(before[kind])
        changed = {
            key for key in before[kind] if before[kind][key]["name"] != after[kind][key]["name"]
        }
        assert changed == ({"redis_admin"} if kind == "secrets" else set())


@pytest.mark.parametrize("store", swarm.STORES)
def test_every_name_ends_with_its_own_hash(store: str) -> None:
    """Not with its neighbour's, which would not change with its file."""
    for path in swarm.files(store):
        text = path.read_text()
        for key, name in re.findall(r"^  (\w+):\n    name: (.*)$", text, re.MULTILINE):
            assert name == f"${{STACK}}_{key}_${{HASH_{key.upper()}}}"


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    """By its path."""
    with pytest.raises(swarm.SwarmError, match=str(tmp_path)):
        swarm.environment(swarm.files("redis"), "fleet", {"SECRETS": str(tmp_path)})


def test_a_rendered_stack_is_a_stack_file(stack: dict[str, Any], store: str) -> None:
    """Read once more it is the same, with the `$` of commands; so is each service of it alone."""
    words = ["stack", "config", "--compose-file", "-"]
    assert yaml.safe_load(docker(*words, feed=swarm.dumped(stack))) == stack
    for name in swarm.nodes(stack):
        alone = swarm.one_service(stack, name)
        assert yaml.safe_load(docker(*words, feed=swarm.dumped(alone))) == alone
    assert len(swarm.nodes(stack)) == (9 if store == "cluster" else 0)


def test_nodes_are_updated_replicas_first(stack: dict[str, Any], store: str) -> None:
    """As they began; who is a master now only the cluster knows."""
    numbers = [int(name[-1]) for name in swarm.nodes(stack)]
    assert numbers == sorted(numbers, reverse=True)
    if store == "cluster":
        assert numbers[-3:] == [0, 0, 0]
