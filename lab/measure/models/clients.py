"""The article's clients as one process: asyncio sockets, every byte judged.

    python -m lab.measure.models.clients --port 1234 --clients 100 --lines 10 --pause-s 0.1

stdout gets one JSON line: a `Visit` (workload.py) for each client of each loop, and the
process's own CPU time while they ran, so that a load generator that was itself the
bottleneck can be told. Started by `measure.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import time

from lab.measure.models.workload import Visit, Workload
from loadtest.plain import Replies

HOST = "127.0.0.1"
RECV_BYTES = 16_384

# As loadtest's: a SYN lost twice is sent again after 1 s and 3 s.
CONNECT_S_MAX = 5.0


class Fault(Exception):  # noqa: N818 — what the visit's field is called
    """The server did not do as PROTOCOL §1 says; the text says how."""


class Client:
    """One visit; times are counted from `begin`, of `time.perf_counter`."""

    def __init__(self, workload: Workload, port: int, begin: float) -> None:
        self.workload = workload
        self.port = port
        self.begin = begin
        self.replies = Replies()
        self.connected_s = self.first_reply_s = 0.0
        self.replies_s: list[float] = []

    async def visit(self) -> str:
        """From connect to disconnect; returns the fault, empty for none."""
        try:
            async with asyncio.timeout(CONNECT_S_MAX):
                reader, writer = await asyncio.open_connection(HOST, self.port)
        except (OSError, TimeoutError) as error:
            return f"not connected: {error or 'timeout'}"
        self.connected_s = time.perf_counter() - self.begin
        try:
            for number in range(self.workload.lines):
                if number:
                    await asyncio.sleep(self.workload.pause_s)
                await self._ask(reader, writer, b"Hello World!:%d\n" % number)
            writer.write_eof()
            await self._end(reader)
        except Fault as error:
            return str(error)
        except TimeoutError:
            return f"silence for {self.workload.patience_s:g} s"
        except OSError as error:
            return f"closed early: {error}"
        finally:
            writer.close()
        return ""

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: bytes
    ) -> None:
        sent = time.perf_counter()
        self.replies.sent(line)
        writer.write(line)
        async with asyncio.timeout(self.workload.patience_s):
            while self.replies.owing:
                await self._receive(reader)
        now = time.perf_counter()
        self.replies_s.append(now - sent)
        if not self.first_reply_s:
            self.first_reply_s = now - self.begin

    async def _receive(self, reader: asyncio.StreamReader) -> None:
        data = await reader.read(RECV_BYTES)
        if not data:
            raise Fault("closed early: end of stream")
        self.replies.received(data)
        if self.replies.fault:
            raise Fault(str(self.replies.fault))

    async def _end(self, reader: asyncio.StreamReader) -> None:
        """The server closes, and nothing more came (§1.4)."""
        async with asyncio.timeout(self.workload.patience_s):
            surplus = await reader.read(RECV_BYTES)
        if surplus:
            self.replies.received(surplus)
            raise Fault(str(self.replies.fault))


async def play(workload: Workload, port: int) -> list[Visit]:
    """Every loop, one after the other; a loop ends with its last client."""
    visits = []
    for loop in range(workload.loops):
        begin = time.perf_counter()

        async def one(number: int, loop: int = loop, begin: float = begin) -> Visit:
            client = Client(workload, port, begin)
            fault = await client.visit()
            ended_s = time.perf_counter() - begin
            return Visit(
                *(loop, number, client.connected_s, client.first_reply_s, ended_s),
                replies_s=tuple(client.replies_s),
                fault=fault,
            )

        visits += await asyncio.gather(*(one(number) for number in range(workload.clients)))
    return visits


def main() -> None:
    """Parse, play, print the visits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    for name, kind in (("clients", int), ("lines", int), ("pause-s", float), ("loops", int)):
        parser.add_argument(f"--{name}", type=kind, required=True)
    args = parser.parse_args()
    workload = Workload(args.clients, args.lines, args.pause_s, args.loops)
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    visits = asyncio.run(play(workload, args.port))
    result = {
        "event": "result",
        "cpu_s": time.process_time() - cpu_s,
        "wall_s": time.perf_counter() - wall_s,
        "visits": [dataclasses.asdict(visit) for visit in visits],
    }
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
