"""What an experiment ran on, as rows of the report, and why its figures may mislead."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

from lab.fleet import haproxy_server
from lab.measure.bench import compiler, machine

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Setting:
    """The machine and the versions."""

    rows: list[tuple[str, str]]
    warnings: list[str]
    cpus: int
    """That this program, and all that it starts, may use."""


def describe() -> Setting:
    """Look now, before anything is measured.

    Raises:
        lab.errors.LabError: A server program is missing.
    """
    facts = machine.describe(machine.UNPINNED, compiler.cache_directory())
    return Setting(_rows(facts), _warnings(facts), facts["cpus_allowed"])


def _rows(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    virtual = ", virtual" if facts["hypervisor"] else ""
    packages = ", ".join(f"{name} {facts[name]}" for name in machine.PACKAGES)
    return [
        ("CPU", f"{facts['cpu']}; {facts['cpus_allowed']} of {facts['cpus']} CPUs{virtual}"),
        ("Kernel", f"Linux {facts['kernel']}, {platform.machine()}"),
        ("Python", f"{facts['python']}; {packages}; matplotlib {metadata.version('matplotlib')}"),
        ("Node.js", _version(["node", "--version"])),
        ("Redis", str(facts["redis_server"])),
        ("HAProxy", _version([str(haproxy_server.BINARY.find()), "-v"])),
        (
            "Disk",
            f"{facts['data_filesystem']}; a page written and fdatasync: {facts['fsync_us']:.0f} µs",
        ),
        ("Load average", f"{facts['load_average']:.2f} before the run"),
        ("Docker", "a Docker engine runs" if facts["dockerd"] else "no Docker engine runs"),
    ]


def _warnings(facts: Mapping[str, Any]) -> list[str]:
    found = []
    if facts["loopback_tracked"]:
        found.append(
            "The kernel tracks loopback connections here, as it does for Docker's address"
            " translation: every packet of every system costs more for it."
        )
    return found


def _version(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except OSError:
        return "not there"
    return (done.stdout or done.stderr).splitlines()[0] if done.stdout or done.stderr else "?"


def cpus_allowed() -> list[int]:
    """The logical CPUs that this program may use."""
    return sorted(os.sched_getaffinity(0))
