"""Stateless echo as an asyncio `Protocol` on uvloop: callbacks, no task per connection."""

from __future__ import annotations

import asyncio
import json
from typing import cast

import uvloop


class Echo(asyncio.Protocol):
    """One connection: a line is answered by the previous one and itself."""

    def __init__(self) -> None:
        self.partial = b""
        self.previous = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer the lines that are complete."""
        *lines, self.partial = (self.partial + data).split(b"\n")
        reply: list[bytes] = []
        for text in lines:
            line = text + b"\n"
            reply += (self.previous, line)
            self.previous = line
        if reply:
            self.transport.write(b"".join(reply))

    def eof_received(self) -> None:
        """Answer an unterminated last line; the transport then closes."""
        if self.partial:
            self.transport.write(self.previous + self.partial)


async def serve() -> None:
    """Listen on a free port, say which, and serve until killed."""
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0, backlog=4096)
    host, port = server.sockets[0].getsockname()
    print(json.dumps({"event": "ready", "echo": f"{host}:{port}"}), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve())
