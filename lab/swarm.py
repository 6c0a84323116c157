"""`make swarm`: deploy the fleet on a Docker Swarm (docs/swarm.md, deploy/swarm).

`docker stack deploy` does nearly all of it. This does what it can't: it reads .env, names each
config and secret by its content's hash, gives machines the labels by which data stay on theirs,
and updates the nodes of a cluster one after the other. It prints each command before it runs it;
with `--dry-run` it changes nothing.

    python -m lab.swarm [--store cluster] [--pages] [--name NAME] [--dry-run]

It speaks to the engine that `docker` speaks to, a manager of the swarm: DOCKER_HOST, a context.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from lab.errors import LabError
from lab.fleet.docker import docker

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

ROOT = Path(__file__).resolve().parents[1]
DIRECTORY = ROOT / "deploy" / "swarm"
STORES = ("redis", "cluster")
# A part of a SHA-256: two versions of one file never share it by accident.
HASH_DIGITS = 12
# Node N of these labels has N's data; one machine is enough for one Redis.
MACHINES = {"redis": ("0",), "cluster": ("0", "1", "2")}
REDIS_LABEL = "echofleet.redis"
WATCH_LABEL = "echofleet.watch"
# Swarm builds nothing.
OWN_IMAGES = ("SERVER_IMAGE", "LOADTEST_IMAGE")


class SwarmError(LabError):
    """The fleet can't be deployed so; the text says why, and what to do."""


# --- pure ---


def settings(text: str, shell: Mapping[str, str]) -> dict[str, str]:
    """The variables of a .env with the text `text`; the shell's have the last word."""
    lines = re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE)
    return {**dict(lines), **shell}


def files(store: str, *, pages: bool = False) -> list[Path]:
    """The stack files, in the order in which they are merged."""
    names = ["stack.yml", f"{store}.yml", *(["pages.yml"] if pages else [])]
    return [DIRECTORY / name for name in names]


def contents(stack_files: Sequence[Path], secrets: Path) -> Iterator[tuple[str, Path]]:
    """Each config and secret of these files by its name, with the file that it is made of."""
    for path in stack_files:
        document = yaml.safe_load(path.read_text())
        for kind in ("configs", "secrets"):
            for name, one in document.get(kind, {}).items():
                yield name, DIRECTORY / one["file"].replace("${SECRETS}", str(secrets))


def environment(
    stack_files: Sequence[Path], stack: str, variables: Mapping[str, str]
) -> dict[str, str]:
    """What `docker stack` needs beside the files: the variables, and STACK, SECRETS and HASH_….

    Raises:
        SwarmError: A file is missing.
    """
    # As in Compose, a relative path begins at the repository; in a stack file it would not.
    secrets = (ROOT / variables.get("SECRETS", "secrets/default")).resolve()
    hashes = {}
    for name, path in contents(stack_files, secrets):
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise SwarmError(f"{path}: {error.strerror}") from error
        hashes[f"HASH_{name.upper()}"] = digest[:HASH_DIGITS]
    return {**variables, **hashes, "STACK": stack, "SECRETS": str(secrets)}


def labels(
    machines: Mapping[str, Mapping[str, str]], ready: Collection[str], store: str
) -> list[tuple[str, str]]:
    """Which machine needs which label: (machine, `label=value`), from those that they have.

    A label that a machine has stays, though the machine is down: its data are there. New ones go
    to machines that are `ready`.

    Raises:
        SwarmError: Too few are ready, or two machines have the same label.
    """
    given = {name: own[REDIS_LABEL] for name, own in machines.items() if REDIS_LABEL in own}
    if len(set(given.values())) < len(given):
        raise SwarmError(f"two machines have the same {REDIS_LABEL}: {given}; take one away")
    free = sorted(set(ready) - set(given))
    missing = [value for value in MACHINES[store] if value not in given.values()]
    if len(free) < len(missing):
        raise SwarmError(
            f"--store {store} needs {len(MACHINES[store])} machines: none is ready for "
            f"{REDIS_LABEL}={missing[len(free)]}"
        )
    wanted = [(name, f"{REDIS_LABEL}={value}") for name, value in zip(free, missing, strict=False)]
    if not any(own.get(WATCH_LABEL) == "yes" for own in machines.values()):
        # Rather not beside the first Redis.
        wanted.append((max(ready), f"{WATCH_LABEL}=yes"))
    return wanted


def one_service(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The stack with this service alone, and all that it may refer to."""
    return {**document, "services": {name: document["services"][name]}}


def nodes(document: Mapping[str, Any]) -> list[str]:
    """The nodes of a cluster, in the order of an update: those that began as replicas first."""
    found = [name for name in document["services"] if re.fullmatch(r"redis-\d+-\d+", name)]
    return sorted(found, key=lambda name: [-int(part) for part in name.split("-")[:0:-1]])


def dumped(document: Mapping[str, Any]) -> str:
    """A rendered stack as a stack file: what is left of `$` is no variable."""
    return yaml.safe_dump(dict(document)).replace("$", "$$")


# --- docker ---


def configured(stack_files: Sequence[Path], env: Mapping[str, str]) -> dict[str, Any]:
    """The whole stack as Swarm would get it; no engine is needed."""
    words = [word for path in stack_files for word in ("--compose-file", str(path))]
    document: dict[str, Any] = yaml.safe_load(docker("stack", "config", *words, env=env))
    return document


def machines_there() -> tuple[dict[str, dict[str, str]], set[str]]:
    """The swarm's machines by name, with their labels; and which of them take containers.

    Raises:
        SwarmError: This engine is no manager; or two machines have the same name.
    """
    names = docker("node", "ls", "--format", "{{.ID}}").split()
    line = (
        "{{.Description.Hostname}} {{.Spec.Availability}} {{.Status.State}} {{json .Spec.Labels}}"
    )
    machines: dict[str, dict[str, str]] = {}
    ready = set()
    for text in docker("node", "inspect", "--format", line, *names).splitlines():
        name, availability, state, own = text.split(" ", 3)
        if name in machines:
            raise SwarmError(f"two machines have the name {name}")
        machines[name] = json.loads(own) or {}
        if (availability, state) == ("active", "ready"):
            ready.add(name)
    return machines, ready


def services_there(stack: str) -> set[str]:
    """The services that this stack has now."""
    label = f"label=com.docker.stack.namespace={stack}"
    names = docker("service", "ls", "--filter", label, "--format", "{{.Name}}").split()
    return {name.removeprefix(f"{stack}_") for name in names}


class Commands:
    """Commands that change something: each is printed before it runs; none runs in a dry run.

    What they print is for who waits, so `lab.fleet.docker`, which returns it, does not do.
    """

    def __init__(self, *, dry: bool) -> None:
        self.dry = dry

    def run(self, why: str, words: Sequence[str], feed: str | None = None) -> None:
        """Run one; `why` is said before."""
        print(f"# {why}\ndocker {shlex.join(words)}", flush=True)
        if self.dry:
            return
        done = subprocess.run(["docker", *words], input=feed, text=True, check=False)
        if done.returncode:
            raise SwarmError(f"docker {shlex.join(words)}: exit status {done.returncode}")


def deploy(stack: str, store: str, *, pages: bool, commands: Commands) -> None:
    """Deploy it, or what has changed of it.

    Raises:
        SwarmError: Something is missing, or the stack has the other store.
        DockerError: Docker does not do it.
    """
    variables = settings((ROOT / ".env").read_text(), os.environ)
    missing = [name for name in OWN_IMAGES if not variables.get(name)]
    if missing:
        raise SwarmError(f"{', '.join(missing)}: not set in .env (docs/swarm.md)")
    stack_files = files(store, pages=pages)
    document = configured(stack_files, environment(stack_files, stack, variables))
    there = services_there(stack)
    other = {"redis": "redis-0-0", "cluster": "redis"}[store]
    if other in there:
        raise SwarmError(f"{stack} has another store than --store {store}, and would lose its data")
    print(f"# {stack}: {len(document['services'])} services, of {', '.join(map(str, stack_files))}")
    for machine, label in labels(*machines_there(), store):
        if there and label.startswith(REDIS_LABEL):
            raise SwarmError(
                f"no machine has {label}, and {stack} runs: give it to the machine that has the "
                f"data, or to one that shall begin empty: docker node update --label-add {label} …"
            )
        commands.run(
            "Data stay on this machine's disk", ["node", "update", "--label-add", label, machine]
        )
    words = ["stack", "deploy", "--detach=false", "--with-registry-auth", "--compose-file", "-"]
    for name in nodes(document):
        if name in there:
            text = dumped(one_service(document, name))
            commands.run(f"{name}, if it has changed", [*words, stack], text)
    commands.run("All services that have changed", [*words, stack], dumped(document))


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 1 for a `LabError`."""
    parser = argparse.ArgumentParser(prog="make swarm", description="Deploy the fleet on a swarm.")
    parser.add_argument("--name", default="echofleet", help="the stack's name (%(default)s)")
    parser.add_argument("--store", choices=STORES, default="redis", help="(%(default)s)")
    parser.add_argument("--pages", action="store_true", help="publish the pages for people")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    args = parser.parse_args(argv)
    try:
        deploy(args.name, args.store, pages=args.pages, commands=Commands(dry=args.dry_run))
    except LabError as error:
        print(f"make swarm: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
