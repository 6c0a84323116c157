"""Wiring, and the two orders that matter: how a daemon starts and how it leaves (ADR 18)."""

from __future__ import annotations

import dataclasses
import gc
import json
import logging
import os
import secrets
import signal
import sys
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

import gevent
from gevent.event import Event

from echod.admin.exposition import Registry
from echod.admin.server import Admin
from echod.config import ConfigError
from echod.limits.capacity import RESERVED_FILES, Capacity
from echod.limits.files import raise_limit
from echod.limits.sources import Sources
from echod.limits.unsent import KERNEL_DOUBLES, Unsent
from echod.loop.clock import Clock
from echod.loop.guard import guarded
from echod.loop.sweeper import sweep_forever
from echod.metrics import Metrics
from echod.ports.directory import Directory
from echod.ports.listener import Listener
from echod.ports.port import Parts, PlainPort, SessionPort
from echod.protocol.errors import Code
from echod.rooms.hub import Hub
from echod.rooms.subscription import LocalSubscription, RedisSubscription
from echod.store.base import Lives, StoreError
from echod.store.committer import Committer
from echod.store.memory.store import MemoryStore
from echod.store.redis.link import Link, read_password, tls_context
from echod.store.redis.store import RedisStore
from echod.store.routes import ROUTES
from echod.values import store_url

if TYPE_CHECKING:
    from echod.client.connection import Connection
    from echod.config import Config
    from echod.rooms.subscription import Subscription
    from echod.store.base import Store

log = logging.getLogger(__name__)

# Files that are nobody's at the clients' ports: libraries, listeners, the store, scrapers.
OTHER_FILES = 128
# Of the name that this run has beside its daemon's: nobody mistakes it for the one before.
RUN_BYTES = 4
# How often a drain looks whether it is done.
POLL_S = 0.02
# New objects between two of the collector's passes. A connection is a handful, and each
# pass looks at all of the young ones: the default of 700 costs more than the lines do.
GC_THRESHOLD = 50_000


class Daemon:
    """One echod."""

    def __init__(self, config: Config) -> None:
        """Bind every port.

        Raises:
            ConfigError: a setting that this machine can't serve, or an address that is taken.
        """
        if "libev" not in gevent.config.loop.__module__:
            raise ConfigError(f"echod needs gevent's libev loop, not {gevent.config.loop}")
        self._config = config = _fit_to_files(config)
        self._draining = False
        self._leave = Event()
        self._hurry = False
        self._metrics = Metrics()
        self._clock = Clock(monotonic())
        lives = Lives.of(config)
        inbox = f"{config.name}:{secrets.token_hex(RUN_BYTES)}".encode()
        store, self._subscription = _store(config, lives, inbox)
        self._committer = Committer(
            *(store, config, lives, self._clock, self._metrics), on_rollback=self._roll_back
        )
        self._unsent = Unsent(
            config.unsent_bytes_max,
            KERNEL_DOUBLES * config.kernel_send_bytes,
            gevent.get_hub().loop.run_callback,
        )
        self._unsent.clients = self._connections
        directory = Directory()
        self._hub = Hub(
            *(config, self._clock, self._committer, self._metrics, inbox),
            subscription=self._subscription,
            deliver=directory.deliver,
            crowded=lambda: self._unsent.crowded,
        )
        self._capacity = Capacity(config.connections_max, self._clock, self._metrics)
        self._sources = Sources(config.source_bytes_max)
        parts = Parts(
            *(config, self._clock, self._committer, self._metrics, self._capacity),
            *(self._sources, self._unsent),
        )
        self._sessions = SessionPort(parts, self._hub, directory)
        self._ports = (PlainPort(parts), self._sessions)
        self._listeners = tuple(Listener(port, config) for port in self._ports)
        self._registry = Registry(config, self._metrics, self._ports, self._hub, self._sources)
        self._admin = Admin(
            config,
            self._registry,
            self._capacity,
            self._clock,
            lambda: (self._draining, self._degraded()),
        )
        self._sweeper: gevent.Greenlet[..., None] | None = None

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT, leave in order; returns the exit status."""
        for step in (
            self._listen_to_signals,
            self._committer.start,
            self._hub.tick,  # the first heartbeat, before anyone here can be looked for
            partial(self._subscription.start, self._hub),
            self._start_sweeper,
            self._admin.start,
            self._listen,
            self._settle_collector,
            self._announce,
        ):
            step()
        self._leave.wait()
        for step in (
            self._tell_the_balancer,  # the agent says `drain`; nobody new is sent here …
            self._accept_the_last,  # … once it has heard, for which two intervals are enough
            self._refuse_the_next,  # but health checks; sessions are told DRAIN
            self._let_clients_finish,  # until drain_s after the signal
            self._close_the_rest,  # ERR draining, after what is due
            self._close_ports,
            self._commit_the_last,  # the deletions
            self._subscription.stop,
            self._committer.stop,  # Redis is closed last
            self._admin.stop,
        ):
            step()
        log.info("stopped")
        return 0

    def _roll_back(self) -> None:
        self._sessions.roll_back()
        self._hub.roll_back()

    def _degraded(self) -> bool:
        """Whether newcomers are served better elsewhere (docs/adr/0004)."""
        return self._committer.degraded() or self._hub.deaf or self._capacity.files.short

    def _listen(self) -> None:
        for listener in self._listeners:
            listener.start()

    def _close_ports(self) -> None:
        for listener in self._listeners:
            listener.stop()

    def _listen_to_signals(self) -> None:
        gevent.signal_handler(signal.SIGTERM, self._on_signal)
        gevent.signal_handler(signal.SIGINT, self._on_signal)

    def _on_signal(self) -> None:
        if self._draining:
            self._hurry = True
        self._draining = True
        self._leave.set()

    def _start_sweeper(self) -> None:
        self._sweeper = gevent.spawn(
            sweep_forever,
            self._clock,
            self._metrics.loop_lag_seconds,
            (
                self._capacity.files.tick,
                self._committer.tick,
                self._hub.tick,
                self._turn,
                *(each.tick for each in self._listeners),
                self._admin.tick,
            ),
            (*(port.sweep for port in self._ports), self._capacity.sweep, self._sources.sweep),
        )

    def _turn(self) -> None:
        self._sources.turn(self._clock.now_s)

    def _settle_collector(self) -> None:
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD)

    def _announce(self) -> None:
        ready: dict[str, Any] = {
            "event": "ready",
            "name": self._config.name,
            "pid": os.getpid(),
            **{
                port.name: listener.address
                for port, listener in zip(self._ports, self._listeners, strict=True)
            },
            "admin": self._admin.address,
            "agent": self._admin.agent_address,
        }
        log.info("ready %s", " ".join(f"{key}={value}" for key, value in ready.items()))
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()

    def _tell_the_balancer(self) -> None:
        self._deadline_s = monotonic() + self._config.drain_s
        self._registry.drain()
        log.info("draining clients=%d", self._capacity.clients)

    def _accept_the_last(self) -> None:
        self._wait_until(monotonic() + 2 * self._config.agent_interval_s)

    def _refuse_the_next(self) -> None:
        for port in self._ports:
            port.leave(self._deadline_s - monotonic())

    def _let_clients_finish(self) -> None:
        while self._capacity.clients and not self._wait_until(monotonic() + POLL_S):
            if monotonic() >= self._deadline_s:
                return

    def _wait_until(self, until_s: float) -> bool:
        """Wait; returns at once, and true, when there is a hurry."""
        until_s = min(until_s, self._deadline_s)
        while not self._hurry and (left_s := until_s - monotonic()) > 0:
            gevent.sleep(min(POLL_S, left_s))
        return self._hurry

    def _close_the_rest(self) -> None:
        log.info("closing clients=%d", self._capacity.clients)
        for connection in self._connections():
            # Not the health checks, which hear an echo to the end.
            if connection.metrics is self._metrics:
                guarded(connection.fail, Code.DRAINING, "this daemon is leaving; reconnect")
        patience_s = self._config.commit_s_max + self._config.linger_s_max
        until_s = monotonic() + patience_s
        while monotonic() < until_s and any(
            (*self._connections(), *self._capacity.departing, *self._capacity.refused)
        ):
            gevent.sleep(POLL_S)
        for connection in self._connections():
            guarded(connection.close, Code.DRAINING.value)

    def _connections(self) -> list[Connection]:
        return [connection for port in self._ports for connection in port.connections]

    def _commit_the_last(self) -> None:
        until_s = monotonic() + self._config.commit_s_max
        while not self._committer.settled() and monotonic() < until_s:
            gevent.sleep(POLL_S)


def _store(config: Config, lives: Lives, inbox: bytes) -> tuple[Store, Subscription]:
    """The store, and where its publications arrive."""
    place = store_url.parse(config.store)
    if place.scheme == "memory":
        local = LocalSubscription()
        return MemoryStore(lives, local.receive), local
    # Files are read at every connect; a wrong one is found before anyone is served.
    try:
        if config.store_password_file:
            read_password(config.store_password_file)
    except StoreError as error:
        raise ConfigError(f"--store-password-file: {error}") from error
    try:
        if place.tls:
            tls_context(place.tls)
    except OSError as error:
        raise ConfigError(f"--store: its certificates can't be used: {error}") from error
    timeout_s, password_file = config.commit_s_max, config.store_password_file
    connect = partial(Link, config.store, timeout_s, password_file)
    return (
        RedisStore(config.store, config.name, lives, timeout_s, password_file),
        RedisSubscription(connect, ROUTES[config.room_route], inbox, config.rooms_max),
    )


def _fit_to_files(config: Config) -> Config:
    """Raise the limit of open files as far as it goes, and lower the cap if that is not enough.

    Raises:
        ConfigError: there are not files enough for any client.
    """
    files = raise_limit(config.connections_max + RESERVED_FILES + OTHER_FILES)
    room = files - RESERVED_FILES - OTHER_FILES
    if room < 1:
        raise ConfigError(f"{files} open files are allowed: too few for any client")
    if room >= config.connections_max:
        return config
    log.warning("connections_max lowered to %d: only %d open files are allowed", room, files)
    return dataclasses.replace(config, connections_max=room)
