"""Wiring, and the order in which a daemon starts; how it leaves is drain.py's."""

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

from echod.admin.exposition import Registry
from echod.admin.server import Admin
from echod.client.directory import Directory
from echod.client.terms import Terms
from echod.config import ConfigError
from echod.drain import Drain
from echod.limits.capacity import RESERVED_FILES, Capacity
from echod.limits.files import raise_limit
from echod.limits.sources import Sources
from echod.limits.unsent import KERNEL_DOUBLES, Unsent
from echod.loop.clock import Clock
from echod.loop.sweeper import sweep_forever
from echod.metrics import Metrics
from echod.ports.listener import Listener
from echod.ports.port import PlainPort, SessionPort
from echod.rooms.hub import Hub
from echod.rooms.subscription import LocalSubscription, RedisSubscription
from echod.store.base import Alone, Lives, StoreError
from echod.store.committer import Committer
from echod.store.memory.store import MemoryStore
from echod.store.redis.cluster import Cluster
from echod.store.redis.door import ClusterShards, OneRedis
from echod.store.redis.link import read_password, tls_context
from echod.store.redis.store import RedisStore
from echod.values import store_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from echod.client.connection import Connection
    from echod.config import Config
    from echod.rooms.subscription import Subscription
    from echod.store.base import Places
    from echod.store.shard import Shard

log = logging.getLogger(__name__)

# Files that are nobody's at the clients' ports: libraries, listeners, the store, scrapers.
OTHER_FILES = 128
# Of the name that this run has beside its daemon's: nobody mistakes it for the one before.
RUN_BYTES = 4
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
        self._clock = clock = Clock(monotonic())
        self._metrics = metrics = Metrics()
        lives = Lives.of(config)
        run = secrets.token_hex(RUN_BYTES).encode()
        places, subscription = _store(config, lives)
        self._committer = committer = Committer(
            *(places, config, lives, clock, metrics), on_rollback=self._roll_back
        )
        self._capacity = capacity = Capacity(config.connections_max, clock, metrics)
        self._sources = Sources(config.source_bytes_max)
        unsent = Unsent(
            config.unsent_bytes_max,
            KERNEL_DOUBLES * config.kernel_send_bytes,
            gevent.get_hub().loop.run_callback,
            self._connections,
        )
        directory = Directory()
        self._hub = hub = Hub(
            *(config, clock, committer, metrics, (config.name.encode(), run)),
            subscription=subscription,
            deliver=directory.deliver,
            crowded=lambda: unsent.crowded,
        )
        terms = partial(
            Terms.of, config, clock=clock, committer=committer, metrics=metrics,
            capacity=capacity, sources=self._sources, unsent=unsent,
        )  # fmt: skip
        plain = PlainPort(terms(config.echo_idle_s_max), config)
        self._sessions = SessionPort(terms(config.session_idle_s_max), config, hub, directory)
        self._ports = (plain, self._sessions)
        self._listeners = tuple(Listener(port, config) for port in self._ports)
        self._drain = Drain(config, capacity, self._ports, self._listeners, committer)
        registry = Registry(config, metrics, self._ports, hub, self._draining)
        self._admin = Admin(config, registry, capacity, clock, self._state)
        self._sweeper: gevent.Greenlet[..., None] | None = None

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT, leave in order; returns the exit status."""
        for step in (
            self._listen_to_signals,
            self._committer.start,
            self._hub.tick,  # the first heartbeat, before anyone here can be looked for
            self._hub.start,
            self._start_sweeper,
            self._admin.start,
            self._listen,
            self._settle_collector,
            self._announce,
        ):
            step()
        self._drain.wait()
        for step in (
            *self._drain.steps(),
            self._hub.stop,
            self._committer.stop,  # Redis is closed last
            self._admin.stop,
        ):
            step()
        log.info("stopped")
        return 0

    def _roll_back(self, concerns: Callable[[int], bool]) -> None:
        self._sessions.roll_back(concerns)
        self._hub.roll_back(concerns)

    def _connections(self) -> Iterable[Connection]:
        """Everyone who is served."""
        return [connection for port in self._ports for connection in port.connections]

    def _draining(self) -> bool:
        return self._drain.begun

    def _state(self) -> tuple[bool, bool]:
        return self._drain.begun, self._degraded()

    def _degraded(self) -> bool:
        """Whether newcomers are served better elsewhere (docs/adr/0004)."""
        return not self._committer.serves() or self._capacity.files.short

    def _listen(self) -> None:
        for listener in self._listeners:
            listener.start()

    def _listen_to_signals(self) -> None:
        gevent.signal_handler(signal.SIGTERM, self._drain.request)
        gevent.signal_handler(signal.SIGINT, self._drain.request)

    def _start_sweeper(self) -> None:
        self._sweeper = gevent.spawn(
            sweep_forever,
            self._clock,
            self._metrics.loop_lag_seconds.observe,
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


def _store(config: Config, lives: Lives) -> tuple[Places, Callable[[Shard], Subscription]]:
    """The shards of the store, and what makes the subscription of one."""
    url = store_url.parse(config.store)
    if url.scheme == "memory":
        local = LocalSubscription()
        return Alone(MemoryStore(lives, local.receive)), lambda _: local
    # Files are read at every connect; a wrong one is found before anyone is served.
    try:
        if config.store_password_file:
            read_password(config.store_password_file)
    except StoreError as error:
        raise ConfigError(f"--store-password-file: {error}") from error
    try:
        if url.tls:
            tls_context(url.tls)
    except OSError as error:
        raise ConfigError(f"--store: its certificates can't be used: {error}") from error
    new_store = partial(
        RedisStore,
        daemon=config.name,
        lives=lives,
        timeout_s=config.commit_s_max,
        replicas=config.store_replicas,
    )
    reach = url, config.commit_s_max, config.store_password_file
    if not url.nodes:
        one = OneRedis(*reach)
        where = url.path or f"{url.host}:{url.port}"
        places = Alone(new_store(one), master=where)
        return places, lambda _: RedisSubscription(one.link, config.rooms_max)
    shards = ClusterShards(Cluster(*reach), new_store)
    return shards, lambda shard: RedisSubscription(shards.door(shard.number).link, config.rooms_max)


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
