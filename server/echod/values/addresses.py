"""Addresses: how a peer's is shown, and whether it is of a network. Pure.

A socket that listens on `::` sees an IPv4 peer as `::ffff:192.0.2.1` (RFC 4291, 2.5.5.2),
which is in no IPv4 network. It is the same peer, so here it is the IPv4 address, and an
address has one form only wherever it is compared, shown or stored.
"""

from __future__ import annotations

import ipaddress
from typing import TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

# Before the IPv4 address in an IPv6 one that stands for it.
MAPPED_BITS = 96
MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


def parse(host: str | bytes) -> Address:
    """An address in its one form, from its text or its packed bytes.

    Raises:
        ValueError: it is none.
    """
    address = ipaddress.ip_address(host)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def show(host: str | bytes | Address, port: int) -> str:
    """`192.0.2.1:1234` or `[2001:db8::1]:1234`.

    Raises:
        ValueError: as `parse`.
    """
    if isinstance(host, str) and ":" not in host:
        return f"{host}:{port}"
    address = parse(host) if isinstance(host, (str, bytes)) else host
    shown = f"[{address}]" if isinstance(address, ipaddress.IPv6Address) else str(address)
    return f"{shown}:{port}"


def networks(text: str) -> tuple[Network, ...]:
    """Networks with commas between; one of mapped addresses is the IPv4 network it stands for.

    Raises:
        ValueError: for one that is none.
    """
    return tuple(_network(part.strip()) for part in text.split(",") if part.strip())


def _network(text: str) -> Network:
    network = ipaddress.ip_network(text)
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(MAPPED):
        base = network.network_address.ipv4_mapped
        return ipaddress.IPv4Network((str(base), network.prefixlen - MAPPED_BITS))
    return network
