"""Accepting connections: in turns, and also when no file is left. All four ports do it so."""

from __future__ import annotations

import _socket
import errno
import logging
import socket
from typing import TYPE_CHECKING, Any

import gevent

from echod.config import cannot_listen
from echod.loop.reader import READ
from echod.values import addresses

if TYPE_CHECKING:
    from collections.abc import Callable

    from echod.config import Config
    from echod.limits.capacity import Capacity
    from echod.metrics import Metrics

log = logging.getLogger(__name__)

# Accepted in one turn of the loop, so that a flood of connects starves nobody. A turn of
# refusals takes some 2 ms, and a check that stands behind a full backlog waits for 64.
ACCEPTS_PER_TURN = 64
# Waiting for accept; the kernel takes the lesser of this and net.core.somaxconn.
BACKLOG = 4096
# No file can be found: leave the backlog alone for this many ticks of the sweeper.
PAUSE_TICKS = 2
OUT_OF_FILES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Acceptor:
    """One listening socket; `take` gets what is accepted: a non-blocking socket, its address."""

    def __init__(
        self,
        setting: str,
        take: Callable[[_socket.socket, Any], None],
        config: Config,
        capacity: Capacity,
        metrics: Metrics,
    ) -> None:
        """Bind and listen; connections wait until `start`.

        Raises:
            ConfigError: the address can't be had.
        """
        self._take = take
        self._capacity = capacity
        self._metrics = metrics
        family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
        self._family = family
        try:
            # Python's own class under `socket.socket`: no wrapper for each client, as with gevent's.
            self._socket: Any = _socket.socket(family, socket.SOCK_STREAM)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # Replies are small and often many to a round trip: Nagle would hold them back. What
            # is accepted inherits it, which saves a system call for each.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # Before `listen`: what is accepted inherits these too, and its window is made for them.
            for buffer, size in (
                (socket.SO_SNDBUF, config.kernel_send_bytes),
                (socket.SO_RCVBUF, config.kernel_receive_bytes),
            ):
                self._socket.setsockopt(socket.SOL_SOCKET, buffer, size)
            self._socket.bind((config.host, getattr(config, setting)))
            self._socket.listen(BACKLOG)
        except OSError as error:
            raise cannot_listen(setting, config, error) from error
        self._socket.settimeout(0)
        self.address = addresses.show(*self._socket.getsockname()[:2])
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
                    self._metrics.accept_errors += 1
                    if not self._capacity.find_file():
                        self._pause(error)
                        return
                continue  # there is a file now; or the client has gone before it was accepted
            sock = _socket.socket(self._family, socket.SOCK_STREAM, 0, fd)
            sock.settimeout(0)
            try:
                self._take(sock, address)
            except Exception:
                # A bug costs this client; raised into the loop, it would stop the watcher.
                log.exception("admit failed")
                sock.close()

    def _pause(self, error: OSError) -> None:
        log.warning("accept-paused: %s", error)
        self._watcher.stop()
        self._paused_ticks = PAUSE_TICKS
