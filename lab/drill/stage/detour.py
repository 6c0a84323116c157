"""A daemon that reaches the nodes of a cluster through links: `python -m … DIRECTORY MODULE FLAGS…`.

    echod1 ──connect to a node──▶ (detour) ──▶ link ──▶ node

A cluster's nodes say themselves where they are, and all daemons hear the same. So that a drill can
cut one daemon's link to one node, what a daemon connects to is changed inside it: the program is
the daemon as it is, but for the address that a socket connects to.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if __name__ == "__main__":
    from gevent import monkey

    monkey.patch_all()

import json
import runpy
import socket
from pathlib import Path

from lab.fleet import ports

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def program(directory: Path, daemon: Sequence[str]) -> list[str]:
    """What Python runs in the place of `daemon` (`-m MODULE`)."""
    return ["-m", "lab.drill.stage.detour", str(directory), *daemon[1:]]


def write(directory: Path, name: str, ways: Mapping[str, str]) -> None:
    """Where the daemon of this name connects to, for each address (host:port)."""
    _file(directory, name).write_text(json.dumps(dict(ways)))


def main() -> None:
    """See the module."""
    directory, module, *flags = sys.argv[1:]
    name = flags[flags.index("--name") + 1]
    known = json.loads(_file(Path(directory), name).read_text())
    ways = {ports.split(target): ports.split(way) for target, way in known.items()}
    connect = socket.socket.connect

    def detour(self: socket.socket, address: object) -> None:
        connect(self, ways.get(address, address))  # type: ignore[call-overload]

    socket.socket.connect = detour  # type: ignore[assignment, method-assign]
    sys.argv = [module, *flags]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _file(directory: Path, name: str) -> Path:
    return directory / f"detours-{name}.json"


if __name__ == "__main__":
    main()
