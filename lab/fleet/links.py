"""Links that can be cut: a TCP proxy whose faults are exact, in a thread of its own.

    near (who connects) ──out──▶ link ──▶ far (the target)
                        ◀──in───      ◀──

It does what a network does to the two programs at its ends, seen from them (docs/adr/0007): each
fault is a method of `Link`, and is there when the call returns, so that a drill knows its time.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
import threading
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, Self, cast

from lab.fleet import ports
from lab.fleet.ports import HOST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Counted = dict[str, Any]

P = ParamSpec("P")

RECEIVE_BYTES: Final = 262_144

# What may be on the way in one direction of one connection: far above a kernel's window. At
# the limit nothing more is read, and the sender's kernel stops.
HELD_BYTES_MAX: Final = 16 << 20

# What comes late is taken at once, and the connection ended: bounded if it is not.
LATE_S_MAX: Final = 1.0

# One fault: nothing of it waits longer than for what comes late.
FAULT_S_MAX: Final = 10.0

BACKLOG: Final = 1024
RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)

OUT, IN = "out", "in"
BOTH = (OUT, IN)


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


def _by_the_loop(
    act: Callable[Concatenate[Link, P], Counted | None],
) -> Callable[Concatenate[Link, P], Counted]:
    """Have the links' thread do it, and wait.

    What is returned is what the link had on the way before (`Link.count`), and what `act` returns.
    """

    @wraps(act)
    def ordered(link: Link, /, *args: P.args, **more: P.kwargs) -> Counted:
        async def do() -> Counted:
            counted = link.counted()
            return counted | (act(link, *args, **more) or {})

        return asyncio.run_coroutine_threadsafe(do(), link.loop).result(FAULT_S_MAX)

    return ordered


class Link:
    """What is cut as one: the doors that lead to its targets, and the connections through them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.addresses: dict[str, str] = {}
        """Where to connect, by target; both are host:port."""
        self.holding: set[str] = set()
        self.deafening = False
        self.connections: set[Connection] = set()
        self._doors: list[Door] = []
        self._stranded: list[tuple[socket.socket, bytes]] = []
        self._unheard: list[socket.socket] = []

    @_by_the_loop
    def add(self, target: str) -> None:
        """Lead there too."""
        door = Door(self, ports.split(target))
        self._doors.append(door)
        self.addresses[target] = f"{HOST}:{door.port}"

    @_by_the_loop
    def count(self) -> None:
        """`connections`, and bytes `held` by direction."""

    @_by_the_loop
    def find(self, text: str) -> Counted:
        """Whether such bytes are on the way (`found`)."""
        return {"found": any(text.encode() in way.held for way in self._ways())}

    @_by_the_loop
    def hold(self, *ways: str) -> None:
        """Directions stand still, both if none is named: what is sent stays on the way.

        `heal` delivers it, even if its sender has gone meanwhile. New connects are not answered, as
        SYNs that are lost: this needs both directions.
        """
        self.holding.update(ways or BOTH)
        for door in self._doors:
            door.stuff()

    @_by_the_loop
    def heal(self) -> None:
        """All goes on."""
        self._go_on(late=True)

    @_by_the_loop
    def release(self, way: str) -> None:
        """One direction goes on; the other, and new connects, stay as they are."""
        self.holding.discard(way)
        for one in self._ways():
            if one.name == way:
                one.deliver()

    @_by_the_loop
    def reset(self) -> None:
        """Both ends of every connection get a reset; what is on the way is lost."""
        for connection in tuple(self.connections):
            connection.close(reset=True)

    @_by_the_loop
    def refuse(self) -> None:
        """New connects are refused until `heal`; connections that are stay."""
        for door in self._doors:
            door.shut()

    @_by_the_loop
    def half_open(self, end: str) -> None:
        """The `end` ("near" or "far") of every connection gets a reset; the other hears nothing, ever."""
        for connection in tuple(self.connections):
            connection.leave()
            _close(connection.ends.pop(end), reset=True)
            self._unheard += connection.ends.values()

    @_by_the_loop
    def deafen(self, *, lasting: bool) -> Counted:
        """Connections that have said SUBSCRIBE stand still until `heal`; others pass.

        `lasting`: so do those that say it later. `deaf` is how many there are.
        """
        self.deafening = lasting
        deaf = [connection for connection in self.connections if connection.subscribed]
        for connection in deaf:
            connection.alone = True
        return {"deaf": len(deaf)}

    @_by_the_loop
    def strand(self) -> None:
        """Near ends get a reset, what they have sent comes with `heal`; new connections pass at once."""
        for connection in tuple(self.connections):
            connection.leave()
            _close(connection.ends["near"], reset=True)
            self._stranded.append((connection.ends["far"], bytes(connection.ways[0].held)))
        self._go_on(late=False)

    @_by_the_loop
    def end(self) -> None:
        """Close all that it has."""
        for connection in tuple(self.connections):
            connection.close(reset=False)
        for door in self._doors:
            door.shut()
        for end in (*self._unheard, *(far for far, _ in self._stranded)):
            end.close()

    def counted(self) -> Counted:
        """What `count` says; called by the loop."""
        held = dict.fromkeys(BOTH, 0)
        for way in self._ways():
            held[way.name] += len(way.held)
        return {"connections": len(self.connections), "held": held}

    def _go_on(self, *, late: bool) -> None:
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
        for door in self._doors:
            door.open()

    def _ways(self) -> Iterator[Way]:
        for connection in tuple(self.connections):
            yield from connection.ways


class Door:
    """Where to connect to reach one target of a link; called by the loop."""

    def __init__(self, link: Link, target: tuple[str, int]) -> None:
        # Kept while nobody listens: else it could be another program's when the link is healed.
        self.port = ports.reserve()
        self._link = link
        self._target = target
        self._listener: socket.socket | None = None
        # Connections of its own that fill the backlog, so that the kernel drops every SYN.
        self._stuffing: list[socket.socket] = []
        self.open()

    def open(self) -> None:
        """Take who connects."""
        if self._listener is None:
            self._listener = socket.create_server((HOST, self.port))
            self._listener.settimeout(0)
        self._unstuff()
        self._listener.listen(BACKLOG)
        # The fillers are accepted too, and end at once: their far ends hear a close.
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def stuff(self) -> None:
        """Leave who connects without an answer."""
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

    def shut(self) -> None:
        """Refuse who connects."""
        self._unstuff()
        if self._listener is not None:
            _forget(self._listener)
            self._listener.close()
            self._listener = None

    def _unstuff(self) -> None:
        while self._stuffing:
            self._stuffing.pop().close()

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
                Connection(self._link, near, far)


class _Together:
    """Links that are cut as one."""

    def __init__(self, links: Sequence[Link]) -> None:
        self._links = links

    def __getattr__(self, name: str) -> Callable[..., Counted]:
        def act(*args: object, **more: object) -> Counted:
            said = [getattr(link, name)(*args, **more) for link in self._links]
            held = {way: sum(each["held"][way] for each in said) for way in BOTH}
            added = {what: sum(each[what] for each in said) for what in said[0] if what != "held"}
            return {**added, "held": held}

        return act


def together(links: Sequence[Link]) -> Link:
    """Links that are cut as one; what they say is added up."""
    return cast("Link", _Together(links))


class Network:
    """All links, by name, and the thread of their loop. Leaving its `with` block ends it."""

    def __init__(self) -> None:
        self.links: dict[str, Link] = {}
        self._failed: list[BaseException] = []
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(self._note)
        self._thread = threading.Thread(target=self._loop.run_forever, name="links", daemon=True)
        self._thread.start()

    def add(self, name: str, target: str) -> Link:
        """The link of that name, which leads to `target` (host:port) too."""
        link = self.links.setdefault(name, Link(self._loop))
        if target not in link.addresses:
            link.add(target)
        return link

    def close(self) -> None:
        """End it, and every connection with it.

        Raises:
            Exception: A bug of the proxy's, should there have been one.
        """
        for link in self.links.values():
            link.end()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(FAULT_S_MAX)
        self._loop.close()
        for error in self._failed:
            raise error

    def _note(self, _: asyncio.AbstractEventLoop, what: dict[str, Any]) -> None:
        self._failed.append(what.get("exception") or RuntimeError(what["message"]))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _forget(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    loop.remove_reader(sock)
    loop.remove_writer(sock)


def _close(sock: socket.socket, *, reset: bool) -> None:
    if reset:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    sock.close()
