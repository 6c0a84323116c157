"""A2: gevent with a patched socket, and a `Group` of greenlets.

`monkey.patch_socket()` is all the difference to blocking code: `recv` now hands the
CPU to another greenlet until bytes have come, and what looks like a thread for each
client is one thread, an event loop and a few kilobytes each.

Notice `group.spawn(serve, client)`: the function and its arguments. The article's
program called the handler there and gave `spawn` its result, so that it was serial
again. A send that the kernel takes only in part is finished by `sendall`.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import socket
import time
from typing import TYPE_CHECKING

import gevent
from gevent import monkey
from gevent.pool import Group

if TYPE_CHECKING:
    from collections.abc import Iterator

# In place: from here on `socket.socket`, whoever imported it, is gevent's.
monkey.patch_socket()

LINE_BYTES_MAX = 8192  # PROTOCOL, top: with its LF
RECV_BYTES = 65_536  # many lines of a client that sends them at once, and bounded
LINGER_S_MAX = 1.0  # what a client gets to read our ERR
ACCEPT_PAUSE_S = 0.1  # when no descriptor is free: until somebody has left
BACKLOG = 1024  # clients that wait to be accepted: all of the article's, with room


class Farewell(Exception):  # noqa: N818 — no error of ours: why we close (PROTOCOL §4)
    """The code and the text of the ERR line that ends a connection."""


def lines(client: socket.socket) -> Iterator[bytes]:
    """A client's lines as they come, each with its LF but perhaps the last (§1.3, §1.4).

    Raises:
        Farewell: Nothing came for the socket's timeout, or a line is too long.
    """
    rest = b""
    while True:
        try:
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


def echo(client: socket.socket) -> None:
    """Serve one client to its end."""
    previous = b""
    try:
        for line in lines(client):
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


def serve(client: socket.socket, idle_s_max: float) -> None:
    """One client, in its own greenlet."""
    with client:
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # For sending too: who takes nothing for so long is as good as gone.
            client.settimeout(idle_s_max)
            echo(client)
        except OSError:
            pass  # the client has gone, by a reset, or takes nothing


def accept(listener: socket.socket, idle_s_max: float) -> None:
    """Start a greenlet for each client; the limit of open files is the cap."""
    group = Group()  # it holds the greenlets, so that none is forgotten while it runs
    while True:
        try:
            client, _ = listener.accept()
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            gevent.sleep(ACCEPT_PAUSE_S)
            continue
        group.spawn(serve, client, idle_s_max)


def main() -> None:
    """Listen, say where, and serve until killed."""
    parser = argparse.ArgumentParser(description="The article's echo, a greenlet for each client.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True, help="0 takes a free one")
    parser.add_argument("--idle-s-max", type=float, default=5.0, help="seconds without a byte")
    arguments = parser.parse_args()
    with socket.create_server((arguments.host, arguments.port), backlog=BACKLOG) as listener:
        host, port = listener.getsockname()
        ready = {"event": "ready", "echo": f"{host}:{port}", "pid": os.getpid()}
        print(json.dumps(ready), flush=True)
        accept(listener, arguments.idle_s_max)


if __name__ == "__main__":
    main()
