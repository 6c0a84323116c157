"""The connection that publications arrive on: made anew whenever it fails.

    connect ─▶ SUBSCRIBE inbox (and rooms) ─▶ confirmed ─▶ publications ─▶ hub
       ▲                                                        │
       └──────────────── failed, or reset for being deaf ◀──────┘

Two greenlets use it, each one direction: this one receives, the other sends what was
asked for meanwhile, so that asking never waits.
"""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING

import gevent
from gevent.event import Event

from echod.store.base import StoreError
from echod.store.redis.link import pack
from echod.store.redis.operations import BROADCAST_CHANNEL, channel, inbox_channel

if TYPE_CHECKING:
    from collections.abc import Callable

    from echod.rooms.hub import Hub
    from echod.store.redis.link import Link

log = logging.getLogger(__name__)

# Between attempts to connect, doubling, with jitter.
RETRY_S_MIN, RETRY_S_MAX = 0.05, 1.0


class RedisSubscription:
    """See the module, and `hub.Subscription`."""

    def __init__(self, connect: Callable[[], Link], route: str, hub: Hub) -> None:
        """`connect` makes a connection to Redis, or raises `StoreError`."""
        self.connected = False
        self._new_link = connect
        self._hub = hub
        self._own = [inbox_channel(hub.inbox)]
        if route == "broadcast":
            self._own.append(BROADCAST_CHANNEL)
        self._link: Link | None = None
        self._former: tuple[bytes, int] | None = None
        self._asked: list[tuple[bytes, bytes]] = []
        self._wake = Event()
        self._greenlets: list[gevent.Greenlet[..., None]] = []

    def start(self) -> None:
        """Begin; Redis may be away."""
        self._greenlets = [gevent.spawn(self._run), gevent.spawn(self._send)]

    def stop(self) -> None:
        """End."""
        gevent.killall(self._greenlets)
        if self._link is not None:
            self._link.close()

    def subscribe(self, room: bytes) -> None:
        """See `hub.Subscription`."""
        self._ask(b"SUBSCRIBE", room)

    def unsubscribe(self, room: bytes) -> None:
        """See `hub.Subscription`."""
        self._ask(b"UNSUBSCRIBE", room)

    def reset(self) -> None:
        """See `hub.Subscription`."""
        self.connected = False
        if self._link is not None:
            self._link.reset()

    def _ask(self, verb: bytes, room: bytes) -> None:
        # While there is no connection nothing is asked: the next one asks for all rooms.
        if self.connected:
            self._asked.append((verb, channel(room, "room")))
            self._wake.set()
            if len(self._asked) > 2 * self._hub.rooms_max:
                self.reset()  # it takes nothing; the next one is asked for all rooms at once

    def _send(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            asked, self._asked = self._asked, []
            link = self._link
            if link is not None and asked:
                try:
                    link.send_all(b"".join(pack(verb, name) for verb, name in asked))
                except StoreError:
                    link.reset()  # the other greenlet notices, if it has not made a new one

    def _run(self) -> None:
        retry_s = RETRY_S_MIN
        while True:
            try:
                link = self._connect()
                retry_s = RETRY_S_MIN
                while True:
                    self._take(link)
            except StoreError as error:
                log.warning("subscription-failed kind=%s: %s", error.kind, error)
            except Exception:
                log.exception("subscription failed")
            self.reset()
            self._link = None
            self._hub.down()
            gevent.sleep(retry_s * random.uniform(0.5, 1.5))  # noqa: S311 — jitter
            retry_s = min(2 * retry_s, RETRY_S_MAX)

    def _connect(self) -> Link:
        link = self._link = self._new_link()
        if self._former and self._former[0] == link.run_id:
            # Redis may not have noticed that it is gone, and would keep what it can't send.
            link.ask(("CLIENT", "KILL", "ID", str(self._former[1])))
        self._former = (link.run_id, link.id)
        link.ask(("SUBSCRIBE", *self._own), replies=len(self._own))
        self._asked.clear()
        self.connected = True
        self._hub.up()
        # By the greenlet that sends: two must not write into one socket.
        for room in self._hub.subscribed():
            self._ask(b"SUBSCRIBE", room)
        return link

    def _take(self, link: Link) -> None:
        """All that has come together."""
        hub = self._hub
        for kind, name, value in link.listen():
            if kind == b"message":
                hub.receive(value)
            elif kind == b"subscribe":
                hub.confirmed(name[2:])
        hub.flush()


class LocalSubscription:
    """Of a daemon alone: what the store in its process publishes; see `hub.Subscription`."""

    connected = True

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def start(self) -> None:
        """There is nothing to connect."""
        self._hub.up()

    def stop(self) -> None:
        """Nor to end."""

    def subscribe(self, room: bytes) -> None:
        """See `hub.Subscription`: it always is."""
        self._hub.confirmed(room)

    def unsubscribe(self, room: bytes) -> None:
        """See `hub.Subscription`."""

    def reset(self) -> None:
        """See `hub.Subscription`."""

    def receive(self, written: bytes) -> None:
        """The store has published something."""
        self._hub.receive(written)
        self._hub.flush()
