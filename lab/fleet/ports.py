"""Ports on loopback: free ones for programs that can't choose, and taken ones named early.

Redis, HAProxy, Locust and Prometheus must be told a port, and each part is started again on the
ports that it had. `reserve` keeps such a port while nobody listens there. Where the system can't,
another program may take it: so a start on a free port is tried again, and the caller makes sure
that it is its own process that listens there (`processes.Process.listens_on`).
"""

from __future__ import annotations

import contextlib
import resource
import socket
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from lab.errors import LabError
from lab.fleet import processes
from lab.fleet.processes import Process, StartError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")

Command = tuple[Sequence[str], Mapping[str, str]]
"""A program's words, and variables beside this process's own."""

HOST = "127.0.0.1"

# Each lost race is one in thousands; that often in turn means something else is wrong.
TRIES_MAX = 4

# A fleet has some thirty ports, its links included, and a process seldom more than one fleet at a
# time. The longest reserved are given up, so that they take no more than a quarter of the files
# that this process may have open.
RESERVED_SHARE = 4

_reserved: deque[socket.socket] = deque()


class PortError(LabError):
    """Ports that were asked for can't be bound; the text names each, and how to change it."""


def reserve() -> int:
    """A free port, which no other program is given while this process lives (Linux).

    A socket is bound to it and never listens: who connects is refused, and the kernel passes the
    port by when it chooses one. With SO_REUSEADDR on both, a server listens there all the same, as
    often as it is started.
    """
    keeper = socket.socket()
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    keeper.bind((HOST, 0))
    port = int(keeper.getsockname()[1])
    if sys.platform == "linux":
        _reserved.append(keeper)
        while len(_reserved) > resource.getrlimit(resource.RLIMIT_NOFILE)[0] // RESERVED_SHARE:
            _reserved.popleft().close()
    else:
        keeper.close()
    return port


def start_on(ports: Sequence[int], start: Callable[[Sequence[int]], T]) -> T:
    """Call `start` with `ports`, a free one in the place of each 0, and return what it returns.

    Raises:
        StartError: As `start` raised it, with zeroes in `ports` the last time it was tried.
    """

    def attempt() -> T:
        return start([port or reserve() for port in ports])

    for _ in range(TRIES_MAX - 1 if 0 in ports else 0):
        with contextlib.suppress(StartError):
            return attempt()
    return attempt()


def start_listening(  # noqa: PLR0913 — each is one independent choice of the caller
    name: str,
    wanted: Mapping[str, int],
    command: Callable[[dict[str, str]], Command],
    log: Path,
    *,
    cpu: int | None = None,
    answers: Callable[[dict[str, str]], bool] = lambda _: True,
) -> Process:
    """Start a program that must be told its ports; it listens on all of them then.

    Args:
        name: The program's, for an error's text.
        wanted: Its ports by what they are for; 0 for any free one.
        command: Its words and variables, by its addresses (host:port).
        log: As in `processes.start`.
        cpu: As in `processes.start`.
        answers: Whether it serves at those addresses, should listening not say so.

    Returns:
        The process; `.ready` has the addresses.

    Raises:
        StartError: It did not start; the text has its last words.
    """

    def attempt(numbers: Sequence[int]) -> Process:
        addresses = {port: f"{HOST}:{n}" for port, n in zip(wanted, numbers, strict=True)}
        argv, env = command(addresses)
        process = processes.start(argv, log=log, env=env, expect_ready=False, cpu=cpu)
        process.await_sign(
            # In this order: to ask the system who listens takes it longer than to connect.
            lambda: answers(addresses) and all(map(process.listens_on, numbers)),
            f"{name} on {', '.join(addresses.values())}",
        )
        process.ready = addresses
        return process

    return start_on(list(wanted.values()), attempt)


def check(wishes: Sequence[tuple[int, str, str]]) -> None:
    """Bind every port for a moment, so that a clash is found before anything is started.

    Args:
        wishes: Ports, who listens there ("the echo"), and how to ask for another ("--port").

    Raises:
        PortError: Naming all that are taken, wished for twice, or not allowed.
    """
    refused = []
    with contextlib.ExitStack() as bound:
        for port, what, change in wishes:
            probe = bound.enter_context(socket.socket())
            # As the servers do: a port whose last connections linger is free to them.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
                probe.listen()
            except OSError as error:
                why = f"{error.strerror}; choose another with {change}"
                refused.append(f"port {port} ({what}): {why}")
    if refused:
        raise PortError("\n".join(refused))


def split(address: str) -> tuple[str, int]:
    """`host:port` in its two parts."""
    host, _, port = address.rpartition(":")
    return host, int(port)
