"""Every setting of a daemon: its unit, its default, and why it is what it is.

One frozen dataclass is the single source: the flags, the environment variables
(`ECHOD_` and the name in upper case), `--help` and the `echod_limit` metric are all
made from it. The defaults of the wire's limits are those of PROTOCOL's table. Three places
check a value: `values/checks.py`, the bounds given to `_setting`, and `Config._fit_together`.
"""

from __future__ import annotations

import argparse
import dataclasses
import errno
import os
import re
import secrets
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from echod.values import addresses, checks, store_url

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

DURABILITIES = ("commit", "async", "none")
ROUTES = ("broadcast", "room", "directed")
READERS = ("callback", "greenlet")
LOG_LEVELS = ("debug", "info", "warning", "error")

# One receive of a client's bytes: large enough for a pipeliner, small enough to be taken from
# malloc's heap.
RECEIVE_BYTES = 16_384
# Behind `--host` or `--…-port` there is no such address here.
NOT_OURS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EINVAL)

# A session outlives its connection's silence, and the client's way back after it (PROTOCOL's
# table).
TTL_IDLE_TIMES = 3

# What a daemon renews several times in a life, and its clock has ticks of 0.1 s.
RENEWED_S_MIN = 1.0
# A marker that expires while a batch is on its way looks like a loss of data.
MARKER_COMMITS = 3

# More would be an error of typing: each is a copy of everything.
REPLICAS_MAX = 16

PRIVATE_NETWORKS = "127.0.0.0/8,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,::1/128,fc00::/7"


class ConfigError(ValueError):
    """A setting that can't be served; the text is for the person who gave it."""


def _setting(default: Any, reason: str, **metadata: Any) -> Any:  # noqa: ANN401 — as `field`
    return field(default=default, metadata={"reason": reason, **metadata})


@dataclass(frozen=True, slots=True)
class Config:
    """What one daemon is told; sizes in bytes, times in seconds, as the names say."""

    # Where it listens.
    host: str = _setting(
        "127.0.0.1",
        "address that all ports listen on; 0.0.0.0 in a container",
        must=checks.listening_address,
    )
    echo_port: int = _setting(1234, "plain port, PROTOCOL §1; 0 picks a free port")
    session_port: int = _setting(1235, "session port, PROTOCOL §2")
    admin_port: int = _setting(8080, "HTTP port: /metrics, /livez, /readyz")
    agent_port: int = _setting(8081, "port that HAProxy's agent-check asks")
    name: str = _setting(
        "",
        "this daemon's name in logs and store; empty: the host's name and a random part",
        must=checks.daemon_name,
    )

    # What an answer means.
    store: str = _setting(
        "memory://",
        "where the state is: memory://, redis[s]://[user[:password]@]host:port/db, unix:///path or"
        " redis[s]+cluster://[user[:password]@]host:port,host:port (values/store_url.py)",
        must=store_url.parse,
        secret=True,
    )
    store_password_file: str = _setting(
        "",
        "file with the store's password, read at every connect: keeps the password out of the URL",
    )
    durability: str = _setting(
        "commit", "what a reply on the plain port waits for, PROTOCOL §5", choices=DURABILITIES
    )
    async_lines_max: int = _setting(
        10_000, "durability async: answered lines that a crash may lose"
    )
    async_s_max: float = _setting(1.0, "durability async: age of the oldest such line")
    session_ttl_s: float = _setting(
        300.0,
        "the store keeps a session so long after its last line; at least 3 times"
        " --session-idle-s-max",
    )

    # Who may speak first.
    proxy_protocol: bool = _setting(False, "require a PROXY v2 header from every peer")  # noqa: FBT003
    proxy_networks: str = _setting(
        PRIVATE_NETWORKS,
        "networks whose peers may send a PROXY header; other peers are refused",
        must=checks.network_list,
    )
    proxy_header_bytes_max: int = _setting(
        1024,
        "length of the PROXY header with its TLVs; HAProxy's header with a unique id has under 200",
        least=232,  # the longest addresses, two of UNIX sockets
        most=65_551,  # a length of 16 bits and what stands before it
    )
    proxy_s_max: float = _setting(5.0, "from accept to the end of the PROXY header")

    # How much one client may take (PROTOCOL's table, limit=True makes a metric of it).
    connections_max: int = _setting(
        10_000, "clients at once, both ports together; one more is answered busy", limit=True
    )
    line_bytes_max: int = _setting(
        8_192,
        "length of a line with its LF",
        limit=True,
        least=128,  # the longest request without text, a JOIN: 64 of a room, an epoch, an offset
        most=1 << 24,  # a state of two lines is a thirtieth of what Redis takes as one value
    )
    line_s_max: float = _setting(60.0, "from a line's first byte to its LF", limit=True)
    echo_idle_s_max: float = _setting(
        5.0, "plain port: a client that sends nothing for so long is closed", limit=True
    )
    session_idle_s_max: float = _setting(
        60.0, "session port: a client that sends nothing for so long is closed", limit=True
    )
    inflight_lines_max: int = _setting(
        1_000, "unanswered lines of a connection; at the limit it is not read", limit=True
    )
    outbox_bytes_max: int = _setting(
        1 << 20,
        "bytes that one client has not taken; above the limit it is closed: slow-consumer",
        limit=True,
    )
    unsent_bytes_max: int = _setting(
        128 << 20,
        "bytes that all clients together have not taken, and unfinished lines, kernel buffers"
        " included; above the limit the clients with most are closed: slow-consumer",
        limit=True,
    )
    send_s_max: float = _setting(
        10.0, "a client that takes none of its unsent bytes for so long is closed", limit=True
    )
    source_bytes_max: int = _setting(
        4_000_000,
        "bytes a second from one client address (an IPv6 /64 counts as one); above the limit its"
        " connections wait unread (docs/adr/0011)",
        limit=True,
    )
    kernel_send_bytes: int = _setting(
        65_536,
        "SO_SNDBUF of a client's socket; the kernel takes twice as much, and 4 MB without this"
        " setting; below 48 kB delayed ACKs stall bulk transfers",
        limit=True,
        least=4_096,
        most=1 << 30,  # an int in the kernel, which doubles it
    )
    kernel_receive_bytes: int = _setting(
        32_768,
        "SO_RCVBUF of a client's socket; the kernel takes twice as much, and 6 MB and more"
        " without this setting",
        limit=True,
        least=4_096,
        most=1 << 30,
    )
    linger_s_max: float = _setting(
        2.0,
        "after ERR the daemon reads on for so long, so that a reset does not overtake the ERR",
        limit=True,
    )

    # How much the store may take.
    commit_s_max: float = _setting(
        2.0,
        "from reading a line to the store's acknowledgement; then unavailable",
        limit=True,
        cluster=6.0,  # a failover is over in it
    )
    batch_writes_max: int = _setting(
        1_000,
        "writes of one batch: limits a round trip, and what a broken connection repeats",
        limit=True,
    )
    pending_bytes_max: int = _setting(
        32 << 20,
        "bytes of all clients that wait for the store; above the limit no client is read",
        limit=True,
    )

    store_fill_max: float = _setting(
        0.8,
        "share of the store's memory; from it on new clients are answered busy, and from half-way"
        " between it and full on posts are refused: connected clients stay served",
        limit=True,
        least=0.01,
        most=0.99,
    )

    store_replicas: int = _setting(
        0,
        "so many replicas of Redis must have a line before it is answered",
        least=0,
        most=REPLICAS_MAX,
        cluster=1,
    )
    # How long the store keeps what the daemons themselves renew: with their ticks of 0.1 s.
    announcement_s: float = _setting(
        90.0,
        "life of a daemon's announcement that it has members in a room; renewed three times in"
        " its life",
        least=RENEWED_S_MIN,
    )
    lease_s: float = _setting(
        4.0,
        "life of a daemon's lease after its last heartbeat; a lease has eight heartbeats",
        least=RENEWED_S_MIN,
    )
    marker_s: float = _setting(
        86_400.0,
        "life of the key by which a daemon notices that the store has lost data",
        least=RENEWED_S_MIN,
    )

    # Rooms, PROTOCOL §3.
    room_route: str = _setting(
        "room", "how a post finds its members' daemons (docs/adr/0009)", choices=ROUTES
    )
    room_tick_s: float = _setting(
        0.0,
        "the daemon gathers messages so long before it sends them: fewer sends; 0: it does not",
        zero=True,
    )
    rooms_joined_max: int = _setting(100, "rooms of one connection", limit=True)
    rooms_max: int = _setting(
        10_000, "rooms of all connections; one more is answered too-many-rooms", limit=True
    )
    memberships_max: int = _setting(
        100_000, "memberships of all connections; one more is answered too-many-rooms", limit=True
    )
    room_messages_max: int = _setting(
        1_000,
        "about how many messages the store keeps of a room, for members that come back",
        limit=True,
    )
    room_s_max: float = _setting(
        3_600.0, "age of a room's oldest message; a room's life after its last message", limit=True
    )
    room_linger_s: float = _setting(
        5.0, "how long the daemon listens to a room without members: they may be on their way back"
    )

    # Leaving.
    drain_s: float = _setting(10.0, "from SIGTERM to closing what is left", limit=True)
    agent_interval_s: float = _setting(
        0.5, "HAProxy's agent-inter; a draining daemon goes on accepting for two intervals"
    )

    reader: str = _setting(
        "callback", "how the daemon waits for a socket (docs/adr/0001)", choices=READERS
    )
    log_level: str = _setting("info", "lowest level that is logged", choices=LOG_LEVELS)

    def __post_init__(self) -> None:
        """Refuse what can't be served.

        Raises:
            ConfigError: naming the setting, its value and what it must be.
        """
        for spec in dataclasses.fields(self):
            value = getattr(self, spec.name)
            try:
                checks.check(spec.name, value, spec.metadata)
            except ValueError as error:
                shown = "" if spec.metadata.get("secret") else f"={value}"
                raise ConfigError(f"{flag_of(spec.name)}{shown}: {error}") from None
        self._fit_together()
        if not self.name:
            name = checks.name_of_host(socket.gethostname(), secrets.token_hex(3))
            object.__setattr__(self, "name", name)

    def _fit_together(self) -> None:
        """Refuse what is well alone, and can't be served beside another setting.

        Raises:
            ConfigError: naming both.
        """
        self._at_least("session_ttl_s", TTL_IDLE_TIMES, "session_idle_s_max")
        # Lives that are over before what renews them comes (docs/adr/0014).
        self._at_least("room_s_max", 1, "announcement_s")
        self._at_least("marker_s", MARKER_COMMITS, "commit_s_max")
        # A room that is listened to without members must still be there for who comes back.
        self._at_least("announcement_s", 2, "room_linger_s")
        # The balancer has to hear of a drain before it is over.
        self._at_least("drain_s", 2, "agent_interval_s")
        # Its longest line would take longer than the second that it counts by.
        self._at_least("source_bytes_max", 1, "line_bytes_max")
        # One line's reply on the plain port is the line before it and itself.
        self._at_least("pending_bytes_max", 2, "line_bytes_max")
        # Reading stops at half of an outbox: what one more receive can add must still fit.
        least = 4 * (RECEIVE_BYTES + self.line_bytes_max)
        if self.outbox_bytes_max < least:
            raise ConfigError(
                f"--outbox-bytes-max={self.outbox_bytes_max}: must be at least {least} with"
                f" --line-bytes-max={self.line_bytes_max}"
            )
        self._at_least("unsent_bytes_max", 1, "outbox_bytes_max")
        if self.proxy_protocol and not self.networks():
            raise ConfigError("--proxy-networks: must name one with --proxy-protocol")
        store = store_url.parse(self.store)
        if self.store_password_file and (store.scheme == "memory" or store.password):
            raise ConfigError("--store-password-file: must be with a --store that has no password")
        if self.store_replicas and store.scheme == "memory":
            raise ConfigError("--store-replicas: must be with a --store of Redis")
        if self.store_replicas and self.room_route == "directed":
            # Its posts go from the script, to whoever is announced then (ADR 23).
            raise ConfigError("--room-route=directed: must be another with --store-replicas")
        if store.nodes and self.room_route != "room":
            # Their posts go by one channel, and by a script's own lookup: both are one shard's.
            raise ConfigError(f"--room-route={self.room_route}: must be room with a cluster")
        if store.username and not store.password and not self.store_password_file:
            raise ConfigError(
                "--store: must have a password for its user, or a --store-password-file"
            )

    def _at_least(self, name: str, times: int, other: str) -> None:
        value, least = getattr(self, name), getattr(self, other)
        if value < times * least:
            raise ConfigError(
                f"{flag_of(name)}={value:g}: must be at least {times} times"
                f" {flag_of(other)}={least:g}"
            )

    def networks(self) -> tuple[addresses.Network, ...]:
        """`proxy_networks`, parsed."""
        return addresses.networks(self.proxy_networks)

    def limits(self) -> dict[str, float]:
        """The settings that are limits, by name: what `echod_limit` shows."""
        return {
            spec.name: getattr(self, spec.name)
            for spec in dataclasses.fields(self)
            if spec.metadata.get("limit")
        }


def cannot_listen(port: str, config: Config, error: OSError) -> ConfigError:
    """The error for a port that can't be had: it names the setting to change."""
    if error.errno in NOT_OURS:
        return ConfigError(f"--host={config.host}: {error.strerror or error}")
    flag, number = flag_of(port), getattr(config, port)
    return ConfigError(f"{flag}={number} on {config.host}: {error.strerror or error}")


def flag_of(name: str) -> str:
    """`line_bytes_max` → `--line-bytes-max`."""
    return "--" + name.replace("_", "-")


def variable_of(name: str) -> str:
    """`line_bytes_max` → `ECHOD_LINE_BYTES_MAX`."""
    return "ECHOD_" + name.upper()


def parse(argv: Sequence[str], environ: Mapping[str, str] = os.environ) -> Config:
    """Build a `Config`: a flag beats its environment variable, which beats the default.

    Exits with status 2 and a message, as argparse does, for what can't be served.
    """
    parser = argparse.ArgumentParser(
        prog="echod",
        description="One echo daemon. Each flag has an environment variable, as --name has"
        " ECHOD_NAME; an empty variable counts as not set.",
    )
    for spec in dataclasses.fields(Config):
        kind = type(spec.default)
        # Not %(default)s, which would show what the environment has: a password, with --store.
        default = str(spec.default).replace("%", "%%")
        if "cluster" in spec.metadata:
            default += f", {spec.metadata['cluster']} with a cluster"
        help_text = f"{spec.metadata['reason']} [{variable_of(spec.name)}, default {default}]"
        text = environ.get(variable_of(spec.name), "")
        if kind is bool:
            try:
                on = checks.truth(text) if text else spec.default
            except ValueError as error:
                parser.error(f"{variable_of(spec.name)}={text}: {error}")
            parser.add_argument(
                flag_of(spec.name),
                action=argparse.BooleanOptionalAction,
                default=on,
                help=help_text,
            )
        else:
            # argparse converts a default that is text, so both sources share one check.
            parser.add_argument(
                flag_of(spec.name), type=READ_AS[kind], help=help_text,
                default=text or (None if "cluster" in spec.metadata else spec.default),
                metavar=kind.__name__.upper(),
            )  # fmt: skip
    try:
        return Config(**_with_defaults(vars(parser.parse_args(argv))))
    except ConfigError as error:
        parser.error(str(error))


def _with_defaults(given: dict[str, Any]) -> dict[str, Any]:
    """The settings whose default depends on the store, where nothing was said of them."""
    clustered = given["store"].partition("://")[0] in store_url.CLUSTERS
    for spec in dataclasses.fields(Config):
        if given[spec.name] is None:
            given[spec.name] = spec.metadata["cluster"] if clustered else spec.default
    return given


def _whole(text: str) -> int:
    # More digits than any limit has are no number that one means.
    if re.fullmatch("[+-]?[0-9]{1,20}", text):
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a number") from None


READ_AS: Mapping[type, Callable[[str], Any]] = {int: _whole, float: _number, str: str}
