"""The stage of a soak: a fleet whose lives are shortened, and two daemons beside it.

clients ──▶ HAProxy ──▶ echod1 … ──▶ Redis
   ├──────────────────▶ idle   ──────▶ Redis     in no balance: it has nobody
   └──────────────────▶ memory                   a daemon alone, with its own store
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from echod.config import flag_of
from lab.drill.stage.local import LocalStage
from lab.fleet import metrics, processes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lab.drill.lives import Short

MEMORY, IDLE = "memory", "idle"
PORTS: Final = ("echo", "session", "admin", "agent")


class SoakStage(LocalStage):
    """See the module, and `LocalStage`."""

    def __init__(
        self,
        directory: Path,
        links: frozenset[str],
        short: Short,
        program: Sequence[str] = ("-m", "echod"),
    ) -> None:
        super().__init__(directory, links, program=program, settings=short.settings)

    def start(self) -> None:
        """Bring all of it up."""
        super().start()
        redis = self.fleet.parts["redis"].ready
        self._start_beside(MEMORY, "--store", "memory://")
        password = ["--store-password-file", redis["password_file"]]
        self._start_beside(IDLE, "--store", redis["url"], *password)

    @property
    def addresses(self) -> dict[str, str]:
        """Those of the fleet, and of the daemons beside it."""
        memory, idle = (self.fleet.parts[name].ready for name in (MEMORY, IDLE))
        return {
            **super().addresses,
            "memory": memory["session"],
            "memory-plain": memory["echo"],
            "idle": idle["session"],
        }

    def keys(self) -> dict[str, int]:
        """Those of Redis by their prefix, and of the daemon with a store of its own."""
        kept = metrics.read(self.fleet.parts[MEMORY].ready["admin"]).by_label(
            "echod_memory_keys", "kind"
        )
        return super().keys() | {f"{MEMORY}:{kind}": int(count) for kind, count in kept.items()}

    def _start_beside(self, name: str, *flags: str) -> None:
        """A daemon that no balancer knows."""
        plan = self.fleet.plan
        ports = [word for port in PORTS for word in (f"--{port}-port", "0")]
        settings = [
            word
            for setting, value in plan.daemon_settings.items()
            for word in (flag_of(setting), str(value))
        ]
        self.fleet.parts[name] = processes.start(
            [sys.executable, *plan.daemon_program, "--name", name, *ports, *flags, *settings],
            log=plan.directory / f"{name}.log",
        )
