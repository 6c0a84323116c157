"""The containers of all stack tests: started once, ended at the end, whatever happens."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.stack.fleet import Fleet, image_or_reason

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """The whole of docker-compose.yml, healthy, under the load that starts by itself."""
    with _fleet(tmp_path_factory) as fleet:
        fleet.up()
        yield fleet


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """deploy/cluster.yml: Redis's nodes, the daemons, HAProxy and Prometheus, without load."""
    with _fleet(tmp_path_factory, "deploy/cluster.yml") as fleet:
        # Prometheus asks for the others.
        fleet.up("prometheus")
        yield fleet


@contextlib.contextmanager
def _fleet(tmp_path_factory: pytest.TempPathFactory, *more: str) -> Iterator[Fleet]:
    """A fleet to be started, and its end."""
    if shutil.which("docker") is None:
        pytest.skip("docker is not on PATH")
    for words in (["version"], ["compose", "version"]):
        done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"docker {' '.join(words)}: {done.stderr.strip()}")
    fleet = Fleet(tmp_path_factory.mktemp("secrets") / "own", *more)
    services = json.loads(fleet.compose("config", "--format", "json"))["services"]
    fleet.with_grafana = not image_or_reason(services.pop("grafana")["image"])
    for service in services.values():
        build = service.get("build")
        reason = image_or_reason(build["args"]["PYTHON_IMAGE"] if build else service["image"])
        if reason:
            pytest.skip(reason)
    try:
        yield fleet
    finally:
        fleet.down()
