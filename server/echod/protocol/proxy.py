"""The PROXY protocol's version 2 header: who the client behind the balancer is.

Source: HAProxy's `doc/proxy-protocol.txt`, section 2.2. The header is binary:

    12 bytes  signature
     1        version 2 and command: 0x20 LOCAL (the balancer itself), 0x21 PROXY
     1        address family and transport
     2        length of what follows: addresses, then TLVs (type, 2 bytes length, value)

Only what is used is read: the source address, and HAProxy's unique id (TLV 0x05).
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
FIXED_BYTES = 16
UNIQUE_ID = 0x05
# The specification's bound on a unique id's TLV.
UNIQUE_ID_BYTES_MAX = 128

_LOCAL, _PROXY = 0x20, 0x21
# family and transport → bytes of the address block, where the source port stands, struct of host
_ADDRESSES = {0x11: (12, 8, slice(0, 4)), 0x21: (36, 32, slice(0, 16))}
_UNIX = {0x31: 216, 0x32: 216}


class ProxyHeaderError(ValueError):
    """The bytes are no PROXY v2 header that can be taken; the text says why."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """What a header said.

    Attributes:
        length: bytes of the header; the client's own begin there.
        local: the balancer speaks for itself (a health check).
        source: the client, `address:port`, or "" where the header does not say.
        unique_id: the balancer's name for the connection, or "".
    """

    length: int
    local: bool
    source: str
    unique_id: str


def parse(data: bytes, header_bytes_max: int) -> ProxyHeader | None:
    """Read the header that `data` begins with; None while it is incomplete.

    Raises:
        ProxyHeaderError: for anything else, as soon as the first wrong byte shows.
    """
    if not data.startswith(SIGNATURE[: len(data)]):
        raise ProxyHeaderError("no PROXY v2 signature")
    if len(data) < FIXED_BYTES:
        return None
    command, family, size = struct.unpack_from("!BBH", data, len(SIGNATURE))
    length = FIXED_BYTES + size
    if command not in (_LOCAL, _PROXY):
        raise ProxyHeaderError(f"version and command 0x{command:02x}")
    if length > header_bytes_max:
        raise ProxyHeaderError(f"a header of {length} bytes, over {header_bytes_max}")
    if len(data) < length:
        return None
    block = data[FIXED_BYTES:length]
    source, tlvs = _source(family, block)
    return ProxyHeader(length, command == _LOCAL, source, _unique_id(tlvs))


def _source(family: int, block: bytes) -> tuple[str, bytes]:
    """The client's address and the TLVs behind the addresses."""
    size, port_at, host = _ADDRESSES.get(family, (_UNIX.get(family, 0), 0, slice(0, 0)))
    if len(block) < size:
        raise ProxyHeaderError(f"addresses of {len(block)} bytes for family 0x{family:02x}")
    if family not in _ADDRESSES:
        return "", block[size:]
    address = ipaddress.ip_address(block[host])
    (port,) = struct.unpack_from("!H", block, port_at)
    text = f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"  # noqa: PLR2004 — IPv6
    return text, block[size:]


def _unique_id(tlvs: bytes) -> str:
    while tlvs:
        if len(tlvs) < 3:  # noqa: PLR2004 — a TLV's type and length
            raise ProxyHeaderError("a TLV cut short")
        kind, size = struct.unpack_from("!BH", tlvs)
        value, tlvs = tlvs[3 : 3 + size], tlvs[3 + size :]
        if len(value) < size:
            raise ProxyHeaderError("a TLV cut short")
        if kind == UNIQUE_ID:
            if size > UNIQUE_ID_BYTES_MAX:
                raise ProxyHeaderError(f"a unique id of {size} bytes, over {UNIQUE_ID_BYTES_MAX}")
            return value.decode("ascii", "backslashreplace")
    return ""
