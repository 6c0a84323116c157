"""Peers that vanish as a machine does that loses its power: no end, no reset, no acknowledgement.

A socket filter drops what arrives for a socket before TCP sees it (socket(7),
SO_ATTACH_FILTER): nobody needs to be root, and no packet of another test is touched. On a
listener it drops SYNs, on a connection everything.
"""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct
import sys
import termios

import pytest

from lab.wait import until

# Linux, asm-generic/socket.h; Python does not name them.
_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27
# One instruction of classic BPF: return 0, which keeps no byte of the packet.
_RETURN_0 = struct.pack("HBBI", 0x06, 0, 0, 0)

needs_filters = pytest.mark.skipif(sys.platform != "linux", reason="socket filters are Linux's")


def vanish(sock: socket.socket) -> None:
    """From now on nothing arrives at this socket, and nobody is told.

    What it has sent has arrived, or it would send that again and again, as no dead machine does.
    """
    until(lambda: not _unacknowledged(sock), 10, "the acknowledgement of what was sent")
    program = ctypes.create_string_buffer(_RETURN_0)
    head = struct.pack("HP", 1, ctypes.addressof(program))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, head)


def _unacknowledged(sock: socket.socket) -> int:
    """Bytes; none on a listener."""
    try:
        return int(struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))[0])
    except OSError:
        return 0


def come_back(sock: socket.socket) -> None:
    """Everything arrives again."""
    sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
