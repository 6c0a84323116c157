"""Stateless echo as most write it with gevent: StreamServer, `recv`, `sendall`.

Every `recv` is first tried, fails with EAGAIN, and only then waits.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

from gevent.server import StreamServer

if TYPE_CHECKING:
    from gevent.socket import socket

RECV_BYTES = 4096


def echo(client: socket, _address: tuple[str, int]) -> None:
    """One connection, one greenlet."""
    previous = partial = b""
    with contextlib.suppress(ConnectionError):
        while data := client.recv(RECV_BYTES):
            *lines, partial = (partial + data).split(b"\n")
            for text in lines:
                line = text + b"\n"
                client.sendall(previous + line)
                previous = line
        if partial:
            client.sendall(previous + partial)


if __name__ == "__main__":
    server = StreamServer(("127.0.0.1", 0), echo, backlog=4096)
    server.start()
    ready = f"127.0.0.1:{server.server_port}"
    print(json.dumps({"event": "ready", "echo": ready}), flush=True)
    server.serve_forever()
