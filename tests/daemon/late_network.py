"""A network between a daemon and Redis that can hold bytes back and deliver them late.

It is what the kernel's retransmissions, or a frozen Redis's receive queue, do to a
connection that its client has given up (ADR 3): the client is gone, its bytes are not.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from dataclasses import dataclass, field

from tests.daemon import raw


@dataclass(eq=False)
class Pair:
    """One connection through the network."""

    near: socket.socket  # the daemon's end
    far: socket.socket  # Redis's end
    held: bytes = b""
    cut: bool = False
    listens: bool = False  # the daemon's subscription: it carries no batch


@dataclass
class LateNetwork:
    """Forwards to `redis_port` from a port of its own, in a thread."""

    redis_port: int
    pairs: list[Pair] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._holding: Pair | None = None
        self._losing: list[Pair] = []
        self._ended = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def hold(self) -> Pair:
        """From now on, keep back what the daemon sends on the connection of its batches."""
        self._holding = next(
            pair for pair in reversed(self.pairs) if not (pair.cut or pair.listens)
        )
        return self._holding

    def cut(self, pair: Pair) -> None:
        """End the daemon's side of `pair`; Redis's side, and what is held, stay."""
        pair.cut = True
        pair.near.shutdown(socket.SHUT_RDWR)

    def deliver(self, pair: Pair) -> None:
        """Give Redis what was held; it has run it, or refused it, when this returns."""
        with contextlib.suppress(OSError):
            pair.far.sendall(pair.held)
            pair.far.shutdown(socket.SHUT_WR)
        pair.far.settimeout(raw.PATIENCE_S)
        raw.read_all(pair.far)

    def lose_answers(self) -> None:
        """From now on, what Redis says on the daemon's present connections is thrown away."""
        self._losing = [pair for pair in self.pairs if not pair.cut]

    def break_off(self) -> None:
        """End those connections; the next ones are as good as new."""
        for pair in self._losing:
            with contextlib.suppress(OSError):  # the daemon has given it up already
                self.cut(pair)

    def close(self) -> None:
        """End everything."""
        self._ended = True
        self._thread.join()
        for pair in self.pairs:
            pair.near.close()
            pair.far.close()
        self._listener.close()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            while not self._ended:
                for key, _ in selector.select(0.02):
                    if key.fileobj is self._listener:
                        near, _ = self._listener.accept()
                        pair = Pair(near, raw.connect(self.redis_port))
                        self.pairs.append(pair)
                        selector.register(pair.near, selectors.EVENT_READ, pair)
                        selector.register(pair.far, selectors.EVENT_READ, pair)
                    elif not self._forward(key.data, key.fileobj is key.data.near):
                        with contextlib.suppress(KeyError):
                            selector.unregister(key.data.near)
                            selector.unregister(key.data.far)

    def _forward(self, pair: Pair, to_redis: bool) -> bool:  # noqa: FBT001 — which way
        source, target = (pair.near, pair.far) if to_redis else (pair.far, pair.near)
        try:
            data = source.recv(65_536)
            pair.listens |= to_redis and b"SUBSCRIBE" in data
            if to_redis and pair is self._holding:
                pair.held += data
            elif data and pair in self._losing and not to_redis:
                pass
            elif data:
                target.sendall(data)
            else:
                with contextlib.suppress(OSError):
                    target.shutdown(socket.SHUT_WR)
        except OSError:
            return False
        return bool(data) and not pair.cut
