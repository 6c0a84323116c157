"""What the kernel holds for the sockets of one port: `ss -tm`, without needing `ss`.

sock_diag(7): an `inet_diag_req_v2` for all TCP sockets of IPv4, those without a process
among them; of each answer the source port and the attribute INET_DIAG_SKMEMINFO.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY, NLMSG_DONE, NLMSG_ERROR = 20, 3, 2
NLM_F_REQUEST_DUMP = 0x301
INET_DIAG_SKMEMINFO = 7
# Every state but LISTEN (10): what waits there is nobody's yet.
STATES = 0xFFF & ~(1 << 10)
HEADER, MESSAGE_BYTES = struct.Struct("=IHHII"), 72
# rmem_alloc, rcvbuf, wmem_alloc, sndbuf, fwd_alloc, wmem_queued, optmem, backlog
MEMORY = struct.Struct("=8I")


def kernel_bytes(port: int) -> int:
    """Memory of all sockets whose own port this is: received, to be sent, and reserved."""
    return sum(
        received + reserved + queued + options + backlog
        for received, _, _, _, reserved, queued, options, backlog in _memory(port)
    )


def _memory(port: int) -> Iterator[tuple[int, ...]]:
    request = struct.pack(
        "=BBBxI48x", socket.AF_INET, socket.IPPROTO_TCP, 1 << INET_DIAG_SKMEMINFO - 1, STATES
    )
    size = HEADER.size + len(request)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as netlink:
        netlink.settimeout(5)
        netlink.send(HEADER.pack(size, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST_DUMP, 1, 0) + request)
        while True:
            data = netlink.recv(1 << 18)
            while data:
                length, kind, *_ = HEADER.unpack_from(data)
                if kind == NLMSG_DONE:
                    return
                assert kind != NLMSG_ERROR, data
                (source,) = struct.unpack_from("!H", data, HEADER.size + 4)
                if source == port:
                    yield _attribute(data[HEADER.size + MESSAGE_BYTES : length])
                data = data[(length + 3) & ~3 :]


def _attribute(data: bytes) -> tuple[int, ...]:
    while data:
        length, kind = struct.unpack_from("=HH", data)
        if kind == INET_DIAG_SKMEMINFO:
            return MEMORY.unpack_from(data, 4)
        data = data[(length + 3) & ~3 :]
    return (0,) * 8
