"""The PROXY protocol's version 2 header: who the client behind the balancer is.

Source: HAProxy's `doc/proxy-protocol.txt`, section 2.2. The header is binary:

    12 bytes  signature
     1        version 2 and command: 0x20 LOCAL (the balancer itself), 0x21 PROXY
     1        address family and transport
     2        length of what follows: addresses, then TLVs (type, 2 bytes length, value)

Only what is used is read: the source address, and HAProxy's unique id (TLV 0x05). Of a LOCAL
header nothing is: the specification has its block discarded, whatever it holds.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from echod.values import addresses

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
FIXED_BYTES = 16
UNIQUE_ID = 0x05
# The specification's bound on a unique id's TLV.
UNIQUE_ID_BYTES_MAX = 128

_LOCAL, _PROXY = 0x20, 0x21
# The halves of the byte that names them; any other value is refused.
_UNSPECIFIED, _INET, _INET6, _UNIX = range(4)
_TRANSPORTS = range(3)  # unspecified, stream, datagram
# family → bytes of the address block, where the source port stands, bytes of the host before
_ADDRESSES = {_INET: (12, 8, 4), _INET6: (36, 32, 16)}
_UNIX_BYTES = 216


class ProxyHeaderError(ValueError):
    """The bytes are no PROXY v2 header that can be taken; the text says why."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """What a header said.

    Attributes:
        length: bytes of the header; the client's own begin there.
        local: the balancer speaks for itself (a health check).
        source: the client, `address:port`, or "" where the header does not say: then the
            peer itself counts.
        unique_id: the balancer's name for the connection, one word that can be shown, or "".
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
    if command == _LOCAL:
        return ProxyHeader(length, local=True, source="", unique_id="")
    source, tlvs = _source(family, data[FIXED_BYTES:length])
    return ProxyHeader(length, local=False, source=source, unique_id=_unique_id(tlvs))


def _source(both: int, block: bytes) -> tuple[str, bytes]:
    """The client's address and the TLVs behind the addresses."""
    family, transport = divmod(both, 16)
    if family > _UNIX or transport not in _TRANSPORTS:
        raise ProxyHeaderError(f"address family and transport 0x{both:02x}")
    if _UNSPECIFIED in (family, transport):
        return "", _tlvs_or_nothing(block)
    size, port_at, host_bytes = _ADDRESSES.get(family, (_UNIX_BYTES, 0, 0))
    if len(block) < size:
        raise ProxyHeaderError(f"addresses of {len(block)} bytes for family 0x{both:02x}")
    if family == _UNIX:
        return "", block[size:]
    (port,) = struct.unpack_from("!H", block, port_at)
    return addresses.show(block[:host_bytes], port), block[size:]


def _tlvs_or_nothing(block: bytes) -> bytes:
    """Behind an unspecified address, of which nothing says how long it is.

    HAProxy has none there, and its TLVs at once (a client of a UNIX socket): they are read
    if they are whole. Anything else is skipped.
    """
    try:
        _unique_id(block)
    except ProxyHeaderError:
        return b""
    return block


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
            return _word(value)
    return ""


def _word(value: bytes) -> str:
    """Opaque bytes as one word of a log line or a record: what can't be shown is escaped."""
    text = value.decode("ascii", "backslashreplace")
    if text.isprintable() and " " not in text:
        return text
    return "".join(
        char if char.isprintable() and char != " " else f"\\x{ord(char):02x}" for char in text
    )
