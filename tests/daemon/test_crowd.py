"""A room of many of whom most never read, and come back when they are cut: who reads feels little.

The short play is for every run. The whole one, on a machine that does nothing else:

    CROWD_FULL=1 pytest -s tests/daemon/test_crowd.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import psutil
import pytest

from tests.config.test_limits_page import MILLION, table
from tests.daemon.crowd import REST_S
from tests.daemon.kernel import kernel_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.fleet.redis_server import RedisServer
    from tests.conftest import Echod

pytestmark = pytest.mark.alone


@dataclass(frozen=True)
class Play:
    """How large and how long.

    Attributes:
        slower_max: the readers' p99 beside that of a room in which all read, in the same run.
        send_s_max: of the daemon, so that who takes nothing is cut more than once.
    """

    members: int
    deaf: int
    seconds: float
    send_s_max: float
    slower_max: float


# In the short one the machine is shared with other tests, and figures are a tail's of few posts:
# it would see a daemon that stops for everybody, and no more.
FULL = Play(members=1_000, deaf=900, seconds=60, send_s_max=10, slower_max=2)
SHORT = Play(members=200, deaf=180, seconds=8, send_s_max=2, slower_max=10)
PLAY = FULL if os.environ.get("CROWD_FULL") else SHORT
POSTS_PER_S = 5
# Below it the difference is the machine's: an fsync, a turn of the scheduler.
P99_MS_LEAST = 20.0
RSS_BYTES_MAX = 100 * MILLION


class Group:
    """A process of `crowd.py`, whose members have joined."""

    def __init__(self, daemon: Echod, members: int, deaf: int, posts_per_s: float) -> None:
        argv = [daemon.session_port, members, deaf, posts_per_s, PLAY.seconds]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.daemon.crowd", *map(str, argv)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "joined\n"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def go(self) -> None:
        """Let it begin."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def is_done(self, within_s: float) -> bool:
        """Whether it is, at the end of that time."""
        try:
            self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def result(self) -> dict[str, Any]:
        """What it saw."""
        assert self._process.stdout is not None
        result: dict[str, Any] = json.loads(self._process.stdout.readline())
        return result


@dataclass
class Seen:
    """What a room of one kind came to."""

    readers: dict[str, Any]
    deaf: dict[str, Any]
    rss_bytes: int = 0
    kernel_bytes: int = 0


def play(daemon: Echod, deaf: int) -> Seen:
    """One room; growth is the highest, beyond what there was when all had joined."""
    process = psutil.Process(daemon.process.pid)
    with (
        Group(daemon, PLAY.members - deaf, 0, POSTS_PER_S) as readers,
        Group(daemon, deaf, deaf, 0) as others,
    ):
        had = process.memory_info().rss, kernel_bytes(daemon.session_port)
        most = had
        for group in (others, readers):
            group.go()
        for _ in range(int(10 * (PLAY.seconds + 4 * REST_S))):
            has = process.memory_info().rss, kernel_bytes(daemon.session_port)
            most = max(most[0], has[0]), max(most[1], has[1])
            if readers.is_done(0.1) and others.is_done(0.1):
                break
        return Seen(readers.result(), others.result(), most[0] - had[0], most[1] - had[1])


def send_buffers_bytes() -> float:
    """What docs/limits.md says of 10,000 clients, for these."""
    row = table("What they come to: the kernel")[0]
    assert row[0] == "send buffers"
    return int(row[2]) * MILLION * PLAY.members / 10_000


def test_who_reads_feels_little(echod: Callable[..., Echod], own_redis: RedisServer) -> None:
    """And the daemon's memory and the kernel's stay within what docs/limits.md says."""
    # Its members say nothing, however long it takes.
    daemon = echod(store=own_redis.url, send_s_max=PLAY.send_s_max, session_idle_s_max=90)
    every, few = play(daemon, 0), play(daemon, PLAY.deaf)
    for name, seen in (("all read", every), ("few read", few)):
        print(f"{name}: {seen}")  # noqa: T201 — for `pytest -s`
        assert seen.readers["posts"] == PLAY.seconds * POSTS_PER_S
        assert seen.readers["missed"] == seen.readers["readers_cut"] == 0
        assert seen.rss_bytes < RSS_BYTES_MAX
        assert seen.kernel_bytes < send_buffers_bytes()
    # They were cut, came back, and took a place each again.
    assert few.deaf["cut"] >= PLAY.deaf
    assert daemon.closed("unavailable", "session") == 0
    slower = few.readers["p99_ms"] / max(every.readers["p99_ms"], P99_MS_LEAST)
    assert slower <= PLAY.slower_max
    # What they left behind, nobody keeps.
    metrics = daemon.metrics()
    assert metrics["echod_unsent_bytes"] == metrics["echod_held_bytes"] == 0
