"""Plain sockets against the plain port, and what PROTOCOL §1 makes it answer."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# For what comes at once, on a machine that does much else: it tells never from at last.
PATIENCE_S = 30.0
ABORT = struct.pack("ii", 1, 0)


def connect(port: int, patience_s: float = PATIENCE_S) -> socket.socket:
    """A connection to this machine's `port`, without Nagle's delay."""
    made = socket.create_connection(("127.0.0.1", port), patience_s)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def read_some(sock: socket.socket, size: int = 65_536) -> bytes:
    """What comes next; b"" at the end of the connection, a reset being one."""
    try:
        return sock.recv(size)
    except ConnectionResetError:
        return b""


def read(sock: socket.socket, size: int) -> bytes:
    """`size` bytes, or fewer if the connection ends or is reset before."""
    parts, got = [], 0
    while got < size:
        data = read_some(sock, min(65_536, size - got))
        if not data:
            break
        parts.append(data)
        got += len(data)
    return b"".join(parts)


def read_all(sock: socket.socket) -> bytes:
    """Everything until the connection ends."""
    return read(sock, 1 << 40)


def read_now(sock: socket.socket) -> bytes:
    """What has come already; b"" for nothing."""
    sock.settimeout(0)
    try:
        return sock.recv(65_536)
    except BlockingIOError:
        return b""
    finally:
        sock.settimeout(PATIENCE_S)


def converse(port: int, chunks: Iterable[bytes], *, patience_s: float = PATIENCE_S) -> bytes:
    """Send `chunks` one by one, half-close, and return all that comes back."""
    with connect(port, patience_s) as sock:
        for chunk in chunks:
            try:
                sock.sendall(chunk)
            except (BrokenPipeError, ConnectionResetError):
                break  # the server has said why
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
        return read_all(sock)


def reset(sock: socket.socket) -> None:
    """Close with a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
    sock.close()


def owed(stream: bytes, line_bytes_max: int) -> tuple[bytes, bool]:
    """What a half-closed `stream` is answered, and whether `line-too-long` follows.

    Written anew from PROTOCOL §1, not with the daemon's code.
    """
    reply, previous, begin = b"", b"", 0
    while begin < len(stream):
        end = stream.find(b"\n", begin)
        size = (end + 1 if end >= 0 else len(stream)) - begin
        if size > line_bytes_max or (end < 0 and size == line_bytes_max):
            return reply, True
        line = stream[begin : begin + size]
        reply += previous + line
        previous = line
        begin += size
    return reply, False
