"""A name server for tests: answers questions for addresses (A, RFC 1035) from a table."""

from __future__ import annotations

import socket
import struct
import threading
from typing import Self

HEADER = struct.Struct("!6H")
# An answer, a recursive question's, recursion available.
ANSWERED = 0x8180
NO_SUCH_NAME = 3
A, IN = 1, 1
# Where the question's name stands, as an answer refers to it.
THE_NAME = 0xC00C
TTL_S = 5
QUESTION_BYTES_MAX = 4_096


class NameServer:
    """Listens on loopback, by UDP, in a thread.

    Attributes:
        table: Name → addresses; may be changed at any time.
        asked: Every name that was asked for.
        port: Where it listens.
    """

    def __init__(self, table: dict[str, list[str]]) -> None:
        self.table = table
        self.asked: set[str] = set()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        while True:
            question, asker = self._socket.recvfrom(QUESTION_BYTES_MAX)
            if not question:
                return
            self._socket.sendto(self.answer(question), asker)

    def answer(self, question: bytes) -> bytes:
        """The answer to a question: a name that is not in the table is none."""
        number = HEADER.unpack_from(question)[0]
        labels = []
        at = HEADER.size
        while length := question[at]:
            labels.append(question[at + 1 : at + 1 + length].decode())
            at += 1 + length
        end = at + 5
        (kind,) = struct.unpack_from("!H", question, at + 1)
        name = ".".join(labels)
        self.asked.add(name)
        addresses = self.table.get(name)
        flags = ANSWERED | (NO_SUCH_NAME if addresses is None else 0)
        found = (addresses or []) if kind == A else []
        records = [
            struct.pack("!HHHIH", THE_NAME, A, IN, TTL_S, 4) + socket.inet_aton(address)
            for address in found
        ]
        header = HEADER.pack(number, flags, 1, len(records), 0, 0)
        return header + question[HEADER.size : end] + b"".join(records)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # An empty datagram ends it.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()
