"""Many clients in one thread: closed loop, every reply checked, endings noted."""

from __future__ import annotations

import contextlib
import selectors
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.daemon import raw

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable


@dataclass(eq=False)
class Member:
    """One client: it sends line n + 1 when the reply to line n has come."""

    number: int
    sock: socket.socket
    address: str
    sent: bytes = b""  # the line in flight
    previous: bytes = b""
    answered: int = 0
    got: bytes = b""
    ended: str = ""  # an error's code, or how the connection broke

    def send(self) -> None:
        """Send the next line."""
        self.sent = b"client %d line %d\n" % (self.number, self.answered + 1)
        with contextlib.suppress(OSError):  # the server has closed: what it said can be read
            self.sock.sendall(self.sent)

    def receive(self) -> None:
        """Take what came; a wrong byte is an assertion that fails."""
        try:
            data = self.sock.recv(65_536)
        except OSError as error:
            self.ended = type(error).__name__
            return
        self.got += data
        owed = self.previous + self.sent
        if self.got.startswith(owed):
            self.got = self.got[len(owed) :]
            self.previous = self.sent
            self.answered += 1
            self.send()
        if self.got.startswith(b"ERR ") and self.got.endswith(b"\n"):
            self.ended = self.got.split(b" ")[1].decode()
            return
        assert (self.previous + self.sent).startswith(self.got) or self.got.startswith(b"ERR ")
        if not data:
            self.ended = "cut"


@dataclass
class Swarm:
    """`size` members on one port."""

    port: int
    size: int
    members: list[Member] = field(default_factory=list)

    def connect(self) -> None:
        """Connect all; each sends its first line."""
        for number in range(self.size):
            sock = raw.connect(self.port)
            host, port = sock.getsockname()
            member = Member(number, sock, f"{host}:{port}")
            member.send()
            self.members.append(member)

    def run(self, until: Callable[[], object], deadline_s: float) -> None:
        """Go on until `until()` is true or nobody is left; fails after `deadline_s`."""
        deadline = time.monotonic() + deadline_s
        with selectors.DefaultSelector() as selector:
            for member in self.members:
                if not member.ended:
                    selector.register(member.sock, selectors.EVENT_READ, member)
            while not until() and selector.get_map():
                assert time.monotonic() < deadline, "the swarm is not done in time"
                for key, _ in selector.select(0.05):
                    key.data.receive()
                    if key.data.ended:
                        selector.unregister(key.fileobj)
                        key.data.sock.close()

    def answered(self) -> int:
        """Lines answered to all of them."""
        return sum(member.answered for member in self.members)

    def ends(self) -> dict[str, int]:
        """How many ended in which way; "" are alive."""
        counts: dict[str, int] = {}
        for member in self.members:
            counts[member.ended] = counts.get(member.ended, 0) + 1
        return counts

    def close(self) -> None:
        """Close all."""
        for member in self.members:
            member.sock.close()
