"""haproxy/haproxy.cfg before a real daemon: the limits of a source, and the fallback.

Killed and frozen daemons, and Redis away, are in tests/fleet; containers in tests/stack.
"""

from __future__ import annotations

import contextlib
import signal
import urllib.error
from typing import TYPE_CHECKING, Any

import pytest

from lab import web
from lab.fleet import haproxy_server
from lab.fleet.haproxy_server import Daemon
from lab.wait import until
from loadtest.client import ConnectFailed, EarlyClose, PlainClient
from tests.config.checks import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lab.fleet.processes import Process

# What a check finds, or an agent says, is known within a second or two.
NOTICED_S_MAX = 10.0


class Balance:
    """HAProxy before one daemon, which passes its checks."""

    def __init__(self, haproxy: Process, daemon: Process) -> None:
        self.daemon = daemon
        self.clients: list[PlainClient] = []
        self._ready = haproxy.ready
        until(self.has_daemon, NOTICED_S_MAX, "the daemon to pass its checks")

    def has_daemon(self) -> bool:
        """What HAProxy's /readyz says: a daemon that passes its checks and wants clients."""
        try:
            web.page(f"http://{self._ready['stats']}/readyz", timeout=5).close()
        except urllib.error.HTTPError as error:
            error.close()
            return False
        return True

    def client(self) -> PlainClient | None:
        """A client that has been answered; None if it was closed instead."""
        host, port = self._ready["echo"].rsplit(":", 1)
        try:
            client = PlainClient(host, int(port))
        except ConnectFailed:
            return None  # closed before we could look
        self.clients.append(client)
        try:
            client.ask(b"hello\n")
        except EarlyClose:
            return None
        return client

    def close(self) -> None:
        """Let go of all clients."""
        for client in self.clients:
            client.close()


@pytest.fixture
def balance(
    haproxy_program: Path,
    tmp_path: Path,
    echod: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[..., Balance]]:
    """Start HAProxy, each of those at hand, before a new daemon with these settings."""
    monkeypatch.setenv(haproxy_server.BINARY.variable, str(haproxy_program))
    with contextlib.ExitStack() as stack:

        def start(**settings: Any) -> Balance:  # noqa: ANN401 — as the fixture `echod`
            daemon = echod(proxy_protocol=True, **settings).process
            place = Daemon.of({**daemon.ready, "name": "one"})
            haproxy = haproxy_server.start(tmp_path, ROOT / "haproxy" / "haproxy.cfg", [place])
            stack.callback(haproxy.kill)
            made = Balance(haproxy, daemon)
            stack.callback(made.close)
            return made

        yield start


def test_connections_of_a_source(
    balance: Callable[..., Balance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more than it may have is closed unanswered; when one has left there is room again."""
    monkeypatch.setenv("SOURCE_CONNECTIONS_MAX", "3")
    front = balance()
    assert all(front.client() for _ in range(3))
    assert front.client() is None
    front.clients[0].close()
    until(front.client, NOTICED_S_MAX, "room for one more")


def test_connection_rate_of_a_source(
    balance: Callable[..., Balance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who connects faster than it may is closed unanswered."""
    monkeypatch.setenv("SOURCE_RATE_MAX", "5")
    front = balance()
    assert all(front.client() for _ in range(5))
    assert not all(front.client() for _ in range(20))


def test_fallback_without_checks(balance: Callable[..., Balance]) -> None:
    """When every daemon's agent says `drain`, a client is still served by one that accepts."""
    front = balance(agent_interval_s=5)  # it goes on accepting for two of them
    front.daemon.signal(signal.SIGTERM)
    until(lambda: not front.has_daemon(), NOTICED_S_MAX, "the drain to be known")
    assert front.client()
