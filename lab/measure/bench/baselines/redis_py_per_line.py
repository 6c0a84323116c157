"""Stateful echo as most would write it: gevent, and one redis-py call for every line.

The connection's last line is stored, with a time to live, before its reply is sent: what
echod does with `--durability commit`, at a round trip to Redis for each. redis-py's plain
pool raises when it has 100 connections in use, so this is its blocking one, of that size:
more cost more.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import contextlib  # noqa: E402 — patched before anything imports `socket`
import itertools  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
from typing import TYPE_CHECKING  # noqa: E402

import redis  # noqa: E402
from gevent.server import StreamServer  # noqa: E402

if TYPE_CHECKING:
    from gevent.socket import socket

RECV_BYTES = 4096
TTL_S = 300
STORE_CONNECTIONS_MAX = 100


class Server:
    """The store, and a greenlet per connection."""

    def __init__(self, url: str) -> None:
        pool = redis.BlockingConnectionPool.from_url(url, max_connections=STORE_CONNECTIONS_MAX)
        self.store = redis.Redis(connection_pool=pool)
        self.numbers = itertools.count()

    def echo(self, client: socket, _address: tuple[str, int]) -> None:
        """One connection, one greenlet."""
        key = f"connection:{next(self.numbers)}"
        previous = partial = b""
        with contextlib.suppress(ConnectionError):
            while data := client.recv(RECV_BYTES):
                *lines, partial = (partial + data).split(b"\n")
                for text in lines:
                    line = text + b"\n"
                    self.store.set(key, line, ex=TTL_S)
                    client.sendall(previous + line)
                    previous = line
            if partial:
                client.sendall(previous + partial)
        self.store.delete(key)


if __name__ == "__main__":
    server = StreamServer(("127.0.0.1", 0), Server(sys.argv[1]).echo, backlog=4096)
    server.start()
    ready = f"127.0.0.1:{server.server_port}"
    print(json.dumps({"event": "ready", "echo": ready}), flush=True)
    server.serve_forever()
