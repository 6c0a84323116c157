"""One thread for each connection: the obvious cure for the serial server.

The same blocking code as `serial.py`, but each client's runs in a thread of its own, so
that a client that pauses keeps nobody waiting. It needs no library and no new way of
thinking. (The article goes from the serial server straight to gevent.)

Notice what it costs: a stack for each client, the kernel's scheduler between them, and
one interpreter lock, so that a second CPU does not help. Hence the cap.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LINE_BYTES_MAX = 8192  # PROTOCOL, top: with its LF
RECV_BYTES = 65_536  # many lines of a client that sends them at once, and bounded
LINGER_S_MAX = 1.0  # what a client gets to read our ERR
CLIENTS_MAX = 4000  # a thread each: well under what Linux gives a process by default
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


def serve(client: socket.socket, idle_s_max: float, places: threading.Semaphore) -> None:
    """One client, in its own thread; gives its place back at the end."""
    with client:
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # For sending too: who takes nothing for so long is as good as gone.
            client.settimeout(idle_s_max)
            echo(client)
        except OSError:
            pass  # the client has gone, by a reset, or takes nothing
        finally:
            places.release()


def accept(listener: socket.socket, idle_s_max: float) -> None:
    """Start a thread for each client; above the cap they wait in the backlog."""
    places = threading.BoundedSemaphore(CLIENTS_MAX)
    while True:
        places.acquire()
        client, _ = listener.accept()
        # A daemon thread: it does not keep the process from ending.
        threading.Thread(target=serve, args=(client, idle_s_max, places), daemon=True).start()


def main() -> None:
    """Listen, say where, and serve until killed."""
    parser = argparse.ArgumentParser(description="The article's echo, a thread for each client.")
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
