"""The rows of the table: which server, started how, with which Redis. Pure.

`docs/bench.md` says what each is for. A command's `{words}` are filled in by `measure.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lab.measure.command import choose
from lab.measure.serving import ECHOD

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lab.fleet.redis_server import Appendfsync

FLOOR = "c-epoll"
UVLOOP = "uvloop-protocol"
REDIS_PY = "redis-py-per-line"
COMMIT = "echod-commit"
SESSION = "echod-session"


@dataclass(frozen=True, slots=True)
class Row:
    """One server under test."""

    name: str
    template: tuple[str, ...]
    appendfsync: Appendfsync | None = None
    """How its Redis writes; None: it has none."""
    port: Literal["echo", "session"] = "echo"
    """Which of its ports is measured, by its name in the ready line."""

    def command(self, words: Mapping[str, str]) -> list[str]:
        """The command line; `words` has `python`, `programs`, `baselines` and `store`."""
        return [word.format(**words) for word in self.template]


def _baseline(name: str, *arguments: str) -> tuple[str, ...]:
    return ("{python}", f"{{baselines}}/{name}.py", "--port", "0", *arguments)


def _echod(durability: str, *arguments: str) -> tuple[str, ...]:
    return ("{python}", *ECHOD, "--durability", durability, *arguments)


_STORE = ("--store", "{store}")

ROWS = (
    Row(FLOOR, ("{programs}/echo_epoll", "--port", "0")),
    Row(UVLOOP, _baseline("uvloop_protocol")),
    Row("asyncio-streams", _baseline("asyncio_streams")),
    Row("gevent-naive", _baseline("gevent_naive")),
    Row(REDIS_PY, _baseline("redis_py_per_line", *_STORE), "no-aof"),
    Row(f"{REDIS_PY}-always", _baseline("redis_py_per_line", *_STORE), "always"),
    Row("echod-none", _echod("none", *_STORE), "no-aof"),
    Row("echod-async", _echod("async", *_STORE), "no-aof"),
    Row(COMMIT, _echod("commit", *_STORE), "no-aof"),
    Row(f"{COMMIT}-greenlet", _echod("commit", "--reader", "greenlet", *_STORE), "no-aof"),
    Row(f"{COMMIT}-everysec", _echod("commit", *_STORE), "everysec"),
    Row(f"{COMMIT}-always", _echod("commit", *_STORE), "always"),
    Row(SESSION, _echod("commit", *_STORE), "no-aof", port="session"),
    Row(f"{SESSION}-always", _echod("commit", *_STORE), "always", port="session"),
)


def select(patterns: Sequence[str]) -> list[Row]:
    """The rows whose name fits any of the patterns (`*`, `?`), in the table's order.

    Raises:
        MeasureError: for a pattern that fits none.
    """
    return choose("--rows", "row", patterns, ROWS)
