"""One listening socket: what is accepted is ready for use, and no file is no end."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Any

import gevent
import pytest

from echod.config import Config
from echod.limits.capacity import Capacity
from echod.limits.files import SPARE_FILES
from echod.loop.clock import Clock
from echod.metrics import Metrics
from echod.ports.accepting import PAUSE_TICKS, Acceptor

if TYPE_CHECKING:
    import _socket
    from collections.abc import Iterator

PATIENCE_S = 5.0


class Door:
    """An acceptor, and what came in."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.capacity = Capacity(10, Clock(0.0), self.metrics)
        self.taken: list[_socket.socket] = []
        config = Config(echo_port=0)
        self.acceptor = Acceptor("echo_port", self.take, config, self.capacity, self.metrics)
        self.acceptor.start()

    def take(self, sock: _socket.socket, _: object) -> None:
        """As a port would."""
        self.taken.append(sock)

    def knock(self) -> socket.socket:
        """A client."""
        host, port = self.acceptor.address.rsplit(":", 1)
        return socket.create_connection((host, int(port)), PATIENCE_S)

    def await_taken(self, count: int) -> None:
        """Turn the loop until so many are in."""
        with gevent.Timeout(PATIENCE_S):
            while len(self.taken) < count:
                gevent.sleep(0.001)


@pytest.fixture
def door() -> Iterator[Door]:
    """One that is open."""
    made = Door()
    yield made
    made.acceptor.stop()
    for sock in made.taken:
        sock.close()
    made.capacity.files.close()


def test_replies_leave_at_once(door: Door) -> None:
    """What is accepted has the listening socket's TCP_NODELAY, and never waits."""
    with door.knock():
        door.await_taken(1)
        (sock,) = door.taken
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.gettimeout() == 0
        with pytest.raises(BlockingIOError):
            sock.recv(1)


def test_without_files(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each accept that meets no file takes a spare one; without those it pauses, and goes on."""
    real: Any = door.acceptor._socket  # noqa: SLF001 — the kernel can't be made to say so here
    answers = [OSError(errno.EMFILE, "Too many open files")] * (SPARE_FILES + 1)

    class Scarce:
        def _accept(self) -> object:
            if answers:
                raise answers.pop()
            return real._accept()  # noqa: SLF001 — as Acceptor

    with monkeypatch.context() as patch, door.knock():
        patch.setattr(door.acceptor, "_socket", Scarce())
        with gevent.Timeout(PATIENCE_S):
            while answers:
                gevent.sleep(0.001)
        assert door.taken == []
        assert door.capacity.files.short
        assert door.metrics.accept_errors == SPARE_FILES + 1
        for _ in range(PAUSE_TICKS):
            door.acceptor.tick()
        door.await_taken(1)


def test_a_bug_costs_one_client(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    """It is closed, the log has the traceback, and the next one is let in."""
    taken = door.taken

    def fail(sock: _socket.socket, _: object) -> None:
        taken.append(sock)
        raise ValueError("a bug in letting in")

    door.acceptor._take = fail  # noqa: SLF001 — as a port with a bug
    with door.knock() as first, door.knock():
        door.await_taken(2)
        assert first.recv(1) == b""
    assert caplog.text.count("ValueError: a bug in letting in") == 2
