"""Accepting: the turn, the PROXY v2 header, and whom the port gets.

    accept ─▶ (header) ─▶ client ─▶ port.join        over the cap: busy, answered
                     └──▶ health check ─▶ port.check

A full daemon goes on accepting, so that a client is told `busy` instead of hanging in
the kernel's backlog.
"""

from __future__ import annotations

import _socket
import errno
import ipaddress
import logging
import socket
from typing import TYPE_CHECKING, Any

import gevent

from echod.config import cannot_listen
from echod.lingering import linger
from echod.protocol.errors import Code, error_line
from echod.protocol.proxy import ProxyHeaderError, parse
from echod.reader import READ

if TYPE_CHECKING:
    from echod.config import Config
    from echod.port import Port

log = logging.getLogger(__name__)

# Accepted in one turn of the loop, so that a flood of connects starves nobody (DESIGN D7).
ACCEPTS_PER_TURN = 64
# Waiting for accept; the kernel takes the lesser of this and net.core.somaxconn.
BACKLOG = 4096
# No file is left: leave the backlog alone for this many ticks of the sweeper.
PAUSE_TICKS = 2
OUT_OF_FILES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def _text(address: Any) -> str:  # noqa: ANN401 — what accept returns depends on the family
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Listener:
    """One listening socket."""

    def __init__(self, port: Port, config: Config) -> None:
        """Bind and listen; connections wait until `start`.

        Raises:
            ConfigError: the address can't be had.
        """
        self._port = port
        self._networks = config.networks() if config.proxy_protocol else None
        self._config = config
        family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
        # Python's own class under `socket.socket`: no wrapper for each client, as with gevent's.
        self._socket: Any = _socket.socket(family, socket.SOCK_STREAM)
        self._family = family
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Before `listen`: what is accepted inherits them, and its window is made for them.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, config.kernel_send_bytes)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, config.kernel_receive_bytes)
        try:
            self._socket.bind((config.host, getattr(config, port.setting)))
            self._socket.listen(BACKLOG)
        except OSError as error:
            raise cannot_listen(port.setting, config, error) from error
        self._socket.settimeout(0)
        self.address = _text(self._socket.getsockname())
        self._watcher: Any = gevent.get_hub().loop.io(self._socket.fileno(), READ)
        self._paused_ticks = 0

    def start(self) -> None:
        """Begin to accept."""
        self._watcher.start(self._accept)

    def stop(self) -> None:
        """Take what has been connected so far, then close the port."""
        self._accept()
        self._paused_ticks = 0
        self._watcher.close()
        self._socket.close()

    def tick(self) -> None:
        """Go on accepting after a pause."""
        if self._paused_ticks:
            self._paused_ticks -= 1
            if not self._paused_ticks:
                self.start()

    def _accept(self) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                fd, address = self._socket._accept()  # noqa: SLF001 — accept without gevent's wrapper
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in OUT_OF_FILES:
                    self._port.metrics.accept_errors += 1
                    log.warning("accept-paused: %s", error)
                    self._watcher.stop()
                    self._paused_ticks = PAUSE_TICKS
                    return
                continue  # the client has gone before it was accepted
            sock = _socket.socket(self._family, socket.SOCK_STREAM, 0, fd)
            sock.settimeout(0)
            # Replies are small and often many to a round trip: Nagle would hold them back.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                self._admit(sock, address)
            except Exception:
                # A bug costs this client; raised into the loop, it would stop the watcher.
                log.exception("admit failed")
                sock.close()

    def _admit(self, sock: _socket.socket, address: Any) -> None:  # noqa: ANN401 — as `_text`
        if self._port.crowded():
            self._port.metrics.accepted(self._port.name)
            self._port.metrics.closed(self._port.name, Code.BUSY.value)
            sock.close()
        elif self._networks is None:
            self._port.join(sock, _text(address), "", b"")
        elif any(ipaddress.ip_address(address[0]) in network for network in self._networks):
            handshake = Handshake(self, self._port, sock, self._config)
            self._port.handshakes.add(handshake)
            handshake.start()
        else:
            self.refuse(sock, "refused", f"{address[0]} is no balancer of ours")

    def refuse(self, sock: _socket.socket, reason: str, text: str) -> None:
        """Answer a peer that is no balancer, or speaks no PROXY protocol."""
        self._port.metrics.handshake_failed(reason)
        log.info("handshake-failed reason=%s: %s", reason, text)
        linger(self._port, sock, error_line(Code.BAD_REQUEST, text))


class Handshake:
    """A balancer's connection, up to the end of its PROXY v2 header."""

    __slots__ = ("_listener", "_max", "_port", "_reader", "_received", "_socket", "_until_s")

    def __init__(
        self, listener: Listener, port: Port, sock: _socket.socket, config: Config
    ) -> None:
        self._listener = listener
        self._port = port
        self._socket = sock
        self._max = config.proxy_header_bytes_max
        self._received = b""
        self._until_s = port.clock.now_s + config.proxy_s_max
        self._reader = port.reader(sock.fileno(), self._readable)

    def start(self) -> None:
        """Begin to read: the header mostly comes with the connection."""
        self._reader.start()

    def _readable(self) -> None:
        try:
            data = self._socket.recv(self._max)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end().close()
            self._port.metrics.handshake_failed("closed")
            return
        self._received += data
        try:
            header = parse(self._received, self._max)
        except ProxyHeaderError as error:
            self._listener.refuse(self._end(), "invalid", str(error))
            return
        if header is None:
            return
        sock, received = self._end(), self._received[header.length :]
        if header.local:
            self._port.check(sock, received)
        else:
            self._port.join(sock, header.source, header.unique_id, received)

    def _end(self) -> _socket.socket:
        self._reader.close()
        self._port.handshakes.discard(self)
        return self._socket

    def sweep(self, now_s: float) -> None:
        """End it when its time is over."""
        if now_s >= self._until_s:
            self._listener.refuse(self._end(), "timeout", "no PROXY v2 header in time")
