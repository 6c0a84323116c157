"""A server of rooms in a thread, right in all three speeches or wrong in one chosen way.

For the tests of the fan-out's load generator (lab/measure/c/fanout.c).
"""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import Callable, Iterator

UPGRADED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


def right(_who: int, _number: int, message: bytes) -> list[bytes]:
    """No fault."""
    return [message]


def frame(data: bytes, opcode: int = TEXT) -> bytes:
    """A server's frame: whole and unmasked (RFC 6455, 5.2)."""
    if len(data) < 126:
        return bytes([0x80 | opcode, len(data)]) + data
    return bytes([0x80 | opcode, 126]) + len(data).to_bytes(2, "big") + data


async def read_frame(reader: StreamReader) -> tuple[int, bytes]:
    """A client's frame: short and masked."""
    head = await reader.readexactly(2)
    assert head[0] & 0x80, "it is whole"
    assert head[1] & 0x80, "a client masks"
    length = head[1] & 0x7F
    assert length < 126
    mask = await reader.readexactly(4)
    data = await reader.readexactly(length)
    return head[0] & 15, bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))


class Rooms:
    """All rooms: members in the order of their joining, posts counted from 1.

    `fault(who of the room, number of the post, what it is sent)` → what it is sent instead.
    """

    def __init__(self, speech: str, fault: Callable[[int, int, bytes], list[bytes]]) -> None:
        self.speech = speech
        self.fault = fault
        self.members: dict[str, list[StreamWriter]] = {}
        self.posts: dict[str, int] = {}
        self.pongs = 0
        self.texts: list[str] = []

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """One client, to its end."""
        speak = {"echod": self._lines, "socketio": self._socketio, "channels": self._channels}
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await speak[self.speech](reader, writer)
        writer.close()

    def join(self, room: str, writer: StreamWriter) -> None:
        """A member comes."""
        self.members.setdefault(room, []).append(writer)

    def post(self, room: str, text: str, form: Callable[[int], bytes]) -> int:
        """Deliver `form(number)` to every member; returns the number."""
        number = self.posts[room] = self.posts.get(room, 0) + 1
        self.texts.append(text)
        for who, member in enumerate(self.members[room]):
            for message in self.fault(who, number, form(number)):
                member.write(message)
        return number

    async def _lines(self, reader: StreamReader, writer: StreamWriter) -> None:
        assert await reader.readline() == b"HELLO\n"
        writer.write(b"WELCOME abc.def 1 0 300\n")
        while line := (await reader.readline()).decode():
            verb, room, *rest = line.rstrip("\n").split(" ", 3)
            if verb == "JOIN":
                self.join(room, writer)
                writer.write(f"JOINED {room} e1 0 fresh\n".encode())
            else:
                number = self.post(room, rest[1], _message(room, rest[1]))
                writer.write(f"SAID {room} {rest[0]} {number}\n".encode())

    async def _socketio(self, reader: StreamReader, writer: StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n")
        writer.write(UPGRADED + frame(b'0{"sid":"' + b"x" * 200 + b'"}'))
        assert await read_frame(reader) == (TEXT, b"40")
        writer.write(frame(b'40{"sid":"a"}') + frame(b"2"))
        room = ""
        while True:
            _, data = await read_frame(reader)
            if data == b"3":
                self.pongs += 1
                continue
            event, value = json.loads(data.decode().lstrip("0123456789"))
            if event == "join":
                room = value
                self.join(room, writer)
                writer.write(frame(b"430[]"))
            else:
                self.post(room, value, _frame('42["msg","%s"]' % value))  # noqa: UP031 — braces

    async def _channels(self, reader: StreamReader, writer: StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        room = head.split(b"/")[2].decode()
        self.join(room, writer)
        writer.write(UPGRADED + frame(b"hello", PING))
        while True:
            opcode, data = await read_frame(reader)
            if opcode == PONG:
                self.pongs += data == b"hello"
            else:
                message = json.loads(data)["message"]
                self.post(room, message, _frame(json.dumps({"message": message})))


def _message(room: str, text: str) -> Callable[[int], bytes]:
    return lambda number: f"MSG {room} {number} abcdefghij {text}\n".encode()


def _frame(text: str) -> Callable[[int], bytes]:
    return lambda _: frame(text.encode())


@contextmanager
def serving(
    speech: str, fault: Callable[[int, int, bytes], list[bytes]] = right
) -> Iterator[tuple[list[int], Rooms]]:
    """Two ports of one such server, and its rooms."""
    rooms = Rooms(speech, fault)
    loop = asyncio.new_event_loop()
    servers = [
        loop.run_until_complete(asyncio.start_server(rooms.serve, "127.0.0.1", 0)) for _ in range(2)
    ]
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield [server.sockets[0].getsockname()[1] for server in servers], rooms
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        for server in servers:
            server.close()
        for task in (pending := asyncio.all_tasks(loop)):
            task.cancel()
        if pending:
            loop.run_until_complete(asyncio.wait(pending))
        loop.close()
