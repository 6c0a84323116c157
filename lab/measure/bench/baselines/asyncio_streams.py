"""Stateless echo with asyncio's streams: a task per connection, `async for` over its lines."""

from __future__ import annotations

import asyncio
import contextlib
import json


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection: a line (the last perhaps without its LF) after the other."""
    previous = b""
    with contextlib.suppress(ConnectionError):
        async for line in reader:
            writer.write(previous + line)
            await writer.drain()
            previous = line
    writer.close()


async def serve() -> None:
    """Listen on a free port, say which, and serve until killed."""
    server = await asyncio.start_server(echo, "127.0.0.1", 0, backlog=4096)
    host, port = server.sockets[0].getsockname()
    print(json.dumps({"event": "ready", "echo": f"{host}:{port}"}), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve())
