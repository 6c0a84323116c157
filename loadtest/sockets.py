"""How clients connect, and how they notice that nobody is there: by TCP, within a second or two.

A server's answer may take as long as the store does (`commit_s_max`), so a client that waits
for an answer is patient. That the *other kernel* answers takes a round trip, so a client is
impatient for that: a connect, bytes that are not acknowledged, and a connection on which
nothing happens have a second each. The limits are the kernel's own timers, which no busy client
process delays. A frozen program's kernel goes on answering: only patience finds that.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
from typing import TYPE_CHECKING, Final

from loadtest.entrances import ENTRANCES_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable

    from loadtest.entrances import Address

# For TCP to connect, where another attempt follows: a SYN that is lost is not sent again
# within this time, and the next attempt goes to another entrance, if there is one.
CONNECT_S_MAX: Final = 1.0
# For the other kernel's acknowledgement: two lost segments in a row are sent again within this
# time (after 0.2 s and 0.4 s more), on a network with a round trip below 0.2 s.
UNACKED_S_MAX: Final = 1.0
# On a silent connection the kernel asks after a second, and again after another; then
# `UNACKED_S_MAX` counts, or, where the system does not know that, so many questions.
KEEPALIVE_S: Final = 1
KEEPALIVE_PROBES: Final = 2
# With more than this unanswered, the other side's receive buffer may be full (HAProxy's and
# the daemon's are 32 kB): its kernel then acknowledges that it takes nothing, and
# TCP_USER_TIMEOUT counts a server that does not read as one that is not there.
SURE_BYTES_MAX: Final = 16_384

# macOS has another name for the first, and nothing for TCP_USER_TIMEOUT.
_KEEPALIVE: Final = (
    ("TCP_KEEPIDLE", KEEPALIVE_S),
    ("TCP_KEEPALIVE", KEEPALIVE_S),
    ("TCP_KEEPINTVL", KEEPALIVE_S),
    ("TCP_KEEPCNT", KEEPALIVE_PROBES),
)


def resolve(addresses: Iterable[Address]) -> list[Address]:
    """The entrances behind names, each an address of its own; numbers stay as they are.

    A name that can't be resolved stays too, so that the attempt to connect says why. At most
    `ENTRANCES_MAX`.
    """
    found: dict[Address, None] = {}
    for host, port in addresses:
        for one in [host] if _is_number(host) else _numbers(host, port):
            found[one, port] = None
    return list(found)[:ENTRANCES_MAX]


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _numbers(name: str, port: int) -> list[str]:
    try:
        answers = socket.getaddrinfo(name, port, 0, socket.SOCK_STREAM)
    except OSError:
        return [name]
    return [str(sockaddr[0]) for *_, sockaddr in answers]


def connect(address: Address, connect_s_max: float = CONNECT_S_MAX) -> socket.socket:
    """A connection that notices a dead peer; its `settimeout` is still `connect_s_max`.

    Raises:
        OSError: as `socket.create_connection`.
    """
    made = socket.create_connection(address, connect_s_max)
    try:
        # A second line must not wait for the acknowledgement of the first.
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE:
            if hasattr(socket, name):
                made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        be_patient(made, UNACKED_S_MAX)
    except OSError:
        made.close()
        raise
    return made


def is_ours(error: OSError) -> bool:
    """Whether our own wait is over; the kernel's, ETIMEDOUT, is a `TimeoutError` too."""
    return isinstance(error, TimeoutError | BlockingIOError) and error.errno != errno.ETIMEDOUT


def be_patient(connection: socket.socket, unacked_s_max: float) -> None:
    """How long bytes may be without an acknowledgement; then reads fail with ETIMEDOUT.

    A connection that has ended is left as it is: reading it says so.
    """
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        ms = round(unacked_s_max * 1000)
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, ms)
