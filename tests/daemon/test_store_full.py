"""Before the store is full, newcomers are refused, and who is served stays served."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import pytest
import redis as redis_py

from echod.config import Config
from echod.store.base import Lives
from lab.fleet import metrics as lab_metrics
from lab.wait import until
from tests.daemon import raw
from tests.daemon.test_rooms import Person
from tests.daemon.test_session_port import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lab.fleet.redis_server import RedisServer
    from tests.conftest import Echod

FILL_MAX = 0.8
# From which on, half-way to full, nothing is posted.
POSTS_MAX = (1 + FILL_MAX) / 2


@pytest.fixture
def server(own_redis: RedisServer) -> Iterator[Any]:
    """What sets the bound of the store's memory; its types are not strict."""
    with redis_py.Redis.from_url(own_redis.admin_url) as client:
        yield client


def fill(server: Any, daemon: Echod, share: float) -> None:  # noqa: ANN401 — redis-py's client
    """Let the store be so full, and wait until the daemon knows."""

    def known() -> bool:
        used = server.info("memory")["used_memory"]
        server.config_set("maxmemory", round(used / share))
        said = lab_metrics.from_text(daemon.get("/metrics")[1]).get("echod_store_fill_ratio")
        return said is not None and abs(said - share) < 0.02

    until(known, 30, f"the daemon to know that the store is {share:.0%} full")


def test_newcomers_are_refused_and_members_stay(
    echod: Callable[..., Echod],
    own_redis: RedisServer,
    server: Any,  # noqa: ANN401 — as above
) -> None:
    """Above the limit `busy`; half-way from it to full no post; below it all as before."""
    daemon = echod(
        store=own_redis.url, store_fill_max=FILL_MAX, echo_idle_s_max=60, room_linger_s=0.1
    )
    plain = raw.connect(daemon.port)
    plain.sendall(b"a\n")
    assert raw.read(plain, 2) == b"a\n"
    ann, bob = Person(daemon.session_port), Person(daemon.session_port)
    ann.join(b"lobby")
    fill(server, daemon, FILL_MAX + 0.03)
    assert raw.converse(daemon.port, [b"x\n"]).startswith(b"ERR busy ")
    assert Client(daemon.session_port).ask(b"HELLO\n").startswith(b"ERR busy ")
    assert daemon.closed("busy") == 1
    assert daemon.closed("busy", "session") == 1
    plain.sendall(b"b\n")
    assert raw.read(plain, 4) == b"a\nb\n"
    assert b"SAID lobby 1 1\n" in ann.ask(b"SAY lobby 1 x\n", 2)
    # Its session is in the store already: it comes back.
    again = Client(daemon.session_port)
    assert again.hello(b" " + bob.token) == (2, 0)
    fill(server, daemon, POSTS_MAX + 0.03)
    assert ann.ask(b"SAY lobby 2 x\n").startswith(b"ERR room-unavailable ")
    assert ann.ask(b"JOIN another\n").startswith(b"ERR room-unavailable ")
    assert ann.ask(b"PART lobby\n") == b"PARTED lobby\n"
    until(lambda: daemon.metrics()["echod_rooms"] == 0, 30, "the rooms to be let go")
    assert ann.ask(b"JOIN lobby\n").startswith(b"JOINED lobby ")  # it is in the store
    assert again.ask(b"JOIN lobby\n").startswith(b"JOINED lobby ")
    assert ann.ask(b"ECHO 1 still here\n") == b"ECHO 1 still here\n"
    # A longer line than those before is what would fill it; it costs its own connection.
    assert again.ask(b"ECHO 1 %b\n" % (b"x" * 1000)).startswith(b"ERR unavailable ")
    plain.sendall(b"x" * 1000 + b"\n")
    assert raw.read_all(plain).startswith(b"ERR unavailable ")
    fill(server, daemon, FILL_MAX / 2)
    assert b"SAID lobby 2 2\n" in ann.ask(b"SAY lobby 2 x\n", 2)
    Client(daemon.session_port).hello()
    assert raw.converse(daemon.port, [b"x\n"]) == b"x\n"
    daemon.assert_healthy()


# Each of these comes, posts and quits as fast as it can …
PASSERS = 8
PASSAGE = b"HELLO\nECHO 1 x\nJOIN lobby\nSAY lobby 1 hello\nQUIT\n"
# … beside these, who stay.
STEADY = 100
TOMBSTONE_S = Lives.of(Config()).tombstone_s
# For how long: two lives of a tombstone. The ten minutes of docs/limits.md are
# ECHOFLEET_TURNOVER_S=600.
TURNOVER_S = float(os.environ.get("ECHOFLEET_TURNOVER_S", 2 * TOMBSTONE_S))
# Of one tombstone: 130 bytes at Redis 7.0 (MEMORY USAGE), and its place in the tables of keys
# and of expiries, which grow by doubling.
TOMBSTONE_BYTES = 300
# Redis lets about a tenth of what has expired stand for a while (active-expire-effort).
STALE = 1.1
# A room's last thousand messages; a member's state and record, with their place.
ROOM_BYTES, STEADY_BYTES = 300_000, 2_000


class Passers:
    """Who comes and goes, in threads.

    Attributes:
        passed, refused: how many were answered to the end, and how many heard `busy`.
    """

    def __init__(self, port: int) -> None:
        self.passed = self.refused = 0
        self._port = port
        self._wrong: list[bytes] = []
        self._leaving = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run) for _ in range(PASSERS)]

    def _run(self) -> None:
        while not self._leaving.is_set():
            with raw.connect(self._port) as sock:
                sock.sendall(PASSAGE)
                said = raw.read_all(sock)
            with self._lock:
                if said.endswith(b"BYE\n"):
                    self.passed += 1
                elif said.startswith(b"ERR busy "):
                    self.refused += 1
                else:
                    self._wrong.append(said)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving.set()
        for thread in self._threads:
            thread.join()
        assert not self._wrong


class Turnover:
    """A hundred who stay and are answered throughout, beside those who pass; and the store.

    Attributes:
        passers: those.
        keys, grown_bytes: the most that the store held, and by how much it had grown.
        rate: passed in a second, at most.
    """

    def __init__(self, daemon: Echod, server: Any) -> None:  # noqa: ANN401 — redis-py's client
        self.passers = Passers(daemon.session_port)
        self.keys = self.grown_bytes = 0
        self.rate = 0.0
        self._server = server
        self._steady = [Person(daemon.session_port) for _ in range(STEADY)]
        self._number = 0
        self.begin_bytes = int(server.info("memory")["used_memory"])

    def run(self, seconds: float) -> None:
        """Let them pass for so long."""
        with self.passers:
            until_s = time.monotonic() + seconds
            passed, since_s = 0, time.monotonic()
            while (now_s := time.monotonic()) < until_s:
                self._stay()
                if now_s - since_s >= 1:
                    self.rate = max(self.rate, (self.passers.passed - passed) / (now_s - since_s))
                    passed, since_s = self.passers.passed, now_s
                used = int(self._server.info("memory")["used_memory"])
                self.grown_bytes = max(self.grown_bytes, used - self.begin_bytes)
                self.keys = max(self.keys, self._server.dbsize())

    def _stay(self) -> None:
        """A line of each, answered."""
        self._number += 1
        n = self._number
        for person in self._steady:
            person.send(b"ECHO %d x\n" % n)
        for person in self._steady:
            before = person.line() if n > 1 else b""
            assert before == (b"PREV %d x\n" % (n - 1) if n > 1 else b"")
            assert person.line() == b"ECHO %d x\n" % n

    def reckoned(self) -> tuple[int, int]:
        """Keys, and bytes by which the store grows, at the most."""
        tombstones = round(self.rate * (TOMBSTONE_S + 1) * STALE)
        # Of who stays, and of who passes just now, record and state; the room's; the daemon's.
        keys = tombstones + 2 * STEADY + 4 * PASSERS + 10
        return keys, tombstones * TOMBSTONE_BYTES + ROOM_BYTES + STEADY * STEADY_BYTES


@pytest.fixture
def turnover(
    echod: Callable[..., Echod],
    own_redis: RedisServer,
    server: Any,  # noqa: ANN401 — as above
) -> Iterator[Turnover]:
    """On one daemon, whose clients were all served, or refused as newcomers."""
    daemon = echod(store=own_redis.url, store_fill_max=FILL_MAX)
    yield Turnover(daemon, server)
    assert all(daemon.closed(reason, "session") == 0 for reason in ("unavailable", "internal"))
    daemon.assert_healthy()


def test_what_ended_sessions_leave_reaches_a_plateau(turnover: Turnover) -> None:
    """Reckoned from their rate: of each a tombstone, for as long as its end may be asked again."""
    turnover.run(TURNOVER_S)
    keys, grown_bytes = turnover.reckoned()
    print(  # noqa: T201 — the figures of docs/limits.md
        f"\n{turnover.passers.passed:,} passed, {turnover.rate:.0f}/s at most; keys"
        f" {turnover.keys:,}, reckoned {keys:,}; bytes {turnover.grown_bytes:,}, reckoned"
        f" {grown_bytes:,}"
    )
    assert turnover.passers.refused == 0
    # Had they stayed, it would have been more.
    assert turnover.passers.passed > turnover.keys
    assert turnover.keys <= keys
    assert turnover.grown_bytes <= grown_bytes


def test_a_store_too_small_for_them_serves_who_stays(turnover: Turnover, server: Any) -> None:  # noqa: ANN401 — as above
    """With a tenth of the memory that they would need, newcomers hear `busy`, nobody else."""
    turnover.rate = 1000
    _, grown_bytes = turnover.reckoned()
    server.config_set("maxmemory", round((turnover.begin_bytes + grown_bytes / 10) / FILL_MAX))
    turnover.run(TURNOVER_S / 2)
    print(  # noqa: T201 — as above
        f"\n{turnover.passers.passed:,} passed, {turnover.passers.refused:,} were refused; bytes"
        f" {turnover.grown_bytes:,}"
    )
    assert turnover.passers.passed
    assert turnover.passers.refused
