"""The fleet that a drill breaks: what can be done to it, and what can be seen of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from lab.drill.errors import DrillError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from lab.fleet.network import Link


class CannotError(DrillError):
    """This stage can't make this fault."""


class Stage:
    """A part's name is `echod1` …, `redis` or `haproxy`.

    What a stage does not do raises `CannotError`.
    """

    # Clients.

    @property
    def daemons(self) -> Sequence[str]:
        """Their names."""
        self._cannot("name its daemons")

    @property
    def addresses(self) -> dict[str, str]:
        """`session` and `plain`, host:port; of a soak, also the daemons' that are beside it."""
        self._cannot("be reached")

    @property
    def direct(self) -> list[str]:
        """The daemons' own session ports; none where they can't be reached."""
        return []

    # Processes.

    def kill(self, name: str) -> None:
        """SIGKILL."""
        self._cannot("kill", name)

    def freeze(self, name: str) -> None:
        """It stands still, and its kernel goes on for it."""
        self._cannot("freeze", name)

    def thaw(self, name: str) -> None:
        """It goes on."""
        self._cannot("thaw", name)

    def terminate(self, name: str) -> None:
        """SIGTERM; returns at once."""
        self._cannot("terminate", name)

    def await_end(self, name: str, end_s_max: float) -> None:
        """Wait until it has ended.

        Raises:
            TimeoutError: It has not.
        """
        self._cannot("await the end", name, end_s_max)

    def start_again(self, name: str) -> None:
        """A part that has ended comes back, at the same addresses; returns when it is ready."""
        self._cannot("start", name)

    def await_up(self, name: str) -> None:
        """Wait until a daemon is in the balance."""
        self._cannot("await", name)

    def reload(self) -> None:
        """HAProxy begins afresh with the same configuration; connections that are finish."""
        self._cannot("reload")

    # Files.

    def fill_files(self, name: str) -> None:
        """It can open no more files."""
        self._cannot("fill the files", name)

    def free_files(self, name: str) -> None:
        """It can again."""
        self._cannot("free the files", name)

    def copy_data(self) -> None:
        """Keep a copy of Redis's data, as a backup taken while it runs would have it."""
        self._cannot("copy data")

    def lose_data(self, how: str) -> None:
        """While Redis is down: `truncate` its file, `empty` it, or `restore` the copy."""
        self._cannot("lose data", how)

    def link(self, name: str) -> Link:
        """What the drill may cut: `redis:echod1`, `daemon:echod1` or `clients`."""
        self._cannot("cut", name)

    # Looking.

    def metric(self, name: str, sample: str) -> float:
        """A daemon's figure as its /metrics has it now, all labels together."""
        self._cannot("ask", name, sample)

    def keys(self) -> Mapping[str, int]:
        """What the stores keep: keys of Redis by their prefix, `memory:…` by its kinds."""
        self._cannot("count keys")

    def connections(self) -> list[tuple[str, int, int]]:
        """(daemon, clients in its metrics, clients in the kernel), of those that run."""
        self._cannot("count connections")

    def logs(self) -> dict[str, Path]:
        """Each part's log."""
        return {}

    def _cannot(self, *what: object) -> NoReturn:
        raise CannotError(f"{type(self).__name__} can't {' '.join(map(str, what))}")
