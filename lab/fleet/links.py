"""Links that can be cut: a TCP proxy whose faults are exact. Its own process; `network` drives it.

    near (who connects) ──out──▶ link ──▶ far (the target)
                        ◀──in───      ◀──

It does what a network does to the two programs at its ends, seen from them (docs/adr/0007):

    hold     a direction stands still: what is sent stays on the way and is delivered by
             `heal`, even if its sender has gone meanwhile. New connects are not answered,
             as SYNs that are lost: this needs both directions.
    heal     all goes on
    reset    both ends of every connection get a reset; what is on the way is lost
    refuse   new connects are refused
    half     one end of every connection gets a reset, the other hears nothing, ever
    deafen   a connection that has said SUBSCRIBE stands still both ways until `heal`, the
             target's others pass; `lasting`: so do those that say it later
    strand   the near end of every connection gets a reset; what it has sent stays on the way
             until `heal`; new connections pass

Control: one connection, a JSON object a line, each answered when it has been done.
`python -m lab.fleet.links` prints a ready line with the control port.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import socket
import struct
from typing import Any, Final

from lab.fleet import ports
from lab.fleet.ports import HOST

RECEIVE_BYTES: Final = 262_144

# What may be on the way in one direction of one connection: far above a kernel's window. At
# the limit nothing more is read, and the sender's kernel stops.
HELD_BYTES_MAX: Final = 16 << 20

# What comes late is taken at once, and the connection ended: bounded if it is not.
LATE_S_MAX: Final = 1.0

BACKLOG: Final = 1024
RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)

OUT, IN = "out", "in"


class Way:
    """One direction of one connection; the loop calls `receive` and `deliver`."""

    def __init__(
        self, connection: Connection, name: str, source: socket.socket, target: socket.socket
    ) -> None:
        self.name = name
        self.source = source
        self.held = bytearray()
        self._connection = connection
        self._target = target
        self._ended = False  # the source has shut its side
        self._broken = False  # the source was reset
        self.done = False  # the target has been told

    def receive(self) -> None:
        """Take what the source has sent."""
        try:
            data = self.source.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._broken = error.errno != errno.ENOTCONN
            data = b""
        self._ended = not data
        self.held += data
        if self.name == OUT and b"SUBSCRIBE" in data:
            self._connection.subscribed = True
            self._connection.alone |= self._connection.link.deafening
        self.deliver()

    def deliver(self) -> None:
        """Send on what is held, and the end behind it, unless the way stands still."""
        if self._connection.here and not self._standing and not self.done:
            late = bool(self.held)
            try:
                while self.held:
                    sent = self._target.send(memoryview(self.held)[: 1 << 20])
                    del self.held[:sent]
            except BlockingIOError:
                pass
            except OSError:
                self.held.clear()
                self._broken = self._ended = True
            if self._ended and not self.held:
                # A reset behind bytes that come late could overtake them.
                self._end(reset=self._broken and not late)
        self.watch()

    def watch(self) -> None:
        """Have the loop call for what can be done now."""
        if not self._connection.here:
            return
        loop = asyncio.get_running_loop()
        if self._ended or len(self.held) >= HELD_BYTES_MAX:
            loop.remove_reader(self.source)
        else:
            loop.add_reader(self.source, self.receive)
        if self.held and not self._standing:
            loop.add_writer(self._target, self.deliver)
        else:
            loop.remove_writer(self._target)

    @property
    def _standing(self) -> bool:
        """Whether nothing is delivered now."""
        return self._connection.alone or self.name in self._connection.link.holding

    def _end(self, *, reset: bool) -> None:
        """Nothing follows: the target is told."""
        self.done = True
        if not reset:
            with contextlib.suppress(OSError):
                self._target.shutdown(socket.SHUT_WR)
        if reset or all(way.done for way in self._connection.ways):
            self._connection.close(reset=reset)


class Connection:
    """Two ends, and the ways between them; the way out leads from the near end to the far one."""

    def __init__(self, link: Link, near: socket.socket, far: socket.socket) -> None:
        self.link = link
        self.ends = {"near": near, "far": far}
        self.ways = (Way(self, OUT, near, far), Way(self, IN, far, near))
        self.subscribed = False  # SUBSCRIBE has passed: Redis publishes on it
        self.alone = False  # it stands still by itself
        link.connections.add(self)
        for end in self.ends.values():
            end.settimeout(0)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for way in self.ways:
            way.watch()

    @property
    def here(self) -> bool:
        """Whether it is the link's, still."""
        return self in self.link.connections

    def leave(self) -> None:
        """It is the link's no longer: nothing passes."""
        self.link.connections.remove(self)
        for end in self.ends.values():
            _forget(end)

    def close(self, *, reset: bool) -> None:
        """End it, at both ends."""
        self.leave()
        for end in self.ends.values():
            _close(end, reset=reset)


class Link:
    """A listener, its target, and the faults between them: a method for each that the module names.

    Args:
        target: (host, port).
    """

    def __init__(self, target: list[Any]) -> None:
        self.holding: set[str] = set()
        self.deafening = False
        self.connections: set[Connection] = set()
        # Kept while nobody listens: else it could be another program's when the link is healed.
        self.port = ports.reserve()
        self._target = tuple(target)
        self._listener: socket.socket | None = None
        self._stranded: list[tuple[socket.socket, bytes]] = []
        self._unheard: list[socket.socket] = []
        # Connections of its own that fill the backlog, so that the kernel drops every SYN.
        self._stuffing: list[socket.socket] = []
        self._listen()

    def count(self) -> dict[str, Any]:
        """Connections, and bytes on the way by direction."""
        held = dict.fromkeys((OUT, IN), 0)
        for way in self._ways():
            held[way.name] += len(way.held)
        return {"connections": len(self.connections), "held": held}

    def find(self, text: str) -> dict[str, Any]:
        """Whether such bytes are on the way."""
        return {"found": any(text.encode() in way.held for way in self._ways())}

    def hold(self, ways: list[str]) -> None:
        """Let directions stand still."""
        self.holding.update(ways)
        if self._listener is None or self._stuffing:
            return
        self._accept()  # who has come before is a connection like any other
        _forget(self._listener)
        # A full backlog of one, and nobody who accepts. One fills it; the second makes sure that
        # it is full whoever came in between.
        self._listener.listen(0)
        for _ in range(2):
            filler = socket.socket()
            filler.settimeout(0)
            with contextlib.suppress(BlockingIOError):
                filler.connect((HOST, self.port))
            self._stuffing.append(filler)

    def heal(self, *, late: bool = True) -> None:
        """Deliver what was held, and listen; `late`: what was stranded, too."""
        self.holding.clear()
        self.deafening = False
        while late and self._stranded:
            far, held = self._stranded.pop()
            with far, contextlib.suppress(OSError):
                far.settimeout(LATE_S_MAX)
                far.sendall(held)
                far.shutdown(socket.SHUT_WR)
                # Its end says that the target has taken it, or refused it.
                while far.recv(RECEIVE_BYTES):
                    pass
        for connection in self.connections:
            connection.alone = False
        for way in self._ways():
            way.deliver()
        if self._listener is None:
            self._listen()
        self._unstuff()

    def release(self, way: str) -> None:
        """One direction goes on; the other, and new connects, stay as they are."""
        self.holding.discard(way)
        for one in self._ways():
            if one.name == way:
                one.deliver()

    def reset(self) -> None:
        """Reset every connection; nothing that was held is delivered."""
        for connection in tuple(self.connections):
            connection.close(reset=True)

    def refuse(self) -> None:
        """Refuse new connections; those that are stay."""
        if self._listener is not None:
            self._unstuff()
            _forget(self._listener)
            self._listener.close()
            self._listener = None

    def half(self, end: str) -> None:
        """Reset the `end` ("near" or "far") of every connection; the other stays, unheard."""
        for connection in tuple(self.connections):
            connection.leave()
            _close(connection.ends.pop(end), reset=True)
            self._unheard += connection.ends.values()

    def deafen(self, *, lasting: bool) -> dict[str, Any]:
        """Connections that have subscribed stand still; `lasting`: later ones too."""
        self.deafening = lasting
        deaf = [connection for connection in self.connections if connection.subscribed]
        for connection in deaf:
            connection.alone = True
        return {"deaf": len(deaf)}

    def strand(self) -> None:
        """The near ends are reset, their bytes come late; new connections pass at once."""
        for connection in tuple(self.connections):
            connection.leave()
            _close(connection.ends["near"], reset=True)
            self._stranded.append((connection.ends["far"], bytes(connection.ways[0].held)))
        self.heal(late=False)

    def _ways(self) -> list[Way]:
        return [way for connection in self.connections for way in connection.ways]

    def _listen(self) -> None:
        self._listener = socket.create_server((HOST, self.port), backlog=BACKLOG)
        self._listener.settimeout(0)
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _unstuff(self) -> None:
        if self._listener is None or not self._stuffing:
            return
        for filler in self._stuffing:
            filler.close()
        self._stuffing.clear()
        self._listener.listen(BACKLOG)
        # The fillers are accepted too, and end at once: their far ends hear a close.
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        while self._listener is not None:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                # On loopback a connect is answered at once, or refused.
                far = socket.create_connection(self._target)
            except OSError:
                _close(near, reset=True)
            else:
                Connection(self, near, far)


def _forget(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    loop.remove_reader(sock)
    loop.remove_writer(sock)


def _close(sock: socket.socket, *, reset: bool) -> None:
    if reset:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    sock.close()


async def control(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Have done what is asked for, until nobody asks any more."""
    links: dict[str, Link] = {}
    while line := await reader.readline():
        order = json.loads(line)
        do, name = order.pop("do"), order.pop("name")
        if do == "add":
            links[name] = Link(**order)
            answer = {"port": links[name].port}
        else:
            # As it was before.
            answer = links[name].count()
            answer |= getattr(links[name], do)(**order) or {}
        writer.write(json.dumps(answer).encode() + b"\n")


async def main() -> None:
    """Print the ready line and serve."""
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await control(reader, writer)
        finally:
            over.set()

    server = await asyncio.start_server(serve, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    print(json.dumps({"event": "ready", "control": port}), flush=True)
    await over.wait()


if __name__ == "__main__":
    asyncio.run(main())
