"""Every setting of a daemon: its unit, its default, and why it is what it is.

One frozen dataclass is the single source: the flags, the environment variables
(`ECHOD_` and the name in upper case), `--help` and the `echod_limit` metric are all
made from it. The defaults of the wire's limits are PROTOCOL's table.
"""

from __future__ import annotations

import argparse
import dataclasses
import ipaddress
import os
import secrets
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Network = ipaddress.IPv4Network | ipaddress.IPv6Network

DURABILITIES = ("commit", "async", "none")
ROUTES = ("broadcast", "room", "directed")
READERS = ("callback", "greenlet")
LOG_LEVELS = ("debug", "info", "warning", "error")

# A session outlives its connection's silence, and the client's way back after it (PROTOCOL's
# table).
TTL_IDLE_TIMES = 3

# What a daemon renews several times in a life, and its clock has ticks of 0.1 s.
LEASE_S_MIN = 1.0
# A marker that expires while a batch is on its way looks like a loss of data.
MARKER_COMMITS = 3

PRIVATE_NETWORKS = "127.0.0.0/8,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,::1/128,fc00::/7"


class ConfigError(ValueError):
    """A setting that can't be served; the text is for the person who gave it."""


def _setting(default: Any, reason: str, **metadata: Any) -> Any:  # noqa: ANN401 — as `field`
    return field(default=default, metadata={"reason": reason, **metadata})


@dataclass(frozen=True, slots=True)
class Config:
    """What one daemon is told; sizes in bytes, times in seconds, as the names say."""

    # Where it listens.
    host: str = _setting("127.0.0.1", "address all ports listen on; 0.0.0.0 in a container")
    echo_port: int = _setting(1234, "plain port, PROTOCOL §1; 0 picks a free one", port=True)
    session_port: int = _setting(1235, "session port, PROTOCOL §2", port=True)
    admin_port: int = _setting(8080, "HTTP: /metrics, /livez, /readyz", port=True)
    agent_port: int = _setting(8081, "HAProxy's agent-check asks here", port=True)
    name: str = _setting("", "this daemon's name in logs and store; empty: host and random part")

    # What an answer means.
    store: str = _setting("memory://", "memory:// or redis[s]://[user[:password]@]host:port/db")
    store_password_file: str = _setting(
        "", "the password's file, read at every connect: keeps it out of the URL"
    )
    durability: str = _setting(
        "commit", "what a reply on the plain port waits for, PROTOCOL §5", choices=DURABILITIES
    )
    async_lines_max: int = _setting(10_000, "durability async: lines that a crash may lose")
    async_s_max: float = _setting(1.0, "durability async: age of the oldest of them")
    session_ttl_s: float = _setting(
        300.0, "a session lives on so long after its last line; at least 3 times its idle time"
    )

    # Who may speak first.
    proxy_protocol: bool = _setting(False, "require a PROXY v2 header from every peer")  # noqa: FBT003
    proxy_networks: str = _setting(
        PRIVATE_NETWORKS, "peers a PROXY header is taken from; others are refused"
    )
    proxy_header_bytes_max: int = _setting(
        1024, "the header, its TLVs included; HAProxy's with a unique id has under 200"
    )
    proxy_s_max: float = _setting(5.0, "from accept to the end of that header")

    # How much one client may take (PROTOCOL's table, limit=True makes a metric of it).
    connections_max: int = _setting(
        10_000, "clients at once; one more is answered busy", limit=True
    )
    line_bytes_max: int = _setting(8_192, "a line with its LF", limit=True)
    line_s_max: float = _setting(60.0, "from a line's first byte to its LF", limit=True)
    echo_idle_s_max: float = _setting(5.0, "plain port: nothing received", limit=True)
    session_idle_s_max: float = _setting(60.0, "session port: nothing received", limit=True)
    inflight_lines_max: int = _setting(
        1_000, "unanswered lines; at the limit a connection is not read", limit=True
    )
    outbox_bytes_max: int = _setting(
        1 << 20, "replies one client has not taken; above it: slow-consumer", limit=True
    )
    send_s_max: float = _setting(10.0, "unsent replies without progress", limit=True)
    linger_s_max: float = _setting(
        2.0, "reading on after ERR, so that a reset does not overtake it", limit=True
    )

    # How much the store may take.
    commit_s_max: float = _setting(2.0, "from a line to the store's acknowledgement", limit=True)
    batch_writes_max: int = _setting(
        1_000, "writes of one batch: bounds a round trip, and what is sent again", limit=True
    )
    pending_bytes_max: int = _setting(
        64 << 20, "unanswered replies of all clients; above it nobody is read", limit=True
    )

    store_fill_max: float = _setting(
        0.8,
        "share of the store's memory above which newcomers are answered busy, and half-way from"
        " it to full no post is taken: who is served stays served",
        limit=True,
    )

    # How long the store keeps what the daemons themselves renew.
    announcement_s: float = _setting(
        90.0, "how many members a daemon has in a room; said anew three times as often"
    )
    lease_s: float = _setting(
        4.0, "a daemon after its last heartbeat, of which there are eight to a lease"
    )
    marker_s: float = _setting(
        86_400.0, "by which a daemon that was cut off sees whether the store remembers"
    )

    # Rooms, PROTOCOL §3.
    room_route: str = _setting(
        "room", "how a post finds its members' daemons (docs/adr/0009)", choices=ROUTES
    )
    room_tick_s: float = _setting(
        0.0, "gather messages so long before sending them on: fewer sends; 0: never", zero=True
    )
    rooms_joined_max: int = _setting(100, "rooms of one connection", limit=True)
    room_messages_max: int = _setting(
        1_000, "messages kept of a room, about: what a member may have missed", limit=True
    )
    room_s_max: float = _setting(
        3_600.0, "age of a room's oldest message; the room's life after its last", limit=True
    )
    room_linger_s: float = _setting(
        5.0, "a room without members is listened to so long: they may be on their way back"
    )

    # Leaving.
    drain_s: float = _setting(10.0, "from SIGTERM to closing what is left", limit=True)
    agent_interval_s: float = _setting(
        0.5, "HAProxy's agent-inter: a drain goes on accepting for two of them"
    )

    reader: str = _setting(
        "callback", "how a socket is waited for (docs/adr/0001)", choices=READERS
    )
    log_level: str = _setting("info", "least level that is logged", choices=LOG_LEVELS)

    def __post_init__(self) -> None:
        """Refuse what can't be served.

        Raises:
            ConfigError: naming the setting, its value and what it must be.
        """
        for spec in dataclasses.fields(self):
            _check(spec, getattr(self, spec.name))
        scheme = urlsplit(self.store).scheme
        if scheme not in ("memory", "redis", "rediss", "unix"):
            raise ConfigError(f"--store={self.store}: must begin memory://, redis:// or rediss://")
        if self.session_ttl_s < TTL_IDLE_TIMES * self.session_idle_s_max:
            raise ConfigError(
                f"--session-ttl-s={self.session_ttl_s}: must be at least {TTL_IDLE_TIMES} times"
                f" --session-idle-s-max={self.session_idle_s_max:g}"
            )
        self._check_lives()
        self.networks()
        if not self.name:
            name = f"{socket.gethostname()}-{secrets.token_hex(3)}"
            object.__setattr__(self, "name", name)

    def _check_lives(self) -> None:
        """Refuse lives that are over before what renews them comes (docs/adr/0014)."""
        for name, least_s, why in (
            ("lease_s", LEASE_S_MIN, "its heartbeats are eight to a lease"),
            ("announcement_s", LEASE_S_MIN, "it is said anew three times as often"),
            ("room_s_max", self.announcement_s, "--announcement-s, which renews it"),
            ("marker_s", MARKER_COMMITS * self.commit_s_max, "three times --commit-s-max"),
        ):
            value = getattr(self, name)
            if value < least_s:
                raise ConfigError(f"{flag_of(name)}={value}: must be at least {least_s:g} ({why})")
        if self.room_linger_s > self.announcement_s / 2:
            raise ConfigError(
                f"--room-linger-s={self.room_linger_s}: must be at most half of"
                f" --announcement-s={self.announcement_s:g}: longer, and the room may be gone"
            )

    def networks(self) -> tuple[Network, ...]:
        """`proxy_networks`, parsed.

        Raises:
            ConfigError: for one that is not a network.
        """
        try:
            return tuple(
                ipaddress.ip_network(text.strip())
                for text in self.proxy_networks.split(",")
                if text.strip()
            )
        except ValueError as error:
            raise ConfigError(f"--proxy-networks: {error}") from None

    def limits(self) -> dict[str, float]:
        """The settings that are limits, by name: what `echod_limit` shows."""
        return {
            spec.name: getattr(self, spec.name)
            for spec in dataclasses.fields(self)
            if spec.metadata.get("limit")
        }


def _check(spec: dataclasses.Field[Any], value: Any) -> None:  # noqa: ANN401 — a setting's
    """Refuse a value that its setting can't have."""
    flag = flag_of(spec.name)
    choices = spec.metadata.get("choices")
    if spec.metadata.get("port"):
        if not 0 <= value <= 65_535:  # noqa: PLR2004 — a port has 16 bits
            raise ConfigError(f"{flag}={value}: a port is 0 to 65535")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        if value < 0 or (value == 0 and not spec.metadata.get("zero")):
            least = "0 or above" if spec.metadata.get("zero") else "above 0"
            raise ConfigError(f"{flag}={value}: must be {least}")
    elif choices and value not in choices:
        raise ConfigError(f"{flag}={value}: must be one of {', '.join(choices)}")


def cannot_listen(port: str, config: Config, error: OSError) -> ConfigError:
    """The error for a port that can't be had: it names the setting to change."""
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

    Exits with status 2 and a message, as argparse does, for what can't be parsed.
    """
    parser = argparse.ArgumentParser(
        prog="echod",
        description="One echo daemon. Each flag is also an environment variable: --name, ECHOD_NAME.",
    )
    for spec in dataclasses.fields(Config):
        kind = type(spec.default)
        help_text = f"{spec.metadata['reason']} [{variable_of(spec.name)}, default %(default)s]"
        text = environ.get(variable_of(spec.name), "")
        if kind is bool:
            on = text.lower() in ("1", "true", "yes", "on")
            parser.add_argument(
                flag_of(spec.name),
                action=argparse.BooleanOptionalAction,
                default=on if text else spec.default,
                help=help_text,
            )
        else:
            # argparse converts a default that is text, so both sources share one check.
            parser.add_argument(
                flag_of(spec.name), type=kind, default=text or spec.default, help=help_text,
                metavar=kind.__name__.upper(),
            )  # fmt: skip
    try:
        return Config(**vars(parser.parse_args(argv)))
    except ConfigError as error:
        parser.error(str(error))
