"""The connection that publications arrive on: made anew whenever it fails.

    connect ─▶ SSUBSCRIBE inbox (and rooms) ─▶ confirmed ─▶ publications ─▶ feed
       ▲                                                        │
       └──────────────── failed, or reset for being deaf ◀──────┘

Of each shard one. A channel whose slot has moved is told of, and the others go on (ADR 25).

Two greenlets use it, each one direction: this one receives, the other sends what was
asked for meanwhile, so that asking never waits.
"""

from __future__ import annotations

import logging
import random
import re
from typing import TYPE_CHECKING, Protocol

import gevent
from gevent.event import Event

from echod.store.base import StoreError
from echod.store.redis.link import pack

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from echod.store.redis.link import Link

log = logging.getLogger(__name__)

# Between attempts to connect, doubling, with jitter.
RETRY_S_MIN, RETRY_S_MAX = 0.05, 1.0
# Nodes whose connection before is remembered, as the store's are.
FORMERS_MAX = 32
# What Redis says of a slot that another node has.
MOVED = re.compile(r"MOVED (\d+) ")


class Subscriber(Protocol):
    """Who hears publications: the shard's feed."""

    def own_channels(self) -> Sequence[bytes]:
        """What is listened to, whichever rooms there are: without these it is not connected."""

    def up(self) -> None:
        """The subscription is connected: its own channels are listened to."""

    def down(self) -> None:
        """It has failed."""

    def subscribed(self) -> Sequence[bytes]:
        """The rooms to ask for on a new connection."""

    def confirmed(self, channel: bytes) -> None:
        """From now on what is published there arrives."""

    def unsubscribed(self, channel: bytes) -> None:
        """It does not any more, whether it was asked for or not."""

    def moved(self, slot: int) -> None:
        """Its channels are another shard's."""

    def receive(self, written: bytes) -> None:
        """A publication; `flush` follows the last of those that came together."""

    def flush(self) -> None:
        """No more has come."""


class Subscription(Protocol):
    """Where publications arrive: of Redis, or of the store in this process.

    Attributes:
        connected: as far as its connection says.
        made: its connections that heard, so far.
        remote: it can be deaf although it is connected, and must be proven (heartbeat.py).
    """

    connected: bool
    made: int
    remote: bool

    def start(self, subscriber: Subscriber) -> None:
        """Begin; whatever comes, `subscriber` is told."""

    def stop(self) -> None:
        """End."""

    def subscribe(self, channel: bytes) -> None:
        """Ask for it; `Subscriber.confirmed` follows, after every reconnect too."""

    def unsubscribe(self, channel: bytes) -> None:
        """No more of it."""

    def reset(self) -> None:
        """It is deaf: make a new one."""


class RedisSubscription:
    """See the module, and `Subscription`."""

    remote = True

    def __init__(self, connect: Callable[[], Link], channels_max: int) -> None:
        """`connect` makes a connection to Redis, or raises `StoreError`."""
        self.connected = False
        self.made = 0
        self._new_link = connect
        self._asked_max = 2 * channels_max
        self._link: Link | None = None
        self._formers: dict[bytes, int] = {}
        self._asked: list[tuple[bytes, bytes]] = []
        self._wake = Event()
        self._greenlets: list[gevent.Greenlet[..., None]] = []

    def start(self, subscriber: Subscriber) -> None:
        """See `Subscription`; Redis may be away."""
        self._greenlets = [gevent.spawn(self._run, subscriber), gevent.spawn(self._send)]

    def stop(self) -> None:
        """End."""
        gevent.killall(self._greenlets)
        if self._link is not None:
            self._link.close()

    def subscribe(self, channel: bytes) -> None:
        """See `Subscription`."""
        self._ask(b"SSUBSCRIBE", channel)

    def unsubscribe(self, channel: bytes) -> None:
        """See `Subscription`."""
        self._ask(b"SUNSUBSCRIBE", channel)

    def reset(self) -> None:
        """See `Subscription`."""
        self.connected = False
        if self._link is not None:
            self._link.reset()

    def _ask(self, verb: bytes, channel: bytes) -> None:
        # While there is no connection nothing is asked: the next one asks for all rooms.
        if self.connected:
            self._asked.append((verb, channel))
            self._wake.set()
            if len(self._asked) > self._asked_max:
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

    def _run(self, subscriber: Subscriber) -> None:
        retry_s = RETRY_S_MIN
        while True:
            try:
                link = self._connect(subscriber)
                retry_s = RETRY_S_MIN
                while True:
                    self._take(link, subscriber)
            except StoreError as error:
                log.warning("subscription-failed kind=%s: %s", error.kind, error)
            except Exception:
                log.exception("subscription failed")
            self.reset()
            self._link = None
            subscriber.down()
            gevent.sleep(retry_s * random.uniform(0.5, 1.5))  # noqa: S311 — jitter
            retry_s = min(2 * retry_s, RETRY_S_MAX)

    def _connect(self, subscriber: Subscriber) -> Link:
        link = self._link = self._new_link()
        former = self._formers.pop(link.run_id, None)
        if former is not None:
            # Redis may not have noticed that it is gone, and would keep what it can't send.
            link.execute(("CLIENT", "KILL", "ID", str(former)))
        self._formers[link.run_id] = link.id
        while len(self._formers) > FORMERS_MAX:
            del self._formers[next(iter(self._formers))]
        own = subscriber.own_channels()
        # One each: they may be in several slots, of one shard.
        link.execute(*(("SSUBSCRIBE", channel) for channel in own))
        self._asked.clear()
        self.connected = True
        self.made += 1
        subscriber.up()
        for channel in own:
            subscriber.confirmed(channel)
        # By the greenlet that sends: two must not write into one socket.
        for channel in subscriber.subscribed():
            self._ask(b"SSUBSCRIBE", channel)
        return link

    def _take(self, link: Link, subscriber: Subscriber) -> None:
        """All that has come together."""
        for reply in link.listen():
            if isinstance(reply, StoreError):
                self._fail(reply, subscriber)
                continue
            kind, name, value = reply
            if kind == b"smessage":
                subscriber.receive(value)
            elif kind == b"ssubscribe":
                subscriber.confirmed(name)
            elif kind == b"sunsubscribe":
                subscriber.unsubscribed(name)
        subscriber.flush()

    def _fail(self, error: StoreError, subscriber: Subscriber) -> None:
        """A subscription was refused: of a slot that has moved, it concerns that one alone."""
        found = MOVED.match(str(error))
        if found is None:
            raise error
        subscriber.moved(int(found[1]))


class LocalSubscription:
    """Of a daemon alone: what the store in its process publishes; see `Subscription`."""

    remote = False
    made = 1

    def __init__(self) -> None:
        self.connected = False
        self._subscriber: Subscriber | None = None

    def start(self, subscriber: Subscriber) -> None:
        """See `Subscription`; there is nothing to connect."""
        self._subscriber = subscriber
        self.connected = True
        subscriber.up()

    def stop(self) -> None:
        """Nor to end."""

    def subscribe(self, channel: bytes) -> None:
        """See `Subscription`: it always is."""
        if self._subscriber is not None:
            self._subscriber.confirmed(channel)

    def unsubscribe(self, channel: bytes) -> None:
        """See `Subscription`."""

    def reset(self) -> None:
        """See `Subscription`."""

    def receive(self, written: bytes) -> None:
        """The store has published something."""
        if self._subscriber is not None:
            self._subscriber.receive(written)
            self._subscriber.flush()
