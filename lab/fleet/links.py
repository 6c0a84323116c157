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

import contextlib
import errno
import json
import selectors
import socket
import struct
import sys
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

HOST: Final = "127.0.0.1"
RECEIVE_BYTES: Final = 262_144

# What may be on the way in one direction of one connection: far above a kernel's window. At
# the limit nothing more is read, and the sender's kernel stops.
HELD_BYTES_MAX: Final = 16 << 20

# What comes late is taken at once, and the connection ended: bounded if it is not.
LATE_S_MAX: Final = 1.0

BACKLOG: Final = 1024
RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)

OUT, IN = "out", "in"
READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


@dataclass(slots=True, eq=False)
class Way:
    """One direction of one connection."""

    link: Link
    name: str
    source: socket.socket
    target: socket.socket
    held: bytearray = field(default_factory=bytearray)
    ended: bool = False  # the source has shut its side
    broken: bool = False  # the source was reset
    done: bool = False  # the target has been told
    subscribed: bool = False  # SUBSCRIBE has passed: Redis publishes on this connection
    alone: bool = False  # it stands still by itself
    waits: bool = False  # it held bytes when its sockets were last settled
    back: Way | None = None  # the other direction; None when the connection is no longer the link's

    @property
    def standing(self) -> bool:
        """Whether nothing is delivered now."""
        return self.alone or self.name in self.link.holding


@dataclass(slots=True, eq=False)
class Link:
    """One listener and its target."""

    target: tuple[str, int]
    port: int
    listener: socket.socket | None = None
    holding: set[str] = field(default_factory=set)
    ways: list[tuple[Way, Way]] = field(default_factory=list)
    stranded: list[tuple[socket.socket, bytes]] = field(default_factory=list)
    deafening: bool = False
    stuffing: list[socket.socket] = field(default_factory=list)
    """Connections of its own that fill the backlog, so that the kernel drops every SYN."""


class Proxy:
    """All links, and the loop that serves them."""

    def __init__(self) -> None:
        self.links: dict[str, Link] = {}
        self._selector = selectors.DefaultSelector()
        self._control = socket.create_server((HOST, 0))
        self._orders = b""
        self._over = False
        self._watch(self._control, READ, self._accept_control)

    @property
    def port(self) -> int:
        """Where control connects."""
        return int(self._control.getsockname()[1])

    def run(self) -> None:
        """Serve until control goes away."""
        while not self._over:
            for key, mask in self._selector.select():
                # One that an earlier one of this round has ended is looked at no more.
                if _is_open(key.fileobj):
                    key.data(mask)

    # Control.

    def _accept_control(self, _: int) -> None:
        control, _ = self._control.accept()
        self._watch(control, READ, lambda _: self._order(control))

    def _order(self, control: socket.socket) -> None:
        data = control.recv(RECEIVE_BYTES)
        if not data:
            self._over = True
            return
        *lines, self._orders = (self._orders + data).split(b"\n")
        for line in lines:
            order = json.loads(line)
            do, name = order.pop("do"), order.pop("name")
            if do == "add":
                self.links[name] = Link(tuple(order["target"]), 0)
                self._listen(self.links[name])
                answer = {"port": self.links[name].port}
            else:
                answer = getattr(self, f"do_{do}")(self.links[name], **order)
            control.sendall(json.dumps(answer).encode() + b"\n")

    def do_hold(self, link: Link, ways: list[str]) -> dict[str, Any]:
        """Let directions stand still."""
        link.holding.update(ways)
        self._stuff(link)
        return self.do_count(link)

    def do_heal(self, link: Link, *, late: bool = True) -> dict[str, Any]:
        """Deliver what was held, and listen; `late`: what was stranded, too."""
        link.holding.clear()
        link.deafening = False
        for pair in link.ways:
            for way in pair:
                way.alone = False
        while late and link.stranded:
            far, held = link.stranded.pop()
            with far, contextlib.suppress(OSError):
                far.settimeout(LATE_S_MAX)
                far.sendall(held)
                far.shutdown(socket.SHUT_WR)
                # Its end says that the target has taken it, or refused it.
                while far.recv(RECEIVE_BYTES):
                    pass
        for pair in tuple(link.ways):
            for way in pair:
                if not way.done:
                    self._deliver(way)
        if link.listener is None:
            self._listen(link)
        self._unstuff(link)
        return self.do_count(link)

    def do_release(self, link: Link, way: str) -> dict[str, Any]:
        """One direction goes on; the other, and new connects, stay as they are."""
        link.holding.discard(way)
        for pair in tuple(link.ways):
            for one in pair:
                if one.name == way and not one.done:
                    self._deliver(one)
        return self.do_count(link)

    def do_reset(self, link: Link) -> dict[str, Any]:
        """Reset every connection; nothing that was held is delivered."""
        counts = self.do_count(link)
        for pair in tuple(link.ways):
            self._end(pair[0], near=True, far=True)
        return counts

    def do_refuse(self, link: Link) -> dict[str, Any]:
        """Refuse new connections; those that are stay."""
        if link.listener is not None:
            self._unstuff(link)
            self._forget(link.listener)
            link.listener.close()
            link.listener = None
        return self.do_count(link)

    def do_half(self, link: Link, end: str) -> dict[str, Any]:
        """Reset the `end` ("near" or "far") of every connection; the other stays, unheard."""
        counts = self.do_count(link)
        for pair in tuple(link.ways):
            self._end(pair[0], near=end == "near", far=end == "far")
        return counts

    def do_deafen(self, link: Link, *, lasting: bool) -> dict[str, Any]:
        """Connections that have subscribed stand still; `lasting`: later ones too."""
        link.deafening = lasting
        deaf = [pair for pair in link.ways if pair[0].subscribed]
        for pair in deaf:
            for way in pair:
                way.alone = True
        return {**self.do_count(link), "deaf": len(deaf)}

    def do_strand(self, link: Link) -> dict[str, Any]:
        """The near ends are reset, their bytes come late; new connections pass at once."""
        counts = self.do_count(link)
        for out, _ in tuple(link.ways):
            self._leave(out)
            _reset(out.source)
            link.stranded.append((out.target, bytes(out.held)))
        self.do_heal(link, late=False)
        return counts

    def do_count(self, link: Link) -> dict[str, Any]:
        """Connections, and bytes on the way by direction."""
        held = Counter[str]({OUT: 0, IN: 0} if link.ways else {})
        for pair in link.ways:
            for way in pair:
                held[way.name] += len(way.held)
        return {"connections": len(link.ways), "held": held}

    def do_find(self, link: Link, text: str) -> dict[str, Any]:
        """Whether such bytes are on the way."""
        ways = (way for pair in link.ways for way in pair)
        return {"found": any(text.encode() in way.held for way in ways)}

    # Connects.

    def _listen(self, link: Link) -> None:
        link.listener = socket.create_server((HOST, link.port), backlog=BACKLOG)
        link.listener.settimeout(0)
        link.port = int(link.listener.getsockname()[1])
        self._watch(link.listener, READ, lambda _: self._accept(link))

    def _stuff(self, link: Link) -> None:
        """Have the kernel drop SYNs: a full backlog of one, and nobody who accepts."""
        if link.listener is None or link.stuffing:
            return
        self._accept(link)  # who has come before is a connection like any other
        self._forget(link.listener)
        link.listener.listen(0)
        # One fills it; the second makes sure that it is full whoever came in between.
        for _ in range(2):
            filler = socket.socket()
            filler.settimeout(0)
            with contextlib.suppress(BlockingIOError):
                filler.connect((HOST, link.port))
            link.stuffing.append(filler)

    def _unstuff(self, link: Link) -> None:
        if link.listener is None or not link.stuffing:
            return
        for filler in link.stuffing:
            filler.close()
        link.stuffing.clear()
        link.listener.listen(BACKLOG)
        # The fillers are accepted too, and end at once: their far ends hear a close.
        self._watch(link.listener, READ, lambda _: self._accept(link))

    def _accept(self, link: Link) -> None:
        while link.listener is not None:
            try:
                near, _ = link.listener.accept()
            except OSError:
                return
            far = socket.socket()
            try:
                # On loopback a connect is answered at once, or refused.
                far.connect(link.target)
            except OSError:
                far.close()
                _reset(near)
                continue
            for end in (near, far):
                end.settimeout(0)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            out, back = Way(link, OUT, near, far), Way(link, IN, far, near)
            out.back, back.back = back, out
            link.ways.append((out, back))
            self._settle(out)

    # Bytes.

    def _serve(self, away: Way, back: Way, mask: int) -> None:
        """What happens at the socket that is `away`'s source and `back`'s target."""
        if mask & WRITE and not back.done:
            self._deliver(back)
        if mask & READ and not away.ended:
            self._receive(away)

    def _receive(self, way: Way) -> None:
        try:
            data = way.source.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            way.broken = error.errno != errno.ENOTCONN
            data = b""
        way.ended = not data
        if way.name == OUT and b"SUBSCRIBE" in data:
            self._subscribed(way)
        way.held += data
        self._deliver(way)

    def _subscribed(self, way: Way) -> None:
        """It is a subscription's; while these are deafened it stands still from here on."""
        way.subscribed = True
        if way.link.deafening and way.back is not None:
            way.alone = way.back.alone = True

    def _deliver(self, way: Way) -> None:
        """Send on what is held, and the end behind it, unless the way stands still."""
        if way.standing or way.done:
            self._settle(way)
            return
        late = bool(way.held)
        try:
            while way.held:
                sent = way.target.send(memoryview(way.held)[: 1 << 20])
                del way.held[:sent]
        except BlockingIOError:
            self._settle(way)
            return
        except OSError:
            way.held.clear()
            way.broken = way.ended = True
        if way.ended:
            way.done = True
            if way.broken and not late:
                self._end(way, near=True, far=True)
                return
            # A reset behind bytes that come late could overtake them.
            with contextlib.suppress(OSError):
                way.target.shutdown(socket.SHUT_WR)
            if way.back is not None and way.back.done:
                self._end(way, near=None, far=None)
                return
        if way.waits or way.ended:  # else its sockets are watched for what they were
            self._settle(way)

    def _settle(self, way: Way) -> None:
        """Watch both of its sockets for what can be done with them now."""
        if way.back is None:
            return
        for away, back in ((way, way.back), (way.back, way)):
            away.waits = bool(away.held)
            mask = 0
            if not away.ended and len(away.held) < HELD_BYTES_MAX:
                mask |= READ
            if back.held and not back.standing:
                mask |= WRITE
            self._watch(away.source, mask, partial(self._serve, away, back))

    def _leave(self, way: Way) -> tuple[Way, Way] | None:
        """Its connection is the link's no longer; returns both directions, the way out first."""
        if way.back is None:
            return None
        out, back = pair = (way, way.back) if way.name == OUT else (way.back, way)
        way.link.ways.remove(pair)
        out.back = back.back = None
        for end in (out.source, out.target):
            self._forget(end)
        return pair

    def _end(self, way: Way, *, near: bool | None, far: bool | None) -> None:
        """Close a connection: each end by a reset (True), in order (None), or not (False)."""
        pair = self._leave(way)
        if pair is None:
            return
        for end, how in ((pair[0].source, near), (pair[0].target, far)):
            if how:
                _reset(end)
            elif how is None:
                end.close()
            else:
                # Unheard for good: what it sends is taken from it, and goes nowhere.
                self._watch(end, READ, partial(self._swallow, end))

    def _swallow(self, end: socket.socket, _: int) -> None:
        try:
            data = end.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._forget(end)
            end.close()

    # The selector.

    def _watch(self, sock: socket.socket, mask: int, serve: Callable[[int], None]) -> None:
        """Have `serve` called for what is in `mask`, and for nothing else."""
        known = self._selector.get_map().get(sock)
        if known is None:
            if mask:
                self._selector.register(sock, mask, serve)
        elif not mask:
            self._selector.unregister(sock)
        elif known.events != mask:
            self._selector.modify(sock, mask, serve)

    def _forget(self, sock: socket.socket) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(sock)


def _is_open(end: object) -> bool:
    return isinstance(end, socket.socket) and end.fileno() >= 0


def _reset(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    sock.close()


def main() -> int:
    """Print the ready line and serve."""
    proxy = Proxy()
    print(json.dumps({"event": "ready", "control": proxy.port}), flush=True)
    proxy.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
