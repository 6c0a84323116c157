"""`--store`: where the store is and how it is spoken to, from a URL. Pure.

    memory://                                                  this process, nothing else
    redis[s]://[[user]:password@]host[:port][/db][?option=…]   s: TLS
    redis[s]+cluster://[[user]:password@]host[:port],…[?option=…]   some nodes of a cluster
    unix://[[user]:password@]/path[?db=…]                      a socket of this machine

The form is the one that redis-py made usual, and every part of it is served or refused by
name: a part that is passed over in silence is a password that is not asked for, or a
certificate that is not checked. No error repeats a part of the text, which may hold a
password.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, parse_qsl, unquote_to_bytes, urlsplit

from echod.values.checks import truth

if TYPE_CHECKING:
    from collections.abc import Mapping

CLUSTERS: Final = ("redis+cluster", "rediss+cluster")
SCHEMES: Final = ("memory", "redis", "rediss", "unix", *CLUSTERS)
REDIS_PORT: Final = 6379
# Redis reads the number of a database into an int.
DB_MAX: Final = 2**31 - 1
# `sockaddr_un.sun_path` has 108 bytes, the NUL among them (104 on macOS, which says so itself).
UNIX_PATH_BYTES_MAX: Final = 107
# RFC 1035, 2.3.4.
HOST_BYTES_MAX: Final = 253

# What may stand behind `?`, and with which schemes.
TLS_OPTIONS: Final = (
    "ssl_ca_certs",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_cert_reqs",
    "ssl_check_hostname",
)
OPTIONS: Final = {
    "redis": ("db",),
    "rediss": ("db", *TLS_OPTIONS),
    "unix": ("db",),
    "redis+cluster": (),
    "rediss+cluster": TLS_OPTIONS,
}
# Nodes that a URL names: one is enough to find the others, as long as it is there.
NODES_MAX: Final = 64

# A password may have an @ or a : as it is: the host has neither.
_PLACE = re.compile(r"(?:(?P<login>.*)@)?(?P<host>\[[^\[\]]*\]|[^:@\[\]]*)(?P<port>:.*)?")
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")


class StoreUrlError(ValueError):
    """The URL can't be served; the text says what it must be."""


@dataclass(frozen=True, slots=True)
class Tls:
    """How the store's certificate is looked at. Paths are files in PEM; "" for none."""

    ca_certs: str = ""
    """Whom to trust in the place of the system's authorities."""
    certfile: str = ""
    """Ours, if the store asks for one; its key may be in the same file."""
    keyfile: str = ""
    verified: bool = True
    """Whether the store must have a certificate of those (`ssl_cert_reqs=required`)."""
    check_hostname: bool = True
    """Whether it must be of the host in the URL."""


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """What a URL says; made by `parse`.

    Attributes:
        scheme: one of `SCHEMES`.
        host, port: of `redis` and `rediss`; of a cluster its first node's.
        nodes: of a cluster, host and port of each that is named.
        path: of `unix`.
        db: the database to select.
        username, password: b"" for none; bytes, because they are sent as they are.
        tls: of `rediss`, else None.
    """

    scheme: str
    host: str = ""
    port: int = REDIS_PORT
    path: str = ""
    db: int = 0
    username: bytes = b""
    password: bytes = b""
    tls: Tls | None = None
    nodes: tuple[tuple[str, int], ...] = ()


def parse(text: str) -> StoreUrl:  # noqa: C901 — one part after the other
    """Read a URL whole.

    Raises:
        StoreUrlError: a part of it is not known, or can't be.
    """
    if not text.isprintable() or " " in text:
        raise StoreUrlError("must have no space or control character; %20 is a space")
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in SCHEMES:
        begin = ", ".join(f"{each}://" for each in SCHEMES[:-1])
        raise StoreUrlError(f"must begin {begin} or {SCHEMES[-1]}://")
    if scheme == "memory":
        if rest:
            raise StoreUrlError("must be memory:// and nothing behind it")
        return StoreUrl(scheme)
    try:
        parts = urlsplit(text)
    except ValueError:
        raise StoreUrlError("must be a URL, with an IPv6 address in brackets") from None
    if text.endswith("?"):
        raise StoreUrlError("must have an option behind its ?")
    if "#" in text:
        raise StoreUrlError("must have no #: in a password write %23, %2F for / and %3F for ?")
    if scheme in CLUSTERS:
        return _cluster(scheme, parts)
    found = _PLACE.fullmatch(parts.netloc)
    if found is None:
        raise StoreUrlError("must have one host, an IPv6 address in brackets")
    options = _options(scheme, parts)
    username, password = _login(found["login"])
    db = _db(scheme, parts, options)
    if scheme == "unix":
        return StoreUrl(
            scheme, path=_path(found, parts), db=db, username=username, password=password
        )
    return StoreUrl(
        scheme,
        host=_host(found["host"]),
        port=_port(found["port"]),
        db=db,
        username=username,
        password=password,
        tls=_tls(options) if scheme == "rediss" else None,
    )


def _cluster(scheme: str, parts: SplitResult) -> StoreUrl:
    login, at, places = parts.netloc.rpartition("@")
    names = places.split(",")
    found = [_PLACE.fullmatch(name) for name in names]
    if len(names) > NODES_MAX:
        raise StoreUrlError(f"must name at most {NODES_MAX} nodes")
    if parts.path.strip("/"):
        raise StoreUrlError("must have no database: a cluster has one")
    options = _options(scheme, parts)
    username, password = _login(login if at else None)
    nodes = []
    for place in found:
        if place is None or place["login"] is not None:
            raise StoreUrlError("must name nodes as host:port, with a comma between")
        nodes.append((_host(place["host"]), _port(place["port"])))
    return StoreUrl(
        scheme,
        host=nodes[0][0],
        port=nodes[0][1],
        username=username,
        password=password,
        tls=_tls(options) if scheme.startswith("rediss") else None,
        nodes=tuple(nodes),
    )


def _options(scheme: str, parts: SplitResult) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            parts.query, keep_blank_values=True, strict_parsing=True, errors="strict"
        ) if parts.query else []  # fmt: skip
    except ValueError:
        raise StoreUrlError("must have name=value behind its ?, with & between") from None
    known = OPTIONS[scheme]
    for name, value in pairs:
        if name not in known:
            tls = " (with TLS, rediss…, the ssl_ ones too)" if name in TLS_OPTIONS else ""
            only = f"of options only {', '.join(known)}" if known else "no such option"
            raise StoreUrlError(f"must have {only}{tls}")
        if not value:
            raise StoreUrlError(f"must say a value for {name}, or leave it out")
    if len(dict(pairs)) < len(pairs):
        raise StoreUrlError("must say each option once")
    return dict(pairs)


def _login(text: str | None) -> tuple[bytes, bytes]:
    if text is None:
        return b"", b""
    username, separator, password = text.partition(":")
    if separator and not password:
        raise StoreUrlError("must have a password behind the :, or no :")
    if not username and not password:
        raise StoreUrlError("must have a user or a password, or no sign of them")
    return unquote_to_bytes(username), unquote_to_bytes(password)


def _host(text: str) -> str:
    """A name or an address.

    What no resolver can look up is no fault of the network: it would be tried for ever.
    """
    if text.startswith("["):
        try:
            return str(ipaddress.IPv6Address(text[1:-1]))
        except ValueError:
            raise StoreUrlError("must have an IPv6 address between its brackets") from None
    labels = text.removesuffix(".").split(".")
    if len(text) > HOST_BYTES_MAX or not all(_LABEL.fullmatch(label) for label in labels):
        raise StoreUrlError("must have a host: a name or an address, an IPv6 one in brackets")
    if all(label.isdecimal() for label in labels):
        try:
            return str(ipaddress.IPv4Address(text))
        except ValueError:
            raise StoreUrlError("must have four numbers up to 255 in an IPv4 address") from None
    return text


def _port(text: str | None) -> int:
    if text is None:
        return REDIS_PORT
    number = text.removeprefix(":")
    if not re.fullmatch("[0-9]{1,5}", number) or not 0 < int(number) < 1 << 16:
        raise StoreUrlError("must have a port from 1 to 65535 behind the host's :")
    return int(number)


def _db(scheme: str, parts: SplitResult, options: Mapping[str, str]) -> int:
    path = "" if scheme == "unix" else parts.path.removeprefix("/")
    if path and "db" in options:
        raise StoreUrlError("must say its database once: /N or ?db=N")
    text = path or options.get("db", "0")
    if not re.fullmatch("[0-9]{1,10}", text) or int(text) > DB_MAX:
        raise StoreUrlError("must have a number as its database: /N or ?db=N")
    return int(text)


def _path(found: re.Match[str], parts: SplitResult) -> str:
    if found["host"] or found["port"]:
        raise StoreUrlError("must have the whole path of a socket: unix:///run/redis.sock")
    path = unquote_to_bytes(parts.path)
    if not path.strip(b"/") or b"\0" in path or len(path) > UNIX_PATH_BYTES_MAX:
        raise StoreUrlError(
            f"must have the path of a socket, of {UNIX_PATH_BYTES_MAX} bytes at most"
        )
    return path.decode(errors="surrogateescape")


def _tls(options: Mapping[str, str]) -> Tls:
    if "ssl_keyfile" in options and "ssl_certfile" not in options:
        raise StoreUrlError("must have an ssl_certfile beside its ssl_keyfile")
    reqs = options.get("ssl_cert_reqs", "required")
    if reqs not in ("required", "none"):
        raise StoreUrlError("must have ssl_cert_reqs=required or none")
    verified = check_hostname = reqs == "required"
    if "ssl_check_hostname" in options:
        try:
            check_hostname = truth(options["ssl_check_hostname"])
        except ValueError as error:
            raise StoreUrlError(f"must have of ssl_check_hostname: {error}") from None
    if check_hostname and not verified:
        raise StoreUrlError("must have ssl_check_hostname=no where ssl_cert_reqs=none")
    if not verified and "ssl_ca_certs" in options:
        raise StoreUrlError("must have ssl_cert_reqs=required where it says ssl_ca_certs")
    return Tls(
        options.get("ssl_ca_certs", ""),
        options.get("ssl_certfile", ""),
        options.get("ssl_keyfile", ""),
        verified,
        check_hostname,
    )
