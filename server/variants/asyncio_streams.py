"""A5: asyncio's streams, with `async` and `await`.

A task for each client. It reads like `threads.py`, but each place where another client
may be served in between is marked by an `await`; between two of them nothing else runs.

Notice `drain`: `write` takes any amount and never waits, so a server that does not
drain keeps for a client that never reads all that it was ever sent. The article's
program answered with the current line only, and used a loop API that is gone since.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import AsyncIterator

LINE_BYTES_MAX = 8192  # PROTOCOL, top: with its LF
RECV_BYTES = 65_536  # many lines of a client that sends them at once, and bounded
LINGER_S_MAX = 1.0  # what a client gets to read our ERR
BACKLOG = 1024  # clients that wait to be accepted: all of the article's, with room


class Farewell(Exception):  # noqa: N818 — no error of ours: why we close (PROTOCOL §4)
    """The code and the text of the ERR line that ends a connection."""


async def lines(reader: StreamReader, idle_s_max: float) -> AsyncIterator[bytes]:
    """A client's lines as they come, each with its LF but perhaps the last (§1.3, §1.4).

    Raises:
        Farewell: Nothing came for `idle_s_max`, or a line is too long.
    """
    rest = b""
    while True:
        try:
            async with asyncio.timeout(idle_s_max):
                data = await reader.read(RECV_BYTES)
        except TimeoutError:
            raise Farewell("idle-timeout nothing received for too long") from None
        *texts, rest = (rest + data).split(b"\n")
        for text in texts:
            if len(text) >= LINE_BYTES_MAX:
                raise Farewell(f"line-too-long over {LINE_BYTES_MAX} bytes")
            yield text + b"\n"
        if len(rest) >= LINE_BYTES_MAX:
            raise Farewell(f"line-too-long over {LINE_BYTES_MAX} bytes")
        if not data:
            if rest:
                yield rest
            return


async def echo(reader: StreamReader, writer: StreamWriter, idle_s_max: float) -> None:
    """Serve one client to its end."""
    previous = b""
    try:
        async for line in lines(reader, idle_s_max):
            writer.write(previous + line)
            # Who takes nothing for so long is as good as gone.
            async with asyncio.timeout(idle_s_max):
                await writer.drain()
            previous = line
    except Farewell as why:
        await say_farewell(reader, writer, why)


async def say_farewell(reader: StreamReader, writer: StreamWriter, why: Farewell) -> None:
    """Send the ERR, then read on: a close with bytes unread is a reset, which overtakes it."""
    writer.write(f"ERR {why}\n".encode())
    writer.write_eof()
    async with asyncio.timeout(LINGER_S_MAX):
        while await reader.read(RECV_BYTES):
            pass


async def serve(reader: StreamReader, writer: StreamWriter, idle_s_max: float) -> None:
    """One client, in its own task."""
    try:
        await echo(reader, writer, idle_s_max)
        writer.close()
        async with asyncio.timeout(idle_s_max):
            await writer.wait_closed()
    except OSError:
        # The client has gone, by a reset, or takes nothing: what is unsent is thrown away.
        writer.transport.abort()


async def listen(host: str, port: int, idle_s_max: float) -> None:
    """Listen, say where, and serve until killed."""

    async def client(reader: StreamReader, writer: StreamWriter) -> None:
        await serve(reader, writer, idle_s_max)

    server = await asyncio.start_server(client, host, port, backlog=BACKLOG)
    host, port = server.sockets[0].getsockname()
    ready = {"event": "ready", "echo": f"{host}:{port}", "pid": os.getpid()}
    print(json.dumps(ready), flush=True)
    await server.serve_forever()


def main() -> None:
    """Read the flags and run the loop."""
    parser = argparse.ArgumentParser(description="The article's echo, by asyncio's streams.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True, help="0 takes a free one")
    parser.add_argument("--idle-s-max", type=float, default=5.0, help="seconds without a byte")
    arguments = parser.parse_args()
    asyncio.run(listen(arguments.host, arguments.port, arguments.idle_s_max))


if __name__ == "__main__":
    main()
