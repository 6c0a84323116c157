"""Another program, which the kernel gives a port to."""

from __future__ import annotations

import contextlib
import socket
import struct

from lab.fleet.ports import HOST

# linux/in.h, from Linux 6.3 on: the ports that the kernel may choose from.
IP_LOCAL_PORT_RANGE = 51


def could_be_given(port: int) -> bool:
    """Whether the kernel would give `port` to who asks for any, to listen on or to connect from.

    It has no other to choose, so chance plays no part. Before Linux 6.3 it has, and the port is
    hardly ever the one.
    """
    only = struct.pack("I", port << 16 | port)
    with socket.create_server((HOST, 0)) as server:
        address = server.getsockname()
        for connects in (False, True):
            for reuse in (0, 1):
                with socket.socket() as taker, contextlib.suppress(OSError):
                    with contextlib.suppress(OSError):
                        taker.setsockopt(socket.IPPROTO_IP, IP_LOCAL_PORT_RANGE, only)
                    taker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
                    if connects:
                        taker.connect(address)
                    else:
                        taker.bind((HOST, 0))
                    if taker.getsockname()[1] == port:
                        return True
    return False
