"""Locust with its page, and the article's clients started by themselves.

One process: its few hundred sockets are far below what a core does, and the page shows
the same as a master's. Used by the local fleet.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from lab.fleet import ports, processes

if TYPE_CHECKING:
    from pathlib import Path


# The article's loop is a hundred clients at once. For as long as the fleet is up: the end
# of the article's run (LOADTEST_SHAPE=article) would leave nothing to look at.
DEFAULTS = {"LOCUST_USERS": "100", "LOCUST_SPAWN_RATE": "100"}


def start(
    directory: Path, locustfile: Path, *, target: str, sessions: str, port: int = 0
) -> processes.Process:
    """Start Locust against `target` (host:port); its log (`locust.log`) is in `directory`.

    `sessions` is where the session port is, for those who pick its users in the page.

    Its own variables (LOCUST_…, LOADTEST_…) count, those of `DEFAULTS` too.

    Returns:
        The process; `.ready` has the address `web` of its page.

    Raises:
        lab.fleet.processes.StartError: It did not start; the text has its last words.
    """
    defaults = {**DEFAULTS, "LOADTEST_SESSION_HOST": f"tcp://{sessions}"}
    env = {name: os.environ.get(name, default) for name, default in defaults.items()}

    def command(addresses: dict[str, str]) -> ports.Command:
        host, number = ports.split(addresses["web"])
        argv = [
            *(sys.executable, "-m", "locust"),
            *("--locustfile", str(locustfile)),
            *("--host", f"tcp://{target}"),
            *("--web-host", host, "--web-port", str(number)),
            "--autostart",
        ]
        return argv, env

    return ports.start_listening("Locust", {"web": port}, command, directory / "locust.log")
