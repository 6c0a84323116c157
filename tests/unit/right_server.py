"""A right server of the session port, written from PROTOCOL §2 and §3 and not from the judge.

Pure: `answer` takes what a client asks and gives the bytes that it must get.
"""

from __future__ import annotations

from itertools import pairwise

from loadtest.session_requests import (
    Echo,
    Hello,
    Join,
    Part,
    Ping,
    Quit,
    Request,
    Say,
    Tell,
    Who,
)

TOKEN = b"abcdefghij.234567abcdefghijklmnopqrstuv"
OTHER_TOKEN = b"jihgfedcba.234567abcdefghijklmnopqrstuv"
NAME = TOKEN[:10]


class Model:
    """One session and the rooms, as one connection sees them; `texts[n - 1]` is line n."""

    def __init__(self, texts: list[bytes] | None = None, epoch: int = 0) -> None:
        self.texts = list(texts or [])
        self.epoch = epoch
        self.rooms: dict[bytes, int] = {}  # joined: the last offset

    def answer(self, request: Request) -> bytes:
        """The reply to a request that comes next."""
        match request:
            case Hello():
                return self._welcome()
            case Echo(n, text):
                return self._echo(n, text)
            case Ping(text):
                return b"PONG %b\n" % text if text else b"PONG\n"
            case Quit():
                return b"BYE\n"
            case _:
                return self._room(request)

    def _room(self, request: Join | Say | Part | Who | Tell) -> bytes:
        match request:
            case Tell(name, _):
                return b"TOLD %b %b\n" % (name, b"delivered" if name == NAME else b"absent")
            case Join(room, life, offset):
                self.rooms[room] = 7 if offset is None else offset
                how = b"fresh" if life is None else b"recovered" if life == b"one" else b"lost"
                return b"JOINED %b one %d %b\n" % (room, self.rooms[room], how)
            case Say(room) | Part(room) | Who(room) if room not in self.rooms:
                return b"ERR not-in-room join it first\n"
            case Say(room, id_, _):
                return b"SAID %b %d %d\n" % (room, id_, self.rooms[room] + 1)
            case Part(room):
                del self.rooms[room]
                return b"PARTED %b\n" % room
            case Who(room):
                return b"WHO %b 3 2\n" % room

    def unasked(self, choice: int, text: bytes) -> bytes:
        """Something that may stand between two replies."""
        if choice < 2 or not self.rooms:
            return b"DRAIN 500\n" if choice % 2 else b"FROM %b %b\n" % (NAME, text)
        room = sorted(self.rooms)[choice % len(self.rooms)]
        self.rooms[room] += 1
        offset = self.rooms[room]
        if choice % 3:
            return b"MSG %b %d %b %b\n" % (room, offset, NAME, text)
        self.rooms[room] += 2
        return b"GAP %b %d %d\n" % (room, offset, offset + 2)

    def _welcome(self) -> bytes:
        self.epoch += 1
        seq = len(self.texts)
        line = b"WELCOME %b %d %d 300\n" % (TOKEN, self.epoch, seq)
        return line + (b"PREV %d %b\n" % (seq, self.texts[-1]) if seq else b"")

    def _echo(self, n: int, text: bytes) -> bytes:
        seq = len(self.texts)
        if n == seq + 1:
            self.texts.append(text)
        elif n != seq or not seq:
            return b"ERR out-of-order %d is the next\n" % (seq + 1)
        elif text != self.texts[-1]:
            return b"ERR conflict that line had another text\n"
        previous = b"PREV %d %b\n" % (n - 1, self.texts[n - 2]) if n > 1 else b""
        return previous + b"ECHO %d %b\n" % (n, text)


def cut(stream: bytes, cuts: list[float]) -> list[bytes]:
    """The stream in pieces at these shares of its length, some of them empty."""
    places = sorted(round(share * len(stream)) for share in cuts)
    return [stream[a:b] for a, b in pairwise([0, *places, len(stream)])]
