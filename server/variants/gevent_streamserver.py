"""A3: gevent's `StreamServer`, with a pool of 10,000 and an idle timeout of 5 s.

The most idiomatic gevent, and the article's best server: the library accepts, the pool
caps, `wait_read` tells a client that says nothing from one that is slow.

Notice the order in `lines`: everything that has been received is answered before it
waits for the descriptor again. The article's program waited while lines sat in its
buffer, and took the end of the file, which is always readable, for one more line.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from typing import TYPE_CHECKING

from gevent import socket
from gevent.pool import Pool
from gevent.server import StreamServer

if TYPE_CHECKING:
    from collections.abc import Iterator

LINE_BYTES_MAX = 8192  # PROTOCOL, top: with its LF
RECV_BYTES = 65_536  # many lines of a client that sends them at once, and bounded
LINGER_S_MAX = 1.0  # what a client gets to read our ERR
# At 10,000 the server stops accepting: the next client waits in the backlog, connected and
# unanswered, until one leaves. StreamServer has no place to answer `ERR busy`; echod does.
CLIENTS_MAX = 10_000
BACKLOG = 1024  # clients that wait to be accepted: all of the article's, with room


class Farewell(Exception):  # noqa: N818 — no error of ours: why we close (PROTOCOL §4)
    """The code and the text of the ERR line that ends a connection."""


def lines(client: socket.socket, idle_s_max: float) -> Iterator[bytes]:
    """A client's lines as they come, each with its LF but perhaps the last (§1.3, §1.4).

    Raises:
        Farewell: Nothing came for `idle_s_max`, or a line is too long.
    """
    rest = b""
    while True:
        try:
            socket.wait_read(client.fileno(), idle_s_max, TimeoutError())
            data = client.recv(RECV_BYTES)
        except TimeoutError:
            raise Farewell("idle-timeout nothing received for too long") from None
        *texts, rest = (rest + data).split(b"\n")
        for text in texts:
            if len(text) >= LINE_BYTES_MAX:
                raise Farewell(f"line-too-long over {LINE_BYTES_MAX} bytes")
            yield text + b"\n"
        if len(rest) >= LINE_BYTES_MAX:
            raise Farewell(f"line-too-long over {LINE_BYTES_MAX} bytes")
        if not data:
            if rest:
                yield rest
            return


def echo(client: socket.socket, idle_s_max: float) -> None:
    """Serve one client to its end."""
    previous = b""
    try:
        for line in lines(client, idle_s_max):
            client.sendall(previous + line)
            previous = line
    except Farewell as why:
        say_farewell(client, why)


def say_farewell(client: socket.socket, why: Farewell) -> None:
    """Send the ERR, then read on: a close with bytes unread is a reset, which overtakes it."""
    client.sendall(f"ERR {why}\n".encode())
    client.shutdown(socket.SHUT_WR)
    deadline = time.monotonic() + LINGER_S_MAX
    while (left_s := deadline - time.monotonic()) > 0:
        client.settimeout(left_s)
        if not client.recv(RECV_BYTES):
            return


class EchoServer(StreamServer):
    """Calls `handle` in a greenlet of the pool for each client, and closes its socket after."""

    def __init__(self, address: tuple[str, int], idle_s_max: float) -> None:
        super().__init__(address, backlog=BACKLOG, spawn=Pool(CLIENTS_MAX))
        self.idle_s_max = idle_s_max

    def handle(self, client: socket.socket, _address: object) -> None:
        """One client."""
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # For sending: who takes nothing for so long is as good as gone.
            client.settimeout(self.idle_s_max)
            echo(client, self.idle_s_max)
        except OSError:
            pass  # the client has gone, by a reset, or takes nothing


def main() -> None:
    """Listen, say where, and serve until killed."""
    parser = argparse.ArgumentParser(description="The article's echo, by gevent's StreamServer.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True, help="0 takes a free one")
    parser.add_argument("--idle-s-max", type=float, default=5.0, help="seconds without a byte")
    arguments = parser.parse_args()
    server = EchoServer((arguments.host, arguments.port), arguments.idle_s_max)
    server.start()
    ready = {
        "event": "ready",
        "echo": f"{server.server_host}:{server.server_port}",
        "pid": os.getpid(),
    }
    print(json.dumps(ready), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
