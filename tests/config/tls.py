"""A dialogue over TLS, with a client certificate or without; shared by TLS's tests."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

from loadtest.client import REPLY_S_MAX
from tests.daemon import raw

if TYPE_CHECKING:
    from pathlib import Path


def echo(port: int, trusted: Path, certificate: Path | None = None) -> bytes:
    """What two lines are answered on the plain port in TLS; as `ask`."""
    return ask(port, trusted, b"a\nb\n", len(b"a\na\nb\n"), certificate)


def ask(
    port: int, trusted: Path, lines: bytes, size: int, certificate: Path | None = None
) -> bytes:
    """The first `size` bytes that `lines` are answered on this machine's `port`.

    `trusted` is the authority that the server's certificate must be of.

    Raises:
        OSError: One side did not like the other's certificate, or TLS is not spoken.
    """
    context = ssl.create_default_context(cafile=str(trusted))
    if certificate is not None:
        context.load_cert_chain(certificate)
    with (
        socket.create_connection(("127.0.0.1", port), REPLY_S_MAX) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as sock,
    ):
        sock.sendall(lines)
        # A server that refuses says so here: the client's part of the handshake is over.
        if not (answer := sock.recv(1)):
            raise ConnectionError("closed without an answer")
        return answer + raw.read(sock, size - 1)
