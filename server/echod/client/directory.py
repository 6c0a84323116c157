"""Which session is at which connection here: the way of a TELL's last step (PROTOCOL §3)."""

from __future__ import annotations

from typing import Protocol


class Addressee(Protocol):
    """A connection whose session was welcomed."""

    def tell(self, line: bytes) -> bool:
        """Send it a whole line, unasked; whether it is sent, or in its outbox."""


class Directory:
    """See the module. A name has one connection at most: the latest that was welcomed."""

    def __init__(self) -> None:
        self._by_name: dict[bytes, Addressee] = {}

    def welcomed(self, name: bytes, connection: Addressee) -> None:
        """The session of this name is here."""
        self._by_name[name] = connection

    def parted(self, name: bytes, connection: Addressee) -> None:
        """It is not any more, unless another connection has it."""
        if self._by_name.get(name) is connection:
            del self._by_name[name]

    def deliver(self, name: bytes, line: bytes) -> bool:
        """A line for the session of this name; whether it is sent, or in an outbox."""
        connection = self._by_name.get(name)
        return connection is not None and connection.tell(line)
