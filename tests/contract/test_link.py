"""A connection to Redis whose maker does not live to have it, or whose other end has gone."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import gevent
import pytest

from echod.loop.parking import Parking
from echod.store.base import StoreError
from echod.store.redis.link import Link
from echod.values.store_url import StoreUrl
from lab.fleet.ports import HOST

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT_S = 5.0
SILENCE_S = 0.05


def test_a_link_whose_maker_is_killed_leaves_nothing_watched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody has the link to close it, and libev aborts at a closed file that is watched."""
    made: list[Parking] = []

    def parking(fd: int, late_s: float) -> Parking:
        made.append(Parking(fd, late_s))
        return made[0]

    monkeypatch.setattr("echod.store.redis.link.Parking", parking)
    with socket.create_server((HOST, 0)) as silent:
        place = StoreUrl("redis", HOST, silent.getsockname()[1])
        maker = gevent.spawn(Link, place, TIMEOUT_S)
        gevent.idle()
        watcher = made[0]._watcher  # noqa: SLF001 — what must not be left
        assert watcher.active
        maker.kill()
    assert not watcher.active


class HalfOpen:
    """A connection that answers for as long as it is let."""

    def __init__(self, *, elsewhere: bool) -> None:
        """`elsewhere`: the server says that it answers other connections."""
        self._server = socket.create_server((HOST, 0))
        self._elsewhere = elsewhere
        self.asked = 0
        self.late = b""
        self.meanwhile: Callable[[], None] = lambda: None
        place = StoreUrl("redis", HOST, self._server.getsockname()[1])
        maker = gevent.spawn(
            Link, place, 10 * SILENCE_S, silence_s=SILENCE_S, on_silence=self._silent
        )
        gevent.idle()  # it has connected, and asked who that is
        self._far, _ = self._server.accept()
        self._far.recv(65536)
        info = b"run_id:x\r\nredis_version:7.0.15\r\n"
        self._far.sendall(b":1\r\n$%d\r\n%b\r\n" % (len(info), info))
        self.link = maker.get(timeout=TIMEOUT_S)
        self.asked = 0

    def _silent(self) -> bool:
        self.asked += 1
        self.meanwhile()
        if self.late:
            self._far.sendall(self.late)
        return self._elsewhere

    def end(self) -> None:
        """Both ends."""
        self.link.reset()
        self._far.close()
        self._server.close()


def test_a_link_is_dead_if_the_server_answers_others() -> None:
    """At the first silence: not only when the time for an answer is over."""
    half = HalfOpen(elsewhere=True)
    with pytest.raises(StoreError) as caught:
        half.link.execute(("PING",))
    assert (caught.value.kind, half.asked) == ("silent", 1)
    half.end()


def test_a_server_that_answers_nobody_is_waited_for() -> None:
    """It is frozen, or its disk is slow."""
    half = HalfOpen(elsewhere=False)
    with pytest.raises(StoreError) as caught:
        half.link.execute(("PING",))
    assert (caught.value.kind, half.asked) == ("timeout", 9)
    half.end()


def test_a_link_may_be_reset_meanwhile() -> None:
    """Whoever asked elsewhere took a while, and the heartbeat found it deaf."""
    half = HalfOpen(elsewhere=True)
    half.meanwhile = half.link.reset
    with pytest.raises(StoreError) as caught:
        half.link.execute(("PING",))
    assert caught.value.kind == "closed"
    half.end()


def test_an_answer_that_came_meanwhile_counts() -> None:
    """The server had stood still, and answers all that have waited."""
    half = HalfOpen(elsewhere=True)
    half.late = b"+PONG\r\n"
    assert half.link.execute(("PING",)) == [b"PONG"]
    half.end()
