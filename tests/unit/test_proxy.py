"""The PROXY v2 header: what HAProxy sends is read, anything else is refused early."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from echod.protocol.proxy import FIXED_BYTES, SIGNATURE, ProxyHeader, ProxyHeaderError, parse

MAX = 1024


def header(command: int, family: int, block: bytes) -> bytes:
    """A header with any content."""
    return SIGNATURE + struct.pack("!BBH", command, family, len(block)) + block


def tlv(kind: int, value: bytes) -> bytes:
    """One type, length, value."""
    return struct.pack("!BH", kind, len(value)) + value


ADDRESSES_4 = socket.inet_aton("192.0.2.1") + socket.inet_aton("198.51.100.7") + b"\x30\x39\x04\xd2"
ADDRESSES_6 = socket.inet_pton(socket.AF_INET6, "2001:db8::1") * 2 + b"\x30\x39\x04\xd2"


def test_tcp4_with_unique_id() -> None:
    """The client's address and the balancer's id come out; the client's bytes stay."""
    data = header(0x21, 0x11, ADDRESSES_4 + tlv(0x03, b"crc!") + tlv(0x05, b"A1:B2"))
    found = parse(data + b"hello\n", MAX)
    assert found is not None
    assert (found.local, found.source, found.unique_id) == (False, "192.0.2.1:12345", "A1:B2")
    assert found.length == len(data)


def test_tcp6() -> None:
    """An IPv6 client's address is written so that the port can be told from it."""
    found = parse(header(0x21, 0x21, ADDRESSES_6), MAX)
    assert found is not None
    assert found.source == "[2001:db8::1]:12345"


@given(st.integers(0, 255), st.binary(max_size=300))
@example(0x11, ADDRESSES_4[:3])
@example(0x77, b"")
def test_of_local_nothing_is_read(family: int, block: bytes) -> None:
    """Whatever family and block it has, it is valid, and they are skipped (specification, 2.2)."""
    data = header(0x20, family, block)
    assert parse(data + b"haproxy\n", MAX) == ProxyHeader(
        len(data), local=True, source="", unique_id=""
    )


@pytest.mark.parametrize("both", [0x00, 0x01, 0x10, 0x20, 0x30])
@pytest.mark.parametrize("block", [b"", b"\x05", ADDRESSES_4, b"\0" * 216])
def test_unspecified(both: int, block: bytes) -> None:
    """The connection is taken, addresses are skipped: the peer itself counts."""
    found = parse(header(0x21, both, block), MAX)
    assert found is not None
    assert (found.local, found.source, found.unique_id) == (False, "", "")
    assert found.length == FIXED_BYTES + len(block)


def test_unspecified_with_tlvs() -> None:
    """As HAProxy says that it does not know the address: its id is read."""
    found = parse(header(0x21, 0, tlv(0x03, b"crc!") + tlv(0x05, b"A1")), MAX)
    assert found is not None
    assert (found.source, found.unique_id) == ("", "A1")


def test_an_ipv4_client_of_an_ipv6_socket() -> None:
    """A balancer that listens on :: sees it as mapped; here it has its one form."""
    mapped = socket.inet_pton(socket.AF_INET6, "::ffff:192.0.2.1")
    found = parse(header(0x21, 0x21, mapped * 2 + b"\x30\x39\x04\xd2"), MAX)
    assert found is not None
    assert found.source == "192.0.2.1:12345"


def test_datagrams_and_sockets_have_addresses_of_their_length() -> None:
    """All valid combinations are taken; what is not an address is skipped."""
    for both, block, source in (
        (0x12, ADDRESSES_4, "192.0.2.1:12345"),
        (0x22, ADDRESSES_6, "[2001:db8::1]:12345"),
        (0x31, b"/a" + b"\0" * 214, ""),
        (0x32, b"/a" + b"\0" * 214, ""),
    ):
        found = parse(header(0x21, both, block + tlv(0x05, b"A1")), MAX)
        assert found is not None
        assert (found.source, found.unique_id) == (source, "A1")


@given(st.binary(max_size=128))
@example(b"A1 daemon=forged")
@example(b"A1\nERROR forged")
def test_an_id_is_one_word(value: bytes) -> None:
    """It goes into log lines and records as it is, or escaped."""
    found = parse(header(0x21, 0x11, ADDRESSES_4 + tlv(0x05, value)), MAX)
    assert found is not None
    assert found.unique_id.isascii()
    assert found.unique_id.isprintable()
    assert " " not in found.unique_id
    assert found.unique_id == value.decode("latin-1") or not value.isalnum()


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.7 1 2\r\n",
        b"\r\n\r\n\x00\r\nQUIX",
        header(0x11, 0x11, ADDRESSES_4),
        header(0x22, 0x11, ADDRESSES_4),
        header(0x21, 0x11, ADDRESSES_4[:11]),
        header(0x21, 0x21, ADDRESSES_6[:35]),
        header(0x21, 0x31, b"\0" * 215),
        header(0x21, 0x41, b"\0" * 300),
        header(0x21, 0xF0, b"\0" * 300),
        header(0x21, 0x13, ADDRESSES_4),
        header(0x21, 0x03, b""),
        header(0x21, 0x11, ADDRESSES_4 + b"\x05\x00"),
        header(0x21, 0x11, ADDRESSES_4 + b"\x05\x00\x09abc"),
        header(0x21, 0x11, ADDRESSES_4 + tlv(0x05, b"x" * 129)),
        header(0x21, 0x11, ADDRESSES_4 + tlv(0x04, b"x" * MAX)),
    ],
)
def test_refused(data: bytes) -> None:
    """What is no header, or no bounded one, is an error and not a wait for more."""
    with pytest.raises(ProxyHeaderError):
        parse(data, MAX)


def test_every_prefix_is_incomplete() -> None:
    """Byte by byte, nothing is decided before the last one."""
    data = header(0x21, 0x11, ADDRESSES_4 + tlv(0x05, b"A1"))
    assert all(parse(data[:size], MAX) is None for size in range(len(data)))


@given(st.binary(max_size=300))
def test_any_block_is_read_or_refused(block: bytes) -> None:
    """Whatever follows the fixed part, the parser answers or raises its one error."""
    for family in (0x00, 0x11, 0x21, 0x31, 0xFF):
        try:
            found = parse(header(0x21, family, block), MAX)
        except ProxyHeaderError:
            continue
        assert found is not None
        assert found.length == len(SIGNATURE) + 4 + len(block)
