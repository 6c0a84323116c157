"""A connection to Redis whose maker does not live to have it."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import gevent

from echod.loop.parking import Parking
from echod.store.redis.link import Link
from echod.values.store_url import StoreUrl
from lab.fleet.ports import HOST

if TYPE_CHECKING:
    import pytest

TIMEOUT_S = 5.0


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
