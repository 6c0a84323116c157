"""Parking: read, woken, late, closed, killed; nothing stays armed."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import gevent
import pytest

from echod.loop.parking import Parking

if TYPE_CHECKING:
    from collections.abc import Iterator

SOON_S, LATE_S = 0.01, 30.0


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a connection."""
    ends = socket.socketpair()
    yield ends
    for end in ends:
        end.close()


def test_readable(pair: tuple[socket.socket, socket.socket]) -> None:
    """It is there already, or comes; what was there stays for the next."""
    near, far = pair
    parking = Parking(near.fileno(), LATE_S)
    waiting = gevent.spawn(parking.park)
    gevent.sleep(0)
    assert not waiting.ready()
    far.send(b"a")
    assert waiting.get(timeout=LATE_S) is True
    assert parking.park() is True
    assert near.recv(10) == b"a"
    parking.close()


def test_late(pair: tuple[socket.socket, socket.socket]) -> None:
    """Each wait has the whole time; the patient have no end."""
    near, far = pair
    parking = Parking(near.fileno(), SOON_S)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            parking.park()
    other = Parking(far.fileno(), 5 * SOON_S)
    waiting = gevent.spawn(parking.park, patient=True)
    with pytest.raises(TimeoutError):
        other.park()
    assert not waiting.ready()
    far.send(b"a")
    assert waiting.get(timeout=LATE_S) is True
    parking.close()
    other.close()


def test_woken(pair: tuple[socket.socket, socket.socket]) -> None:
    """By a word or by the end, once; nobody waits at what is closed."""
    near, _ = pair
    parking = Parking(near.fileno(), LATE_S)
    for end in (parking.wake, parking.close):
        waiting = gevent.spawn(parking.park)
        gevent.sleep(0)
        end()
        end()
        assert waiting.get(timeout=LATE_S) is False
    assert parking.park() is False
    word = Parking()
    word.wake()  # for nobody
    waiting = gevent.spawn(word.park)
    gevent.sleep(0)
    gevent.sleep(0)
    assert not waiting.ready()
    word.wake()
    assert waiting.get(timeout=LATE_S) is False


def test_killed(pair: tuple[socket.socket, socket.socket]) -> None:
    """Who was parked is gone: what comes later wakes the next one, and nobody else."""
    near, far = pair
    parking = Parking(near.fileno(), LATE_S)
    first = gevent.spawn(parking.park)
    gevent.sleep(0)
    parking.wake()
    first.kill()
    second = gevent.spawn(parking.park)
    gevent.sleep(0)
    gevent.sleep(0)
    far.send(b"a")
    assert second.get(timeout=LATE_S) is True
    parking.close()
