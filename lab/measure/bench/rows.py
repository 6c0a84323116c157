"""The rows of the table: which server, started how, with which Redis. Pure.

`docs/bench.md` says what each is for. A command's `{words}` are filled in by `measure.py`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lab.measure.command import choose
from lab.measure.serving import ECHOD, Stored

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BASELINES = Path(__file__).parent / "baselines"

FLOOR = "c-epoll"
UVLOOP = "uvloop-protocol"
REDIS_PY = "redis-py-per-line"
COMMIT = "echod-commit"
SESSION = "echod-session"


@dataclass(frozen=True, slots=True)
class Server:
    """One server under test."""

    name: str
    template: tuple[str, ...]
    stored: Stored | None = None
    """Its store; None: it has none."""
    port: Literal["echo", "session"] = "echo"
    """Which of its ports is measured, by its name in the ready line."""

    def command(self, words: Mapping[str, str]) -> list[str]:
        """The command line; `words` has `programs`, the C programs' folder, and `store`."""
        return [word.format(**words) for word in self.template]


def _baseline(name: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, str(BASELINES / f"{name}.py"), *arguments)


def _echod(durability: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, *ECHOD, "--store", "{store}", "--durability", durability, *arguments)


NO_AOF, EVERYSEC, ALWAYS = Stored("no-aof"), Stored("everysec"), Stored("always")
CLUSTER, CLUSTER_K1 = Stored("no-aof", 3), Stored("no-aof", 3, 1)
K0, K1 = ("--store-replicas", "0"), ("--store-replicas", "1")

ROWS = (
    Server(FLOOR, ("{programs}/echo_epoll", "--port", "0")),
    Server(UVLOOP, _baseline("uvloop_protocol")),
    Server("asyncio-streams", _baseline("asyncio_streams")),
    Server("gevent-naive", _baseline("gevent_naive")),
    Server(REDIS_PY, _baseline("redis_py_per_line", "{store}"), NO_AOF),
    Server(f"{REDIS_PY}-always", _baseline("redis_py_per_line", "{store}"), ALWAYS),
    Server("echod-none", _echod("none"), NO_AOF),
    Server("echod-async", _echod("async"), NO_AOF),
    Server(COMMIT, _echod("commit"), NO_AOF),
    Server(f"{COMMIT}-greenlet", _echod("commit", "--reader", "greenlet"), NO_AOF),
    Server(f"{COMMIT}-everysec", _echod("commit"), EVERYSEC),
    Server(f"{COMMIT}-always", _echod("commit"), ALWAYS),
    Server(f"{COMMIT}-cluster", _echod("commit", *K0), CLUSTER),
    Server(f"{COMMIT}-cluster-k1", _echod("commit", *K1), CLUSTER_K1),
    Server(SESSION, _echod("commit"), NO_AOF, port="session"),
    Server(f"{SESSION}-always", _echod("commit"), ALWAYS, port="session"),
)


def select(patterns: Sequence[str]) -> list[Server]:
    """The rows whose name fits any of the patterns (`*`, `?`), in the table's order.

    Raises:
        MeasureError: for a pattern that fits none.
    """
    return choose("--rows", "row", patterns, {row.name: row for row in ROWS})
