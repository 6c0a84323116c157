"""asyncio's `Protocol`: callbacks, and no task for a client.

What asyncio itself is made of, and its fastest way: the loop calls `data_received`,
and whatever `async def` would keep in local variables stands in the object.

Notice how many callbacks it takes to say what the other variants say in one loop: data,
end of input, "stop writing", "go on", a deadline. Each must know in which state the
connection is. That is the price of callbacks, in Python as in Node.js.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from functools import partial
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable

LINE_BYTES_MAX = 8192  # PROTOCOL, top: with its LF
LINGER_S_MAX = 1.0  # what a client gets to read our ERR
BACKLOG = 1024  # clients that wait to be accepted: all of the article's, with room


class Echo(asyncio.Protocol):
    """One client."""

    def __init__(self, idle_s_max: float) -> None:
        self.loop = asyncio.get_running_loop()
        self.idle_s_max = idle_s_max
        self.previous = self.rest = b""
        self.ended = False  # our side is closed: what still comes is thrown away
        self.heard_s = self.loop.time()
        self.deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first line."""
        self.transport = cast("asyncio.Transport", transport)
        self.within(self.idle_s_max, self.look_for_idleness)

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, whoever made it; `exc` names a reset."""
        del exc
        if self.deadline:
            self.deadline.cancel()

    def within(self, seconds: float, otherwise: Callable[[], None]) -> None:
        """Call `otherwise` in so many seconds, unless another deadline has taken its place."""
        if self.deadline:
            self.deadline.cancel()
        self.deadline = self.loop.call_later(seconds, otherwise)

    def look_for_idleness(self) -> None:
        """Close, or wait on: one timer a client, not one a line."""
        left_s = self.heard_s + self.idle_s_max - self.loop.time()
        if left_s > 0:
            self.within(left_s, self.look_for_idleness)
        else:
            self.say_farewell("idle-timeout nothing received for too long")

    def data_received(self, data: bytes) -> None:
        """Answer the lines that are complete now (§1.3)."""
        if self.ended:
            return
        self.heard_s = self.loop.time()
        *texts, self.rest = (self.rest + data).split(b"\n")
        replies: list[bytes] = []
        for text in texts:
            if len(text) >= LINE_BYTES_MAX:
                break
            replies += (self.previous, line := text + b"\n")
            self.previous = line
        self.transport.write(b"".join(replies))
        if len(replies) < 2 * len(texts) or len(self.rest) >= LINE_BYTES_MAX:
            self.say_farewell(f"line-too-long over {LINE_BYTES_MAX} bytes")

    def eof_received(self) -> None:
        """Answer an unterminated last line (§1.4); asyncio then sends what is left and closes."""
        if not self.ended:
            if self.rest:
                self.transport.write(self.previous + self.rest)
            self.within(self.idle_s_max, self.transport.abort)

    def pause_writing(self) -> None:
        """The client takes less than it is owed: read no more of it until it has caught up."""
        if not self.ended:
            self.transport.pause_reading()
            self.within(self.idle_s_max, self.transport.abort)

    def resume_writing(self) -> None:
        """It has caught up."""
        if not self.ended and not self.transport.is_closing():
            self.heard_s = self.loop.time()
            self.within(self.idle_s_max, self.look_for_idleness)
            self.transport.resume_reading()

    def say_farewell(self, why: str) -> None:
        """Send the ERR, then read on: a close with bytes unread is a reset, which overtakes it."""
        self.ended = True
        self.rest = b""
        self.transport.write(f"ERR {why}\n".encode())
        self.transport.write_eof()
        self.transport.resume_reading()
        self.within(LINGER_S_MAX, self.transport.abort)


async def listen(host: str, port: int, idle_s_max: float) -> None:
    """Listen, say where, and serve until killed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(partial(Echo, idle_s_max), host, port, backlog=BACKLOG)
    host, port = server.sockets[0].getsockname()
    ready = {"event": "ready", "echo": f"{host}:{port}", "pid": os.getpid()}
    print(json.dumps(ready), flush=True)
    await server.serve_forever()


def main() -> None:
    """Read the flags and run the loop."""
    parser = argparse.ArgumentParser(description="The article's echo, by an asyncio Protocol.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True, help="0 takes a free one")
    parser.add_argument("--idle-s-max", type=float, default=5.0, help="seconds without a byte")
    arguments = parser.parse_args()
    asyncio.run(listen(arguments.host, arguments.port, arguments.idle_s_max))


if __name__ == "__main__":
    main()
