"""A4: the article's client, with gevent: N clients at once, a greenlet each.

Each sends `Hello World!:0` … `Hello World!:9`, one a second, prints each reply as it
comes, and leaves. Notice `reply`: it reads on until a reply is whole, for TCP carries
bytes and not messages. The article's client took what one `recv` gave for one reply,
which holds until a reply is cut, or two arrive together.

Prints the transcript on stdout and a summary on stderr; the exit status is 1 if any
reply was wrong or missing.
"""

from __future__ import annotations

import argparse
import sys

import gevent
from gevent import socket

REPLY_S_MAX = 10.0  # for a reply, or for the connection; a silent server must not hold us
RECV_BYTES = 4096


class Wrong(Exception):  # noqa: N818 — what the server did
    """A reply that is not the one owed."""


def reply(server: socket.socket, owed: bytes) -> bytes:
    """Read one reply, however it is cut.

    Raises:
        Wrong: It differs from `owed`, or the connection ended within it.
    """
    got = b""
    while len(got) < len(owed):
        data = server.recv(min(RECV_BYTES, len(owed) - len(got)))
        got += data
        if not data or not owed.startswith(got):
            raise Wrong(f"owed {owed!r}, got {got!r}")
    return got


def leave(server: socket.socket) -> None:
    """Half-close, and see that nothing more was on its way.

    Raises:
        Wrong: There was.
    """
    server.shutdown(socket.SHUT_WR)
    if extra := server.recv(RECV_BYTES):
        raise Wrong(f"owed nothing more, got {extra!r}")


def client(host: str, port: int, lines: int, pause_s: float) -> bool:
    """One client's visit; whether every reply was right."""
    previous = b""
    try:
        with socket.create_connection((host, port), REPLY_S_MAX) as server:
            for number in range(lines):
                line = b"Hello World!:%d\n" % number
                server.sendall(line)
                sys.stdout.write(reply(server, previous + line).decode())
                previous = line
                gevent.sleep(pause_s)
            leave(server)
    except (Wrong, OSError) as error:
        sys.stderr.write(f"a client, after {previous!r}: {error}\n")
        return False
    return True


def main() -> None:
    """Run all clients at once, and judge."""
    parser = argparse.ArgumentParser(description="The article's clients, with gevent.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=1234)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--lines", type=int, default=10, help="for each client")
    parser.add_argument("--pause-s", type=float, default=1.0, help="seconds after each line")
    flags = parser.parse_args()
    clients = [
        gevent.spawn(client, flags.host, flags.port, flags.lines, flags.pause_s)
        for _ in range(flags.clients)
    ]
    gevent.joinall(clients, raise_error=True)
    right = sum(each.get() for each in clients)
    sys.stdout.flush()
    sys.stderr.write(f"{right} of {flags.clients} clients got {flags.lines} right replies\n")
    sys.exit(right != flags.clients)


if __name__ == "__main__":
    main()
