"""How session connections end: at any moment, once, and so that the last word arrives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.wait import until
from tests.daemon.test_session_port import Client, client, pair

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Echod

__all__ = ["client", "pair"]


def test_bye_is_not_overtaken(echod: Callable[..., Echod], client: Callable[[int], Client]) -> None:
    """What is sent behind QUIT is thrown away, and makes no reset of the closing."""
    daemon = echod()
    one = client(daemon.session_port)
    one.hello()
    one.send(b"ECHO 1 a\nQUIT\n" + 20_000 * b"PING\n")
    until(lambda: daemon.closed("quit", "session"), 5, "the connection to be closed")
    got = b""
    while data := one.sock.recv(65_536):
        got += data
    assert got == b"ECHO 1 a\nBYE\n"
